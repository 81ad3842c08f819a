"""The commands about data: `scrape`, `dataset build`, `dataset check` and `pokedex`."""

import asyncio
import hashlib
import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from deploy.cli.options import check_push, checked
from deploy.cli.play import done_here
from deploy.cli.show import err, interrupts_told, out, result, steps
from services.scraper.datasets import Datasets
from services.scraper.pokeapi import URL, Compared, PokeApi, compare, written
from services.scraper.scrapes import BROKEN, FETCHED, GONE, STORED, RangeProgress, Scrapes
from services.scraper.views import DatasetRequest, NewScrape
from services.scraper.website import Website
from shared.battle.pokedex import SNAPSHOT
from shared.datasets import BATTLES, AdviceFigures, DatasetCard
from shared.errors import SimulatorError, UsageError
from shared.jobs.inline import Inline
from shared.settings import Settings
from shared.simulator import find_node, find_simulator
from shared.store import Store, replace_file
from shared.text import configure_logging, one_line
from shared.work import ask

UNFINISHED = Path("var/dataset")
"""What `dataset build` has begun and not ended."""
Simulators = Annotated[
    list[Path] | None, typer.Option(help="A further build of the simulator, for replays of its commit.")
]
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def scrape(
    format_name: Annotated[str, typer.Option("--format", help="A Showdown format.")] = "gen9randombattle",
    min_rating: Annotated[int | None, typer.Option(help="Of the lower rated player, after the battle.")] = None,
    max_replays: Annotated[int, typer.Option(help="Newest first; those that are stored already count.")] = 1_000,
    since: Annotated[datetime | None, typer.Option(formats=_DATES, help="Uploaded then or later, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DATES, help="Uploaded before then, UTC.")] = None,
    user: Annotated[str | None, typer.Option(help="Only battles of this player.")] = None,
) -> None:
    """Fetch replays into the store, each once; given again, it fetches what is new or was not reached."""
    configure_logging("WARNING")
    settings = Settings()
    asked = checked(
        NewScrape,
        dict(
            format=format_name,
            min_rating=min_rating,
            max_replays=max_replays,
            since=since,
            until=until,
            user=user,
        ),
    )
    ranges: dict[int, Counter[str]] = {}
    interrupted = "interrupted; what was fetched is stored, and the same command goes on from there"
    with interrupts_told(interrupted), steps("replays", max_replays) as advance:

        def tell(told: object) -> None:
            if isinstance(told, RangeProgress):
                ranges[told.number] = Counter(told.outcomes)
                outcomes = sum(ranges.values(), Counter[str]())
                advance(sum(outcomes[name] for name in (FETCHED, STORED, GONE, BROKEN)), outcomes)

        store = Store(settings.store)
        here = Inline(store, settings, tell=tell)
        ask(Scrapes(store), asked, here)
        here.drain()
    told = sum(ranges.values(), Counter[str]())
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in told.items()) or "nothing found"
    out.print(f"{escape(format_name)}: {escape(counts)}")
    out.print(f"For a dataset: alphastral dataset build store:replays/{escape(format_name)} --out DIR")
    result({"format": format_name, "replays": told})


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def dataset() -> None:
    """Datasets: made of battles, and looked at."""


@app.command()
def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files and folders of replays (.json, .log, .html, maybe .gz) and of our runs; or in the store: "
            "store:replays, store:replays/FORMAT, store:matchups/ID."
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="The dataset's folder; an earlier dataset there is replaced.")],
    contract: Annotated[str, typer.Option(help="v1, v2 or v3: how prompts and completions are written.")] = "v2",
    min_rating: Annotated[int | None, typer.Option(help="Replays of battles that were rated at least so.")] = None,
    winner_only: Annotated[bool, typer.Option("--winner-only", help="The winner's decisions alone.")] = False,
    side: Annotated[Literal["p1", "p2", "both"], typer.Option(help="Whose decisions.")] = "both",
    val_fraction: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of the battles kept back.")] = 0.05,
    simulator: Simulators = None,
    push: Annotated[
        str | None, typer.Option(help="OWNER/NAME: send it to the Hugging Face Hub, as a private dataset.")
    ] = None,
) -> None:
    """Make a dataset of battles: exactly where they can be run again, otherwise rebuilt from their public logs."""
    from services.scraper.tasks import BuildProgress
    from shared.battle.contract import CONTRACTS

    configure_logging("WARNING")
    if contract not in CONTRACTS:
        raise UsageError(f"no contract is called {contract!r}; the contracts are: {', '.join(CONTRACTS)}")
    settings = Settings()
    check_push(push, settings)
    command = shlex.join(["alphastral", *sys.argv[1:]])
    asked = checked(
        DatasetRequest,
        dict(
            name=hashlib.sha256(f"{folder} {command}".encode()).hexdigest()[:20],
            sources=sources,
            contract=contract,
            min_rating=min_rating,
            winner_only=winner_only,
            side=side,
            val_fraction=val_fraction,
            out=folder,
            simulators=simulator or (),
            command=command,
        ),
    )
    with steps("files") as advance:

        def tell(told: object) -> None:
            if isinstance(told, BuildProgress):
                advance(*told)

        with done_here(Datasets(Store(str(UNFINISHED))), asked, settings, tell):
            card = DatasetCard.model_validate_json((folder / "card.json").read_bytes())
    print_card(card, folder)
    address: str | None = None
    if push is not None:
        from shared.hub import Hub

        # The logs of strangers' battles name them.
        kept = {BATTLES} if "replay" in card.counts["source"] else set()
        files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in kept}
        message = f"{sum(card.rows.values()):,} rows of contract {card.contract}"
        address = Hub(settings.hub_url, settings.hf_token).push(push, files, message, kind="dataset")
        out.print(f"Pushed: {escape(address)}")
    result({"card": card, "folder": folder, "pushed_to": address})


def print_card(card: DatasetCard, folder: Path) -> None:
    """What was written and what was left out, on standard output."""
    rows = ", ".join(f"{count:,} {split}" for split, count in card.rows.items())
    battles = ", ".join(f"{count:,} {split}" for split, count in card.battles.items())
    out.print(f"{escape(str(folder))}: contract {card.contract}, rows: {rows}; battles: {battles}")
    for name in ("exact", "kind"):
        out.print(f"  rows by {name}: {_told(card.counts[name])}")
    if card.advice is not None:
        out.print(f"  {card.advice}")
    for title, counts in (
        ("rebuilt although they have an input log", card.rebuilt_because),
        ("battles left out", card.dropped.replays),
        ("decisions left out", card.dropped.decisions),
    ):
        if counts:
            out.print(f"  {title}: {escape(_told(counts))}")


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A dataset, as `dataset build` writes it.")],
    max_prompt_characters: Annotated[int, typer.Option(min=1, help="A longer prompt is a finding.")] = 1_500,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not make the rows again from their battles' logs.")
    ] = False,
    simulator: Simulators = None,
) -> None:
    """Look for what no side could know, duplicates, leaks between the splits, long prompts, impossible labels, advice.

    Exit code 1 when something is wrong.
    """
    from services.scraper.check import check as look

    checked = look(
        folder,
        max_prompt_characters=max_prompt_characters,
        quick=quick,
        simulators=tuple(simulator or ()),
        node=Settings().node,
    )
    result({name: getattr(checked, name) for name in ("rows", "compared", "findings")})
    rows = ", ".join(f"{count:,} {split}" for split, count in checked.rows.items())
    verdict = "" if checked.findings else ", and nothing is wrong with them."
    out.print(f"{escape(str(folder))}: {rows} rows{verdict}")
    if checked.compared:
        out.print(
            f"  {checked.compared:,} of them were made again from the logs of their battles, as their sides saw them."
        )
    else:
        out.print("  They were not made again from logs: whether one tells what its side could not know is not known.")
    if told := AdviceFigures.of(checked.advice):
        out.print(f"  {told}")
    for what, finding in checked.findings.items():
        out.print(escape(f"  {finding.count:,} × {what}: {'; '.join(finding.examples)}"))
    if checked.findings:
        raise typer.Exit(1)


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
    result({"file": output, "changed": text != before})
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
