"""A matchup in one process: the same code as the workers, without queue and store."""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from deploy.cli.show import Advance
from services.arena.budget import MatchupBudget, Spent
from services.arena.play import make_battlefield, play
from services.arena.policies import Connect, no_models
from services.reporter.report import render
from services.reporter.run import assemble, file_stem
from shared.errors import AlphaStralError, UsageError
from shared.process import interruptible_in_loop
from shared.records import BattleRecord, MatchupRequest, Run
from shared.settings import Settings
from shared.simulator.showdown_server import ShowdownServer
from shared.store import new_matchup_id
from shared.verdicts.scores import Played, Tally
from shared.verdicts.sequential import Decided, SequentialTest
from shared.verdicts.until import latest_look, look_ranges


async def play_here(
    request: MatchupRequest,
    *,
    advance: Advance,
    tell: Callable[[str], None],
    settings: Settings,
    connect: Connect = no_models,
    showdown_port: int | None = None,
    matchup_id: str | None = None,
) -> Run:
    """Play a matchup and sum it up.

    For battles on a Showdown server, one is started unless the settings name one. `tell` is given where to watch, and
    what an interrupt does.
    The first Ctrl-C lets the battles in play end and keeps what was played; the second leaves at once.
    """
    records: list[BattleRecord] = []
    spent: list[float | None] = []
    watch = _Watch(request)
    budget = MatchupBudget.of(request)
    matchup_id, created_at = matchup_id or new_matchup_id(), datetime.now(UTC).isoformat(timespec="seconds")

    def keep(record: BattleRecord) -> None:
        records.append(record)
        watch.see(record)
        spent.append(Spent.in_battle(record).cost_usd)
        known = None if None in spent else sum(cost for cost in spent if cost)
        advance(Tally.of(record.winner for record in records), watch.test, known)

    with interruptible_in_loop(tell) as interrupted:
        async with AsyncExitStack() as exit_stack:
            if request.battlefield == "server" and settings.showdown_url is None:
                server = await exit_stack.enter_async_context(ShowdownServer(showdown_port, settings.node))
                settings = settings.model_copy(update={"showdown_url": server.url})
                tell(f"A Showdown server runs at {server.page} while this matchup lasts.")
            await play(
                request,
                range(request.battles),
                matchup_id=matchup_id,
                worker="command line",
                on_record=keep,
                stopping=lambda: interrupted.is_set() or watch.decided,
                battlefield=make_battlefield(request, settings, tell),
                connect=connect,
                budget=budget,
            )
    return assemble(
        request,
        records,
        matchup_id=matchup_id,
        created_at=created_at,
        cancelled=interrupted.is_set(),
        stopped=budget.stopped,
    )


def check_output(output: Path | None) -> None:
    """Raises UsageError when `write_result` could not write there: better said before the battles than after."""
    if output is not None and (output.suffix == ".html" or output.is_dir()):
        raise UsageError(f"{output} cannot be the run: it is a .json file, with its report beside it", field="output")
    for folder in (output.parent,) if output else (Path("runs"), Path("reports")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {folder.absolute()}: {error.strerror}", field="output") from error
        if not os.access(folder, os.W_OK):
            raise UsageError(f"cannot write to {folder.absolute()}", field="output")


class _Watch:
    """Looks at a matchup that is played until decided whenever the next stretch of battles is complete."""

    def __init__(self, request: MatchupRequest) -> None:
        self.test: SequentialTest | None = None
        self._request = request
        self._played: dict[int, Played] = {}
        self._stops = [stretch.stop for stretch in look_ranges(request.battles, pairs=request.pairs)]
        self._complete = 0

    @property
    def decided(self) -> bool:
        return self.test is not None and self.test.decided is not Decided.UNDECIDED

    def see(self, record: BattleRecord) -> None:
        """Take in a battle; a look is taken when all before the next stop have ended."""
        if self._request.until_decided is None or self.decided:
            return
        self._played[record.index] = Played(record.pair, record.winner)
        while self._complete in self._played:
            self._complete += 1
            if self._complete in self._stops:
                self.test = latest_look(
                    self._played, self._request.until_decided, most=self._request.battles, pairs=self._request.pairs
                )


def write_result(run: Run, output: Path | None = None) -> tuple[Path, Path]:
    """Write a run and its report; returns both paths.

    Without `output`, to runs/<p1>_vs_<p2>_n<n>_<id>.json and reports/….html in the current folder.
    """
    if output is None:
        if run.request is None or run.matchup_id is None:
            raise AlphaStralError("this run has no request to name its file after; give an output path")
        stem = file_stem(run.request, run.matchup_id)
        output, report_path = Path("runs") / f"{stem}.json", Path("reports") / f"{stem}.html"
    else:
        report_path = output.with_suffix(".html")
    write_file(output, run.model_dump_json(indent=1))
    write_file(report_path, render(run))
    return output, report_path


def write_file(path: Path, text: str) -> None:
    """Write a text file, and the folders it stands in. Raises AlphaStralError when that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AlphaStralError(f"cannot write {path}: {error.strerror}") from error
