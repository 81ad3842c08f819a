"""What is rebuilt from a public log alone: labels, knowledge, and what is dropped."""

from collections.abc import Mapping, Sequence

import pytest

from services.scraper.rebuild import rebuild
from services.scraper.rebuild.choices import Unknown
from services.scraper.replay import BattleRead, MadeDecision, Unfit, UnfitBattle
from shared.battle.action import Pass

HEAD = (
    "|gametype|singles",
    "|player|p1|Red|1",
    "|player|p2|Blue|2",
    "|teamsize|p1|3",
    "|teamsize|p2|3",
    "|gen|9",
    "|tier|[Gen 9] Random Battle",
    "|t:|1",
    "|start",
    "|switch|p1a: Snorlax|Snorlax, L80, M|400/400",
    "|switch|p2a: Gengar|Gengar, L80, M|250/250",
    "|turn|1",
)


def a_log(*turns: Sequence[str]) -> tuple[str, ...]:
    """A battle of these turns."""
    lines = list(HEAD)
    for number, turn in enumerate(turns, 2):
        lines += ["|", "|t:|2", *turn, "|upkeep", f"|turn|{number}"]
    return tuple(lines)


def read(*turns: Sequence[str]) -> BattleRead:
    return rebuild(a_log(*turns))


def of(reading: BattleRead, seat: str) -> list[MadeDecision]:
    return [made for made in reading.decisions if made.seat == seat]


def named(made: MadeDecision) -> str:
    return "" if isinstance(made.action, Pass) else made.action.name


CRUNCH = "|move|p1a: Snorlax|Crunch|p2a: Gengar"
BALL = "|move|p2a: Gengar|Sludge Bomb|p1a: Snorlax"
IN = "|switch|p1a: Blissey|Blissey, L80, F|500/500"
BLOCK = ("|", "|t:|3")
# What a turn shows → what p1 is read to have done in it, or why that is not known.
SHOWN: Mapping[str, tuple[Sequence[str], Sequence[str | Unknown]]] = {
    "a move": ((CRUNCH, BALL), ["move Crunch"]),
    "a move with tera": (("|-terastallize|p1a: Snorlax|Fairy", CRUNCH), ["tera Crunch"]),
    "a switch": ((IN, BALL), ["voluntary switch Blissey"]),
    "a called move": (
        ("|move|p1a: Snorlax|Sleep Talk|p1a: Snorlax", f"{CRUNCH}|[from]move: Sleep Talk"),
        ["move Sleep Talk"],
    ),
    "a dance before its own move": (
        ("|move|p1a: Snorlax|Quiver Dance|p1a: Snorlax|[from]ability: Dancer", CRUNCH),
        ["move Crunch"],
    ),
    "a second turn of a locked move": (("|move|p1a: Snorlax|Outrage|p2a: Gengar|[from]lockedmove",), [Unknown.FORCED]),
    "Struggle": (("|move|p1a: Snorlax|Struggle|p2a: Gengar",), [Unknown.FORCED]),
    "recharging": (("|cant|p1a: Snorlax|recharge",), [Unknown.FORCED]),
    "asleep": (("|cant|p1a: Snorlax|slp",), [Unknown.LOST_TURN]),
    "confused": (("|-damage|p1a: Snorlax|300/400|[from] confusion", BALL), [Unknown.NEVER_ACTED]),
    "taunted in the same turn": (("|cant|p1a: Snorlax|move: Taunt|Rest",), ["move Rest"]),
    "a focus that was lost": (
        ("|-singleturn|p1a: Snorlax|move: Focus Punch", BALL, "|cant|p1a: Snorlax|Focus Punch|Focus Punch"),
        ["move Focus Punch"],
    ),
    "the opponent's Armor Tail": (
        (CRUNCH, "|cant|p2a: Gengar|ability: Armor Tail|Crunch|[of] p1a: Snorlax"),
        ["move Crunch"],
    ),
    "encored in the same turn": (("|-start|p1a: Snorlax|Encore", CRUNCH), [Unknown.ENCORED]),
    "dragged out": (("|drag|p1a: Blissey|Blissey, L80, F|500/500",), [Unknown.FORCED_OUT]),
    "fainted first": ((BALL, "|-damage|p1a: Snorlax|0 fnt", "|faint|p1a: Snorlax"), [Unknown.FAINTED]),
    "pivoting": (
        ("|move|p1a: Snorlax|U-turn|p2a: Gengar", *BLOCK, f"{IN}|[from] U-turn", BALL),
        ["move U-turn", "forced switch Blissey"],
    ),
    "ejected before it acted": (
        (BALL, "|-enditem|p1a: Snorlax|Eject Button", *BLOCK, IN),
        [Unknown.FORCED_OUT, "forced switch Blissey"],
    ),
    "acting after the opponent's pivot": (
        ("|move|p2a: Gengar|U-turn|p1a: Snorlax", *BLOCK, "|switch|p2a: Haunter|Haunter, L80, M|200/200", CRUNCH),
        ["move Crunch"],
    ),
}
AFTER = (
    # Shows that p1's team has three, so that there was something to choose from.
    "|switch|p1a: Chansey|Chansey, L80, F|500/500",
    "|move|p2a: Gengar|Nasty Plot|p2a: Gengar",
)


@pytest.mark.parametrize("case", SHOWN)
def test_what_a_turn_shows_of_a_choice(case: str) -> None:
    turn, expected = SHOWN[case]

    reading = read(turn, AFTER)

    made = [f"{each.kind} {named(each)}" for each in of(reading, "p1") if each.turn == 1]
    unknown = list(rebuild(a_log(turn)).unknown)
    assert made == [each for each in expected if not isinstance(each, Unknown)]
    assert all(each in unknown for each in expected if isinstance(each, Unknown))


def test_a_log_of_another_format_is_dropped() -> None:
    log = [line.replace("Random Battle", "NU") for line in a_log(["|move|p1a: Snorlax|Crunch|p2a: Gengar"])]

    with pytest.raises(UnfitBattle) as dropped:
        rebuild(log)

    assert dropped.value.reason is Unfit.OTHER_FORMAT


@pytest.mark.parametrize(
    "line",
    [
        "|switch|p1a: Snorlax {n}|Snorlax, L80, M|400/400",
        "|move|p1a: Snorlax|Move {n}|p2a: Gengar",
        "|replace|p1a: Zoroark|Zoroark, L80, M",
    ],
)
def test_what_no_battle_has_makes_no_work_without_end(line: str) -> None:
    with pytest.raises(UnfitBattle) as dropped:
        read([line.format(n=n) for n in range(1_000)])

    assert dropped.value.reason is Unfit.MALFORMED


def first(reading: BattleRead, seat: str, turn: int) -> MadeDecision:
    return next(made for made in of(reading, seat) if made.turn == turn)


def test_own_moves_that_show_later_are_known_before_and_in_no_telling_order() -> None:
    reading = read(
        [CRUNCH, BALL], ["|move|p1a: Snorlax|Body Slam|p2a: Gengar"], ["|move|p1a: Snorlax|Rest|p1a: Snorlax"]
    )

    own = first(reading, "p1", 1).state.own.active
    foe = first(reading, "p2", 1).state.foe.active
    assert own is not None and [move.name for move in own.moves] == ["Body Slam", "Crunch", "Rest"]
    assert foe is not None and foe.moves == ()


def test_an_item_is_known_to_its_owner_before_it_shows_and_to_nobody_else() -> None:
    lost = "|-enditem|p1a: Snorlax|Leftovers|[from] move: Knock Off|[of] p2a: Gengar"
    reading = read([CRUNCH, BALL], [CRUNCH, "|move|p2a: Gengar|Knock Off|p1a: Snorlax", lost], [CRUNCH, BALL])

    items = [made.state.own.active and made.state.own.active.item for made in of(reading, "p1")]
    seen = [made.state.foe.active and made.state.foe.active.item for made in of(reading, "p2")]
    assert items == ["leftovers", "leftovers", ""]
    assert seen == [None, None, ""]


def test_two_that_trade_items_held_each_others_before() -> None:
    trick = (
        "|-activate|p1a: Snorlax|move: Trick|[of] p2a: Gengar",
        "|-item|p2a: Gengar|Choice Band|[from] move: Trick",
        "|-item|p1a: Snorlax|Life Orb|[from] move: Trick",
    )
    reading = read(["|move|p1a: Snorlax|Trick|p2a: Gengar", *trick, BALL], [CRUNCH, BALL])

    held = [made.state.own.active and made.state.own.active.item for made in reading.decisions]
    assert held == ["choiceband", "lifeorb", "lifeorb", "choiceband"]


def test_a_choice_item_tells_what_was_chosen_in_a_turn_that_shows_nothing() -> None:
    lost = "|-enditem|p1a: Snorlax|Choice Band|[from] move: Knock Off|[of] p2a: Gengar"
    reading = read(
        [CRUNCH, BALL], [BALL, "|cant|p1a: Snorlax|flinch"], ["|move|p2a: Gengar|Knock Off|p1a: Snorlax", lost]
    )

    assert named(first(reading, "p1", 2)) == "Crunch"


def test_a_disguise_deceives_the_opponent_alone() -> None:
    enters = "|switch|p1a: Blissey|Blissey, L80, F|280/280"
    lifts = ("|replace|p1a: Zoroark|Zoroark, L84, M", "|-end|p1a: Zoroark|Illusion")
    reading = read(
        [enters, BALL],
        ["|move|p1a: Blissey|Night Daze|p2a: Gengar", BALL],
        ["|move|p1a: Blissey|Night Daze|p2a: Gengar", "|-damage|p1a: Blissey|100/280", *lifts],
        ["|move|p1a: Zoroark|Night Daze|p2a: Gengar", BALL],
    )

    own = [made.state.own.active.species for made in of(reading, "p1") if made.state.own.active]
    seen = [made.state.foe.active.species for made in of(reading, "p2") if made.state.foe.active]
    assert own == ["Snorlax", "Zoroark", "Zoroark", "Zoroark"]
    assert seen == ["Snorlax", "Blissey", "Zoroark"]


def test_exact_hp_of_the_opponent_is_told_in_percent() -> None:
    reading = read([CRUNCH, "|-damage|p2a: Gengar|249/250", BALL], [CRUNCH, BALL])

    foe = first(reading, "p1", 2).state.foe.active
    own = first(reading, "p2", 2).state.own.active
    assert foe is not None and foe.hp_percent == 99
    assert own is not None and own.hp_percent == 100
