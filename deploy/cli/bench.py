"""`alphastral bench`: a suite of matchups, played in this process, battle by battle into a store, and its table.

What is played is kept, so a bench that is stopped goes on where it was, and one whose matchups changed plays the
changed ones anew.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from rich.markup import escape

from deploy.cli.show import err, out, progress
from deploy.cli.suites import Bench, BenchMatchup
from services.arena.budget import MatchupBudget, Spent
from services.arena.play import play
from services.arena.policies import Connect
from services.arena.policies.language_model import connector
from services.reporter.report import render
from services.reporter.run import assemble
from shared.errors import Conflict
from shared.jobs.limits import LocalLimiter
from shared.matchups import Matchups
from shared.process import interruptible_in_loop
from shared.records import BattleRecord, Run
from shared.settings import Settings
from shared.store import Store
from shared.text import one_line, percent, usd
from shared.verdicts.scores import Tally


async def play_suite(
    suite: Bench,
    folder: Path,
    settings: Settings,
    *,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    retry_broken: bool = False,
    connect: Connect | None = None,
) -> bool:
    """Play what is not played yet, keep runs and reports in `folder`, print the table; whether everything is played.

    The budget is the suite's unless another is given, and counts what was spent before, too.
    """
    store = Store(str(folder))
    connect = connect or connector(settings, LocalLimiter())
    stopped: str | None = None
    with interruptible_in_loop(lambda sentence: err.print(escape(sentence))) as interrupted:
        for row in suite.rows:
            with suppress(Conflict):  # The same battles, asked for with another concurrency.
                Matchups(store).create(row.matchup_id, row.request)
            if interrupted.is_set() or stopped is not None:
                continue
            budget = MatchupBudget(
                max_cost or suite.max_cost_usd,
                max_tokens or suite.max_tokens,
                elsewhere=Spent.in_all(
                    record
                    for other in suite.rows
                    if other is not row
                    for record in Matchups(store).battles(other.matchup_id)
                ),
            )
            await _play_row(row, store, connect, budget, interrupted.is_set, retry_broken=retry_broken)
            stopped = budget.stopped
    if stopped is not None:
        err.print(escape(f"The bench ends here: {stopped}."))
    runs = [_sum_up(row, store) for row in suite.rows]
    for line in table(suite, runs):
        out.print(escape(line))
    out.print(escape(f"Runs and reports: {folder / 'matchups'}"))
    return not any(run.summary.not_played for run in runs)


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


async def _play_row(
    row: BenchMatchup,
    store: Store,
    connect: Connect,
    budget: MatchupBudget,
    stopping: Callable[[], bool],
    *,
    retry_broken: bool,
) -> None:
    """Play a matchup's missing battles."""
    records = {record.index: record for record in Matchups(store).battles(row.matchup_id)}
    if retry_broken:
        records = {index: record for index, record in records.items() if record.winner is not None}
    missing = [index for index in range(row.request.battles) if index not in records]
    if not missing:
        return
    budget.note(records.values())
    with progress(one_line(row.label, 60), row.request.battles) as advance:

        def keep(record: BattleRecord) -> None:
            records[record.index] = record
            Matchups(store).record(row.matchup_id, record)
            advance(Tally.of(each.winner for each in records.values()))

        await play(
            row.request,
            missing,
            matchup_id=row.matchup_id,
            worker="command line",
            on_record=keep,
            stopping=stopping,
            connect=connect,
            budget=budget,
        )


def _sum_up(row: BenchMatchup, store: Store) -> Run:
    run = assemble(
        row.request,
        Matchups(store).battles(row.matchup_id),
        matchup_id=row.matchup_id,
        created_at=Matchups(store).created_at(row.matchup_id).isoformat(timespec="seconds"),
    )
    if run.battles:
        Matchups(store).write_run(row.matchup_id, run)
        Matchups(store).write_report(row.matchup_id, render(run))
    return run


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
