"""The figures of a leaderboard: what every policy did in a set of runs, and how strong that makes it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from services.reporter import numbers
from services.reporter.decisions import side_of
from shared.battle.protocol import Seat
from shared.errors import UsageError
from shared.records import Run, TurnStat
from shared.tournaments import DecisionTotals, MatchupResult
from shared.verdicts.intervals import WinRate, win_rate
from shared.verdicts.ratings import ANCHOR, ANCHOR_RATING, Meeting, Rating, pairings_of, rate
from shared.verdicts.scores import Played, Scores


@dataclass(frozen=True, slots=True)
class Source:
    """A matchup's result, and where it is told of: its report, or its file."""

    result: MatchupResult
    link: str | None = None
    identity: str = ""
    """What makes it this result: another source of the same counts once."""

    @classmethod
    def of(cls, run: Run, link: str | None = None) -> "Source":
        """A run as a source."""
        return cls(result_of(run), link, _identity(run))


@dataclass(frozen=True, slots=True)
class Line:
    """One policy's line of the table."""

    policy: str
    as_played: Rating
    own_choices: Rating | None
    """From the battles in which nobody's decision was substituted; None where it has none."""
    battles: int
    """Those recorded, finished or broken."""
    decisions: DecisionTotals


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
    once = {source.identity or source.result.matchup_id: source for source in given}
    chosen = _of_one_format([once[key] for key in sorted(once)], format)
    results = [source.result for source in chosen]
    if not any(result.as_played.battles and result.p1 != result.p2 for result in results):
        raise UsageError("no battle between two different policies was finished in these runs")
    ratings = rate([result.meeting for result in results], anchor=anchor, anchor_rating=anchor_rating, seed=seed)
    own_ratings = _own_ratings(results, anchor, anchor_rating, seed)
    pairings = pairings_of(result.meeting for result in results)
    return Table(
        format=format or results[0].format,
        anchor=anchor,
        anchor_rating=anchor_rating,
        lines=tuple(_line(rating, own_ratings.get(rating.policy), results) for rating in ratings),
        matrix={pairing: found for pairing, scores in pairings.items() if (found := win_rate(scores))},
        runs=tuple(_listed(source) for source in chosen),
        repeated=len(given) - len(once),
    )


def result_of(run: Run) -> MatchupResult:
    """What a run says in a table. A file that lists no battles has its results from the summary, and no more."""
    summary = run.summary
    scores = Scores.of(Played(battle.pair, battle.winner) for battle in run.battles)
    if not run.battles:
        scores = Scores(singles=(summary.p2_wins, summary.draws, summary.p1_wins))
    decisions = _decisions(run)
    return MatchupResult(
        matchup_id=run.matchup_id or "",
        p1=summary.p1_agent,
        p2=summary.p2_agent,
        format=run.request.format if run.request else None,
        as_played=scores,
        own_choices=numbers.scores_of_own_choices(run),
        broken=numbers.tally(run).broken,
        p1_decisions=decisions["p1"],
        p2_decisions=decisions["p2"],
    )


def _identity(run: Run) -> str:
    """What makes a run this run: its battles and how they were decided, not when or where it was written."""
    battles = [(battle.battle_tag, battle.pair, battle.winner, battle.n_turns) for battle in run.battles]
    told = (run.summary.p1_agent, run.summary.p2_agent, battles, run.summary.n_games, run.summary.p1_wins)
    return f"{run.matchup_id or ''}/{hashlib.sha256(repr(told).encode()).hexdigest()}"


def _of_one_format(sources: Sequence[Source], format: str | None) -> Sequence[Source]:
    formats = sorted({source.result.format or "unknown" for source in sources})
    if format is None and len(formats) > 1:
        raise UsageError(
            f"these runs are of several formats, which do not make one scale; choose one: {', '.join(formats)}",
            field="format",
        )
    chosen = [source for source in sources if format is None or (source.result.format or "unknown") == format]
    if not chosen:
        raise UsageError(f"no run of {format}" if format else "no runs", field="format" if format else None)
    return chosen


def _own_ratings(
    results: Sequence[MatchupResult], anchor: str, anchor_rating: float, seed: int
) -> Mapping[str, Rating]:
    own = [Meeting(result.p1, result.p2, result.own_choices) for result in results]
    try:
        found = rate(own, anchor=anchor, anchor_rating=anchor_rating, seed=seed)
    except UsageError:
        # The anchor has no battle without a substitution, so this column has no scale.
        return {}
    return {rating.policy: rating for rating in found}


def _line(rating: Rating, own: Rating | None, results: Sequence[MatchupResult]) -> Line:
    name = rating.policy
    sides = [((each.p1, each.p1_decisions), (each.p2, each.p2_decisions)) for each in results]
    return Line(
        policy=name,
        as_played=rating,
        own_choices=own,
        battles=sum(result.battles for result in results if name in (result.p1, result.p2)),
        decisions=sum(
            (decisions for agent, decisions in chain.from_iterable(sides) if agent == name), DecisionTotals()
        ),
    )


def _decisions(run: Run) -> Mapping[Seat, DecisionTotals]:
    """Those that a policy was asked for. Where a policy met itself and an old file tells no sides, all are p1's."""
    found: dict[Seat, list[TurnStat]] = {"p1": [], "p2": []}
    agents = (run.summary.p1_agent, run.summary.p2_agent)
    for stat in run.turn_stats:
        if stat.agent in agents:
            found["p2" if side_of(run, stat) == "p2" else "p1"].append(stat)
    return {seat: DecisionTotals.of(stats) for seat, stats in found.items()}


def _listed(source: Source) -> Listed:
    result = source.result
    return Listed(
        p1=result.p1,
        p2=result.p2,
        matchup_id=result.matchup_id,
        link=source.link,
        rate=win_rate(result.as_played),
        broken=result.broken,
    )
