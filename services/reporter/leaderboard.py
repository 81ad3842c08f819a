"""A leaderboard: what every policy did in a set of runs, how strong that makes it, the page, and a tournament's.

The page is one HTML file that opens offline, without scripts. As in a report, text from models and players is hostile
until shown.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.reporter.figures import played_of, scores_of
from services.reporter.labels import labels
from services.reporter.report import page, template_text
from shared.battle.protocol import Seat
from shared.errors import UsageError
from shared.jobs import Context
from shared.jobs.routes import WriteLeaderboard
from shared.records import MAX_BATTLES, Run, TurnStat
from shared.text import count, milliseconds, one_line, percent, percent_range, together, usd
from shared.tournaments import (
    DecisionTotals,
    Ended,
    How,
    MatchupResult,
    RatingTable,
    Suite,
    TableLine,
    Tournaments,
    revision,
)
from shared.verdicts.intervals import EXPLAINED, WinRate, WithoutLuck, win_rate, without_luck
from shared.verdicts.ratings import ANCHOR, ANCHOR_RATING, Meeting, Rating, RatingKnown, pairings_of, rate
from shared.verdicts.scores import Played, Scores, Winner, own_choices

_MAX_NOTE_CHARACTERS = 400
HEADS = ("Own choices", "Win rate", "Battles", "Substituted", "A decision", "Tokens a battle", "Cost a battle", "Cost")
_EDGE_POINTS = 40.0
"""Room beside the outermost ends of the intervals."""
_WHY_NO_NUMBER = {
    RatingKnown.ABOVE: "{anchor} took no point from it, nor did anyone that {anchor} took one from, however indirectly",
    RatingKnown.BELOW: "it took no point from {anchor}, nor from anyone who did, however indirectly",
    RatingKnown.NO_LINK: "no chain of results leads from it to {anchor}",
}
_ENDED = {How.FAILED: "not played to its end", How.CANCELLED: "cancelled", How.STOPPED: "ended early"}


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence beside the numbers."""

    text: str
    warns: bool = True


@dataclass(frozen=True, slots=True)
class RatedRun:
    """A matchup's result, and where it is told of: its report, or its file."""

    result: MatchupResult
    link: str | None = None
    identity: str = ""
    """What makes it this result: another source of the same counts once."""
    lucky: tuple[Played, ...] = ()
    """Its battles with their luck, where that is known of all that were finished."""

    @classmethod
    def of(cls, run: Run, link: str | None = None) -> "RatedRun":
        """A run as a source."""
        finished = [battle for battle in run.battles if battle.winner is not None]
        lucky = tuple(battle.review.played for battle in finished if battle.review)
        return cls(result_of(run), link, _identity(run), lucky if len(lucky) == len(finished) else ())

    @property
    def rate(self) -> WinRate | None:
        """Of the first policy; None where no battle finished."""
        return win_rate(self.result.as_played)


@dataclass(frozen=True, slots=True)
class LeaderboardLine:
    """One policy's line of the table."""

    policy: str
    as_played: Rating
    own_choices: Rating | None
    """From the battles in which nobody's decision was substituted; None where it has none."""
    scores: Scores
    """Of its finished battles against others."""
    battles: int
    """Those recorded, finished or broken."""
    decisions: DecisionTotals


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A leaderboard. The same runs give the same one, whatever their order."""

    format: str | None
    anchor: str
    anchor_rating: float
    lines: tuple[LeaderboardLine, ...]
    """Strongest first."""
    matrix: Mapping[tuple[str, str], WinRate]
    """(a, b) → a's win rate against b."""
    without_luck: Mapping[tuple[str, str], WithoutLuck]
    """The same with the luck taken out, where it is known of all battles of the two."""
    runs: tuple[RatedRun, ...]
    repeated: int
    """Runs that were given more than once, and count once."""


def table(
    sources: Iterable[RatedRun],
    *,
    anchor: str = ANCHOR,
    anchor_rating: float = ANCHOR_RATING,
    format: str | None = None,
    seed: int = 0,
) -> Leaderboard:
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
    sides = [side for each in results for side in ((each.p1, each.p1_decisions), (each.p2, each.p2_decisions))]
    return Leaderboard(
        format=format or results[0].format,
        anchor=anchor,
        anchor_rating=anchor_rating,
        lines=tuple(
            LeaderboardLine(
                policy=name,
                as_played=rating,
                own_choices=own_ratings.get(name),
                scores=sum((scores for (of, _), scores in pairings.items() if of == name), Scores()),
                battles=sum(result.battles for result in results if name in (result.p1, result.p2)),
                decisions=sum((totals for agent, totals in sides if agent == name), DecisionTotals()),
            )
            for name, rating in ratings.items()
        ),
        matrix={pairing: found for pairing, scores in pairings.items() if (found := win_rate(scores))},
        without_luck=_without_luck(chosen),
        runs=tuple(chosen),
        repeated=len(given) - len(once),
    )


def _without_luck(sources: Sequence[RatedRun]) -> dict[tuple[str, str], WithoutLuck]:
    battles: dict[tuple[str, str], list[Played]] = {}
    unknown: set[tuple[str, str]] = set()
    for number, source in enumerate(sources):
        p1, p2 = source.result.p1, source.result.p2
        if p1 == p2 or not source.result.as_played.battles:
            continue
        if not source.lucky:
            unknown |= {(p1, p2), (p2, p1)}
        for played in source.lucky:
            pair = None if played.pair is None else number * MAX_BATTLES + played.pair  # Each run counts its own.
            winner: Winner | None = "draw" if played.winner == "draw" else "p2" if played.winner == "p1" else "p1"
            battles.setdefault((p1, p2), []).append(played._replace(pair=pair))
            mirrored = Played(pair, winner, luck=-(played.luck or 0.0))
            battles.setdefault((p2, p1), []).append(mirrored)
    known = {pairing: without_luck(of) for pairing, of in battles.items() if pairing not in unknown}
    return {pairing: found for pairing, found in known.items() if found is not None}


def result_of(run: Run) -> MatchupResult:
    """What a run says in a table. A file that lists no battles has its results from the summary, and no more."""
    summary = run.summary
    played, decisions = played_of(run), _decisions(run)
    return MatchupResult(
        matchup_id=run.matchup_id or "",
        p1=summary.p1_agent,
        p2=summary.p2_agent,
        format=run.request.format if run.request else None,
        as_played=scores_of(run, played),
        own_choices=Scores.of(own_choices(played)),
        broken=sum(battle.winner is None for battle in played) if played else summary.broken,
        p1_decisions=decisions["p1"],
        p2_decisions=decisions["p2"],
    )


def _identity(run: Run) -> str:
    """What makes a run this run: its battles and how they were decided, not when or where it was written."""
    battles = [(battle.battle_tag, battle.pair, battle.winner, battle.n_turns) for battle in run.battles]
    told = (run.summary.p1_agent, run.summary.p2_agent, battles, run.summary.n_games, run.summary.p1_wins)
    return f"{run.matchup_id or ''}/{hashlib.sha256(repr(told).encode()).hexdigest()}"


def _of_one_format(sources: Sequence[RatedRun], format: str | None) -> Sequence[RatedRun]:
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
        return rate(own, anchor=anchor, anchor_rating=anchor_rating, seed=seed)
    except UsageError:
        # The anchor has no battle without a substitution, so this column has no scale.
        return {}


def _decisions(run: Run) -> Mapping[Seat, DecisionTotals]:
    """Those that a policy was asked for. Where a policy met itself and an old file tells no sides, all are p1's."""
    found: dict[Seat, list[TurnStat]] = {"p1": [], "p2": []}
    agents = (run.summary.p1_agent, run.summary.p2_agent)
    for stat in run.turn_stats:
        if stat.agent in agents:
            found[stat.policy or "p1"].append(stat)
    return {seat: DecisionTotals.of(stats) for seat, stats in found.items()}


# ── the page ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RatingSpan:
    """Where a rating lies on the page's scale, in percent of its width."""

    low: float
    high: float
    estimate: float | None


def render_leaderboard(table: Leaderboard, notes: Iterable[Note] = ()) -> str:
    """The leaderboard. The same table gives the same page. `notes` stand beside our own."""
    first, last = _scale(table)
    return page(
        "leaderboard.html.j2",
        table=table,
        names=labels(line.policy for line in table.lines),
        called=labels(name for run in table.runs for name in (run.result.p1, run.result.p2)),
        spans={line.policy: _span(line.as_played, first, last) for line in table.lines},
        ends=(f"{first:,.0f}", f"{last:,.0f}"),
        anchor_at=100 * (table.anchor_rating - first) / (last - first),
        told=told,
        places=places(table.lines),
        cells={pairing: _cell(rate, table.without_luck.get(pairing)) for pairing, rate in table.matrix.items()},
        notes=[*notes, *_notes(table)],
        heads=HEADS,
        cells_of=cells_of,
        interval=EXPLAINED,
        links=[_safe(run.link) for run in table.runs],
        style=template_text("report.css") + template_text("leaderboard.css"),
    )


def told(rating: Rating | None) -> str:
    """`1,120 (1,050 to 1,190)`, or in words what is known where no number fits; of the anchor, that it is."""
    if rating is None:
        return "no battle"
    match rating.known:
        case RatingKnown.RATED:
            assert rating.rating is not None and rating.low is not None and rating.high is not None
            span = f"{rating.low:,.0f} to {rating.high:,.0f}" if rating.low < rating.high else "the anchor"
            return f"{rating.rating:,.0f} {together(f'({span})')}"
        case RatingKnown.ABOVE:
            return f"above {rating.low:,.0f}"
        case RatingKnown.BELOW:
            return f"below {rating.high:,.0f}"
        case RatingKnown.NO_LINK:
            return "unknown"


def cells_of(line: LeaderboardLine) -> tuple[str, ...]:
    """A policy's figures below HEADS: how it did, how far that is its own doing, and what it took."""
    decisions, rate, share = line.decisions, line.scores.win_rate, line.decisions.substituted_share
    return (
        told(line.own_choices),
        "–" if rate is None else percent(rate),
        f"{line.scores.battles:,}",
        "–" if share is None else percent(share, 1 if share else 0),
        "–" if decisions.mean_ms is None else milliseconds(decisions.mean_ms),
        _tokens(decisions, line.battles),
        _cost(decisions, line.battles),
        _cost(decisions, 1),
    )


def _tokens(decisions: DecisionTotals, battles: int) -> str:
    if not decisions.asks or not battles:
        return "–"
    return f"{decisions.tokens / battles:,.0f}" if decisions.tokens else "unknown"


def _cost(decisions: DecisionTotals, number: int) -> str:
    """What one of `number` battles cost; a dash where no model was asked."""
    if not decisions.asks or not number:
        return "–"
    if decisions.asks_without_cost == decisions.asks:
        return "unknown"
    return usd(decisions.cost_usd / number) + (" or more" if decisions.asks_without_cost else "")


def places(lines: Sequence[LeaderboardLine]) -> dict[str, str]:
    """Policy → `1`, or `2=` where others have the same rank."""
    ranks = [line.as_played.rank for line in lines]
    shown = {rank: f"{rank}{'=' if ranks.count(rank) > 1 else ''}" for rank in ranks} | {None: "–"}
    return {line.policy: shown[line.as_played.rank] for line in lines}


def _scale(table: Leaderboard) -> tuple[float, float]:
    ends = [end for line in table.lines for end in (line.as_played.low, line.as_played.high) if end is not None]
    ends.append(table.anchor_rating)
    return min(ends) - _EDGE_POINTS, max(ends) + _EDGE_POINTS


def _span(rating: Rating, first: float, last: float) -> RatingSpan | None:
    """None where nothing is known. An end that nothing bounds runs to the edge."""
    if rating.known is RatingKnown.NO_LINK:
        return None

    def at(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else 100 * (value - first) / (last - first)

    estimate = None if rating.rating is None else at(rating.rating, 0)
    return RatingSpan(at(rating.low, 0), at(rating.high, 100), estimate)


def _cell(rate: WinRate, without: WithoutLuck | None) -> tuple[str, str, str, str]:
    """What a cell of the matrix shows, what stands behind it, whether it is clear, and the same without luck."""
    low, high = rate.interval
    clear = "won" if low > 0.5 else "lost" if high < 0.5 else ""
    # Without the luck a win rate may come out a little beyond its ends.
    shown = (
        without and f"without luck {percent(min(1.0, max(0.0, without.estimate)))}, {percent_range(*without.interval)}"
    )
    return percent(rate.estimate), f"{percent_range(low, high)}, {rate.battles:,}", clear, shown or ""


def _notes(table: Leaderboard) -> Iterator[Note]:
    """What a reader must know beside the numbers."""
    names = labels(line.policy for line in table.lines)
    anchor = names[table.anchor]
    for line in table.lines:
        name = names[line.policy]
        if line.as_played.known in _WHY_NO_NUMBER:
            why = _WHY_NO_NUMBER[line.as_played.known].replace("{anchor}", anchor)
            yield Note(f"{name}: {told(line.as_played)}, for {why}.", warns=False)
        share = line.decisions.substituted_share
        if share is not None and share > 0.05:
            yield Note(f"{name}: {percent(share)} of its decisions were its substitute's; see own choices.")
    broken = sum(run.result.broken for run in table.runs)
    if broken:
        yield Note(f"{count(broken, 'battle')} broke and {'counts' if broken == 1 else 'count'} for neither.")
    if table.without_luck:
        yield Note("Ratings are as played; the luck is taken out of the win rates of pairs, below.", warns=False)
    if table.repeated:
        yield Note(f"Given more than once, and counted once: {count(table.repeated, 'run')}.", warns=False)


def _safe(link: str | None) -> str | None:
    """A link that leads to a page, and runs nothing."""
    return link if link and urlsplit(link).scheme in ("", "http", "https") else None


# ── a tournament's ──────────────────────────────────────────────────────────────────────────────────


def write_leaderboard(payload: WriteLeaderboard, context: Context) -> None:
    """Write a tournament's table and page from its results, or why there is none. Safe to repeat."""
    tournaments = Tournaments(context.store)
    seen: tuple[Ended, ...] | None = None
    while seen != (now := tournaments.results(payload.tournament_id)):
        seen = now
        suite = tournaments.request(payload.tournament_id)
        try:
            found = tournament_table(suite, now, "../../matchups", "report")
        except UsageError as error:
            missing = RatingTable(revision=revision(now), missing=error.message)
            tournaments.write_table(payload.tournament_id, missing, None)
            continue
        kept = RatingTable(
            revision=revision(now),
            anchor=found.anchor,
            anchor_rating=found.anchor_rating,
            lines=tuple(map(_kept_line, found.lines)),
        )
        tournaments.write_table(payload.tournament_id, kept, render_leaderboard(found, notes(suite, now)))


def give_up_write_leaderboard(payload: WriteLeaderboard, context: Context, reason: str) -> None:
    """Record that the table could not be made, in its place."""
    tournaments = Tournaments(context.store)
    now = revision(tournaments.results(payload.tournament_id))
    missing = RatingTable(revision=now, missing=f"the leaderboard could not be written: {reason}")
    tournaments.write_table(payload.tournament_id, missing, None)


def tournament_table(suite: Suite, results: Sequence[Ended], matchups: str, report: str) -> Leaderboard:
    """The table, linked to `matchups`/ID/`report`. Raises UsageError where there is nothing to rate.

    Its anchor is, of the policies that have played, `heuristic`, or one that the suite calls an anchor, or the first.
    """
    sources = [RatedRun(each.result, f"{matchups}/{each.result.matchup_id}/{report}") for each in results]
    met = {name for each in sources if each.result.as_played.battles for name in (each.result.p1, each.result.p2)}
    wanted = (ANCHOR, *suite.anchors, *sorted(suite.policies))
    return table(sources, anchor=next((name for name in wanted if name in met), ANCHOR))


def notes(suite: Suite, results: Sequence[Ended]) -> Iterator[Note]:
    """What a reader of a tournament's leaderboard must know: what was spent, and what did not end as it should."""
    played = sum(each.result.battles for each in results)
    money = ""
    if suite.budget.cost_usd is not None or suite.asks_a_model(suite.policies):
        costs = [each.result.cost_usd for each in results]
        known = sum(cost for cost in costs if cost is not None)
        of = f" of {usd(suite.budget.cost_usd)}" if suite.budget.cost_usd else ""
        money = f", and cost {usd(known)}{' or more' if None in costs else ''}{of}"
    yield Note(f"{played:,} of {count(suite.budget.battles, 'battle')} were played{money}.", warns=False)
    for each in results:
        if each.how is not How.FINISHED:
            who = " vs ".join(labels((each.result.p1, each.result.p2)).values())
            yield Note(one_line(f"{who} was {_ENDED[each.how]}: {each.why}", _MAX_NOTE_CHARACTERS))


def _kept_line(line: LeaderboardLine) -> TableLine:
    decisions = line.decisions
    cost = decisions.cost_usd if decisions.cost_known else None
    return TableLine(
        policy=line.policy,
        as_played=line.as_played,
        own_choices=line.own_choices,
        battles=line.scores.battles,
        win_rate=line.scores.win_rate,
        decisions=decisions.asked,
        substituted=decisions.substituted,
        mean_ms=decisions.mean_ms,
        cost_usd=cost,
        cost_usd_per_decision=cost / decisions.asked if cost is not None and decisions.asked else None,
        cost_usd_per_battle=cost / line.battles if cost is not None and line.battles else None,
    )
