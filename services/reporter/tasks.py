"""The reporter's jobs: a matchup's run and report, a tournament's table and leaderboard, from what the store holds."""

from collections.abc import Iterator, Sequence

from services.reporter.leaderboard import Leaderboard, LeaderboardLine, RatedRun, render_leaderboard, table
from services.reporter.report import render
from services.reporter.run import assemble
from shared.errors import UsageError
from shared.jobs import Context
from shared.jobs.routes import WriteLeaderboard, WriteReport
from shared.matchups import Matchups
from shared.records import Run
from shared.text import count, usd
from shared.tournaments import Ended, How, MatchupResult, RatingTable, Strength, Suite, TableLine, Tournaments, revision
from shared.verdicts.ratings import ANCHOR, Rating


def write_report(payload: WriteReport, context: Context) -> None:
    """Write run and report. Safe to repeat, and whatever is recorded meanwhile is in them at the end."""
    matchups = Matchups(context.store)
    seen = None
    while seen != (now := _seen(matchups, payload.matchup_id)):
        # Looked at again afterwards, so that a slow report of less never covers a later one of more.
        seen = now
        run = run_of(matchups, payload.matchup_id)
        matchups.write_run(payload.matchup_id, run)
        matchups.write_report(payload.matchup_id, render(run))
        matchups.forget(payload.matchup_id, matchups.request(payload.matchup_id).battles)


def give_up_write_report(payload: WriteReport, context: Context, reason: str) -> None:
    """Record that the report could not be written, in the place after the last battle."""
    matchups = Matchups(context.store)
    request = matchups.request(payload.matchup_id)
    matchups.fail(payload.matchup_id, f"the report could not be written: {reason}", request.battles)


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
        page = render_leaderboard(found, tuple(notes(suite, now)))
        tournaments.write_table(payload.tournament_id, _kept(found, revision(now)), page)


def give_up_write_leaderboard(payload: WriteLeaderboard, context: Context, reason: str) -> None:
    """Record that the table could not be made, in its place."""
    tournaments = Tournaments(context.store)
    now = revision(tournaments.results(payload.tournament_id))
    missing = RatingTable(revision=now, missing=f"the leaderboard could not be written: {reason}")
    tournaments.write_table(payload.tournament_id, missing, None)


def run_of(matchups: Matchups, matchup_id: str) -> Run:
    """The run of what is recorded of a matchup."""
    request = matchups.request(matchup_id)
    failures = matchups.failures(matchup_id)
    failures.pop(request.battles, None)
    cancelled = matchups.cancelled(matchup_id)
    return assemble(
        request,
        matchups.battles(matchup_id),
        matchup_id=matchup_id,
        created_at=matchups.created_at(matchup_id).isoformat(timespec="seconds"),
        cancelled=cancelled == "",
        stopped=cancelled or None,
        failures=dict.fromkeys(failures.values()),
    )


def tournament_table(suite: Suite, results: Sequence[Ended], matchups: str, report: str) -> Leaderboard:
    """The table, linked to `matchups`/ID/`report`. Raises UsageError where there is nothing to rate."""
    sources = [RatedRun(each.result, f"{matchups}/{each.result.matchup_id}/{report}") for each in results]
    return table(sources, anchor=_anchor(suite, [each.result for each in results]))


def notes(suite: Suite, results: Sequence[Ended]) -> Iterator[str]:
    """What a reader of a tournament's leaderboard must know: what was spent, and what did not end as it should."""
    played = sum(each.result.battles for each in results)
    money = ""
    if suite.budget.cost_usd is not None or suite.asks_a_model(suite.policies):
        costs = [each.result.cost_usd for each in results]
        known = sum(cost for cost in costs if cost is not None)
        of = f" of {usd(suite.budget.cost_usd)}" if suite.budget.cost_usd else ""
        money = f", and cost {usd(known)}{' or more' if None in costs else ''}{of}"
    yield f"{count(played, 'battle')} of {suite.budget.battles:,} were played{money}."
    for each in results:
        if each.how is not How.FINISHED:
            yield f"{each.result.p1} vs {each.result.p2} was {_ENDED[each.how]}: {each.why}"


_ENDED = {How.FAILED: "not played to its end", How.CANCELLED: "cancelled", How.STOPPED: "ended early"}


def _anchor(suite: Suite, results: Sequence[MatchupResult]) -> str:
    """`heuristic`, or else a policy that the suite calls an anchor, or the first by name: of those that have played."""
    met = {name for result in results if result.as_played.battles for name in (result.p1, result.p2)}
    wanted = (ANCHOR, *suite.anchors, *sorted(suite.policies))
    return next((name for name in wanted if name in met), ANCHOR)


def _kept(found: Leaderboard, of: str) -> RatingTable:
    lines = tuple(_line(line) for line in found.lines)
    return RatingTable(revision=of, anchor=found.anchor, anchor_rating=found.anchor_rating, lines=lines)


def _line(line: LeaderboardLine) -> TableLine:
    decisions = line.decisions
    cost = decisions.cost_usd if decisions.cost_known else None
    return TableLine(
        policy=line.policy,
        as_played=_strength(line.as_played),
        own_choices=_strength(line.own_choices) if line.own_choices else None,
        battles=line.as_played.battles,
        win_rate=line.as_played.win_rate,
        decisions=decisions.asked,
        substituted=decisions.substituted,
        mean_ms=decisions.mean_ms,
        cost_usd=cost,
        cost_usd_per_decision=cost / decisions.asked if cost is not None and decisions.asked else None,
        cost_usd_per_battle=cost / line.battles if cost is not None and line.battles else None,
    )


def _strength(rating: Rating) -> Strength:
    return Strength(
        known=rating.known.value, rank=rating.rank, rating=rating.estimate, low=rating.low, high=rating.high
    )


def _seen(matchups: Matchups, matchup_id: str) -> tuple[int, int, bool]:
    battles = matchups.request(matchup_id).battles
    failed_shards = sum(start != battles for start in matchups.failures(matchup_id))
    return len(matchups.recorded(matchup_id)), failed_shards, matchups.cancelled(matchup_id) is not None
