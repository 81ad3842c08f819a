"""How actions are written and read back: nothing ambiguous, nothing scanned for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.battle.action import Action, Move, Pass, Switch
from shared.battle.completion import completions_v1, completions_v2, parse, regex, render
from shared.battle.decision import Reason
from shared.battle.state import BattleState
from tests.battle.builders import FLASH_CANNON, THUNDERBOLT, TO_GYARADOS, a_state

PSYCHIC, PSYCHIC_NOISE = Move(1, "psychic", "Psychic"), Move(2, "psychicnoise", "Psychic Noise")

names = st.text(min_size=1, max_size=60)
moves = st.builds(Move, st.integers(1, 4), names, names, st.sampled_from((None, "tera", "zmove", "mega", "dynamax")))
actions = st.one_of(moves, st.builds(Switch, st.integers(1, 6), names), st.just(Pass()))


@given(st.lists(actions, min_size=1, max_size=24, unique=True))
def test_whatever_the_names_v2_writes_each_action_apart_and_reads_it_back(legal: list[Action]) -> None:
    completions = completions_v2(a_state(legal=tuple(legal)))

    assert list(completions.values()) == legal
    for action in legal:
        text = render(action, completions)
        assert text is not None
        assert parse(text, completions) == action
        assert re.fullmatch(regex(completions), text)


@given(st.text(max_size=80))
def test_no_text_but_a_completion_is_read_as_an_action(text: str) -> None:
    completions = completions_v2(a_state())
    meant = parse(text, completions)

    assert isinstance(meant, Reason) or text.strip().casefold() in {written.casefold() for written in completions}


def test_v1_writes_type_power_and_category_and_says_no_switch() -> None:
    tera = Move(1, "flashcannon", "Flash Cannon", "tera")

    assert completions_v1(a_state(legal=(FLASH_CANNON, tera, TO_GYARADOS))) == {
        "Flash Cannon (steel, 80pw, special)": FLASH_CANNON
    }


def test_v2_writes_the_gimmick_behind_the_move() -> None:
    legal = (FLASH_CANNON, Move(1, "flashcannon", "Flash Cannon", "tera"), TO_GYARADOS, Pass())

    assert list(completions_v2(a_state(legal=legal))) == [
        *("move Flash Cannon", "move Flash Cannon tera", "switch Gyarados", "pass"),
    ]


def test_two_of_a_species_are_told_apart_by_their_order() -> None:
    first, second = Switch(2, "Unown"), Switch(5, "Unown")

    assert completions_v2(a_state(legal=(first, second))) == {"switch Unown": first, "switch Unown #2": second}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("move Flash Cannon", FLASH_CANNON),
        ("  move Flash Cannon\n", FLASH_CANNON),
        ("MOVE thunderbolt", THUNDERBOLT),
        ("", Reason.EMPTY),
        (" \n", Reason.EMPTY),
        ("move Explosion", Reason.ILLEGAL),
        ("switch Magnezone", Reason.ILLEGAL),
        ("move Flash Cannon tera", Reason.ILLEGAL),
        ("Flash Cannon", Reason.UNPARSABLE),
        ("I would use Thunderbolt here.", Reason.UNPARSABLE),
        ("move Flash Cannon or move Thunderbolt", Reason.ILLEGAL),
        ("move Flash Cannon\nmove Thunderbolt", Reason.UNPARSABLE),
    ],
)
def test_an_answer_is_read_whole_or_not_at_all(text: str, meant: Action | Reason) -> None:
    assert parse(text, completions_v2(a_state())) == meant


def test_a_move_whose_name_begins_another_is_itself() -> None:
    completions = completions_v2(a_state(legal=(PSYCHIC, PSYCHIC_NOISE)))

    assert parse("move Psychic", completions) == PSYCHIC
    assert parse("move Psychic Noise", completions) == PSYCHIC_NOISE
    assert regex(completions) == "(move Psychic|move Psychic Noise)"


def test_the_constraint_escapes_what_a_regular_expression_would_read() -> None:
    state: BattleState = a_state(legal=(FLASH_CANNON,))

    assert regex(completions_v1(state)) == r"(Flash Cannon \(steel, 80pw, special\))"
