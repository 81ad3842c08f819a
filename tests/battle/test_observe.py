"""What a tracker makes of log lines and requests."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from shared.battle.protocol import Event, Seat
from shared.battle.state import KnownMove, PokemonState
from shared.battle.tracker import UNTRACKED_KEPT, Tracker
from shared.errors import BattleBroken

START = ("|gen|9", "|teamsize|p1|6", "|teamsize|p2|6", "|start")
GARDEVOIR, ZOROARK, SNORLAX = ("Gardevoir", "synchronize"), ("Zoroark", "illusion"), ("Snorlax", "thickfat")


def a_tracker(seat: Seat = "p1") -> Tracker:
    tracker = Tracker(9, seat, {"p1": "Red", "p2": "Blue"})
    tracker.hear(START)
    return tracker


def a_request(*team: tuple[str, str], seat: Seat = "p1", **fields: Any) -> dict[str, Any]:
    """A request of a team of (species, ability), the first one active."""
    moves = [{"move": "Tackle", "id": "tackle", "pp": 50, "maxpp": 56, "disabled": False}]
    pokemon = [
        {
            "ident": f"{seat}: {species}",
            "details": f"{species}, L80, M",
            "condition": "200/250",
            "active": index == 0,
            "stats": {},
            "moves": ["tackle"],
            "baseAbility": ability,
            "ability": ability,
            "item": "leftovers",
            "teraType": "Fire",
            "terastallized": "",
        }
        for index, (species, ability) in enumerate(team)
    ]
    request = {"active": [{"moves": moves}], "side": {"id": seat, "pokemon": pokemon}, **fields}
    return {name: value for name, value in request.items() if value is not None}


def foes(lines: Sequence[str]) -> dict[str, PokemonState]:
    """What p1 knows of each of p2's Pokémon after these lines."""
    tracker = a_tracker()
    tracker.hear(("|switch|p1a: Snorlax|Snorlax, L80, M|250/250", *lines))
    tracker.request(a_request(SNORLAX))
    foe = tracker.state().foe
    return {pokemon.species: pokemon for pokemon in (*((foe.active,) if foe.active else ()), *foe.bench)}


def test_hearing_costs_nothing_until_somebody_looks() -> None:
    tracker = a_tracker()
    tracker.hear(("|switch|p2a: Snorlax|Snorlax, L80, M|100/100",))
    before = tracker._battle, dict(tracker._memory.pokemon)

    assert before == (None, {})
    assert list(tracker.battle.opponent_team) == ["p2: Snorlax"]


def test_a_state_before_any_request_is_refused() -> None:
    with pytest.raises(BattleBroken, match="before the simulator sent any request"):
        a_tracker().state()


def test_only_the_own_half_of_a_split_is_seen() -> None:
    lines = ("|split|p2", "|switch|p2a: Snorlax|Snorlax, L80, M|211/462", "|switch|p2a: Snorlax|Snorlax, L80, M|46/100")

    assert foes(lines)["Snorlax"].hp_percent == 46


@pytest.mark.parametrize(("condition", "percent"), [("24/48y", 50), ("9/48r par", 19), ("48/48", 100), ("0 fnt", 0)])
def test_hp_is_read_in_48ths_too(condition: str, percent: int) -> None:
    lines = ("|switch|p2a: Snorlax|Snorlax, L80, M|48/48", f"|-damage|p2a: Snorlax|{condition}")

    assert foes(lines)["Snorlax"].hp_percent == percent


def test_ones_own_side_is_what_the_request_says() -> None:
    tracker = a_tracker()
    tracker.hear(("|switch|p1a: Snorlax|Snorlax, L80, M|250/250", "|turn|1", "|-boost|p1a: Snorlax|atk|2"))
    tracker.request(a_request(SNORLAX, GARDEVOIR))
    own = tracker.state().own

    assert own.active == PokemonState(
        "Snorlax",
        level=80,
        hp_percent=80,
        types=("Normal",),
        ability="thickfat",
        item="leftovers",
        tera_type="Fire",
        moves=(KnownMove("Tackle", 50, 56),),
        boosts={"atk": 2},
    )
    assert [mate.species for mate in own.bench] == ["Gardevoir"]


@pytest.mark.parametrize(
    "line",
    [
        "|never-heard-of|p2a: Snorlax",
        "|-boost|p2a: Snorlax|atk",
        "|-sideend|p2: Blue|Reflect",
        "|-boost|p2a: Snorlax|luck|1",
        "|-item|nobody|Leftovers",
    ],
)
def test_a_line_that_cannot_be_taken_in_is_skipped_and_remembered(line: str) -> None:
    tracker = a_tracker()
    tracker.hear(("|switch|p2a: Snorlax|Snorlax, L80, M|100/100", line, "|-damage|p2a: Snorlax|61/100"))
    tracker.request(a_request(SNORLAX))
    foe = tracker.state().foe.active

    assert list(tracker.untracked) == [line]
    assert foe is not None
    assert foe.hp_percent == 61


def test_what_is_remembered_of_skipped_lines_is_bounded_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    tracker = a_tracker()
    tracker.hear([f"|never-heard-of|{number}" for number in range(100)])
    with caplog.at_level(logging.DEBUG, "shared.battle.tracker"):
        assert tracker.battle.turn == 0

    assert len(tracker.untracked) == UNTRACKED_KEPT
    assert len([record for record in caplog.records if record.name == "shared.battle.tracker"]) == 1


def test_players_of_one_name_are_told_apart() -> None:
    tracker = Tracker(9, "p2", {"p1": "Twin", "p2": "Twin"})
    tracker.hear(("|player|p1|Twin||", "|player|p2|Twin||", "|switch|p1a: Snorlax|Snorlax, L80, M|100/100"))

    assert tracker.battle.player_role == "p2"
    assert list(tracker.battle.opponent_team) == ["p1: Snorlax"]


def test_the_end_of_a_battle_reaches_poke_env() -> None:
    won, tied = a_tracker(), a_tracker()
    won.hear(("|win|Red",))
    tied.hear(("|tie",))

    assert (won.battle.won, tied.battle.won, tied.battle.finished) == (True, None, True)


def test_what_an_opponent_did_in_disguise_is_its_own_once_the_disguise_breaks() -> None:
    known = foes(
        (
            "|switch|p2a: Gardevoir|Gardevoir, L80, F|100/100",
            "|move|p2a: Gardevoir|Moonblast|p1a: Snorlax",
            "|switch|p2a: Gardevoir|Gardevoir, L80, F|90/100",
            "|move|p2a: Gardevoir|Knock Off|p1a: Snorlax",
            "|-boost|p2a: Gardevoir|atk|1",
            "|-damage|p2a: Gardevoir|35/100",
            "|replace|p2a: Zoroark|Zoroark, L84, M",
            "|-end|p2a: Zoroark|Illusion",
        )
    )

    assert {name: [move.name for move in pokemon.moves] for name, pokemon in known.items()} == {
        "Zoroark": ["Knock Off"],
        "Gardevoir": ["Moonblast"],
    }
    assert (known["Zoroark"].hp_percent, known["Zoroark"].boosts) == (35, {"atk": 1})
    assert (known["Gardevoir"].hp_percent, known["Gardevoir"].boosts) == (100, {})
    assert known["Zoroark"].types == ("Dark",)


def test_an_opponent_in_disguise_is_what_it_seems() -> None:
    assert list(foes(("|switch|p2a: Gardevoir|Gardevoir, L80, F|100/100",))) == ["Gardevoir"]


def test_ones_own_pokemon_in_disguise_is_known_for_itself() -> None:
    tracker = a_tracker()
    tracker.hear(("|switch|p1a: Gardevoir|Gardevoir, L80, M|250/250", "|turn|1", "|-boost|p1a: Gardevoir|spa|2"))
    tracker.request(a_request(ZOROARK, GARDEVOIR))
    entered = tracker.state().own
    tracker.hear(("|-boost|p1a: Gardevoir|spe|1", "|-start|p1a: Gardevoir|Substitute", "|turn|2"))
    tracker.request(a_request(ZOROARK, GARDEVOIR))
    later = tracker.state().own
    tracker.hear(("|replace|p1a: Zoroark|Zoroark, L80, M", "|-boost|p1a: Zoroark|spe|1"))
    tracker.request(a_request(ZOROARK, GARDEVOIR))
    broken = tracker.state().own

    assert entered.active is not None
    assert later.active is not None
    assert broken.active is not None
    assert (entered.active.species, entered.active.types, entered.active.boosts) == ("Zoroark", ("Dark",), {"spa": 2})
    assert (later.active.boosts, later.active.effects) == ({"spa": 2, "spe": 1}, ("substitute",))
    assert broken.active.boosts == {"spa": 2, "spe": 2}
    assert all(mate.boosts == {} for state in (entered, later, broken) for mate in state.bench)


def test_the_turn_before_is_told_and_in_the_middle_of_a_turn_that_turn_so_far() -> None:
    tracker = a_tracker()
    tracker.hear(
        (
            "|switch|p1a: Snorlax|Snorlax, L80, M|250/250",
            "|switch|p2a: Gengar|Gengar, L80, M|100/100",
            "|turn|1",
            "|move|p2a: Gengar|Sludge Bomb|p1a: Snorlax",
            "|-damage|p1a: Snorlax|150/250 psn",
            "|-damage|p1a: Snorlax|135/250 psn|[from] psn",
            "|cant|p1a: Snorlax|flinch",
            "|turn|2",
        )
    )
    tracker.request(a_request(SNORLAX))
    whole = tracker.state()
    tracker.hear(("|move|p2a: Gengar|Hypnosis|p1a: Snorlax",))
    tracker.request(a_request(SNORLAX, GARDEVOIR, forceSwitch=[True], active=None))
    middle = tracker.state()

    assert whole.last_turn == (
        Event("foe", "move", "Gengar", "Sludge Bomb", 40),
        Event("own", "cant", "Snorlax", "flinch"),
    )
    assert middle.last_turn == (Event("foe", "move", "Gengar", "Hypnosis"),)
    assert (middle.asked, middle.foe_moves_seen) == ("switch", ("Sludge Bomb", "Hypnosis"))


def test_the_last_four_distinct_moves_are_kept_in_order_of_first_use() -> None:
    tracker = a_tracker()
    moves = ("Lick", "Curse", "Lick", "Hex", "Spite", "Lick", "Hypnosis")
    tracker.hear([f"|move|p2a: Gengar|{move}|p1a: Snorlax" for move in moves])
    tracker.request(a_request(SNORLAX))

    assert tracker.state().foe_moves_seen == ("Curse", "Hex", "Spite", "Hypnosis")


def test_weather_terrain_and_hazards_are_told() -> None:
    tracker = a_tracker()
    tracker.hear(
        (
            "|-weather|RainDance|[from] ability: Drizzle|[of] p2a: Pelipper",
            "|-fieldstart|move: Electric Terrain",
            "|-sidestart|p1: Red|Spikes",
            "|-sidestart|p1: Red|Spikes",
            "|-sidestart|p2: Blue|move: Stealth Rock",
        )
    )
    tracker.request(a_request(SNORLAX))
    state = tracker.state()

    assert state.weather == "RainDance"
    assert list(state.fields) == ["electric terrain"]
    assert state.own.conditions == {"spikes": 2}
    assert list(state.foe.conditions) == ["stealth rock"]


GUARD = ("|-sidestart|p2: Blue|Reflect", "|-singleturn|p2a: Snorlax|Wide Guard")


@pytest.mark.parametrize(
    ("lines", "own", "foe"),
    [
        (GUARD, [], ["reflect", "wide guard"]),
        ((*GUARD, "|upkeep"), [], ["reflect"]),
        ((*GUARD, "|-swapsideconditions"), ["reflect"], ["wide guard"]),
        ((*GUARD, "|-activate|p2a: Snorlax|move: Wide Guard"), [], ["reflect", "wide guard"]),
        ((*GUARD, "|-activate|p2a: Snorlax|move: Feint"), [], ["reflect"]),
        ((*GUARD, "|-activate|p2a: Snorlax|move: Phantom Force|[broken]"), [], ["reflect"]),
    ],
)
def test_a_guard_of_a_side_stays_with_it_until_it_is_broken_or_the_turn_ends(
    lines: Sequence[str], own: list[str], foe: list[str]
) -> None:
    tracker = a_tracker()
    tracker.hear(("|switch|p2a: Snorlax|Snorlax, L80, M|100/100", *lines))
    tracker.request(a_request(SNORLAX))
    state = tracker.state()

    assert (list(state.own.conditions), list(state.foe.conditions)) == (own, foe)


@pytest.mark.parametrize(
    ("tier", "species", "more", "ability"),
    [
        ("[Gen 9] Random Battle", "Calyrex-Shadow", (), "asonespectrier"),
        ("[Gen 9] Custom Game", "Calyrex-Shadow", (), None),
        ("[Gen 9] Custom Game", "Snorlax", ("|-ability|p2a: Calyrex|Chilling Neigh|boost",), "asoneglastrier"),
    ],
)
def test_as_one_is_told_by_what_shows_which_of_the_two_it_is(
    tier: str, species: str, more: Sequence[str], ability: str | None
) -> None:
    come = (
        f"|switch|p2a: Calyrex|{species}, L80|100/100",
        "|-ability|p2a: Calyrex|As One",
        "|-ability|p2a: Calyrex|Unnerve",
    )

    assert foes((f"|tier|{tier}", *come, *more, *come))[species].ability == ability


def test_team_preview_shows_the_opponents_team() -> None:
    tracker = a_tracker()
    tracker.hear(("|clearpoke", "|poke|p2|Urshifu-*, M|", "|poke|p2|Gengar, F|", "|teampreview"))
    tracker.request(a_request(SNORLAX, GARDEVOIR, teamPreview=True, active=None))
    preview = tracker.state()
    tracker.hear(("|switch|p2a: Bear|Urshifu-Rapid-Strike, M|100/100",))
    tracker.request(a_request(SNORLAX, GARDEVOIR))
    later = tracker.state()

    assert (preview.asked, preview.own.active, len(preview.own.bench)) == ("lead", None, 2)
    assert [foe.species for foe in preview.foe.bench] == ["Urshifu", "Gengar"]
    assert later.foe.active is not None
    assert later.foe.active.species == "Urshifu-Rapid-Strike"
    assert [foe.species for foe in later.foe.bench] == ["Gengar"]
