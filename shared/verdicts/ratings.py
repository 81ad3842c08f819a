"""How strong policies are, on one scale: Bradley and Terry's model, with intervals from resampled pairs.

A policy of rating R wins against one of rating S with probability 1 / (1 + 10^((S - R) / 400)) (R. A. Bradley and M. E.
Terry, Biometrika 39, 1952, p. 324; the scale is A. Elo's). The scale has no zero of its own, so one policy, the anchor,
is set to 1000. Whoever met gets half a battle won and half lost on top of what was played, which makes the log-odds of
few battles almost unbiased (J. B. S. Haldane, Annals of Human Genetics 20, 1956; F. J. Anscombe, Biometrika 43, 1956).

The intervals are the middle 95 % of the ratings of resampled results, as in Chatbot Arena (W.-L. Chiang et al., ICML
2024), moved so that their median is the estimate, since resampled results give ratings that lie a little too close
together. Resampled are pairs, within each pairing, because the two battles of a pair are one observation (B. Efron and
R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8). Everything is sorted before a number is drawn, so
the figures are the same whatever the order of the results.

No finite number fits a policy that was never beaten (L. R. Ford, American Mathematical Monthly 64(8), 1957, p. 28). It
gets none, but the end of its interval that is known; likewise at the bottom.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, log

import numpy as np

from shared.document import Strict
from shared.errors import UsageError
from shared.verdicts.scores import PAIR_SCORES, SINGLE_SCORES, Floats, Scores

ANCHOR = "heuristic"
ANCHOR_RATING = 1000.0
POINTS = 400 / log(10)
"""Rating points of one unit of log-odds."""
RESAMPLES = 1_000

_Ends = tuple[float | None, float | None, float | None]
"""Low, estimate and high; None where nothing bounds it."""
_NEWTON_STEPS = 100
_LONGEST_STEP = 2.0
_CONVERGED = 1e-9


@dataclass(frozen=True, slots=True)
class Meeting:
    """What two policies scored against each other, from p1's point of view."""

    p1: str
    p2: str
    scores: Scores


class RatingKnown(StrEnum):
    """What the results tell about a policy's rating."""

    RATED = "rated"
    ABOVE = "above"
    """Nobody that the anchor's results reach ever took a point from it, directly or through others: no upper end."""
    BELOW = "below"
    """It never took a point from anyone that the anchor's results reach: no lower end."""
    NO_LINK = "no link"
    """No chain of results says where it stands beside the anchor."""


class Rating(Strict):
    """A policy's strength, as leaderboards keep and show it. Ends that nothing bounds are null."""

    known: RatingKnown
    """`rated`; `above` or `below` where only one end is known; `no link` where nothing leads to the anchor."""
    rank: int | None
    """1 + the policies whose whole interval lies above this one's: those whose intervals overlap are tied."""
    rating: float | None
    low: float | None
    high: float | None


def rate(
    meetings: Iterable[Meeting],
    *,
    anchor: str = ANCHOR,
    anchor_rating: float = ANCHOR_RATING,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Rating]:
    """The policies' ratings by name, best first; those without a link last.

    Battles of a policy against itself say nothing and are left out. Raises UsageError when the anchor never played.
    """
    results = _merged(meetings)
    names = sorted({name for pairing in results for name in pairing})
    if anchor not in names:
        raise UsageError(f"no result has the anchor {anchor!r}; the policies are: {', '.join(names)}", field="anchor")
    index = {name: place for place, name in enumerate(names)}
    pairings = [(index[p1], index[p2]) for p1, p2 in results]
    wins = _wins(pairings, _counts(results)[None], len(names))[0]
    known = _known(wins, index[anchor])
    linked = _component(wins + wins.T > 0, index[anchor])
    estimates = _fit(_with_halves(wins[None]), linked, index[anchor])[0]
    resampled = _wins(pairings, _resampled(_counts(results), seed, resamples), len(names))
    drawn = _fit(_with_halves(resampled), linked, index[anchor])
    lows, medians, highs = np.quantile(drawn, (0.025, 0.5, 0.975), axis=0)
    lows, highs = lows + estimates - medians, highs + estimates - medians
    ends = {
        place: _ends(known[place], *(anchor_rating + POINTS * float(x[place]) for x in (lows, highs, estimates)))
        for place in range(len(names))
    }
    found: dict[str, Rating] = {}
    for place, name in enumerate(names):
        low, rating, high = ends[place]
        rank = _rank(place, ends, known)
        found[name] = Rating(known=known[place], rank=rank, rating=rating, low=low, high=high)
    return dict(sorted(found.items(), key=_order))


def pairings_of(meetings: Iterable[Meeting]) -> dict[tuple[str, str], Scores]:
    """What every two policies scored against each other, from either's point of view; both orders are there."""
    merged = _merged(meetings)
    return merged | {(p2, p1): scores.mirrored() for (p1, p2), scores in merged.items()}


def most_worth(
    candidates: Sequence[tuple[str, str]],
    meetings: Iterable[Meeting],
    *,
    battles: int,
    in_play: Sequence[tuple[str, str]] = (),
) -> tuple[str, str]:
    """The candidate whose next `battles` would make the ratings surest; the first of equals.

    Any two that may meet count as having won half a battle each, so that nobody is beyond comparison. Those `in_play`
    count as if they had played as many: what that tells about the ratings hangs little on who wins.

    The information that battles carry about ratings is a Laplacian matrix L: n p (1 - p) between two policies that met
    n times and of which one wins with probability p. The diagonal of its pseudo-inverse L⁺ is the ratings' variances.
    Battles of worth w = n p (1 - p) between i and j take w |L⁺d|² / (1 + w d'L⁺d) off their sum, where d is 1 at i and
    -1 at j (J. Sherman and W. J. Morrison, Annals of Mathematical Statistics 21, 1950). Choosing the largest is
    sequential A-optimal design (K. Chaloner and I. Verdinelli, Statistical Science 10, 1995).
    """
    names = sorted({name for pairing in (*candidates, *in_play) for name in pairing})
    index = {name: place for place, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for p1, p2 in {tuple(sorted(pairing)) for pairing in (*candidates, *in_play)}:
        wins[index[p1], index[p2]] = wins[index[p2], index[p1]] = 0.5
    for meeting in meetings:
        if meeting.p1 in index and meeting.p2 in index and meeting.p1 != meeting.p2:
            wins[index[meeting.p1], index[meeting.p2]] += meeting.scores.wins
            wins[index[meeting.p2], index[meeting.p1]] += meeting.scores.battles - meeting.scores.wins
    # Everybody is linked to the first: by the half battles above.
    theta = _fit(wins[None], np.ones(len(names), bool), 0)[0]
    certain = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
    per_battle = certain * (1 - certain)
    played = wins + wins.T
    for p1, p2 in in_play:
        played[[index[p1], index[p2]], [index[p2], index[p1]]] += battles
    information = played * per_battle
    spread = np.linalg.pinv(np.diag(information.sum(1)) - information)

    def gain(pairing: tuple[str, str]) -> float:
        i, j = index[pairing[0]], index[pairing[1]]
        worth = battles * per_battle[i, j]
        along = spread[:, i] - spread[:, j]
        # Rounded, so that equals stay equal on every machine.
        return round(float(worth * (along @ along) / (1 + worth * (along[i] - along[j]))), 9)

    return max(candidates, key=gain)


def _merged(meetings: Iterable[Meeting]) -> dict[tuple[str, str], Scores]:
    """One entry for every two policies that met, sorted."""
    merged: dict[tuple[str, str], Scores] = {}
    for meeting in meetings:
        if meeting.p1 == meeting.p2 or not meeting.scores.battles:
            continue
        swapped = meeting.p1 > meeting.p2
        key = (meeting.p2, meeting.p1) if swapped else (meeting.p1, meeting.p2)
        scores = meeting.scores.mirrored() if swapped else meeting.scores
        merged[key] = merged.get(key, Scores()) + scores
    return dict(sorted(merged.items()))


def _counts(results: dict[tuple[str, str], Scores]) -> Floats:
    """(pairings, 8): pairs by score, then single battles by score."""
    return np.array([(*scores.pairs, *scores.singles) for scores in results.values()], float)


def _resampled(counts: Floats, seed: int, resamples: int) -> Floats:
    """(resamples, pairings, 8): each pairing's pairs and single battles drawn anew.

    Drawn from what was seen and one imagined observation, half of it lost and half won: resampling what was always won
    would else show no doubt at all.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, *counts.shape))
    for pairing, seen in enumerate(counts):
        for columns in (slice(0, 5), slice(5, 8)):
            observations = int(seen[columns].sum())
            if observations:
                weights = seen[columns].copy()
                weights[[0, -1]] += 0.5
                drawn[:, pairing, columns] = rng.multinomial(observations, weights / weights.sum(), size=resamples)
    return drawn


def _wins(pairings: Sequence[tuple[int, int]], counts: Floats, policies: int) -> Floats:
    """(…, pairings, 8) → (…, policies, policies): what each scored against each, a draw as half a win."""
    score = np.array([*(2 * score for score in PAIR_SCORES), *SINGLE_SCORES])
    battles = np.array([2.0] * 5 + [1.0] * 3)
    wins = np.zeros((counts.shape[0], policies, policies))
    for place, (p1, p2) in enumerate(pairings):
        wins[:, p1, p2] = counts[:, place] @ score
        wins[:, p2, p1] = counts[:, place] @ (battles - score)
    return wins


def _with_halves(wins: Floats) -> Floats:
    met = wins + np.swapaxes(wins, -1, -2) > 0
    return wins + 0.5 * met


def _fit(wins: Floats, linked: "np.ndarray", anchor: int) -> Floats:
    """(n, policies, policies) → (n, policies): log-odds against the anchor of most likelihood, by Newton's method.

    Zero for those that are not `linked`.
    """
    free = np.flatnonzero(linked & (np.arange(len(linked)) != anchor))
    battles = wins + np.swapaxes(wins, -1, -2)
    theta = np.zeros(wins.shape[:2])
    for _ in range(_NEWTON_STEPS if free.size else 0):
        expected = 1 / (1 + np.exp(theta[:, None, :] - theta[:, :, None]))
        gradient = (wins - battles * expected).sum(-1)
        information = battles * expected * (1 - expected)
        laplacian = -information + np.einsum("nij,ik->nik", information.sum(-1)[..., None], np.eye(len(linked)))
        step = np.linalg.solve(laplacian[:, free[:, None], free], gradient[:, free, None])[..., 0]
        theta[:, free] += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if np.abs(step).max() < _CONVERGED:
            break
    return theta


def _known(wins: Floats, anchor: int) -> list[RatingKnown]:
    beats = wins > 0
    below_anchor, above_anchor = _reached(beats, anchor), _reached(beats.T, anchor)
    names = {(True, True): RatingKnown.RATED, (True, False): RatingKnown.BELOW, (False, True): RatingKnown.ABOVE}
    both = zip(below_anchor, above_anchor, strict=True)
    return [names.get((bool(down), bool(up)), RatingKnown.NO_LINK) for down, up in both]


def _reached(edges: "np.ndarray", start: int) -> "np.ndarray":
    reached = np.zeros(len(edges), bool)
    reached[start] = True
    while (further := reached | edges[reached].any(0)).sum() > reached.sum():
        reached = further
    return reached


def _component(met: "np.ndarray", start: int) -> "np.ndarray":
    return _reached(met | met.T, start)


def _ends(known: RatingKnown, low: float, high: float, estimate: float) -> _Ends:
    match known:
        case RatingKnown.RATED:
            return min(low, estimate), estimate, max(high, estimate)
        case RatingKnown.ABOVE:
            return low, None, None
        case RatingKnown.BELOW:
            return None, None, high
        case RatingKnown.NO_LINK:
            return None, None, None


def _rank(place: int, ends: dict[int, _Ends], known: Sequence[RatingKnown]) -> int | None:
    if known[place] is RatingKnown.NO_LINK:
        return None
    high = ends[place][2]
    top = inf if high is None else high
    return 1 + sum(
        low is not None and low > top for other, (low, _, _) in ends.items() if known[other] is not RatingKnown.NO_LINK
    )


def _order(named: tuple[str, Rating]) -> tuple[int, float, str]:
    name, rating = named
    first = {RatingKnown.ABOVE: 0, RatingKnown.RATED: 1, RatingKnown.BELOW: 2, RatingKnown.NO_LINK: 3}[rating.known]
    strength = next((end for end in (rating.rating, rating.low, rating.high) if end is not None), 0.0)
    return first, -strength, name
