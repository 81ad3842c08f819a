"""A win rate with the luck taken out: its mean, its interval on pairs, and the test that decides by it."""

from collections.abc import Iterable

import numpy as np
import pytest

from shared.verdicts.intervals import share_taken, standard_error, t_quantile, win_rate, without_luck
from shared.verdicts.scores import Played, Scores, Winner
from shared.verdicts.sequential import Decided, UntilDecided, latest_look

Battle = tuple[Winner | None, float | None]
"""Who won, and what the dice gave p1."""


def battles(*pairs: tuple[Battle, Battle]) -> list[Played]:
    return [Played(number, winner, luck=luck) for number, pair in enumerate(pairs) for winner, luck in pair]


def looked_at(played: Iterable[Played], most: int = 400) -> Decided:
    return latest_look(dict(enumerate(played)), UntilDecided(), most=most, pairs=True, luck=True).decided


def test_without_any_luck_it_is_the_win_rate_as_played() -> None:
    played = battles((("p1", 0.0), ("p2", 0.0)), (("p1", 0.0), ("p1", 0.0)), (("draw", 0.0), ("p2", 0.0)))
    found, rate = without_luck(played), win_rate(Scores.of(played))

    assert found is not None and rate is not None
    assert (found.estimate, found.as_played, found.given) == (rate.estimate, rate.estimate, 0)
    assert found.variance_gain == 1


def test_luck_that_tells_all_leaves_the_same_score_everywhere() -> None:
    pairs: list[tuple[Battle, Battle]] = [(("p1", 0.4), ("p2", -0.6)), (("p2", -0.6), ("p2", -0.6))]
    played = battles(*pairs * 5)
    found = without_luck(played)

    assert found is not None
    assert found.estimate == pytest.approx(0.6)
    assert found.given == pytest.approx(found.as_played - 0.6)
    assert found.interval.low < 0.6 < found.interval.high


def test_a_battle_that_broke_or_was_not_reviewed_is_left_out_and_its_partner_stands_alone() -> None:
    found = without_luck(battles((("p1", 0.1), (None, None)), (("p2", 0.0), ("p1", None)), (("p1", 0.0), ("p2", 0.2))))

    assert found is not None
    assert found.battles == 4
    assert found.estimate == pytest.approx((0.9 + 0 + 1 - 0.2) / 4)
    assert without_luck(battles(((None, None), (None, None)))) is None


@pytest.mark.parametrize("pairs", [5, 20, 100])
def test_the_interval_covers_the_truth_of_pairs_that_are_not_normal(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    # A skewed mixture: mostly a little above the mean, now and then far below.
    scores = np.where(
        rng.random((4000, pairs)) < 0.8, rng.normal(0.72, 0.15, (4000, pairs)), rng.normal(0.12, 0.2, (4000, pairs))
    )
    width = t_quantile(pairs - 1, 0.975) * standard_error(np.full_like(scores, 2.0), 2 * scores)

    assert 0.93 < float((np.abs(scores.mean(1) - 0.6) <= width).mean()) < 0.999


def test_the_share_is_the_one_that_leaves_least_variance() -> None:
    rng = np.random.default_rng(0)
    luck, error = rng.normal(0, 0.5, 200_000), rng.normal(0, 0.5, 200_000)
    left = {share: np.var(luck - share * (luck + error / 6**0.5)) for share in (0.7, 0.8, share_taken(6), 0.95, 1.0)}

    assert min(left, key=lambda share: left[share]) == share_taken(6)


def test_a_look_waits_for_the_luck_of_its_battles() -> None:
    won: tuple[Battle, Battle] = (("p1", 0.0), ("p1", 0.0))
    played = battles(*[won] * 20)
    waiting = [*played[:7], played[7]._replace(luck=None), *played[8:]]

    assert latest_look(dict(enumerate(waiting)), UntilDecided(), most=400, pairs=True, luck=True).battles == 6
    assert looked_at(played) is Decided.P1_STRONGER


def test_it_decides_by_what_is_left_without_luck() -> None:
    lucky: list[tuple[Battle, Battle]] = [(("p1", 0.55), ("p1", 0.45)), (("p1", 0.45), ("p1", 0.55))]
    close: list[tuple[Battle, Battle]] = [(("p1", 0.5 + d), ("p2", -0.5 - d)) for d in (0.05, -0.05, 0.1, -0.1)]
    lost: tuple[Battle, Battle] = (("p2", 0.1), ("p2", -0.1))

    assert looked_at(battles(*lucky * 60)) is Decided.CLOSER
    assert looked_at(battles(*close * 30)) is Decided.CLOSER
    assert looked_at(battles(*[lost] * 60)) is Decided.P2_STRONGER
