"""The shapes of the arena's HTTP API: what is asked for, and what is answered."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.arena.progress import Progress, State
from services.arena.standings import Standing
from shared.policies import FORMATS, KINDS
from shared.records import MAX_BATTLES, MAX_CONCURRENCY, MAX_POLICY_CHARACTERS, MAX_TEAM_CHARACTERS, MatchupRequest
from shared.verdicts.intervals import win_rate
from shared.verdicts.until import SequentialTest, UntilDecided, probably_left

TeamText = Annotated[str, Field(max_length=MAX_TEAM_CHARACTERS)]


class AskedUntilDecided(UntilDecided):
    """When to stop."""

    max_battles: Annotated[int, Field(ge=2, le=MAX_BATTLES, description="Stop there, decided or not.")] = 400


class NewMatchup(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"p1": "heuristic", "p2": "random", "battles": 20}]}
    )

    p1: Annotated[
        str, Field(min_length=1, max_length=MAX_POLICY_CHARACTERS, description="A policy; GET /policies lists them.")
    ]
    p2: Annotated[str, Field(min_length=1, max_length=MAX_POLICY_CHARACTERS)]
    battles: Annotated[int, Field(ge=1, le=MAX_BATTLES)] = 1
    format: Annotated[str, Field(max_length=60)] = "gen9randombattle"
    seed: Annotated[int | None, Field(ge=0, lt=2**63, description="Drawn, and told, when not given.")] = None
    pairs: Annotated[
        bool | None, Field(description="Battles two by two, policies exchanged. By default on the simulator.")
    ] = None
    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY, description="Battles at once in a shard.")] = 8
    move_delay: Annotated[float, Field(ge=0, le=60, description="Seconds to wait before each order.")] = 0.0
    teams: Annotated[
        tuple[TeamText | None, TeamText | None] | None,
        Field(description="In Showdown's export format; null for one of our sample teams."),
    ] = None
    battlefield: Literal["simulator", "server"] = "simulator"
    until_decided: Annotated[
        AskedUntilDecided | None,
        Field(description="Play until it is decided who is stronger, in place of a number of battles."),
    ] = None
    max_cost_usd: Annotated[
        float | None, Field(gt=0, le=1_000_000, description="End the matchup when its models have cost that much.")
    ] = None
    max_tokens: Annotated[int | None, Field(gt=0, le=10**12, description="The same in tokens, in and out.")] = None

    @model_validator(mode="after")
    def _one_number_of_battles(self) -> "NewMatchup":
        if self.until_decided and "battles" in self.model_fields_set:
            raise ValueError("battles and until_decided exclude each other: max_battles says how many at most")
        return self

    def request(self, seed: int) -> MatchupRequest:
        """What is stored of it."""
        team1, team2 = self.teams or (None, None)
        return MatchupRequest(
            p1=self.p1,
            p2=self.p2,
            battles=self.until_decided.max_battles if self.until_decided else self.battles,
            format=self.format,
            seed=seed if self.seed is None else self.seed,
            pairs=self.battlefield == "simulator" if self.pairs is None else self.pairs,
            concurrency=self.concurrency,
            move_delay=self.move_delay,
            team1=team1,
            team2=team2,
            battlefield=self.battlefield,
            until_decided=UntilDecided(margin=self.until_decided.margin, error=self.until_decided.error)
            if self.until_decided
            else None,
            max_cost_usd=self.max_cost_usd,
            max_tokens=self.max_tokens,
        )


class Links(BaseModel):
    """Where to go from here; null for what is not there yet."""

    self: str
    run: str | None
    report: str | None


class MatchupLine(BaseModel):
    """A matchup in a list."""

    id: str
    state: State
    created_at: datetime
    p1: str
    p2: str
    format: str
    battles: int
    recorded: int
    """Battles with a record, finished or broken."""
    links: Links

    @classmethod
    def of(cls, progress: Progress, created_at: datetime) -> "MatchupLine":
        """The line of a matchup."""
        request = progress.request
        return cls(
            id=progress.matchup_id,
            state=progress.state,
            created_at=created_at,
            p1=request.p1,
            p2=request.p2,
            format=request.format,
            battles=request.battles,
            recorded=len(progress.recorded),
            links=_links(progress),
        )


class BySide(BaseModel):
    """A count for each policy."""

    p1: int
    p2: int


class ProbablyLeft(BaseModel):
    """What a matchup that is played until decided will probably still take; null where nothing tells."""

    battles: int | None
    seconds: float | None
    """At the pace so far, waiting for workers included."""
    cost_usd: float | None
    """At the cost of a battle so far; null where that is unknown."""


class MatchupStatus(MatchupLine):
    """A matchup, and how it stands."""

    request: MatchupRequest
    finished: int
    broken: int
    p1_wins: int
    p2_wins: int
    draws: int
    p1_win_rate: float | None
    p1_win_rate_interval: tuple[float, float] | None
    """95 %, the two battles of a pair taken as one observation."""
    decisions: BySide
    substitutions: BySide
    """Decisions that a policy did not make itself."""
    cost_usd: float | None
    """What the models of both sides cost so far; null where that is not known of every ask."""
    stopped: str | None
    """Why it was ended early, where somebody said."""
    failures: list[str]
    sequential_test: SequentialTest | None
    """The latest look at a matchup that is played until decided: the likelihood ratios and their bounds."""
    probably_left: ProbablyLeft | None

    @classmethod
    def standing(cls, progress: Progress, created_at: datetime, standing: Standing) -> "MatchupStatus":
        """The matchup with its standing."""
        tally, rate = standing.tally, win_rate(standing.scores)
        return cls(
            **dict(MatchupLine.of(progress, created_at)),
            request=progress.request,
            finished=tally.finished,
            broken=tally.broken,
            p1_wins=tally.p1_wins,
            p2_wins=tally.p2_wins,
            draws=tally.draws,
            p1_win_rate=tally.p1_win_rate,
            p1_win_rate_interval=(rate.interval.low, rate.interval.high) if rate else None,
            decisions=BySide(p1=standing.p1.asked, p2=standing.p2.asked),
            substitutions=BySide(p1=standing.p1.substituted, p2=standing.p2.substituted),
            cost_usd=standing.cost_usd,
            stopped=progress.stopped,
            failures=list(dict.fromkeys(progress.failures.values())),
            sequential_test=progress.test,
            probably_left=_probably_left(progress, created_at, standing.cost_usd),
        )


class Page(BaseModel):
    """Matchups, newest first."""

    matchups: list[MatchupLine]
    next: str | None
    """The cursor of the next page; null on the last."""


class PolicyLine(BaseModel):
    """A kind of policy."""

    name: str
    description: str
    example: str
    """How it is written, where more than its name is needed."""
    options: dict[str, str]


class FormatLine(BaseModel):
    """A format that the arena plays."""

    id: str
    generation: int
    needs_team: bool


class Known(BaseModel):
    """What a matchup can be made of."""

    policies: list[PolicyLine]
    formats: list[FormatLine]

    @classmethod
    def here(cls) -> "Known":
        """All that this API knows."""
        return cls(
            policies=[
                PolicyLine(
                    name=kind.name, description=kind.description, example=kind.example, options=dict(kind.options)
                )
                for kind in KINDS.values()
                if not kind.command_line_only
            ],
            formats=[
                FormatLine(id=format.id, generation=format.generation, needs_team=format.needs_team)
                for format in FORMATS.values()
            ],
        )


def _probably_left(progress: Progress, created_at: datetime, cost_usd: float | None) -> ProbablyLeft | None:
    if progress.test is None or progress.settled:
        return None
    played = len(progress.recorded)
    left = probably_left(progress.test, played)
    if left is None or not played:
        return ProbablyLeft(battles=None, seconds=None, cost_usd=None)
    elapsed = (datetime.now(UTC) - created_at).total_seconds()
    return ProbablyLeft(
        battles=left,
        seconds=round(elapsed / played * left, 1),
        cost_usd=None if cost_usd is None else cost_usd / played * left,
    )


def _links(progress: Progress) -> Links:
    own = f"/matchups/{progress.matchup_id}"
    there = progress.has_report
    return Links(self=own, run=f"{own}/run" if there else None, report=f"{own}/report" if there else None)
