"""The figures of a leaderboard: what every policy did in a set of runs, and how strong that makes it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.reporter import numbers
from shared.battle.decide import Outcome
from shared.errors import UsageError
from shared.records import Run
from shared.verdicts.intervals import WinRate, win_rate
from shared.verdicts.ratings import ANCHOR, ANCHOR_RATING, Meeting, Rating, pairings_of, rate
from shared.verdicts.scores import Played, Scores


@dataclass(frozen=True, slots=True)
class Source:
    """A run, and where it is told of: its report, or its file."""

    run: Run
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Decisions:
    """A policy's decisions in all runs, those it was asked for."""

    asked: int
    substituted: int
    mean_ms: float | None

    @property
    def substituted_share(self) -> float | None:
        """None where nobody was asked."""
        return self.substituted / self.asked if self.asked else None


@dataclass(frozen=True, slots=True)
class Line:
    """One policy's line of the table."""

    policy: str
    as_played: Rating
    own_choices: Rating | None
    """From the battles in which nobody's decision was substituted; None where it has none."""
    decisions: Decisions


@dataclass(frozen=True, slots=True)
class Listed:
    """A run that the table is made from."""

    p1: str
    p2: str
    matchup_id: str
    link: str | None
    rate: WinRate | None
    broken: int


@dataclass(frozen=True, slots=True)
class Table:
    """A leaderboard. The same runs give the same one, whatever their order."""

    format: str | None
    anchor: str
    anchor_rating: float
    lines: tuple[Line, ...]
    """Strongest first."""
    matrix: Mapping[tuple[str, str], WinRate]
    """(a, b) → a's win rate against b."""
    runs: tuple[Listed, ...]
    repeated: int
    """Runs that were given more than once, and count once."""


def table(
    sources: Iterable[Source],
    *,
    anchor: str = ANCHOR,
    anchor_rating: float = ANCHOR_RATING,
    format: str | None = None,
    seed: int = 0,
) -> Table:
    """Rate the policies of these runs.

    Raises UsageError where they are of several formats and none is chosen, where nothing is left to rate, or where
    the anchor never played.
    """
    given = list(sources)
    once = {_identity(source.run): source for source in given}
    chosen = _of_one_format([once[key] for key in sorted(once)], format)
    meetings = [meeting_of(source.run) for source in chosen]
    if not any(meeting.scores.battles and meeting.p1 != meeting.p2 for meeting in meetings):
        raise UsageError("no battle between two different policies was finished in these runs")
    own = [_own_meeting(source.run) for source in chosen]
    ratings = rate(meetings, anchor=anchor, anchor_rating=anchor_rating, seed=seed)
    own_ratings = _own_ratings(own, anchor, anchor_rating, seed)
    decisions = _decisions(chosen)
    matrix = {pairing: found for pairing, scores in pairings_of(meetings).items() if (found := win_rate(scores))}
    return Table(
        format=format or _format(chosen[0].run),
        anchor=anchor,
        anchor_rating=anchor_rating,
        lines=tuple(
            Line(rating.policy, rating, own_ratings.get(rating.policy), decisions[rating.policy]) for rating in ratings
        ),
        matrix=matrix,
        runs=tuple(_listed(source) for source in chosen),
        repeated=len(given) - len(once),
    )


def _identity(run: Run) -> str:
    """What makes a run this run: its battles and how they were decided, not when or where it was written."""
    battles = [(battle.battle_tag, battle.pair, battle.winner, battle.n_turns) for battle in run.battles]
    told = (run.summary.p1_agent, run.summary.p2_agent, battles, run.summary.n_games, run.summary.p1_wins)
    return f"{run.matchup_id or ''}/{hashlib.sha256(repr(told).encode()).hexdigest()}"


def _format(run: Run) -> str | None:
    return run.request.format if run.request else None


def _of_one_format(sources: Sequence[Source], format: str | None) -> Sequence[Source]:
    formats = sorted({_format(source.run) or "unknown" for source in sources})
    if format is None and len(formats) > 1:
        raise UsageError(
            f"these runs are of several formats, which do not make one scale; choose one: {', '.join(formats)}",
            field="format",
        )
    chosen = [source for source in sources if format is None or (_format(source.run) or "unknown") == format]
    if not chosen:
        raise UsageError(f"no run of {format}" if format else "no runs", field="format" if format else None)
    return chosen


def meeting_of(run: Run) -> Meeting:
    """What a run says of its two policies, as played."""
    scores = Scores.of(Played(battle.pair, battle.winner) for battle in run.battles)
    if not run.battles:
        summary = run.summary
        scores = Scores(singles=(summary.p2_wins, summary.draws, summary.p1_wins))
    return Meeting(run.summary.p1_agent, run.summary.p2_agent, scores)


def _own_meeting(run: Run) -> Meeting:
    return Meeting(run.summary.p1_agent, run.summary.p2_agent, numbers.scores_of_own_choices(run))


def _own_ratings(own: Sequence[Meeting], anchor: str, anchor_rating: float, seed: int) -> Mapping[str, Rating]:
    try:
        found = rate(own, anchor=anchor, anchor_rating=anchor_rating, seed=seed)
    except UsageError:
        # The anchor has no battle without a substitution, so this column has no scale.
        return {}
    return {rating.policy: rating for rating in found}


def _decisions(sources: Sequence[Source]) -> Mapping[str, Decisions]:
    """Policy → its decisions. A file that lists none tells their number and mean in its summary, or nothing."""
    asked: dict[str, list[float]] = {}
    substituted: dict[str, int] = {}
    for source in sources:
        run = source.run
        for agent in (run.summary.p1_agent, run.summary.p2_agent):
            asked.setdefault(agent, [])
            substituted.setdefault(agent, 0)
        for stat in run.turn_stats:
            if stat.outcome is not Outcome.ONLY_ACTION and stat.agent in asked:
                asked[stat.agent].append(stat.decision_ms)
                substituted[stat.agent] += stat.used_fallback
    return {
        agent: Decisions(len(times), substituted[agent], sum(sorted(times)) / len(times) if times else None)
        for agent, times in asked.items()
    }


def _listed(source: Source) -> Listed:
    run = source.run
    return Listed(
        p1=run.summary.p1_agent,
        p2=run.summary.p2_agent,
        matchup_id=run.matchup_id or "",
        link=source.link,
        rate=numbers.rate(run),
        broken=numbers.tally(run).broken,
    )
