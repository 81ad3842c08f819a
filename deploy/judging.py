"""The commands that judge what was played: `alphastral verify`, `alphastral ratings`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.show import out
from shared import logs
from shared.records import read_run


def verify(run_file: Annotated[Path, typer.Argument(help="A run file of ours, played on the simulator.")]) -> None:
    """Play every battle of a run again, without any policy, and make every figure again; exit 1 where they differ."""
    from deploy.verification import verify as verify_run

    logs.configure("ERROR")
    found = verify_run(read_run(run_file))
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
