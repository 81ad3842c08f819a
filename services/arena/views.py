"""What the arena answers over HTTP: how matchups and tournaments stand, and what they can be made of."""

from pydantic import BaseModel

from shared.policies import FORMATS, KINDS
from shared.records import LuckSummary, MatchupRequest
from shared.tournaments import Budget, RatingTable, Suite
from shared.verdicts.sequential import SequentialTest
from shared.work import WorkStatus


class MatchupLinks(BaseModel):
    """Where to go from here; null for what is not there yet."""

    self: str
    run: str | None
    report: str | None


class MatchupLine(WorkStatus):
    """A matchup in a list."""

    p1: str
    p2: str
    format: str
    battles: int
    recorded: int
    """Battles with a record, finished or broken."""
    links: MatchupLinks


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
    """The 95 % paired Wilson interval: the two battles of a pair are one observation."""
    luck: LuckSummary | None
    """The win rate with the luck taken out, of the battles reviewed so far; null where there is none."""
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


class TournamentLinks(BaseModel):
    """Where to go from here; null for what is not there yet."""

    self: str
    leaderboard: str | None


class TournamentLine(WorkStatus):
    """A tournament in a list."""

    policies: list[str]
    format: str
    matchups: int
    """Begun so far."""
    battles: int
    """Recorded so far."""
    budget: Budget
    links: TournamentLinks


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


class Playable(BaseModel):
    """What a matchup can be made of."""

    policies: list[PolicyLine]
    formats: list[FormatLine]

    @classmethod
    def here(cls) -> "Playable":
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
