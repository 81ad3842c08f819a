"""What the command line shows: progress while battles are played, and the verdict."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from shared.records import Run
from shared.tally import Tally

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Advance(Protocol):
    """Called whenever the tally has changed."""

    def __call__(self, tally: Tally) -> None:
        """Show it."""
        ...


@contextmanager
def progress(label: str, battles: int) -> Iterator[Advance]:
    """A progress bar on standard error, or a line every tenth of the way where that is no terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[standing]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=False,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task(escape(label), total=battles, standing="")
        shown = 0

        def advance(tally: Tally) -> None:
            nonlocal shown
            standing = f"{tally.p1_wins}-{tally.p2_wins}-{tally.draws}" + (f", {tally.broken} broken" if tally.broken else "")
            bar.update(task, completed=tally.played, standing=standing)
            tenth = tally.played * 10 // battles
            if not err.is_terminal and tenth > shown:
                shown = tenth
                err.print(f"{escape(label)}: {tally.played} of {battles} battles, {standing}")

        yield advance


def verdict(run: Run) -> list[str]:
    """The run's result in a few plain lines. Policy names are the user's own text, unescaped."""
    summary = run.summary
    lines: list[str] = []
    if summary.p1_win_rate is None or summary.p1_win_rate_interval is None:
        lines.append("no battle was finished")
    else:
        low, high = summary.p1_win_rate_interval
        lines.append(
            f"{summary.p1_agent} won {summary.p1_wins} of {summary.n_games} battles against {summary.p2_agent}"
            + (f", with {summary.draws} drawn" if summary.draws else "")
            + f": {summary.p1_win_rate:.1%} (95 % interval {low:.1%} to {high:.1%})"
        )
        lines.append(_conclusion(run, low, high))
    lines.append(
        "substitutions: "
        + ", ".join(
            f"{policy} {agent}: {substitutions} of {decisions} decisions"
            for policy, agent, substitutions, decisions in (
                ("p1", summary.p1_agent, summary.p1_substitutions, summary.p1_decisions),
                ("p2", summary.p2_agent, summary.p2_substitutions, summary.p2_decisions),
            )
        )
    )
    if summary.broken or summary.not_played:
        lines.append(f"not counted: {summary.broken} broken and {summary.not_played} not played")
    lines.extend(f"failed: {failure}" for failure in run.failures)
    if summary.total_duration_s:
        lines.append(f"speed: {(summary.n_games + summary.broken) / summary.total_duration_s:.1f} battles a second")
    return lines


def _conclusion(run: Run, low: float, high: float) -> str:
    summary = run.summary
    if low > 0.5:
        return f"{summary.p1_agent} (p1) is the stronger of the two"
    if high < 0.5:
        return f"{summary.p2_agent} (p2) is the stronger of the two"
    return "undecided: the interval contains 50 %, so this could be a coin"


def print_result(run: Run, run_path: Path | str, report_path: Path | str) -> None:
    """The verdict and where the files are, on standard output."""
    for line in verdict(run):
        out.print(escape(line))
    out.print(f"run:    {escape(str(run_path))}")
    out.print(f"report: {escape(str(report_path))}")
