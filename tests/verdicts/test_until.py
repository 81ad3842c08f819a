"""Where a matchup that is played until decided is looked at, and what the looks say."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.verdicts.scores import Played, Winner
from shared.verdicts.sequential import Decided, SequentialTest, UntilDecided, latest_look, look_ranges

UNTIL = UntilDecided(margin=0.1, error=0.05)


def pairs_of(*outcomes: str) -> dict[int, Played]:
    """`W` a pair won twice, `L` lost twice, `=` one each, `-` both broken."""
    winners: dict[str, tuple[Winner | None, Winner | None]] = {
        "W": ("p1", "p1"),
        "L": ("p2", "p2"),
        "=": ("p1", "p2"),
        "-": (None, None),
    }
    return {
        2 * pair + battle: Played(pair, winners[outcome][battle])
        for pair, outcome in enumerate("".join(outcomes))
        for battle in (0, 1)
    }


def look_at(played: dict[int, Played], most: int = 400) -> SequentialTest:
    return latest_look(played, UNTIL, most=most, pairs=True)


def test_looks_come_early_and_often_at_first() -> None:
    assert [stretch.stop for stretch in look_ranges(400, pairs=True)][:9] == [6, 10, 14, 18, 22, 26, 30, 34, 38]
    assert [len(stretch) for stretch in look_ranges(2_000, pairs=True)][-2:] == [64, 8]


@given(st.integers(1, 5_000), st.booleans())
def test_the_looks_cover_every_battle_once_and_cut_no_pair(battles: int, pairs: bool) -> None:
    cut = look_ranges(battles, pairs=pairs)

    assert [index for stretch in cut for index in stretch] == list(range(battles))
    assert not pairs or all(stretch.start % 2 == 0 for stretch in cut)


def test_a_walkover_is_decided_at_eighteen_battles_even_with_a_pair_split() -> None:
    # Eight pairs won are enough (8 log 2 = 5.55 of 5.25), and the look after the ninth pair sees them.
    assert look_at(pairs_of("WWWWWWWWW")).battles == 18
    found = look_at(pairs_of("WWWW=WWWWWWWWWWW"))

    assert (found.decided, found.battles, found.battles_left) == (Decided.P1_STRONGER, 18, 0)


def test_what_is_played_after_the_verdict_changes_nothing() -> None:
    assert look_at(pairs_of("W" * 9)) == look_at(pairs_of("W" * 9, "L" * 30))


def test_a_look_waits_for_every_battle_before_it() -> None:
    played = pairs_of("W" * 20)
    del played[7]

    found = look_at(played)

    # The first look is after 6 battles; the second, after 10, would need battle 7.
    assert (found.decided, found.battles) == (Decided.UNDECIDED, 6)


def test_the_verdict_is_the_same_whatever_the_order_in_which_battles_end() -> None:
    outcomes = random.Random(4).choices("WL==", k=120)
    played = pairs_of(*outcomes)
    shuffled = dict(random.Random(1).sample(list(played.items()), len(played)))

    assert look_at(played) == look_at(shuffled)


def test_before_the_first_look_nothing_is_known() -> None:
    found = look_at(pairs_of("WW"))

    assert (found.decided, found.battles, found.battles_left) == (Decided.UNDECIDED, 0, None)


def test_broken_battles_decide_nothing() -> None:
    found = look_at(pairs_of("-" * 200))

    assert (found.decided, found.battles, found.observations) == (Decided.UNDECIDED, 400, 0)


def test_at_the_maximum_it_stays_undecided_and_nothing_is_left() -> None:
    found = look_at(pairs_of("WL" * 5), most=20)

    assert (found.decided, found.battles, found.battles_left) == (Decided.UNDECIDED, 20, 0)


@pytest.mark.parametrize("fields", [{"margin": 0.5}, {"margin": 0}, {"error": 0.5}, {"error": 0}, {"batch": 3}])
def test_margins_and_errors_that_make_no_test_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        UntilDecided.model_validate(fields)
