"""What the command line shows: progress while battles are played, and the verdict."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from services.arena.views import MatchupStatus
from services.reporter.figures import Figures
from services.reporter.sections import policy_table
from services.reporter.verdict import verdict
from shared.records import MatchupRequest, Run
from shared.text import count, duration, pace, percent, percent_range, usd
from shared.verdicts.scores import Tally
from shared.verdicts.sequential import Decided, SequentialTest, probably_left
from shared.work import ENDED

if TYPE_CHECKING:
    from services.trainer.trainings import TrainingStanding

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def result(found: Any) -> None:
    """What a command came to, alone on standard output where `--json` asks for it: `out` then is standard error."""
    if out.stderr:
        typer.echo(to_json(found, indent=2, inf_nan_mode="null"))


@contextmanager
def interrupts_told(sentence: str = "interrupted; the same command goes on from here") -> Iterator[None]:
    """Ctrl-C ends the command with this sentence and exit code 1."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(sentence)
        raise typer.Exit(1) from None


class Advance(Protocol):
    """Called whenever the tally has changed."""

    def __call__(self, tally: Tally, test: SequentialTest | None = None, cost_usd: float | None = None) -> None:
        """Show it. `cost_usd` is what was spent so far; None where nobody asked a model, or its price is unknown."""
        ...


class _Show(Protocol):
    """Called whenever something was done."""

    def __call__(self, done: int, total: float | None, standing: str, *, step: int, line: str) -> None:
        """Show it; where standard error is no terminal, the line, once for each step."""
        ...


@contextmanager
def _bar(label: str, total: int | None, *times: ProgressColumn, shown: int = 0) -> Iterator[_Show]:
    """A progress bar on standard error, with how things stand; a line now and then where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn())
    standing_column = TextColumn("{task.fields[standing]}")
    with Progress(*columns, standing_column, *times, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(escape(label), total=total, standing="")

        def show(done: int, total: float | None, standing: str, *, step: int, line: str) -> None:
            nonlocal shown
            bar.update(task, completed=done, total=total, standing=standing)
            if not err.is_terminal and step > shown:
                shown = step
                err.print(f"{escape(label)}: {line}")

        yield show


@contextmanager
def progress(label: str, battles: int) -> Iterator[Advance]:
    """How battles stand: a line every tenth of the way, or every look."""
    began = monotonic()
    with _bar(label, battles, TimeElapsedColumn(), TimeRemainingColumn()) as show:

        def advance(tally: Tally, test: SequentialTest | None = None, cost_usd: float | None = None) -> None:
            standing = f"p1 won {tally.p1_wins}, p2 won {tally.p2_wins}"
            standing += f", {tally.draws} drawn" * bool(tally.draws) + f", {tally.broken} broken" * bool(tally.broken)
            total = battles
            if test is not None:
                standing += f" · {ratios(test)}{_left(test, tally.played, monotonic() - began, cost_usd)}"
                total = min(battles, max(tally.played, test.battles + (test.battles_left or battles)))
            # Where it is played until decided, each look is a step of its own.
            step = test.battles if test is not None else tally.played * 10 // battles
            show(tally.played, total, standing, step=step, line=f"{tally.played} of {battles}, {standing}")

        yield advance


@contextmanager
def steps(label: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """How many of what came of each outcome: a line every tenth of the way."""
    with _bar(label, total, TimeElapsedColumn()) as show:

        def advance(done: int, outcomes: Mapping[str, int], total: int | None = total) -> None:
            told = escape(", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items()))
            line = f"{done:,}{f' of {total:,}' if total else ''}{told and f': {told}'}"
            show(done, total, told, step=done * 10 // (total or 1000), line=line)

        yield advance


@contextmanager
def training_bar(label: str = "steps") -> Iterator[Callable[["TrainingStanding"], None]]:
    """How a training stands, with loss, learning rate, tokens a second and time left: a line every twentieth."""
    with _bar(label, None, shown=-1) as show:

        def tell(standing: "TrainingStanding") -> None:
            figures = (
                f"loss {standing.loss:.3f}" if standing.loss is not None else "",
                f"rate {standing.learning_rate:.1e}" if standing.learning_rate is not None else "",
                f"{standing.tokens_per_second:,.0f} tokens/s" if standing.tokens_per_second else "",
                f"{standing.seconds_left / 60:.1f} min left" if standing.seconds_left is not None else "",
            )
            text = " · ".join(filter(None, figures))
            twentieth = standing.step * 20 // max(1, standing.steps)
            line = f"{standing.step} of {standing.steps} · {text}"
            show(standing.step, standing.steps, text, step=twentieth, line=line)

        yield tell


def _left(test: SequentialTest, played: int, seconds: float, cost_usd: float | None) -> str:
    """What a matchup that is played until decided will probably still take; nothing where nothing tells."""
    left = probably_left(test, played)
    if not left or not played or test.decided is not Decided.UNDECIDED:
        return ""
    money = f", {usd(cost_usd / played * left)}" if cost_usd else ""
    return f" · probably left: {count(left, 'battle')}, {duration(seconds / played * left)}{money}"


def ratios(test: SequentialTest) -> str:
    """The likelihood ratios of a sequential test against their bounds, as logarithms."""
    leads = max(test.up, test.down)
    return (
        f"{test.decided}: {leads:+.1f} of {test.stronger_bound:.1f} for the leader, "
        f"{test.overwhelming:.1f} of {test.overwhelming_bound:.1f} overwhelming, "
        f"{leads:+.1f} of {test.closer_bound:.1f} for closeness"
    )


def describe(request: MatchupRequest) -> str:
    """One line that says what is played."""
    how = "in pairs" if request.pairs and request.battles > 1 else "unpaired"
    seed = f", seed {request.seed}" if request.battlefield == "simulator" else ""
    until = "until decided, at most " if request.until_decided else ""
    battles = f"{until}{count(request.battles, 'battle')}"
    return f"{request.p1} vs {request.p2}, {battles} of {request.format} {how}{seed}"


def print_status(status: MatchupStatus, api: str) -> None:
    """How a matchup stands, on standard output, and where its run and report are."""
    so_far = "" if status.state in ENDED else " so far"
    out.print(f"{status.id}  {escape(describe(status.request))}")
    out.print(f"{status.state}: {status.recorded} of {status.battles} battles recorded, {status.broken} of them broken")
    if status.p1_win_rate is not None and status.p1_win_rate_interval is not None:
        low, high = status.p1_win_rate_interval
        won = "won" if status.state in ENDED else "wins"
        rate = f"{percent(status.p1_win_rate, 1)} ({percent_range(low, high, 1)})"
        out.print(f"{escape(status.p1)} {won} {rate}{so_far}")
    if status.luck is not None:
        low, high = status.luck.p1_win_rate_interval
        out.print(
            f"without luck {status.luck.p1_win_rate:.1%} ({low:.1%} to {high:.1%}), of {status.luck.reviewed} battles"
        )
    if status.sequential_test is not None:
        out.print(f"after {status.sequential_test.battles} battles: {ratios(status.sequential_test)}")
    if status.probably_left is not None and status.probably_left.battles is not None:
        left = status.probably_left
        money = f", {usd(left.cost_usd)}" if left.cost_usd else ""
        out.print(f"probably left: {count(left.battles or 0, 'battle')}, {duration(left.seconds or 0)}{money}")
    out.print(f"substitutions: p1 {status.substitutions.p1}, p2 {status.substitutions.p2}")
    if status.cost_usd:
        out.print(f"cost: {usd(status.cost_usd)}{so_far}")
    if status.stopped:
        out.print(f"ended early: {escape(status.stopped)}")
    for failure in status.failures:
        out.print(f"failed: {escape(failure)}")
    for name, link in (("run:   ", status.links.run), ("report:", status.links.report)):
        if link is not None:
            out.print(f"{name} {escape(api + link)}")
    result(status)


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """A table, its first row the head, on standard output."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        out.print(escape("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()))


def print_result(run: Run, run_path: Path, report_path: Path) -> None:
    """The verdict and where the files are, on standard output."""
    figures = Figures.of(run)
    said = verdict(figures)
    for line in (said.result, said.judgement, said.substitutions, *said.notes, *said.caveats):
        out.print(escape(line))
    table = policy_table(figures)
    print_rows([table.head, *table.rows])
    summary = run.summary
    if summary.total_duration_s:
        out.print(f"Speed: {pace(summary.n_games + summary.broken, summary.total_duration_s)}.")
    out.print(f"Run:    {escape(str(run_path))}")
    out.print(f"Report: {escape(str(report_path))}")
    result({"summary": summary, "run": run_path, "report": report_path})
