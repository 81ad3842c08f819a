"""Many matchups in a folder of their own: `alphastral tournament` and `alphastral bench`.

    FOLDER/matchups/ID/{run.json.gz,report.html,…}
    FOLDER/tournaments/ID/…, FOLDER/leaderboard.html     a tournament's

The folder is a store, and what is played next in a tournament is what the queue would play. So what was interrupted,
or killed, goes on with the very battle that was missing, and no model is paid twice. A bench whose matchups changed
plays the changed ones anew.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from deploy.cli.judge import print_table
from deploy.cli.options import LogLevel, MaxCost, MaxTokens, PolicyFile
from deploy.cli.play import PLAYING, drain, jobs_of, tell, write_file
from deploy.cli.queue import api_client
from deploy.cli.show import err, out
from deploy.cli.suites import Bench, BenchMatchup, read_bench, read_policies, read_tournament
from shared.errors import Conflict
from shared.jobs.limits import LocalLimiter
from shared.jobs.routes import ROUTES
from shared.matchups import Matchups
from shared.records import MatchupRequest, Run
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging, one_line, percent, usd
from shared.tournaments import NewTournament, Suite, Tournaments

if TYPE_CHECKING:
    from services.arena.policies import Connect
    from services.reporter.leaderboard import Leaderboard


def tournament(
    suite_file: Annotated[Path, typer.Argument(help="A TOML file: policies, budget; see docs/verdicts.md.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Its folder; default: tournaments/<name of the suite>.")
    ] = None,
    policies: PolicyFile = None,
    enqueue: Annotated[bool, typer.Option("--enqueue", help="Ask the API for it instead, and show its id.")] = False,
) -> None:
    """Let many policies meet, those first whose matchup tells most, until the budget is used up; again to go on."""
    from services.arena.policies.language_model import connector
    from shared.text import one_line

    configure_logging("WARNING")
    settings = Settings()
    suite = read_tournament(suite_file, read_policies(policies) if policies else None)
    if enqueue:
        with api_client() as client:
            told = client.enqueue_tournament(NewTournament.model_validate(suite.model_dump()))
        out.print(told.id)
        err.print(escape(f"how it stands: {client.url}{told.links.self}, its page: {told.links.self}/leaderboard"))
        return
    folder = output or Path("tournaments") / suite_file.stem
    played = play_tournament(suite, folder, settings=settings, connect=connector(settings, LocalLimiter()))
    print_table(played.table)
    for note in played.notes:
        out.print(escape(one_line(note, 400)))
    out.print(f"Leaderboard: {escape(str(folder / 'leaderboard.html'))}")
    if not played.over:
        err.print("interrupted; the same command goes on from here")
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class PlayedTournament:
    """What a tournament came to."""

    table: "Leaderboard"
    notes: tuple[str, ...]
    """What was spent, and what did not end as it should: a sentence each."""
    over: bool
    """False where Ctrl-C ended it before."""


def play_tournament(suite: Suite, folder: Path, *, settings: Settings, connect: "Connect") -> PlayedTournament:
    """Play on from what is in `folder`.

    Raises Conflict when the folder holds another tournament, and UsageError where there is nothing to rate yet.
    """
    from services.arena.tournaments import TournamentProgress, go_on
    from services.reporter.leaderboard import render_leaderboard
    from services.reporter.tasks import notes, tournament_table

    store = Store(str(folder))
    tournament_id = _open(store, suite, folder, settings)
    suite = Tournaments(store).request(tournament_id)
    # A matchup was killed when all was played and nothing written, say, or its model's server was away.
    left = [job for matchup_id in Tournaments(store).matchup_ids(tournament_id) for job in jobs_of(store, matchup_id)]

    def label(matchup_id: str, request: MatchupRequest) -> str:
        number = int(matchup_id.rpartition("-")[2]) + 1
        return one_line(f"matchup {number} of {suite.matchups}: {request.p1} vs {request.p2}", 100)

    left.append(TournamentProgress.of(store, tournament_id).look())
    # The page lies in the folder, and so is written here.
    routes = {name: route for name, route in ROUTES.items() if name != "write_leaderboard"}
    drain(store, settings, left, label, routes=routes, connect=connect)
    progress = go_on(store, tournament_id)
    table = tournament_table(suite, progress.results, "matchups", "report.html")
    said = tuple(notes(suite, progress.results))
    write_file(folder / "leaderboard.html", render_leaderboard(table, said))
    return PlayedTournament(table, said, not progress.open)


def _open(store: Store, suite: Suite, folder: Path, settings: Settings) -> str:
    """The id of the tournament in this folder, made if there is none, with the budget that is asked for now."""
    from services.arena.tournaments import pinned_suite

    tournaments = Tournaments(store)
    there = tournaments.ids()
    before = tournaments.request(there[0]) if there else None
    suite = pinned_suite(suite, Registry(Store(settings.store)), settings, before=before)
    if before and before.id != suite.id:
        raise Conflict(f"{folder} holds another tournament; choose another folder with --output")
    tournaments.replace(suite.id, suite)
    return suite.id


# ── bench ───────────────────────────────────────────────────────────────────────────────────────────


def bench(
    suite: Annotated[Path, typer.Argument(help="A suite: a list of matchups, such as suites/published.toml.")],
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    store: Annotated[Path, typer.Option(help="Where battles are kept, so that a bench can be resumed.")] = Path(
        "var/bench"
    ),
    retry_broken: Annotated[bool, typer.Option(help="Play battles again that broke.")] = False,
    log_level: LogLevel = None,
) -> None:
    """Play a suite's matchups, those battles that are not played yet, and print its table."""
    from deploy.local_models import local_models
    from services.arena.checks import pinned
    from services.arena.policies.language_model import connector

    configure_logging(log_level or "WARNING")
    settings = Settings()
    asked = read_bench(suite, lambda request: pinned(request, Registry(Store(settings.store)), settings))
    policies = [policy for row in asked.rows for policy in (row.request.p1, row.request.p2)]
    with local_models(policies, tell) as reach:
        is_whole = play_suite(
            asked,
            store,
            settings,
            max_cost=max_cost,
            max_tokens=max_tokens,
            retry_broken=retry_broken,
            connect=reach(connector(settings, LocalLimiter())),
        )
    if not is_whole:
        raise typer.Exit(1)


def play_suite(
    suite: Bench,
    folder: Path,
    settings: Settings,
    *,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    retry_broken: bool = False,
    connect: "Connect | None" = None,
) -> bool:
    """Play what is not played yet, keep runs and reports in `folder`, print the table; whether everything is played.

    The budget is the suite's unless another is given, and counts what was spent before, too.
    """
    from services.arena.budget import MatchupBudget, Spent
    from services.arena.matchups import Progress

    store, matchups = Store(str(folder)), Matchups(Store(str(folder)))
    labels = {row.matchup_id: one_line(row.label, 60) for row in suite.rows}
    ended: str | None = None

    def label(matchup_id: str, request: MatchupRequest) -> str:
        return labels[matchup_id]

    for row in suite.rows:
        with suppress(Conflict):  # The same battles, asked for with another concurrency.
            matchups.create(row.matchup_id, row.request)
        if ended is not None:
            continue
        if retry_broken:
            matchups.forget_broken(row.matchup_id)
        matchups.forget(row.matchup_id)
        progress = Progress.of(store, row.matchup_id)
        if progress.settled:
            continue
        budget = MatchupBudget(
            max_cost or suite.max_cost_usd,
            max_tokens or suite.max_tokens,
            elsewhere=Spent.in_all(
                record for other in suite.rows if other is not row for record in matchups.battles(other.matchup_id)
            ),
        )
        budget.note(matchups.battles(row.matchup_id))
        jobs = [progress.shard(range(row.request.battles))]
        if drain(store, settings, jobs, label, routes=PLAYING, connect=connect, budget=budget):
            ended = "it was interrupted"
        elif budget.stopped is not None:
            ended = budget.stopped
            tell(f"The bench ends here: {ended}.")
    runs = [_sum_up(row, matchups) for row in suite.rows]
    for line in table(suite, runs):
        out.print(escape(line))
    out.print(escape(f"Runs and reports: {folder / 'matchups'}"))
    return not any(run.summary.not_played for run in runs)


def _sum_up(row: BenchMatchup, matchups: Matchups) -> Run:
    from services.reporter.report import render
    from services.reporter.tasks import run_of

    run = run_of(matchups, row.matchup_id)
    if run.battles:
        matchups.write_run(row.matchup_id, run)
        matchups.write_report(row.matchup_id, render(run))
    return run


def table(suite: Bench, runs: Iterable[Run]) -> list[str]:
    """The table of the project that asked this question first, with what it takes to trust it."""
    lines = [
        "| Matchup | Battles | Win rate | 95 % interval | Substituted | Without substitutions | Broken | Cost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, run in zip(suite.rows, runs, strict=True):
        summary, own = run.summary, run.summary.unsubstituted
        cells = (
            one_line(row.label, 80),
            f"{summary.n_games} of {row.request.battles}",
            _rate(summary.p1_win_rate),
            _interval(summary.p1_win_rate_interval),
            f"{_share(summary.p1_fallback_rate)} / {_share(summary.p2_fallback_rate)}",
            f"{_rate(own.p1_win_rate)} of {own.n_games}" if own else "unknown",
            str(summary.broken),
            _cost(run),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _cost(run: Run) -> str:
    costs = [asking for asking in (run.summary.p1_asking, run.summary.p2_asking) if asking is not None]
    known = [asking.cost_usd for asking in costs if asking.cost_usd is not None]
    if not costs:
        return usd(0)
    if not known:
        return "unknown"
    return usd(sum(known)) + (" or more" if any(asking.asks_without_cost for asking in costs) else "")


def _rate(rate: float | None) -> str:
    return "–" if rate is None else percent(rate)


def _share(rate: float | None) -> str:
    return "–" if rate is None else percent(rate, 1 if rate else 0)


def _interval(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"
