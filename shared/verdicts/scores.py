"""What battles scored, pair by pair: the counts that every verdict is computed from.

The two battles of a pair share teams and dice, so they are one observation: p1's mean score over both. A battle stands
alone where it has no pair, or where its partner broke or is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Winner = Literal["p1", "p2", "draw"]

PAIR_SCORES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What p1 can score in a pair, as a mean of its two battles; a draw is half a win."""
SINGLE_SCORES = (0.0, 0.5, 1.0)

SCORES_BY_WINNER: dict[Winner, float] = {"p1": 1.0, "draw": 0.5, "p2": 0.0}


class Played(NamedTuple):
    """One battle: the number of its pair, and who won; None for a broken battle."""

    pair: int | None
    winner: Winner | None
    substituted: bool = False
    """Whether a substitute made any decision of either policy."""
    luck: float | None = None
    """What the dice gave p1, as far as it is taken off its score; None where that is not known."""


def own_choices(battles: Iterable[Played]) -> list[Played]:
    """The battles in which nobody's decision was substituted. They are no fair sample: a long battle has more."""
    return [battle for battle in battles if not battle.substituted]


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of a matchup's battles so far, from the policy p1's point of view."""

    p1_wins: int = 0
    p2_wins: int = 0
    draws: int = 0
    broken: int = 0

    @classmethod
    def of(cls, winners: Iterable[Winner | None]) -> "Tally":
        """Count winners; `None` stands for a broken battle."""
        counts: dict[Winner | None, int] = {"p1": 0, "p2": 0, "draw": 0, None: 0}
        for winner in winners:
            counts[winner] += 1
        return cls(counts["p1"], counts["p2"], counts["draw"], counts[None])

    @property
    def finished(self) -> int:
        """Battles that reached an end. Broken ones are counted beside it, never mixed in."""
        return self.p1_wins + self.p2_wins + self.draws

    @property
    def played(self) -> int:
        """Battles with a record, finished or broken."""
        return self.finished + self.broken

    @property
    def p1_win_rate(self) -> float | None:
        """(wins + draws/2) / finished battles, from 0 to 1; None before the first finished battle."""
        return (self.p1_wins + self.draws / 2) / self.finished if self.finished else None

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.p1_wins + other.p1_wins,
            self.p2_wins + other.p2_wins,
            self.draws + other.draws,
            self.broken + other.broken,
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """How often each score was reached."""

    pairs: tuple[int, ...] = (0,) * 5
    """Whole pairs, in the order of PAIR_SCORES."""
    singles: tuple[int, ...] = (0,) * 3
    """Battles that stand alone, in the order of SINGLE_SCORES."""

    @classmethod
    def of(cls, battles: Iterable[Played]) -> "Scores":
        """Count them. A broken battle counts nowhere, and its partner stands alone."""
        of_pair: dict[int, list[float]] = {}
        alone: list[float] = []
        for pair, winner, *_ in battles:
            if winner is not None:
                (alone if pair is None else of_pair.setdefault(pair, [])).append(SCORES_BY_WINNER[winner])
        whole = [(scores[0] + scores[1]) / 2 for scores in of_pair.values() if len(scores) == 2]
        alone += [scores[0] for scores in of_pair.values() if len(scores) == 1]
        return cls(
            tuple(whole.count(score) for score in PAIR_SCORES), tuple(alone.count(score) for score in SINGLE_SCORES)
        )

    @property
    def battles(self) -> int:
        return 2 * sum(self.pairs) + sum(self.singles)

    @property
    def wins(self) -> float:
        """p1's wins, a draw as half a win."""
        paired = sum(2 * score * count for score, count in zip(PAIR_SCORES, self.pairs, strict=True))
        return paired + sum(score * count for score, count in zip(SINGLE_SCORES, self.singles, strict=True))

    @property
    def win_rate(self) -> float | None:
        """p1's; None before the first finished battle."""
        return self.wins / self.battles if self.battles else None

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            tuple(a + b for a, b in zip(self.pairs, other.pairs, strict=True)),
            tuple(a + b for a, b in zip(self.singles, other.singles, strict=True)),
        )

    def mirrored(self) -> "Scores":
        """The same battles from p2's point of view."""
        return Scores(self.pairs[::-1], self.singles[::-1])


def running(battles: Iterable[Played]) -> Iterator[Scores]:
    """The scores after each finished battle, in order; the last is `Scores.of` all of them."""
    pairs, singles = [0] * len(PAIR_SCORES), [0] * len(SINGLE_SCORES)
    waiting: dict[int, float] = {}
    for pair, winner, *_ in battles:
        if winner is None:
            continue
        score = SCORES_BY_WINNER[winner]
        partner = waiting.pop(pair, None) if pair is not None else None
        if partner is None:
            singles[SINGLE_SCORES.index(score)] += 1
            if pair is not None:
                waiting[pair] = score
        else:
            singles[SINGLE_SCORES.index(partner)] -= 1
            pairs[PAIR_SCORES.index((score + partner) / 2)] += 1
        yield Scores(tuple(pairs), tuple(singles))
