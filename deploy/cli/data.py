"""`alphastral dataset build` and `check`: battles in, samples out, and a look at what was written."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from deploy.cli.options import check_push
from deploy.cli.show import out, steps
from shared.datasets import DatasetCard
from shared.errors import UsageError
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging

app = typer.Typer(no_args_is_help=True, help="Datasets: made of battles, and looked at.", rich_markup_mode=None)


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
    contract: Annotated[str, typer.Option(help="v1 or v2: how prompts and completions are written.")] = "v2",
    min_rating: Annotated[int | None, typer.Option(help="Replays of battles that were rated at least so.")] = None,
    winner_only: Annotated[bool, typer.Option("--winner-only", help="The winner's decisions alone.")] = False,
    side: Annotated[Literal["p1", "p2", "both"], typer.Option(help="Whose decisions.")] = "both",
    val_fraction: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of the battles kept back.")] = 0.05,
    simulator: Annotated[
        list[Path] | None, typer.Option(help="A further build of the simulator, for replays of its commit.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="OWNER/NAME: send it to the Hugging Face Hub, as a private dataset.")
    ] = None,
) -> None:
    """Make a dataset of battles: exactly where they can be run again, otherwise rebuilt from their public logs."""
    from services.scraper.datasets import build, check_out
    from services.scraper.rows import Reader, Wanted
    from services.scraper.sources import find_sources
    from shared.battle.contract import CONTRACTS

    configure_logging("WARNING")
    if contract not in CONTRACTS:
        raise UsageError(f"no contract is called {contract!r}; the contracts are: {', '.join(CONTRACTS)}")
    settings = Settings()
    check_push(push, settings)
    check_out(folder)
    found = find_sources(sources, Store(settings.store))
    wanted = Wanted(contract=contract, min_rating=min_rating, winner_only=winner_only, side=side)
    with steps("files", len(found)) as advance:
        card = build(
            found,
            Reader(wanted, tuple(simulator or ()), settings.node),
            folder,
            val_fraction=val_fraction,
            command=shlex.join(["alphastral", *sys.argv[1:]]),
            advance=advance,
        )
    print_card(card, folder)
    if push is not None:
        from shared.hub import Hub

        files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
        message = f"{sum(card.rows.values()):,} rows of contract {card.contract}"
        address = Hub(settings.hub_url, settings.hf_token).push(push, files, message, kind="dataset")
        out.print(f"Pushed: {escape(address)}")


def print_card(card: DatasetCard, folder: Path) -> None:
    """What was written and what was left out, on standard output."""
    rows = ", ".join(f"{count:,} {split}" for split, count in card.rows.items())
    battles = ", ".join(f"{count:,} {split}" for split, count in card.battles.items())
    out.print(f"{escape(str(folder))}: contract {card.contract}, rows: {rows}; battles: {battles}")
    for name in ("exact", "kind"):
        out.print(f"  rows by {name}: {_told(card.counts[name])}")
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
) -> None:
    """Look for duplicates, leaks between the splits, long prompts, another contract and impossible labels.

    Exit code 1 when something is wrong.
    """
    from services.scraper.check import check as look

    checked = look(folder, max_prompt_characters=max_prompt_characters)
    rows = ", ".join(f"{count:,} {split}" for split, count in checked.rows.items())
    if not checked.findings:
        out.print(f"{escape(str(folder))}: {rows} rows, and nothing is wrong with them.")
        return
    out.print(f"{escape(str(folder))}: {rows} rows")
    for what, finding in checked.findings.items():
        out.print(escape(f"  {finding.count:,} × {what}: {'; '.join(finding.examples)}"))
    raise typer.Exit(1)
