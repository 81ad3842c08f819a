"""How sure a win rate is, when battles come in pairs: the paired Wilson interval, the one interval of all win rates.

It is Wilson's (JASA 22, 1927, p. 209) on as many independent battles as the paired ones are worth: battles
divided by the design effect (L. Kish, Survey Sampling, 1965, chapter 8): the variance of the pairs' scores over that
of as many independent battles. N. Dean and M. Pagano (Journal of Survey Statistics and Methodology
3(4), 2015) compare intervals for clustered shares, this among them. Student's t takes the normal's place because the
variance is estimated. benchmarks/verdicts.py measures how often it covers. scipy has the quantile of t too, for 110 MB
in every image and a third of a second at every start; the tests compare them.

With the luck taken out a battle's score is its outcome less a share of what the dice gave. The share is fixed before
the first battle and the dice give nothing on average, so the mean of the scores is the win rate, and their variance is
smaller (a martingale control variate; N. Burch, M. Schmid, M. Moravčík, D. Morrill and M. Bowling, "AIVAT", AAAI 2018).
Single scores lie outside of 0 to 1 now and then. The interval is Student's, of a ratio of means (W. G. Cochran,
Sampling Techniques, 1977, section 6.3); a battle alone is an observation of half the size. Two imagined pairs, of the
variance that pairs of even battles have, keep it open where few were seen.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shared.verdicts.scores import PAIR_SCORES, SCORES_BY_WINNER, SINGLE_SCORES, Floats, Played, Scores

INTERVAL = "paired Wilson interval"
"""What it is called wherever it is told of."""
EXPLAINED = (
    "Win rate = (wins + draws / 2) / finished battles, with its 95 % paired Wilson interval: the two battles of a pair "
    "share teams and dice, so a pair is one observation, and the battles count as the independent ones that they are "
    "worth. Few pairs say little of how much they vary, so Student's t takes the normal's place: 20 of 20 battles in "
    "pairs are 80 % to 100 %, where 20 of 20 without pairs are 84 % to 100 %."
)
PRIOR_BATTLES = 2.0
"""So many imagined battles, even and independent, keep the design effect from 0 where pairs always split, and at 1
where all battles were won, which says nothing about pairs."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_STEPS_AT_MOST = 200


class Interval(NamedTuple):
    """A confidence interval of a share, both ends from 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class WinRate:
    """p1's win rate, and how sure it is."""

    battles: int
    estimate: float
    interval: Interval
    """95 %; the estimate is never outside."""
    variance_removed: float | None
    """The share of the variance that pairing took away: 0.3 means that 70 battles in pairs are as good as 100 that are
    independent; negative where pairs made it worse. None where no pair was finished."""

    def mirrored(self) -> "WinRate":
        """The same from p2's point of view."""
        ends = Interval(1 - self.interval.high, 1 - self.interval.low)
        return WinRate(self.battles, 1 - self.estimate, ends, self.variance_removed)


def win_rate(scores: Scores, confidence: float = 0.95) -> WinRate | None:
    """The win rate with the interval that respects pairs; None before the first finished battle.

    Without any whole pair it is the plain Wilson interval.
    """
    return next(iter(win_rates([scores], confidence)), None)


def win_rates(many: Sequence[Scores], confidence: float = 0.95) -> list[WinRate]:
    """The same for many at once; of scores without a finished battle there is none."""
    paired = [scores for scores in many if sum(scores.pairs)]
    of_pairs = pair_interval([s.pairs for s in paired], [s.singles for s in paired], confidence) if paired else ()
    intervals = zip(*of_pairs, strict=True)
    rates: list[WinRate] = []
    for scores in (scores for scores in many if scores.battles):
        estimate, removed = scores.wins / scores.battles, None
        if sum(scores.pairs):
            low, high, effect = map(float, next(intervals))
            # Rounding may put an end a hair inside the estimate.
            interval, removed = Interval(min(estimate, low), max(estimate, high)), 1 - effect
        else:
            interval = wilson_interval(scores.wins, scores.battles, confidence)
        rates.append(WinRate(scores.battles, estimate, interval, removed))
    return rates


def pair_interval(
    pairs: ArrayLike, singles: ArrayLike = (0, 0, 0), confidence: float = 0.95
) -> tuple[Floats, Floats, Floats]:
    """Both ends of the interval, and the design effect, for many matchups at once.

    `pairs` (…, 5) and `singles` (…, 3) count as in Scores; the results are (…).
    """
    of_pair, alone = np.asarray(pairs, float), np.asarray(singles, float)
    battles = 2 * of_pair.sum(-1) + alone.sum(-1)
    share = (2 * (of_pair @ PAIR_SCORES) + alone @ SINGLE_SCORES) / battles
    from_mean = share[..., None]
    squares = (of_pair * (2 * (np.array(PAIR_SCORES) - from_mean)) ** 2).sum(-1)
    squares += (alone * (np.array(SINGLE_SCORES) - from_mean) ** 2).sum(-1)
    prior = PRIOR_BATTLES / 4
    effect = (squares + prior) / (battles * share * (1 - share) + prior)
    worth = battles / effect
    units = of_pair.sum(-1) + alone.sum(-1)
    z = t_quantile(np.maximum(1, units - 1), 0.5 + confidence / 2)
    centre = (share + z * z / (2 * worth)) / (1 + z * z / worth)
    half_width = z * np.sqrt(share * (1 - share) / worth + z * z / (4 * worth * worth)) / (1 + z * z / worth)
    return np.clip(centre - half_width, 0, share), np.clip(centre + half_width, share, 1), effect


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> Interval:
    """The score interval of a share (E. B. Wilson, JASA 22, 1927, p. 209).

    `successes` may be a half: a draw is half a win. Raises ValueError outside 0 ≤ successes ≤ trials, trials > 0.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"no interval for {successes} of {trials}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half_width = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # Rounding may put an end a hair inside the estimate when the share is exactly 0 or 1.
    return Interval(min(share, max(0.0, centre - half_width)), max(share, min(1.0, centre + half_width)))


def t_quantile(degrees: ArrayLike, share: float) -> Floats:
    """Below what Student's t lies with probability `share`, for each number of degrees of freedom, 1 or more.

    Within 1e-9 of the truth for a share from 0.5 to 0.9995.
    """
    asked, places = np.unique(np.asarray(degrees, float), return_inverse=True)
    found: Floats = np.array([_t_quantile(float(one), share) for one in asked])[places]
    return found.reshape(np.shape(degrees))


@cache
def _t_quantile(degrees: float, share: float) -> float:
    """With t = √degrees · tan θ, the density of θ is cos(θ)^(degrees - 1), up to a constant.

    Newton's steps from the normal quantile, which is never above it: as the density falls, none oversteps.
    """
    if share == 0.5:
        return 0.0
    scale = math.exp(_log_gamma_step(degrees / 2)) / math.sqrt(math.pi)
    angle = math.atan(NormalDist().inv_cdf(share) / math.sqrt(degrees))
    for _ in range(_STEPS_AT_MOST):
        at_nodes = np.cos(angle * (_NODES + 1) / 2) ** (degrees - 1)
        below = scale * angle / 2 * float(_WEIGHTS @ at_nodes)
        step = (share - 0.5 - below) / (scale * math.cos(angle) ** (degrees - 1))
        angle += step
        if abs(step) <= 1e-14 * angle:
            break
    return math.sqrt(degrees) * math.tan(angle)


def _log_gamma_step(x: float) -> float:
    """Gives ln Γ(x + ½) - ln Γ(x); for a large x by its series, where the two have most digits in common."""
    if x > 50:
        return math.log(x) / 2 - 1 / (8 * x) + 1 / (192 * x**3) - 1 / (640 * x**5)
    return math.lgamma(x + 0.5) - math.lgamma(x)


PRIOR_PAIRS = 2
PRIOR_VARIANCE = 1 / 8
"""Of the mean of two even and independent battles."""


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
        score = (SCORES_BY_WINNER[battle.winner] - battle.luck, SCORES_BY_WINNER[battle.winner])
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
