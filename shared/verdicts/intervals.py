"""How sure a win rate is, when battles come in pairs: the paired Wilson interval, the one interval of all win rates.

It is Wilson's (JASA 22, 1927, p. 209) on as many independent battles as the paired ones are worth: battles
divided by the design effect (L. Kish, Survey Sampling, 1965, chapter 8): the variance of the pairs' scores over that
of as many independent battles. N. Dean and M. Pagano (Journal of Survey Statistics and Methodology
3(4), 2015) compare intervals for clustered shares, this among them. Student's t takes the normal's place because the
variance is estimated. benchmarks/verdicts.py measures how often it covers. scipy has the quantile of t too, for 110 MB
in every image and a third of a second at every start; the tests compare them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shared.verdicts.scores import PAIR_SCORES, SINGLE_SCORES, Floats, Scores

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
