"""Tournaments, as they lie in the store. Their battles are those of ordinary matchups, called ID-NNNNN.

    tournaments/ID/request.json        the suite that was asked for
    tournaments/ID/results.json        what the matchups that have ended say, so that no record is read twice
    tournaments/ID/cancelled
    tournaments/ID/table.json, leaderboard.html

What is played next follows from the suite and the matchups; `results.json` and the table can be made again from them.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from hashlib import sha256
from itertools import combinations
from math import fsum
from typing import Annotated

from pydantic import ConfigDict, Field, RootModel, field_validator, model_validator

from shared.asked import Asked
from shared.battle.decision import Outcome
from shared.document import Strict
from shared.policies import asks_a_model
from shared.records import MAX_BATTLES, MAX_CONCURRENCY, MAX_POLICY_CHARACTERS, AnyDecision
from shared.store import is_id
from shared.verdicts.ratings import Meeting, Rating
from shared.verdicts.scores import Scores

MAX_POLICIES = 64

PolicyName = Annotated[str, Field(min_length=1, max_length=MAX_POLICY_CHARACTERS)]


class Budget(Strict):
    """What a tournament may take."""

    battles: int = Field(ge=2, le=MAX_BATTLES)
    cost_usd: float | None = Field(default=None, gt=0, le=1_000_000)
    """What its models may cost, in US dollars."""


class Suite(Strict):
    """Who plays, what, and how much of it."""

    policies: tuple[PolicyName, ...] = Field(min_length=2, max_length=MAX_POLICIES)
    anchors: tuple[PolicyName, ...] = ()
    """Where some are named, the others meet only these; else everybody meets everybody."""
    format: str = Field(default="gen9randombattle", max_length=60)
    seed: int = Field(default=0, ge=0, lt=2**63)
    battles: int = Field(default=20, ge=2, le=1_000, multiple_of=2)
    """Battles of one matchup, in pairs. Two policies may meet in several."""
    concurrency: int = Field(default=8, ge=1, le=MAX_CONCURRENCY)
    """Battles at once in a shard."""
    budget: Budget

    @field_validator("policies", "anchors")
    @classmethod
    def _each_once(cls, policies: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(policies)) < len(policies):
            raise ValueError("a policy is named twice")
        return policies

    @model_validator(mode="after")
    def _playable(self) -> "Suite":
        if not set(self.anchors) <= set(self.policies):
            raise ValueError("every anchor must be among the policies")
        if self.matchups == 0:
            raise ValueError(
                f"a budget of {self.budget.battles} battles is not enough for one matchup of {self.battles}"
            )
        return self

    @property
    def pairings(self) -> tuple[tuple[str, str], ...]:
        """Who may meet, in the order of their names, so that the order in which they were named decides nothing."""
        every = combinations(sorted(self.policies), 2)
        return tuple(pair for pair in every if not self.anchors or set(pair) & set(self.anchors))

    @property
    def id(self) -> str:
        """The same suite has the same id; another budget does not make it another, so it can be raised later."""
        told = self.model_dump_json(exclude={"budget", "concurrency", "policies", "anchors"})
        return sha256(f"{told}{sorted(self.policies)}{sorted(self.anchors)}".encode()).hexdigest()[:10]

    @property
    def matchups(self) -> int:
        """How many matchups the budget of battles allows."""
        return self.budget.battles // self.battles

    def asks_a_model(self, policies: Sequence[str]) -> bool:
        """Whether any of these can cost anything."""
        return any(asks_a_model(name) for name in policies)


class DecisionTotals(Strict):
    """A policy's decisions in a matchup, those it was asked for."""

    asked: int = 0
    substituted: int = 0
    total_ms: float = 0.0
    asks: int = 0
    """Questions put to a model."""
    asks_without_cost: int = 0
    cost_usd: float = 0.0
    """Of the asks whose cost is known."""
    tokens: int = 0
    """In and out together, of the asks that tell."""

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

    @classmethod
    def of(cls, decisions: Iterable[AnyDecision]) -> "DecisionTotals":
        """The sums; a decision with one legal action, where nobody was asked, is not among them."""
        asked = [decision for decision in decisions if decision.outcome is not Outcome.ONLY_ACTION]
        asks = [ask for decision in asked for ask in decision.asked]
        costs = [ask.cost_usd for ask in asks]
        return cls(
            asked=len(asked),
            substituted=sum(decision.outcome is Outcome.SUBSTITUTED for decision in asked),
            total_ms=fsum(decision.decision_ms for decision in asked),
            asks=len(costs),
            asks_without_cost=costs.count(None),
            cost_usd=fsum(cost for cost in costs if cost is not None),
            tokens=sum((ask.tokens_in or 0) + (ask.tokens_out or 0) for ask in asks),
        )

    def __add__(self, other: "DecisionTotals") -> "DecisionTotals":
        sums = {name: getattr(self, name) + getattr(other, name) for name in DecisionTotals.model_fields}
        return DecisionTotals.model_validate(sums)


class MatchupResult(Strict):
    """A matchup, as far as it was played."""

    matchup_id: str
    p1: str
    p2: str
    format: str | None
    """None where an old file does not tell."""
    as_played: Scores
    own_choices: Scores
    """The battles in which nobody's decision was substituted."""
    broken: int
    p1_decisions: DecisionTotals
    p2_decisions: DecisionTotals

    @property
    def battles(self) -> int:
        """Recorded ones, finished or broken."""
        return self.as_played.battles + self.broken

    @property
    def meeting(self) -> Meeting:
        return Meeting(self.p1, self.p2, self.as_played)

    @property
    def cost_usd(self) -> float | None:
        """What the models of both sides cost; None where that is not known of every ask."""
        both = self.p1_decisions + self.p2_decisions
        return None if both.asks_without_cost else both.cost_usd


class NewTournament(Suite):
    """What is asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"policies": ["heuristic", "max-damage", "random"], "budget": {"battles": 400}}]
        }
    )

    seed: int | None = Field(default=None, ge=0, lt=2**63)  # type: ignore[assignment]
    """Drawn, and told, when not given."""

    def suite(self, seed: int) -> Suite:
        """What is stored of it, with this seed where it names none."""
        return Suite.model_validate(self.model_dump() | ({} if self.seed is not None else {"seed": seed}))


class How(StrEnum):
    """How a matchup ended."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    """By its budget."""


class Ended(Strict):
    """A matchup of a tournament that has ended, one way or another."""

    number: int
    how: How
    why: str | None = None
    result: MatchupResult


class TableLine(Strict):
    """A policy's line."""

    policy: str
    as_played: Rating
    own_choices: Rating | None
    """From the battles in which nobody's decision was substituted."""
    battles: int
    win_rate: float | None
    decisions: int
    substituted: int
    mean_ms: float | None
    """A decision."""
    cost_usd: float | None
    """Null where no price is known, or not of every ask."""
    cost_usd_per_decision: float | None
    cost_usd_per_battle: float | None


class RatingTable(Strict):
    """The leaderboard's figures, strongest first."""

    revision: str
    """Of which results it was made."""
    anchor: str | None = None
    anchor_rating: float | None = None
    lines: tuple[TableLine, ...] = ()
    missing: str | None = None
    """Why there is no line, where there is none."""


class Results(RootModel[tuple[Ended, ...]]):
    """Of the matchups that have ended, in order."""


class Tournaments(Asked[Suite]):
    """The tournaments of a store."""

    folder = "tournaments"
    noun = "tournament"
    model = Suite

    def matchup_ids(self, id: str) -> list[str]:
        found: list[str] = []
        while self.files.exists(f"matchups/{matchup_id(id, len(found))}/request.json"):
            found.append(matchup_id(id, len(found)))
        return found

    def of_matchup(self, name: str) -> str | None:
        """The tournament that a matchup belongs to; None for one by itself."""
        id, _, number = name.rpartition("-")
        is_one = is_id(id) and len(number) == _DIGITS and number.isdecimal()
        return id if is_one and self.files.exists(self.path(id, "request.json")) else None

    def write_results(self, id: str, results: Sequence[Ended]) -> None:
        """Keep what the matchups that have ended say."""
        self.files.write(self.path(id, "results.json"), Results(tuple(results)).model_dump_json().encode())

    def results(self, id: str) -> tuple[Ended, ...]:
        """What was kept; empty before."""
        kept = self.read(id, "results.json", Results)
        return kept.root if kept else ()

    def write_table(self, id: str, table: RatingTable, leaderboard: str | None) -> None:
        """Keep the table, and its page where there is one. The table last, since it says that both are there."""
        if leaderboard is not None:
            self.files.write(self.path(id, "leaderboard.html"), leaderboard.encode())
        self.files.write(self.path(id, "table.json"), table.model_dump_json().encode())

    def table(self, id: str) -> RatingTable | None:
        """The latest; None before the first."""
        return self.read(id, "table.json", RatingTable)

    def leaderboard(self, id: str) -> bytes:
        """The page. Raises NotFound before the first."""
        self.request(id)
        return self.files.read(self.path(id, "leaderboard.html"), f"tournament {id} has no leaderboard yet")


_DIGITS = 5


def matchup_id(tournament_id: str, number: int) -> str:
    """What a tournament's matchup is called: the same at every attempt."""
    return f"{tournament_id}-{number:0{_DIGITS}d}"


def revision(results: Sequence[Ended]) -> str:
    """Of which results a table is made: how many, and of how many battles."""
    return f"{len(results)}-{sum(ended.result.battles for ended in results)}"
