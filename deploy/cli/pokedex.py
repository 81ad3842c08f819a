"""`alphastral pokedex`: writes the facts that prompts read, and shows where PokeAPI and the simulator differ."""

import asyncio
import json
import subprocess
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from deploy.cli.show import err, out
from services.scraper.pokeapi import URL, Compared, PokeApi, compare, written
from services.scraper.website import Website
from shared.battle.pokedex import SNAPSHOT
from shared.errors import SimulatorError, UsageError
from shared.settings import Settings
from shared.simulator.node import find_node, find_simulator
from shared.store import replace_file
from shared.text import one_line

_BUILD = SNAPSHOT.with_name("build_pokedex.js")
_PATIENCE_SECONDS = 120


def pokedex(
    source: Annotated[str, typer.Option(help="simulator, which needs no network, or pokeapi.")] = "simulator",
    output: Annotated[
        Path, typer.Option(help="Where the snapshot goes; by default, the one that prompts read.")
    ] = SNAPSHOT,
    cache: Annotated[Path, typer.Option(help="Where PokeAPI's answers are kept.")] = Path("var/pokeapi"),
    url: Annotated[str, typer.Option(help="PokeAPI's address.")] = URL,
    rows: Annotated[int, typer.Option(help="Differences to show.", min=0)] = 200,
) -> None:
    """Write the snapshot of species and moves that prompts read.

    A changed snapshot changes prompts, and with them the contract's hash: models trained on the old one are refused.
    """
    if source not in ("simulator", "pokeapi"):
        raise UsageError(f"unknown source {source!r}: simulator or pokeapi", field="source")
    text = _from_simulator()
    if source == "pokeapi":
        compared = asyncio.run(_from_pokeapi(text, url, cache))
        _show(compared, rows)
        text = written(compared.snapshot)
    before = output.read_text(encoding="utf-8") if output.exists() else None
    if text == before:
        out.print(f"{escape(str(output))} is so already")
        return
    replace_file(output, text.encode())
    out.print(f"{escape(str(output))} is written")


def _from_simulator() -> str:
    """The simulator's own facts: the same bytes for the same simulator."""
    with TemporaryDirectory(prefix="alphastral-pokedex-") as folder:
        made = Path(folder, "pokedex.json")
        command = [find_node(Settings().node), _BUILD, find_simulator(), made]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
        except subprocess.SubprocessError as error:
            said = one_line(getattr(error, "stderr", "") or error)
            raise SimulatorError(f"the simulator's data cannot be read: {said}") from error
        return made.read_text(encoding="utf-8")


async def _from_pokeapi(simulator: str, url: str, cache: Path) -> Compared:
    with Progress(console=err, disable=not err.is_terminal) as bar:
        answers = bar.add_task("PokeAPI's answers", total=None)
        async with Website(url) as site:
            return await compare(
                json.loads(simulator),
                PokeApi(site, cache),
                lambda there, of: bar.update(answers, completed=there, total=of),
            )


def _show(compared: Compared, rows: int) -> None:
    differences = compared.differences
    if rows and differences:
        table = Table("kind", "name", "fact", "simulator", "PokeAPI")
        for one in differences[:rows]:
            table.add_row(*(escape(cell) for cell in (one.kind, one.name, one.fact, one.simulator, one.pokeapi)))
        out.print(table)
    counts = Counter((one.kind, one.fact) for one in differences)
    by_fact = "; ".join(f"{kind} {fact}: {n}" for (kind, fact), n in sorted(counts.items()))
    out.print(f"PokeAPI tells {compared.told} entries; {len(differences)} facts differ from the simulator's. {by_fact}")
    out.print(
        f"{len(compared.untold)} it does not tell by a name of their own, and they stay as the simulator has them."
    )
