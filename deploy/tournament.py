"""A tournament in one process: plays what is most worth playing until the budget is used up, and can be resumed.

    FOLDER/runs/NNN.json    one run a matchup, written whole when it has ended
    FOLDER/runs/NNN.html    its report
    FOLDER/leaderboard.html

What was interrupted in mid-matchup is played again from its seeds, so it comes out the same.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from deploy.show import Advance
from deploy.single import play_here, write_file
from services.arena.tournament import Suite, next_matchup
from services.reporter.leaderboard import render_leaderboard
from services.reporter.report import render
from services.reporter.standings import Source, Table, meeting_of, table
from shared.errors import AlphaStralError, Conflict
from shared.records import MatchupRequest, Run, read_run
from shared.settings import Settings
from shared.verdicts.ratings import ANCHOR


def play_tournament(
    suite: Suite,
    folder: Path,
    *,
    settings: Settings,
    advance: Advance,
    tell: Callable[[str], None],
    play: Callable[..., Run] | None = None,
) -> tuple[Table, bool]:
    """Play on from what is in `folder`; the table, and whether the budget is used up.

    False where Ctrl-C ended it before. Raises Conflict when the folder holds another tournament.
    """
    runs: list[Run] = []
    ended = True
    while (request := next_matchup(suite, [meeting_of(run) for run in runs])) is not None:
        path = folder / "runs" / f"{len(runs):03d}.json"
        matchup_id = f"{suite.id}-{len(runs):03d}"
        if path.is_file():
            run = _found(path, request)
        else:
            tell(f"matchup {len(runs) + 1} of {suite.matchups}: {request.p1} vs {request.p2}")
            run = (play or play_matchup)(request, matchup_id, settings, advance, tell)
            if run.cancelled:
                ended = False
                break
            _keep(run, path)
        runs.append(run)
    if not runs:
        raise AlphaStralError("interrupted before the first matchup had ended")
    anchor = ANCHOR if ANCHOR in suite.policies else (suite.anchors or tuple(sorted(suite.policies)))[0]
    sources = [Source(run, f"runs/{number:03d}.html") for number, run in enumerate(runs)]
    found = table(sources, anchor=anchor)
    write_file(folder / "leaderboard.html", render_leaderboard(found))
    return found, ended


def play_matchup(
    request: MatchupRequest, matchup_id: str, settings: Settings, advance: Advance, tell: Callable[[str], None]
) -> Run:
    """Play one matchup here."""
    return asyncio.run(play_here(request, advance=advance, tell=tell, settings=settings, matchup_id=matchup_id))


def _found(path: Path, request: MatchupRequest) -> Run:
    run = read_run(path)
    if run.request is None or run.request.model_copy(update={"concurrency": request.concurrency}) != request:
        raise Conflict(f"{path} is no matchup of this tournament; choose another folder with --output")
    return run


def _keep(run: Run, path: Path) -> None:
    """The run last, and by a rename: where it stands, the matchup is whole."""
    write_file(path.with_suffix(".html"), render(run))
    unfinished = path.with_suffix(".part")
    write_file(unfinished, run.model_dump_json(indent=1))
    unfinished.replace(path)
