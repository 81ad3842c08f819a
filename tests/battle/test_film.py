"""A battle as it can be shown: what is told of it is what the log says, whatever the log holds."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.battle.film import Film
from shared.battle.protocol import Seat, seen_by
from shared.battle.words import Words
from tests.battle.battles import NAMES, Played, play_all

CALLED: dict[Seat, str] = {"p1": "mine", "p2": "yours"}
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x07"


@pytest.fixture(scope="module")
def battles() -> list[Played]:
    return asyncio.run(play_all([("gen9randombattle", 500), ("gen5randombattle", 500), ("gen1randombattle", 500)]))


def film(lines: list[str]) -> Film:
    shown = Film(9, "p2", CALLED)
    shown.hear(lines)
    shown.cut()
    return shown


def test_a_battle_is_told_step_by_step(battles: list[Played]) -> None:
    for battle in battles:
        shown = Film(int(battle.format[3]), "p2", CALLED)
        shown.hear(seen_by(None, battle.log))
        shown.cut()
        last = shown.steps[-1]
        assert [step["turn"] for step in shown.steps] == sorted(step["turn"] for step in shown.steps)
        result = "The battle ended in a draw." if shown.winner is None else f"{CALLED[shown.winner]} won."
        assert last["said"][-1] == result
        fainted = sum(line.startswith("|faint|") for line in battle.log)
        ended = [number for side in (last["p1"], last["p2"]) for number in (side["active"], *side["bench"])]
        assert sum(shown.pokemon[number]["hp"] == 0 for number in ended if number is not None) == fainted
        assert json.loads(json.dumps(shown.steps)) == shown.steps


def test_it_does_not_matter_how_the_log_comes_in(battles: list[Played]) -> None:
    lines = list(seen_by(None, battles[0].log))
    piecemeal = Film(9, "p2", CALLED)
    for line in lines:
        piecemeal.hear([line])
    piecemeal.cut()
    assert (piecemeal.steps, piecemeal.pokemon) == (film(lines).steps, film(lines).pokemon)


def test_sides_are_the_policies_wherever_they_sat() -> None:
    shown = film(["|switch|p1a: Sparky|Pikachu, L80|100/100", "|switch|p2a: Rex|Tyranitar, L78|50/100 par", "|turn|1"])
    mine, yours = (shown.pokemon[shown.steps[-1][policy]["active"] or 0] for policy in ("p1", "p2"))
    assert (mine["name"], mine["hp"], mine["status"], mine["types"]) == ("Tyranitar", 50, "par", ("Rock", "Dark"))
    assert (yours["name"], yours["hp"]) == ("Pikachu", 100)
    assert shown.steps[0]["said"] == ["yours sent out Sparky (Pikachu).", "mine sent out Rex (Tyranitar)."]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("|move|p1a: Sparky|Thunderbolt|p2a: Rex", "Sparky used Thunderbolt."),
        ("|-damage|p2a: Rex|29/100", "Rex lost 71 %: 29 % left."),
        ("|-damage|p2a: Rex|0 fnt|[from] psn", "Rex lost 100 % by poison."),
        ("|-heal|p2a: Rex|100/100|[from] item: Leftovers", "Rex stays at 100 % by Leftovers."),
        ("|-boost|p1a: Sparky|spe|2", "Sparky's Speed rose by 2."),
        ("|-unboost|p1a: Sparky|atk|0", "Sparky's Attack cannot go lower."),
        ("|-status|p2a: Rex|tox", "Rex was badly poisoned."),
        ("|cant|p2a: Rex|slp", "Rex is asleep and cannot move."),
        ("|cant|p2a: Rex|move: Taunt|Toxic", "Rex is held back by Taunt and cannot move."),
        ("|-weather|RainDance|[from] ability: Drizzle|[of] p1a: Sparky", "There is rain now by Sparky's Drizzle."),
        ("|-weather|RainDance|[upkeep]", None),
        ("|-sidestart|p1: Red|move: Stealth Rock", "Red's side is under Stealth Rock now."),
        ("|-start|p1a: Sparky|typechange|Water/Ice", "typechange Water/Ice began on Sparky."),
        ("|-terastallize|p1a: Sparky|Flying", "Sparky terastallized into the Flying type."),
        ("|drag|p2a: Rex|Tyranitar, L78|80/100", "Rex (Tyranitar) was dragged out."),
        ("|-something|new|here", "something new here"),
        ("|-boost|p1a: Sparky|spe", "boost p1a: Sparky spe"),
        ("|c|someone|rude words", None),
        ("|win|Red", "Red won."),
        ("", None),
    ],
)
def test_a_line_in_words(line: str, sentence: str | None) -> None:
    assert Words(NAMES).say(line.split("|")) == (sentence.replace(" %", "\u00a0%") if sentence else None)


@given(
    st.lists(st.sampled_from(["switch", "-damage", "move", "-start", "-weather", "p1a: A", "p2", "", HOSTILE, "9/"]))
)
def test_no_line_is_too_odd_to_be_told(parts: list[str]) -> None:
    said = Words(NAMES).say(["", *parts])
    assert said is None or (len(said) <= 300 and said.replace("\u00a0", " ").isprintable() and "\u202e" not in said)


def test_a_hostile_log_costs_a_detail_and_not_the_film() -> None:
    lines = ["|switch|p1a: Sparky|Pikachu, L80|100/100", f"|-start|p1a: Sparky|{HOSTILE}", "|-damage", "|turn|1"]
    assert film(lines).steps[0]["said"][0] == "yours sent out Sparky (Pikachu)."


def test_abilities_and_items_have_their_names() -> None:
    shown = film(
        [
            "|switch|p1a: Sparky|Pikachu, L80|100/100",
            "|-ability|p1a: Sparky|Lightning Rod",
            "|-item|p1a: Sparky|Life Orb",
        ]
    )
    assert {"ability": "Lightning Rod", "item": "Life Orb"}.items() <= shown.pokemon[-1].items()
