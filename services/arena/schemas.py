"""The shapes of the arena's HTTP API: what is asked for, and what is answered."""

from datetime import UTC, datetime

from pydantic import BaseModel

from services.arena.progress import Progress, State
from services.arena.standings import Standing
from shared.policies import FORMATS, KINDS
from shared.records import MatchupRequest
from shared.verdicts.intervals import win_rate
from shared.verdicts.sequential import SequentialTest
from shared.verdicts.until import probably_left


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
