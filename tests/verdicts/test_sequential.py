"""The sequential test, by worked examples and by simulation."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.verdicts.scores import Scores
from shared.verdicts.sequential import (
    Decided,
    LikelihoodBounds,
    SequentialTest,
    decide,
    log_likelihood_ratios,
    look_ranges,
    mean_score,
    sequential_tests,
)


def look(scores: Scores, margin: float = 0.1, *, pairs: bool = True) -> SequentialTest:
    (found,) = sequential_tests({scores.battles: scores}, margin, 0.05, most=10_000, pairs=pairs)
    return found


counts = st.tuples(*[st.integers(0, 200)] * 5)


def test_the_bounds_have_the_form_of_walds() -> None:
    # log((1 - e) / (e · share)) with shares 0.5, 0.1 and 1.4 of e = 0.05:
    bounds = LikelihoodBounds.of(0.05)

    assert bounds.stronger == pytest.approx(log(0.95 / 0.025)) == pytest.approx(3.6376, abs=1e-4)
    assert bounds.overwhelming == pytest.approx(log(0.95 / 0.005)) == pytest.approx(5.2470, abs=1e-4)
    assert bounds.closer == pytest.approx(log(0.95 / 0.07)) == pytest.approx(2.6080, abs=1e-4)


def test_single_battles_are_weighed_as_coins_are() -> None:
    # 12 won, 8 lost, margin 0.1. Two scores leave no choice of probabilities, so the ratios are those of a coin:
    # 12 log(0.6 / 0.5) + 8 log(0.4 / 0.5) = 2.1879 - 1.7851 = 0.4027
    # 12 log(0.4 / 0.5) + 8 log(0.6 / 0.5) = -2.6777 + 1.4586 = -1.2191
    # 12 log(0.6 / 0.5) + 8 log(0.4 / 0.5), at the rate observed, which is 0.6 as well
    found = look(Scores(singles=(8, 0, 12)), pairs=False)

    assert (found.up, found.down, found.overwhelming) == pytest.approx((0.4027, -1.2191, 0.4027), abs=2e-2)
    assert found.observations == 20 and found.decided is Decided.UNDECIDED


def test_pairs_that_split_speak_for_an_even_match() -> None:
    # n pairs, all one each. A mean of 0.6 fits best with 0.8 of the pairs split and 0.2 won, so each pair is worth
    # log(0.8) = -0.2231, and the lower bound -2.6080 is passed by 12 of them: 12 · 0.2231 = 2.6777.
    undecided, decided = (look(Scores(pairs=(0, 0, n, 0, 0))) for n in (11, 12))

    assert undecided.decided is Decided.UNDECIDED
    assert decided.decided is Decided.CLOSER
    assert (decided.up, decided.down) == pytest.approx((12 * log(0.8), 12 * log(0.8)), abs=5e-2)


def test_a_walkover_is_decided_after_eight_pairs() -> None:
    # n pairs, all won twice. A mean of 1/2 fits best with half of them lost twice: log 2 = 0.6931 a pair, and the
    # bound 5.2470 is passed by 8 of them (5.5452). Weighed for 0.6 alone, a pair is worth log(0.6 / 0.5) = 0.1823.
    undecided, decided = (look(Scores(pairs=(0, 0, 0, 0, n))) for n in (7, 8))

    assert undecided.decided is Decided.UNDECIDED
    assert decided.decided is Decided.P1_STRONGER
    assert decided.overwhelming == pytest.approx(8 * log(2), abs=5e-2)
    assert decided.up == pytest.approx(8 * log(1.2), abs=5e-2)
    assert look(Scores(pairs=(8, 0, 0, 0, 0))).decided is Decided.P2_STRONGER


def test_a_battle_whose_partner_broke_is_no_observation() -> None:
    assert look(Scores(pairs=(0, 0, 3, 0, 4), singles=(0, 0, 9))).observations == 7


def test_nothing_played_points_nowhere() -> None:
    found = look(Scores())

    assert (found.decided, found.observations) == (Decided.UNDECIDED, 0)
    assert (found.up, found.down, found.overwhelming) == pytest.approx((0, 0, 0), abs=1e-3)
    assert found.battles_left is None


def test_what_is_left_follows_from_what_was_seen() -> None:
    # After 5 pairs, all won, `overwhelming` is 5 log 2 = 3.4657 of 5.2470: 5 · (5.2470 / 3.4657 - 1) = 2.57, so 3
    # more, of 2 battles each.
    assert look(Scores(pairs=(0, 0, 0, 0, 5))).battles_left == 2 * 3
    assert look(Scores(pairs=(0, 0, 0, 0, 9))).battles_left == 0


@pytest.mark.parametrize("error", [0, 0.5, -1])
def test_no_test_errs_never_or_half_the_time(error: float) -> None:
    with pytest.raises(ValueError, match="no test errs"):
        LikelihoodBounds.of(error)


@given(counts, st.sampled_from([0.05, 0.1, 0.2]))
def test_from_the_other_side_the_test_says_the_opposite(pairs: tuple[int, ...], margin: float) -> None:
    ours, theirs = look(Scores(pairs), margin), look(Scores(pairs).mirrored(), margin)

    assert (ours.up, ours.down, ours.overwhelming) == pytest.approx(
        (theirs.down, theirs.up, theirs.overwhelming), abs=1e-5, rel=1e-6
    )


@given(counts, counts)
def test_many_matchups_at_once_are_weighed_as_one_by_one(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    together = log_likelihood_ratios([first, second], 0.1)

    for place, alone in enumerate((first, second)):
        for ratio, of_alone in zip(together, log_likelihood_ratios(alone, 0.1), strict=True):
            assert ratio[place] == pytest.approx(float(of_alone), abs=1e-6, rel=1e-6)


@pytest.mark.parametrize(
    ("truth", "correlation", "right"),
    [
        (0.5, 0.0, Decided.CLOSER),
        (0.5, -0.3, Decided.CLOSER),
        (0.65, 0.0, Decided.P1_STRONGER),
        (0.35, -0.3, Decided.P2_STRONGER),
    ],
)
def test_at_the_margin_at_most_one_verdict_in_twenty_is_wrong(truth: float, correlation: float, right: Decided) -> None:
    rng = np.random.default_rng(3)
    win, lose = truth, 1 - truth
    common = correlation * win * lose
    pairs = [lose**2 + common, 0, 2 * (win * lose - common), 0, win**2 + common]
    matchups, wrong, counted = 2_000, 0, np.zeros((2_000, 5))
    for shard in look_ranges(600, pairs=True):
        counted = counted + rng.multinomial(len(shard) // 2, pairs, size=len(counted))
        found = decide(mean_score(counted), *log_likelihood_ratios(counted, 0.15), LikelihoodBounds.of(0.05))
        ended = found != 3
        wrong += int((found[ended] != list(Decided).index(right)).sum())
        counted = counted[~ended]

    # A share of 5 % in 2,000 has a standard error of 0.5 %.
    assert wrong / matchups <= 0.05 + 2 * 0.005
    assert len(counted) / matchups < 0.01
