"""How a matchup stands: wins, draws, broken battles, the win rate and how sure it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Literal

Winner = Literal["p1", "p2", "draw"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a share, both ends from 0 to 1."""

    low: float
    high: float


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

    @property
    def interval(self) -> Interval | None:
        """The 95 % Wilson interval of `p1_win_rate`; None before the first finished battle."""
        return wilson_interval(self.p1_wins + self.draws / 2, self.finished) if self.finished else None


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
