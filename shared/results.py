"""What one matchup says in a table of ratings: who scored what, how decisions came about, and what they took."""

from pydantic import BaseModel, ConfigDict

from shared.verdicts.ratings import Meeting
from shared.verdicts.scores import Scores


class Decisions(BaseModel):
    """A policy's decisions in a matchup, those it was asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    asked: int = 0
    substituted: int = 0
    total_ms: float = 0.0
    asks: int = 0
    """Questions put to a model."""
    asks_without_cost: int = 0
    cost_usd: float = 0.0
    """Of the asks whose cost is known."""

    @property
    def substituted_share(self) -> float | None:
        """None where nobody was asked."""
        return self.substituted / self.asked if self.asked else None

    @property
    def mean_ms(self) -> float | None:
        """A decision."""
        return self.total_ms / self.asked if self.asked else None

    @property
    def cost_known(self) -> bool:
        """Whether models were asked, and what every ask cost is known."""
        return self.asks > 0 and not self.asks_without_cost

    def __add__(self, other: "Decisions") -> "Decisions":
        return Decisions(
            asked=self.asked + other.asked,
            substituted=self.substituted + other.substituted,
            total_ms=self.total_ms + other.total_ms,
            asks=self.asks + other.asks,
            asks_without_cost=self.asks_without_cost + other.asks_without_cost,
            cost_usd=self.cost_usd + other.cost_usd,
        )


class Result(BaseModel):
    """A matchup, as far as it was played."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    matchup_id: str
    p1: str
    p2: str
    format: str | None
    """None where an old file does not tell."""
    as_played: Scores
    own_choices: Scores
    """The battles in which nobody's decision was substituted."""
    broken: int
    p1_decisions: Decisions
    p2_decisions: Decisions

    @property
    def battles(self) -> int:
        """Recorded ones, finished or broken."""
        return self.as_played.battles + self.broken

    @property
    def meeting(self) -> Meeting:
        """What the two scored against each other."""
        return Meeting(self.p1, self.p2, self.as_played)

    @property
    def cost_usd(self) -> float | None:
        """What the models of both sides cost; None where that is not known of every ask."""
        both = self.p1_decisions + self.p2_decisions
        return None if both.asks_without_cost else both.cost_usd
