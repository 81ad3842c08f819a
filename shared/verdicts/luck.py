"""A win rate with the luck taken out: the mean of real numbers, on pairs.

A battle's score is its outcome less a share of what the dice gave. The share is fixed before the first battle and the
dice give nothing on average, so the mean of the scores is the win rate, and their variance is smaller (a martingale
control variate; N. Burch, M. Schmid, M. Moravčík, D. Morrill and M. Bowling, "AIVAT", AAAI 2018). Single scores lie
outside of 0 to 1 now and then.

Observations are pairs; a battle alone is one of half the size. The interval is Student's, of a ratio of means (W. G.
Cochran, Sampling Techniques, 1977, section 6.3). Two imagined pairs, of the variance that pairs of even battles have,
keep it open where few were seen. benchmarks/verdicts.py measures how often it covers on battles that were played.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shared.verdicts.intervals import Interval, t_quantile
from shared.verdicts.scores import Floats, Played, Winner

PRIOR_PAIRS = 2
PRIOR_VARIANCE = 1 / 8
"""Of the mean of two even and independent battles."""
_SCORE: dict[Winner, float] = {"p1": 1.0, "draw": 0.5, "p2": 0.0}


def share_taken(copies: int) -> float:
    """How much of the luck is taken off, where it is told from so many copies.

    The mean over the copies has an error of its own, of 1/copies of a step's variance, which comes back with the luck:
    this share makes the sum of both least.
    """
    return copies / (copies + 1)


@dataclass(frozen=True, slots=True)
class WithoutLuck:
    """p1's win rate with the luck taken out."""

    battles: int
    """Of which the luck is known."""
    estimate: float
    """May lie a little outside of 0 to 1."""
    interval: Interval
    """95 %, cut to 0 to 1."""
    as_played: float
    """Of the same battles."""
    variance_gain: float | None
    """Variance of the observations as played, over that without luck: 1.5 is worth half as many battles again."""

    @property
    def given(self) -> float:
        """What the dice gave p1: 0.03 is three points of win rate."""
        return self.as_played - self.estimate


def observations(battles: Iterable[Played]) -> tuple[Floats, Floats]:
    """Sizes (n,), 2 for a pair and 1 for a battle alone, and sums of scores (n, 2): without luck, and as played.

    Battles that broke, or whose luck is not known, are left out; a partner then stands alone.
    """
    pairs: dict[int, list[tuple[float, float]]] = {}
    alone: list[list[tuple[float, float]]] = []
    for battle in battles:
        if battle.winner is None or battle.luck is None:
            continue
        score = (_SCORE[battle.winner] - battle.luck, _SCORE[battle.winner])
        if battle.pair is None:
            alone.append([score])
        else:
            pairs.setdefault(battle.pair, []).append(score)
    every = [*pairs.values(), *alone]
    return np.array([len(each) for each in every], float), np.array([np.sum(each, 0) for each in every]).reshape(-1, 2)


def without_luck(battles: Iterable[Played], confidence: float = 0.95) -> WithoutLuck | None:
    """The win rate and its interval; None where no battle's luck is known."""
    sizes, sums = observations(battles)
    if not len(sizes):
        return None
    estimate, as_played = map(float, sums.sum(0) / sizes.sum())
    error = float(standard_error(sizes, sums[:, 0]))
    width = float(t_quantile(max(1, len(sizes) - 1), 0.5 + confidence / 2)) * error
    low, high = max(0.0, min(1.0, estimate - width)), max(0.0, min(1.0, estimate + width))
    squares = ((sums - np.outer(sizes, (estimate, as_played))) ** 2).sum(0)
    gain = float(squares[1] / squares[0]) if len(sizes) > 1 and squares.min() > 0 else None
    return WithoutLuck(int(sizes.sum()), estimate, Interval(low, high), as_played, gain)


@dataclass(frozen=True, slots=True)
class Means:
    """Real scores, one for each observation: how many, their mean, and the sum of squared distances from it."""

    count: int
    mean: float
    squares: float

    @classmethod
    def of(cls, battles: Iterable[Played], *, pairs: bool) -> "Means":
        """In a matchup of pairs, whole pairs alone; in one without, each battle."""
        sizes, sums = observations(battles)
        wanted = sizes == (2 if pairs else 1)
        scores = sums[wanted, 0] / sizes[wanted]
        mean = float(scores.mean()) if len(scores) else 0.5
        return cls(len(scores), mean, float(((scores - mean) ** 2).sum()))


def standard_error(sizes: Floats, sums: Floats) -> Floats:
    """Of the mean score, for many matchups at once: (…, n) → (…)."""
    total = sizes.sum(-1)
    mean = sums.sum(-1) / total
    # In units of pairs: a pair's sum has four times the variance of its mean.
    squares = ((sums - sizes * mean[..., None]) ** 2).sum(-1) + 4 * PRIOR_PAIRS * PRIOR_VARIANCE
    count = sizes.shape[-1]
    found: Floats = np.sqrt(squares * count / (count - 1 + PRIOR_PAIRS)) / total
    return found


def mean_log_likelihood(count: Floats, mean: Floats, squares: Floats, at: float) -> Floats:
    """The greatest log-likelihood of a mean of `at`, less the greatest of all, of normal numbers of unknown variance.

    Of so many pairs, with this mean and this sum of squared distances from it: (…) each → (…). It is a function of
    Student's t (A. Wald, Sequential Analysis, 1947, has the test of known variance).
    """
    spread = squares + PRIOR_PAIRS * PRIOR_VARIANCE
    found: Floats = -count / 2 * np.log1p(count * (mean - at) ** 2 / np.maximum(spread, 1e-12))
    return found
