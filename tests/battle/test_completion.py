"""How actions are written and read back: nothing ambiguous, nothing scanned for."""

import json
import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.battle.action import Action, Move, Pass, Switch
from shared.battle.completion import completions_v1, completions_v2, folded, parse, regex, render
from shared.battle.decision import Reason
from shared.battle.pokedex import SNAPSHOT
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

    assert isinstance(meant, Reason) or folded(text) in map(folded, completions)


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


FARFETCHD, SIRFETCHD, FLABEBE = Switch(2, "Farfetch’d"), Switch(3, "Sirfetch’d"), Switch(4, "Flabe\u0301be\u0301")
TYPE_NULL, MR_MIME, ROTOM = Switch(5, "Type: Null"), Switch(6, "Mr. Mime"), Switch(7, "Rotom-Wash")
KINGS_SHIELD, U_TURN = Move(1, "kingsshield", "King's Shield"), Move(2, "uturn", "U-turn", "tera")
VOLTS = Move(3, "10000000voltthunderbolt", "10,000,000 Volt Thunderbolt")
ODD_NAMES = (KINGS_SHIELD, U_TURN, VOLTS, FARFETCHD, SIRFETCHD, FLABEBE, TYPE_NULL, MR_MIME, ROTOM)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *[(f"switch Farfetch{quote}d", FARFETCHD) for quote in "'’‘`´ʼ′＇‛ʹˈ‚"],
        *[(f"move King{quote}s Shield", KINGS_SHIELD) for quote in "'’‘`´ʼ′＇‛ʹˈ‚"],
        *[(f"switch {unicodedata.normalize(form, 'Flabébé')}", FLABEBE) for form in ("NFC", "NFD", "NFKC", "NFKD")],
        ("switch FLABÉBÉ", FLABEBE),
        ("switch Flabebe", FLABEBE),
        *[(f"move U{dash}turn tera", U_TURN) for dash in "-‐‑‒–—―−﹣－⁃"],
        *[(f"switch Rotom{dash}Wash", ROTOM) for dash in "-‐‑‒–—―−﹣－⁃"],
        *[(f"switch{space}Mr.{space}{space}Mime", MR_MIME) for space in " \t\u00a0\u2003\u2009\u202f\u3000\u2800"],
        *[
            (f"{hidden}switch Ro{hidden}tom-Wash{hidden}", ROTOM)
            for hidden in "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\ufe0f"
        ],
        ("ｓｗｉｔｃｈ　Ｒｏｔｏｍ－Ｗａｓｈ", ROTOM),
        ("switch Type： Null", TYPE_NULL),
        ("switch 𝐒irfetch’d", SIRFETCHD),
        ("move １０，０００，０００ Volt Thunderbolt", VOLTS),
        ("\ufeff\u200b ", Reason.EMPTY),
        ("switch Farfetch’d-Galar", Reason.ILLEGAL),
        ("switch Farfetch’d’", Reason.ILLEGAL),
        ("switch Rotom Wash", Reason.ILLEGAL),
        ("ＭＯＶＥ Explosion", Reason.ILLEGAL),
        ("move\u2028U-turn tera", Reason.UNPARSABLE),
    ],
)
def test_however_a_name_is_typed_it_is_that_name(text: str, meant: Action | Reason) -> None:
    assert parse(text, completions_v2(a_state(legal=ODD_NAMES))) == meant


def test_names_that_only_typing_tells_apart_are_themselves_as_written_and_nothing_otherwise() -> None:
    first, second = Switch(2, "Farfetch’d"), Switch(3, "Farfetch'd")
    completions = completions_v2(a_state(legal=(first, second)))

    assert parse("switch Farfetch’d", completions) == first
    assert parse("switch Farfetch'd", completions) == second
    for text in ("switch farfetch’d", "switch Farfetch`d", "switch Farfetch\u200b'd"):
        assert parse(text, completions) == Reason.ILLEGAL


DISTORTIONS: tuple[Callable[[str], str], ...] = (
    *(lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")),
    str.upper,
    str.lower,
    lambda text: re.sub("['’]", "`", text),
    lambda text: re.sub("['’]", "＇", text),
    lambda text: text.replace("-", "—"),
    lambda text: text.replace(" ", "\u00a0  "),
    lambda text: "\u200b".join(text),
    lambda text: "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text),
)


def _names(kind: str) -> list[str]:
    tables = json.loads(SNAPSHOT.read_text())[kind].values()
    return sorted({facts[0] for table in tables for facts in table.values()})


MOVES, SPECIES = _names("moves"), _names("species")


@given(st.lists(st.sampled_from(DISTORTIONS), max_size=4), st.integers(0, 9))
def test_every_name_of_the_pokedex_is_read_back_however_it_is_typed(
    distortions: list[Callable[[str], str]], start: int
) -> None:
    legal = (
        *(Move(slot, name, name) for slot, name in enumerate(MOVES[start::10], 1)),
        *(Switch(slot, name) for slot, name in enumerate(SPECIES[start::10], 1)),
    )
    for action in legal:
        completions = completions_v2(a_state(legal=(action, THUNDERBOLT, TO_GYARADOS)))
        text = next(iter(completions))
        for distort in distortions:
            text = distort(text)
        assert parse(text, completions) == action


@pytest.mark.parametrize("names", [MOVES, SPECIES])
def test_no_two_names_of_the_pokedex_are_told_apart_by_typing_alone(names: list[str]) -> None:
    assert len(set(map(folded, names))) == len(names)


def test_a_move_whose_name_begins_another_is_itself() -> None:
    completions = completions_v2(a_state(legal=(PSYCHIC, PSYCHIC_NOISE)))

    assert parse("move Psychic", completions) == PSYCHIC
    assert parse("move Psychic Noise", completions) == PSYCHIC_NOISE
    assert regex(completions) == "(move Psychic|move Psychic Noise)"


def test_the_constraint_escapes_what_a_regular_expression_would_read() -> None:
    state: BattleState = a_state(legal=(FLASH_CANNON,))

    assert regex(completions_v1(state)) == r"(Flash Cannon \(steel, 80pw, special\))"
