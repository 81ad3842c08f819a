"""Win rates and their intervals, by worked examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tally import Tally, wilson_interval


def test_a_draw_is_half_a_win_and_a_broken_battle_is_none() -> None:
    tally = Tally.of(["p1", "p1", "p2", "draw", None])

    assert tally == Tally(p1_wins=2, p2_wins=1, draws=1, broken=1)
    assert tally.p1_win_rate == (2 + 0.5) / 4
    assert (tally.finished, tally.played) == (4, 5)


def test_nothing_finished_has_no_rate() -> None:
    assert Tally.of([None]).p1_win_rate is None
    assert Tally.of([]).interval is None


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
def test_an_estimate_never_lies_outside_its_interval(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, 2 * trials)) / 2

    interval = wilson_interval(successes, trials)

    assert 0 <= interval.low <= successes / trials <= interval.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_no_interval_for_what_is_no_share(successes: float, trials: int) -> None:
    with pytest.raises(ValueError, match="no interval"):
        wilson_interval(successes, trials)
