"""The commands that look at what was played: `alphastral report`, `verify`, `skew`, `ratings`, `tournament`."""

import asyncio
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
from rich.markup import escape

from deploy.cli.show import out, print_rows, result
from shared.battle.protocol import Seat
from shared.battle.state import BattleState
from shared.choices import read_choices
from shared.errors import UsageError
from shared.records import Run, read_run
from shared.text import configure_logging
from shared.verdicts.ratings import ANCHOR, ANCHOR_RATING

if TYPE_CHECKING:
    from services.arena.policies import View
    from services.reporter.leaderboard import Leaderboard
    from services.scraper.skew import Skew


def report(
    run_file: Annotated[Path, typer.Argument(help="A run file, ours or the original project's.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: reports/<name>.html.")] = None,
) -> None:
    """Write the HTML report of a run file."""
    from deploy.cli.play import write_file
    from services.reporter.report import render

    path = output or Path("reports") / f"{run_file.name.removesuffix('.gz').removesuffix('.json')}.html"
    run = read_run(run_file)
    write_file(path, render(run, read_choices(run_file, run.battles)))
    out.print(escape(str(path)))
    result({"report": path})


def show(
    run_file: Annotated[Path, typer.Argument(help="A run file of ours.")],
    battle: Annotated[int, typer.Option(min=0, help="Which battle, counted from 0.")] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: reports/<name>-N.html.")] = None,
) -> None:
    """Write one battle of a run as a page that plays it, step by step, and opens offline."""
    from deploy.cli.play import write_file
    from services.reporter.films import of_run
    from services.reporter.report import battle_page

    stem = run_file.name.removesuffix(".gz").removesuffix(".json")
    path = output or Path("reports") / f"{stem}-{battle}.html"
    run = read_run(run_file)
    choices = read_choices(run_file, run.battles).get(battle)
    write_file(path, battle_page(of_run(run, battle, choices)))
    out.print(escape(str(path)))
    result({"page": path})


def verify(run_file: Annotated[Path, typer.Argument(help="A run file of ours, played on the simulator.")]) -> None:
    """Play every battle of a run again, without any policy, and make every figure again; exit 1 where they differ."""
    from deploy.cli.verify import verify as verify_run

    configure_logging("ERROR")
    found = verify_run(read_run(run_file))
    result(found)
    if found.difference is None:
        out.print(
            f"{escape(str(run_file))}: {found.battles} battles played again; {found.log_lines:,} log lines, "
            f"{found.decisions:,} decisions and every figure agree."
        )
        return
    out.print(f"{escape(str(run_file))} was changed, or cannot be repeated here. The first difference:")
    out.print(escape(str(found.difference)))
    if found.played_again_with not in (None, found.recorded_with):
        out.print(f"Recorded with simulator {found.recorded_with}, played again with {found.played_again_with}.")
    raise typer.Exit(1)


def skew(run_file: Annotated[Path, typer.Argument(help="A run file of ours, played on the simulator.")]) -> None:
    """Rebuild a run's battles as if they were replays, and compare the prompts with those really served.

    Exit 1 where a prompt from the input log differs, fewer than 98 % of v1's from the public log are identical, or one
    of v2's differs by more than a public log can't hold.
    """
    from services.scraper.skew import tell

    configure_logging("ERROR")
    found = asyncio.run(measured(read_run(run_file)))
    tell(found, lambda sentence: out.print(escape(sentence)))
    result({"holds": found.holds} | {each.name: getattr(found, each.name) for each in fields(found)})
    if not found.holds:
        raise typer.Exit(1)


async def measured(run: Run) -> "Skew":
    """Compare a run's prompts with those that playing it again serves. Raises UsageError where that can't be."""
    from services.arena.play_again import play_again
    from services.reporter.run import records_of
    from services.scraper.skew import measure

    if run.request is None or run.matchup_id is None or run.request.battlefield != "simulator":
        raise UsageError("the skew can be measured of runs of ours alone that were played on the simulator")
    records = [record for record in records_of(run) if record.winner is not None]
    served: dict[tuple[int, Seat], list[BattleState]] = {}

    def watch(index: int, view: "View") -> None:
        served.setdefault((index, view.request["side"]["id"]), []).append(view.state)

    await play_again(run.request, records, matchup_id=run.matchup_id, watch=watch)
    return await measure(records, run.request.format, served)


def ratings(
    run_files: Annotated[list[Path], typer.Argument(help="Run files; a folder stands for all in it.")],
    anchor: Annotated[str, typer.Option(help="The policy that the scale is pinned to.")] = ANCHOR,
    anchor_rating: Annotated[float, typer.Option(help="Where it is pinned.")] = ANCHOR_RATING,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Of runs of several formats: which to rate.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap behind the intervals.")] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the leaderboard there, as HTML.")] = None,
) -> None:
    """Rate the policies of any set of runs, and write the leaderboard."""
    from deploy.cli.play import write_file
    from services.reporter.leaderboard import RatedRun, render_leaderboard, table

    folder = output.parent if output else Path()
    sources = [RatedRun.of(read_run(path), _report_beside(path, folder)) for path in all_runs(run_files)]
    found = table(sources, anchor=anchor, anchor_rating=anchor_rating, format=format_name, seed=seed)
    print_table(found)
    if found.repeated:
        out.print(f"{found.repeated} of the runs were given more than once and count once.")
    if output is not None:
        write_file(output, render_leaderboard(found))
        out.print(f"Leaderboard: {escape(str(output))}")
    result(rated(found, output))


def all_runs(paths: list[Path]) -> list[Path]:
    """The files, and those in the folders, or in the store that one is. Raises UsageError for a folder without any."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
        elif inside := sorted([*path.glob("*.json"), *path.glob("*.json.gz"), *path.glob("matchups/*/run.json.gz")]):
            files += inside
        else:
            raise UsageError(f"there is no run file in the folder {path}")
    return files


def _report_beside(run_file: Path, folder: Path) -> str | None:
    """The report of a run, where it was written as `battle` and `report` write it, as a link from `folder`."""
    stem = run_file.name.removesuffix(".gz").removesuffix(".json")
    places = (f"{stem}.html", "report.html") if stem == "run" else (f"{stem}.html", f"../reports/{stem}.html")
    for report in (run_file.parent / place for place in places):
        if report.is_file():
            return quote(Path(os.path.relpath(report, folder)).as_posix())
    return None


def rated(found: "Leaderboard", page: Path | None) -> dict[str, object]:
    """The table of ratings as `--json` gives it, and where its page is."""
    shown = ("format", "anchor", "anchor_rating", "lines", "repeated")
    return {name: getattr(found, name) for name in shown} | {"leaderboard": page}


def print_table(found: "Leaderboard") -> None:
    """The table of ratings, on standard output."""
    from services.reporter.labels import labels
    from services.reporter.leaderboard import HEADS, cells_of, places, told
    from shared.text import as_name

    place, names = places(found.lines), labels(line.policy for line in found.lines)
    head = ("", "policy", "as played", *map(str.lower, HEADS))
    rows = [(place[each.policy], names[each.policy], told(each.as_played), *cells_of(each)) for each in found.lines]
    print_rows([head, *rows])
    for line in found.lines:
        if names[line.policy] != line.policy:
            out.print(escape(f"{names[line.policy]} is {as_name(line.policy, 300)}"))
