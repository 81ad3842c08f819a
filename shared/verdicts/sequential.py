"""When to stop: a sequential test on pairs, as chess engines are tested.

Three things can be true of p1's win rate r, for a margin m: r > 1/2, r < 1/2, and |r - 1/2| < m. Three ratios of
likelihoods weigh them against each other:

    up            r = 1/2 + m  against  r = 1/2
    down          r = 1/2 - m  against  r = 1/2
    overwhelming  the r observed  against  r = 1/2

p1 is stronger once `up` reaches its bound, or once r is above 1/2 and `overwhelming` reaches its own, so that a
walkover ends after a few pairs. The two are closer than the margin once `up` and `down` have both fallen to the lower
bound.

The likelihood is that of the five scores of a pair, with the probabilities that fit best among those of the given mean:
a generalised sequential probability ratio test on the pentanomial model of fishtest (M. Van den Bergh, "A practical
introduction to the GSPRT" and "The generalized maximum likelihood ratio for the expectation value of a distribution";
X. Li, J. Liu and Z. Ying, Sequential Analysis 33(4), 2014). So nothing is assumed of how the battles of a pair hang
together: where teams decide, pairs split, the variance is small, and the test ends sooner.

The bounds have the form of A. Wald's (Sequential Analysis, 1947, chapter 3), log((1 - e) / (e · share)). Half of the
error belongs to each side of an even match. The other two shares are those that keep every kind of wrong verdict below
`error` in the simulations of benchmarks/verdicts.py: a walkover gets a small one on top, which the looks' coming late
pays for, and closeness more than one, since it takes two tests that both say so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from shared.document import Strict
from shared.verdicts.intervals import Means, mean_log_likelihood
from shared.verdicts.scores import PAIR_SCORES, Floats, Played, Scores

_SHARES = (0.5, 0.1, 1.4)
"""Of `error`, to the bounds: stronger, overwhelming, closer."""
SHARES_WITHOUT_LUCK = (0.7, 0.13, 1.9)
"""Where the luck is taken out, so that real battles, drawn again and again, give as many wrong verdicts."""
_UNSEEN = 1e-3
"""A score that no pair reached counts as this much of one, as in fishtest: it is possible all the same."""
_HALVINGS_AT_MOST = 200
FIRST_BATTLES = 6
FEWEST_BATTLES = 4
MOST_BATTLES = 64


class UntilDecided(Strict):
    """When to stop: at the first verdict, which is wrong with a probability of at most `error`."""

    margin: float = Field(default=0.1, ge=0.01, le=0.4)
    """Policies closer than this to even are not told apart: 0.1 is a win rate of 60 % or 40 %."""
    error: float = Field(default=0.05, ge=0.001, le=0.2)
    """How often a verdict may be wrong."""


class Decided(StrEnum):
    """What a sequential test says."""

    P1_STRONGER = "p1 stronger"
    P2_STRONGER = "p2 stronger"
    CLOSER = "closer than the margin"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class LikelihoodBounds:
    """What the logarithms of the likelihood ratios are held against."""

    stronger: float
    overwhelming: float
    closer: float
    """The lower bound, as a positive number."""

    @classmethod
    def of(cls, error: float, shares: tuple[float, float, float] = _SHARES) -> "LikelihoodBounds":
        """The bounds for a probability of a wrong verdict of at most `error`, between 0 and 1/2."""
        if not 0 < error < 0.5:
            raise ValueError(f"no test errs with probability {error}")
        return cls(*(log((1 - error) / (error * share)) for share in shares))


class SequentialTest(Strict):
    """The latest look at a matchup that is played until decided."""

    decided: Decided
    battles: int
    """The first so many battles were looked at. Those that were still in play when it was decided come on top."""
    observations: int
    """Whole pairs among them; without pairs, finished battles."""
    up: float
    """log of the likelihood of a win rate of 1/2 + margin over that of 1/2."""
    down: float
    """log of the likelihood of a win rate of 1/2 - margin over that of 1/2."""
    overwhelming: float
    """log of the likelihood of the win rate observed over that of 1/2."""
    stronger_bound: float
    """p1 is stronger once `up` has reached this, p2 once `down` has."""
    overwhelming_bound: float
    """Whoever leads is stronger once `overwhelming` has reached this."""
    closer_bound: float
    """The two are closer than the margin once `up` and `down` are both this low."""
    battles_left: int | None
    """How many more it will probably take, if what was seen goes on; None while nothing points anywhere."""
    without_luck: bool = False
    """Whether the scores are those with the luck taken out."""


def look_ranges(battles: int, *, pairs: bool) -> tuple[range, ...]:
    """The ranges of battles after each of which a matchup of at most `battles` is looked at, in order.

    After 6 battles they have 4, and grow to a sixteenth of what was played before, at most 64: so a walkover is decided
    after 18 battles, a look comes late by a sixteenth at worst, and the looks at n battles together read about 16 n
    records. No range cuts a pair.
    """
    cut: list[range] = []
    start = 0
    while start < battles:
        size = min(MOST_BATTLES, max(FEWEST_BATTLES, -(-start // 16))) if start else FIRST_BATTLES
        size += size % 2 if pairs else 0
        cut.append(range(start, min(start + size, battles)))
        start += size
    return tuple(cut)


def latest_look(
    played: Mapping[int, Played], until: UntilDecided, *, most: int, pairs: bool, luck: bool = False
) -> SequentialTest:
    """What the battles say, looked at in order and only after each whole range; the first verdict stands.

    So the verdict is the same whatever the order in which battles end, and whatever was played on top. With `luck`,
    the scores are those without it, and a range is whole once the luck of its battles is known.
    """
    scores, seen = {0: Scores()}, list[Played]()
    means = {0: Means.of([], pairs=pairs)}
    for stretch in look_ranges(most, pairs=pairs):
        if not all(index in played for index in stretch):
            break
        found = [played[index] for index in stretch]
        if luck and any(battle.winner is not None and battle.luck is None for battle in found):
            break
        seen += found
        if luck:
            means[stretch.stop] = Means.of(seen, pairs=pairs)
        else:
            scores[stretch.stop] = Scores.of(seen)
    if luck:
        tests = tests_without_luck(means, until.margin, until.error, most=most, pairs=pairs)
    else:
        tests = sequential_tests(scores, until.margin, until.error, most=most, pairs=pairs)
    return next((test for test in tests if test.decided is not Decided.UNDECIDED), tests[-1])


def probably_left(test: SequentialTest, played: int) -> int | None:
    """How many battles more it will take, where `played` of them have ended, some since the look; None if unknown."""
    return None if test.battles_left is None else max(0, test.battles_left - max(0, played - test.battles))


def sequential_tests(
    scores: Mapping[int, Scores], margin: float, error: float, *, most: int, pairs: bool
) -> list[SequentialTest]:
    """The test after so many battles, of `most` at most, and what they scored: each by itself.

    In a matchup of pairs, battles that stand alone are left out: a broken battle takes its partner with it. In one
    without pairs, each battle is an observation.
    """
    counts = np.array([each.pairs if pairs else np.insert(each.singles, [1, 2], 0) for each in scores.values()], float)
    ratios = log_likelihood_ratios(counts, margin)
    bounds = LikelihoodBounds.of(error)
    return _tests(list(scores), counts.sum(-1), mean_score(counts), ratios, bounds, most=most, pairs=pairs)


def tests_without_luck(
    means: Mapping[int, Means], margin: float, error: float, *, most: int, pairs: bool
) -> list[SequentialTest]:
    """The same of scores with the luck taken out, which can be any number."""
    count, mean, squares = (
        np.array([getattr(each, name) for each in means.values()], float) for name in ("count", "mean", "squares")
    )
    ratios = mean_log_likelihood_ratios(count, mean, squares, margin)
    bounds = LikelihoodBounds.of(error, SHARES_WITHOUT_LUCK)
    found = _tests(list(means), count, mean, ratios, bounds, most=most, pairs=pairs)
    return [test.model_copy(update={"without_luck": True}) for test in found]


def _tests(
    battles: Sequence[int],
    observations: Floats,
    rate: Floats,
    ratios: tuple[Floats, Floats, Floats],
    bounds: LikelihoodBounds,
    *,
    most: int,
    pairs: bool,
) -> list[SequentialTest]:
    found: list[SequentialTest] = []
    for place, (played, verdict) in enumerate(zip(battles, decide(rate, *ratios, bounds), strict=True)):
        up, down, overwhelming = (float(ratio[place]) for ratio in ratios)
        decided, seen = list(Decided)[verdict], int(observations[place])
        left = _observations_left(seen, up, down, overwhelming, bounds) if decided is Decided.UNDECIDED else 0
        found.append(
            SequentialTest(
                decided=decided,
                battles=played,
                observations=seen,
                up=up,
                down=down,
                overwhelming=overwhelming,
                stronger_bound=bounds.stronger,
                overwhelming_bound=bounds.overwhelming,
                closer_bound=-bounds.closer,
                battles_left=None if left is None else min(left * (2 if pairs else 1), most - played),
            )
        )
    return found


def _observations_left(seen: int, up: float, down: float, overwhelming: float, bounds: LikelihoodBounds) -> int | None:
    """How many more it probably takes, if what was seen goes on; None while nothing points anywhere."""
    ways = [
        (up, bounds.stronger),
        (down, bounds.stronger),
        (overwhelming, bounds.overwhelming),
        (min(-up, -down), bounds.closer),
    ]
    return min((ceil(seen * (bound / ratio - 1)) for ratio, bound in ways if seen and ratio > 0), default=None)


def log_likelihood_ratios(counts: ArrayLike, margin: float) -> tuple[Floats, Floats, Floats]:
    """`up`, `down` and `overwhelming` for many matchups at once: counts (…, 5) in the order of PAIR_SCORES → (…)."""
    seen = _possible(counts)
    even = _log_likelihood(seen, 0.5)
    return _log_likelihood(seen, 0.5 + margin) - even, _log_likelihood(seen, 0.5 - margin) - even, -even


def mean_log_likelihood_ratios(
    count: Floats, mean: Floats, squares: Floats, margin: float
) -> tuple[Floats, Floats, Floats]:
    """The same three for real scores: their count, mean and squared distances (…) → (…)."""
    even, above, below = (mean_log_likelihood(count, mean, squares, at) for at in (0.5, 0.5 + margin, 0.5 - margin))
    return above - even, below - even, -even


def mean_score(counts: ArrayLike) -> Floats:
    """Counts (…, 5) in the order of PAIR_SCORES → (…)."""
    seen = _possible(counts)
    rate: Floats = seen @ PAIR_SCORES / seen.sum(-1)
    return rate


def decide(rate: Floats, up: Floats, down: Floats, overwhelming: Floats, bounds: LikelihoodBounds) -> "np.ndarray":
    """What follows of mean scores and ratios (…), for many matchups at once: indices of Decided (…)."""
    walkover = overwhelming >= bounds.overwhelming
    p1 = (up >= bounds.stronger) | (walkover & (rate > 0.5))
    p2 = (down >= bounds.stronger) | (walkover & (rate < 0.5))
    closer = (up <= -bounds.closer) & (down <= -bounds.closer)
    return np.select([p1, p2, closer], [0, 1, 2], 3)


def _possible(counts: ArrayLike) -> Floats:
    possible: Floats = np.maximum(np.asarray(counts, float), _UNSEEN)
    return possible


def _log_likelihood(counts: Floats, mean: float) -> Floats:
    """The greatest log-likelihood of counts (…, 5) among distributions of that mean, less the greatest of all; ≤ 0.

    Score x gets probability p̂(x) / (1 + λ(x - mean)), and λ is the root of Σ p̂(x)(x - mean) / (1 + λ(x - mean)), which
    falls from +∞ to -∞ between the two ends (A. B. Owen, Empirical Likelihood, 2001, chapter 2).
    """
    from_mean = np.array(PAIR_SCORES) - mean
    weighed = counts * from_mean

    def slope(multiplier: Floats) -> Floats:
        total: Floats = (weighed / (1 + multiplier[..., None] * from_mean)).sum(-1)
        return total

    hair = 1e-9
    ends = np.full(counts.shape[:-1], -(1 - hair) / (1 - mean)), np.full(counts.shape[:-1], (1 - hair) / mean)
    multiplier = falling_root(slope, *ends)
    greatest: Floats = -(counts * np.log1p(multiplier[..., None] * from_mean)).sum(-1)
    return greatest


def falling_root(function: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Where a function that falls from above zero at `low` to below zero at `high` is zero, for many at once."""
    low, high = low.copy(), high.copy()
    for _ in range(_HALVINGS_AT_MOST):
        middle = (low + high) / 2
        above = function(middle) > 0
        if np.all((middle <= low) | (middle >= high)):
            break
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2
