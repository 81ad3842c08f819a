"""The shapes of the API's tournaments: what is asked for, and what is answered."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.arena.progress import Progress, State
from services.arena.tournament import Over, TournamentProgress
from shared.tournaments import Budget, Ended, RatingTable, Suite


class NewTournament(Suite):
    """What is asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"policies": ["heuristic", "max-damage", "random"], "budget": {"battles": 400}}]
        }
    )

    seed: Annotated[int | None, Field(ge=0, lt=2**63, description="Drawn, and told, when not given.")] = None  # type: ignore[assignment]

    def suite(self, seed: int) -> Suite:
        """What is stored of it."""
        given = self.model_dump()
        return Suite.model_validate({**given, "seed": seed if self.seed is None else self.seed})


class TournamentLinks(BaseModel):
    """Where to go from here; null for what is not there yet."""

    self: str
    leaderboard: str | None


class TournamentLine(BaseModel):
    """A tournament in a list."""

    id: str
    state: State
    created_at: datetime
    policies: list[str]
    format: str
    matchups: int
    """Begun so far."""
    battles: int
    """Recorded so far."""
    budget: Budget
    links: TournamentLinks

    @classmethod
    def of(cls, progress: TournamentProgress, created_at: datetime) -> "TournamentLine":
        """The line of a tournament."""
        own = f"/tournaments/{progress.tournament_id}"
        has_page = progress.table is not None and bool(progress.table.lines)
        return cls(
            id=progress.tournament_id,
            state=progress.state,
            created_at=created_at,
            policies=list(progress.suite.policies),
            format=progress.suite.format,
            matchups=len(progress.begun),
            battles=sum(each.result.battles for each in progress.results)
            + sum(len(each.recorded) for each in progress.open.values()),
            budget=progress.suite.budget,
            links=TournamentLinks(self=own, leaderboard=f"{own}/leaderboard" if has_page else None),
        )


class TournamentMatchup(BaseModel):
    """One of its matchups."""

    id: str
    state: str
    p1: str
    p2: str
    recorded: int
    p1_win_rate: float | None
    """Of the battles as played; null while they are in play."""
    cost_usd: float | None
    why: str | None
    """Why it did not end as it should."""

    @classmethod
    def in_play(cls, progress: Progress) -> "TournamentMatchup":
        """One that is being played."""
        return cls(
            id=progress.matchup_id,
            state=progress.state.value,
            p1=progress.request.p1,
            p2=progress.request.p2,
            recorded=len(progress.recorded),
            p1_win_rate=None,
            cost_usd=None,
            why=None,
        )

    @classmethod
    def ended(cls, ended: Ended) -> "TournamentMatchup":
        """One that has ended."""
        result = ended.result
        return cls(
            id=result.matchup_id,
            state=ended.how.value,
            p1=result.p1,
            p2=result.p2,
            recorded=result.battles,
            p1_win_rate=result.as_played.win_rate,
            cost_usd=result.cost_usd,
            why=ended.why,
        )


class TournamentStatus(TournamentLine):
    """A tournament, and how it stands."""

    suite: Suite
    cost_usd: float | None
    """What the matchups that have ended cost; null where that is not known of every ask."""
    over: str | None
    """Why no further matchup begins; null while some will."""
    table: RatingTable | None
    """The ratings, of the matchups that have ended; null before the first has."""
    played: list[TournamentMatchup]
    """Its matchups, in order. Each is an ordinary one: GET /matchups/ID tells more."""

    @classmethod
    def standing(cls, progress: TournamentProgress, created_at: datetime) -> "TournamentStatus":
        """The tournament with its table."""
        costs = [each.result.cost_usd for each in progress.results]
        known = [cost for cost in costs if cost is not None]
        matchups = {number: TournamentMatchup.ended(each) for number, each in progress.ended.items()} | {
            number: TournamentMatchup.in_play(each) for number, each in progress.open.items()
        }
        coming = progress.next
        return cls(
            **dict(TournamentLine.of(progress, created_at)),
            suite=progress.suite,
            cost_usd=sum(known) if len(known) == len(costs) else None,
            over=coming.why if isinstance(coming, Over) else None,
            table=progress.table,
            played=[matchups[number] for number in sorted(matchups)],
        )


class TournamentPage(BaseModel):
    """Tournaments, newest first."""

    tournaments: list[TournamentLine]
    next: str | None
    """The cursor of the next page; null on the last."""
