"""`alphastral bench`: the matchups of a suite, played once, and their table.

A suite has a `title`, defaults for all matchups (`battles`, `format`, `seed`, `concurrency`, `pairs`), a budget
(`max_cost_usd`, `max_tokens`), policies with their options (`[policies.NAME]`), and a `[[matchup]]` for each matchup
with `p1`, `p2`, and defaults of its own. What was played is kept in a folder that is a store, so that no model is paid
twice; a matchup that was changed is another one, and played anew.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from pydantic import Field, ValidationError
from rich.markup import escape

from deploy.cli.options import LogLevel, MaxCost, MaxTokens, policies_of, read_toml
from deploy.cli.play import PLAYING, drain, tell
from deploy.cli.show import out, result
from services.arena.checks import check_matchup, pinned
from shared.document import Strict
from shared.errors import Conflict, UsageError, first_fault
from shared.jobs.limits import LocalLimiter
from shared.matchups import Matchups
from shared.records import MAX_BATTLES, MAX_CONCURRENCY, MatchupRequest, Run
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging, one_line, percent, percent_range, usd

if TYPE_CHECKING:
    from services.arena.policies import Connect


class _MatchupEntry(Strict):
    p1: str
    p2: str
    battles: int | None = Field(default=None, ge=1, le=MAX_BATTLES)
    format: str | None = None
    seed: int | None = Field(default=None, ge=0)


class _BenchFile(Strict):
    title: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    battles: int = Field(default=100, ge=1, le=MAX_BATTLES)
    format: str = "gen9randombattle"
    seed: int = Field(default=1, ge=0)
    concurrency: int = Field(default=8, ge=1, le=MAX_CONCURRENCY)
    pairs: bool = True
    max_cost_usd: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    policies: dict[str, dict[str, str | int | float | bool]] = Field(default_factory=dict)
    matchup: tuple[_MatchupEntry, ...] = Field(min_length=1)


class BenchMatchup(NamedTuple):
    """A matchup of a suite: what it is called in the table, under which id it is kept, and what is played."""

    label: str
    matchup_id: str
    request: MatchupRequest


class Bench(NamedTuple):
    """A suite, its policies resolved."""

    rows: tuple[BenchMatchup, ...]
    max_cost_usd: float | None
    max_tokens: int | None


def read_bench(path: Path, pin: Callable[[MatchupRequest], MatchupRequest] = lambda request: request) -> Bench:
    """The suite in a file, each matchup as `pin` makes it. Raises UsageError, naming the file and what is wrong."""
    where = f"the suite {path}"
    try:
        written = _BenchFile.model_validate(read_toml(path, "the suite"))
    except ValidationError as error:
        at, why = first_fault(error)
        raise UsageError(f"{where}: {at}: {why}") from error
    named = policies_of(written.policies, where)
    defaults = written.model_dump(include={"battles", "format", "seed", "pairs", "concurrency"})
    rows = []
    for matchup in written.matchup:
        asked = defaults | matchup.model_dump(exclude_none=True)
        for side, name in (("p1", "name1"), ("p2", "name2")):
            if asked[side] in named:
                asked |= {side: named[asked[side]], name: asked[side][:40]}
        request = MatchupRequest(**asked)
        try:
            check_matchup(request)
            request = pin(request)
        except UsageError as error:
            raise UsageError(f"{where}: {error.message}") from error
        rows.append(BenchMatchup(f"{matchup.p1} vs {matchup.p2}", _id(written.title, request), request))
    if len({row.matchup_id for row in rows}) < len(rows):
        raise UsageError(f"{where}: a matchup stands there twice; give one of the two another seed")
    return Bench(tuple(rows), written.max_cost_usd, written.max_tokens)


def _id(title: str, request: MatchupRequest) -> str:
    """Of what is played and nothing else, so that a changed matchup is another one, and a changed budget is not."""
    played = request.model_dump_json(exclude={"concurrency", "max_cost_usd", "max_tokens", "name1", "name2"})
    return f"{title}-{hashlib.sha256(played.encode()).hexdigest()[:12]}"


# ── playing it ──────────────────────────────────────────────────────────────────────────────────────


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
    from deploy.serving import local_models
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
    """Play what is not played yet, keep runs and reports in `folder`, print the table; whether everything is played, by
    the policies themselves.

    The budget is the suite's unless another is given, and counts what was spent before, too.
    """
    from services.arena.budget import MatchupBudget, Spent
    from services.arena.matchups import Progress

    store, matchups = Store(str(folder)), Matchups(Store(str(folder)))
    labels = {row.matchup_id: one_line(row.label, 60) for row in suite.rows}
    ended: str | None = None

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
        if drain(store, settings, jobs, lambda id, _: labels[id], routes=PLAYING, connect=connect, budget=budget):
            ended = "it was interrupted"
        elif budget.stopped is not None:
            ended = budget.stopped
            tell(f"The bench ends here: {ended}.")
    runs = [_sum_up(row, matchups) for row in suite.rows]
    for line in table(suite, runs):
        out.print(escape(line))
    out.print(escape(f"Runs and reports: {folder / 'matchups'}"))
    matchups_told = [
        {"label": row.label, "matchup": row.matchup_id, "summary": run.summary}
        for row, run in zip(suite.rows, runs, strict=True)
    ]
    result({"matchups": matchups_told, "folder": folder / "matchups"})
    return not any(run.summary.not_played or run.summary.played_by_substitutes for run in runs)


def _sum_up(row: BenchMatchup, matchups: Matchups) -> Run:
    from services.reporter.report import write_results
    from services.reporter.run import run_of

    return (write_results if matchups.recorded(row.matchup_id) else run_of)(matchups, row.matchup_id)


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
    return "–" if interval is None else percent_range(*interval)
