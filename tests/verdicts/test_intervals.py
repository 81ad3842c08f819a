"""Intervals that respect pairs, by worked examples and by a law."""

from math import sqrt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.text import percent_range
from shared.verdicts.intervals import EXPLAINED, INTERVAL, wilson_interval, win_rate
from shared.verdicts.scores import Scores

counts = st.integers(0, 200)


def test_pairs_that_mostly_split_are_worth_more_than_independent_battles() -> None:
    # 20 pairs: 6 won twice, 12 split, 2 lost twice. Win rate (6·2 + 12) / 40 = 0.6.
    # A pair's sum of scores is 2, 1 or 0, and 2 · 0.6 = 1.2 on average, so the squares are
    # 6 · 0.8² + 12 · 0.2² + 2 · 1.2² = 3.84 + 0.48 + 2.88 = 7.2; independent battles would give 40 · 0.6 · 0.4 = 9.6.
    # With the two imagined battles (2 · 1/4 on either side) the design effect is 7.7 / 10.1 = 0.7624.
    found = win_rate(Scores(pairs=(2, 0, 12, 0, 6)))

    assert found is not None and found.estimate == 0.6
    assert found.variance_removed == pytest.approx(1 - 7.7 / 10.1)
    # So 40 battles are worth 40 / 0.7624 = 52.47, and t is 2.0930 at 20 - 1 degrees of freedom. By Wilson's formula:
    n, t = 40 / (7.7 / 10.1), 2.0930241
    centre = (0.6 + t * t / (2 * n)) / (1 + t * t / n)
    half_width = t * sqrt(0.6 * 0.4 / n + t * t / (4 * n * n)) / (1 + t * t / n)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (centre - half_width, centre + half_width), abs=1e-6
    )


def test_pairs_that_always_go_together_are_worth_half() -> None:
    # 10 pairs won twice, 10 lost twice: squares 20 · 1² = 20 against 40 / 4 = 10; (20 + 0.5) / (10 + 0.5) = 1.952.
    found = win_rate(Scores(pairs=(10, 0, 0, 0, 10)))

    assert found is not None and found.variance_removed == pytest.approx(1 - 20.5 / 10.5)
    independent = wilson_interval(20, 40)
    assert found.interval.low < independent.low and found.interval.high > independent.high


def test_a_policy_against_itself_is_known_to_be_even() -> None:
    # Every pair splits. Squares 0 of 25; (0 + 0.5) / (25 + 0.5) = 0.0196: 100 battles are worth 5,100.
    found = win_rate(Scores(pairs=(0, 0, 50, 0, 0)))

    assert found is not None and found.estimate == 0.5
    assert found.interval.high - found.interval.low < 0.03


def test_all_wins_say_nothing_about_pairs() -> None:
    # Squares 0 of 0: the design effect is 0.5 / 0.5 = 1, as for independent battles.
    found = win_rate(Scores(pairs=(0, 0, 0, 0, 10)))

    assert found is not None and found.variance_removed == 0
    assert found.interval.high == 1 and 0.7 < found.interval.low < 0.9


def test_draws_narrow_the_interval() -> None:
    drawn = win_rate(Scores(pairs=(0, 5, 10, 5, 0)))
    decided = win_rate(Scores(pairs=(5, 0, 10, 0, 5)))

    assert drawn is not None and decided is not None and drawn.estimate == decided.estimate
    assert drawn.interval.high < decided.interval.high


def test_without_a_whole_pair_it_is_wilsons() -> None:
    found = win_rate(Scores(singles=(2, 0, 8)))

    assert found is not None and found.variance_removed is None
    assert found.interval == wilson_interval(8, 10)


def test_nothing_finished_has_no_interval() -> None:
    assert win_rate(Scores()) is None


@given(st.tuples(*[counts] * 5), st.tuples(*[counts] * 3))
def test_an_estimate_never_lies_outside_its_interval(pairs: tuple[int, ...], singles: tuple[int, ...]) -> None:
    found = win_rate(Scores(pairs, singles))

    assert found is None or 0 <= found.interval.low <= found.estimate <= found.interval.high <= 1


@given(st.tuples(*[counts] * 5), st.tuples(*[counts] * 3))
def test_the_other_side_sees_the_same_interval_mirrored(pairs: tuple[int, ...], singles: tuple[int, ...]) -> None:
    ours, theirs = win_rate(Scores(pairs, singles)), win_rate(Scores(pairs, singles).mirrored())

    if ours is not None and theirs is not None:
        assert (ours.interval.low, ours.interval.high) == pytest.approx(
            (1 - theirs.interval.high, 1 - theirs.interval.low)
        )


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # R: prop.test(x, n, correct = FALSE)$conf.int
        (8, 10, 0.4901625, 0.9433178),
        (5, 10, 0.2365931, 0.7634069),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
    ],
)
def test_wilson_interval_agrees_with_published_values(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, trials)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 10_000), st.data())
def test_a_share_never_lies_outside_its_wilson_interval(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, 2 * trials)) / 2

    interval = wilson_interval(successes, trials)

    assert 0 <= interval.low <= successes / trials <= interval.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_no_interval_for_what_is_no_share(successes: float, trials: int) -> None:
    with pytest.raises(ValueError, match="no interval"):
        wilson_interval(successes, trials)


def test_the_interval_has_one_name_and_one_explanation_and_its_figures_are_right() -> None:
    root = Path(__file__).parents[2]
    verdicts, readme = ((root / page).read_text(encoding="utf-8") for page in ("docs/verdicts.md", "README.md"))
    paired, alone = win_rate(Scores(pairs=(0, 0, 0, 0, 10))), win_rate(Scores(singles=(0, 0, 20)))

    assert paired is not None and alone is not None
    of_20, of_20_alone = (percent_range(*found.interval).replace("\u00a0", " ") for found in (paired, alone))
    assert f"20 of 20 battles in pairs are {of_20}, where 20 of 20 without pairs are {of_20_alone}" in EXPLAINED
    assert EXPLAINED in " ".join(verdicts.split())
    assert INTERVAL in EXPLAINED and INTERVAL in readme
    assert f"heuristic won 20 of 20 battles: 100 % ({of_20})." in readme
