"""The commands about value models: `alphastral value train` and `value show`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.judge import all_runs
from deploy.cli.show import err, interrupts_told, out, result
from shared.errors import UsageError
from shared.process import cores, in_processes
from shared.text import configure_logging
from shared.value import ValueModel, read_value, shipped_value

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def value() -> None:
    """How likely a side is to win from a position: fit such a model, or show one."""


@app.command()
def train(
    run_files: Annotated[list[Path], typer.Argument(help="Run files of ours; a folder stands for all in it.")],
    output: Annotated[Path, typer.Option("--out", help="Where the model goes, as JSON.")],
    copies: Annotated[int, typer.Option(help="Of each held-out position, with other dice.", min=1, max=64)] = 3,
    hidden: Annotated[int, typer.Option(help="Hidden units; 0 is a logistic regression.", min=0, max=200)] = 24,
    seed: Annotated[int, typer.Option(help="Of the first weights, and of the order of learning.")] = 0,
) -> None:
    """Fit a value model on recorded battles of one format, on all cores, and show it."""
    from deploy.cli.play import write_file
    from services.trainer.value import branched, fit

    configure_logging("WARNING")
    files = all_runs(run_files)
    with interrupts_told("interrupted; nothing was written"):
        found = []
        for each in in_processes(partial(branched, copies=copies), files, min(cores(), len(files))):
            found.append(each)
            err.print(f"{len(found)} of {len(files)} run files walked, {sum(len(run[2]) for run in found):,} battles")
        model = fit(found, hidden=hidden, seed=seed)
    write_file(output, model.model_dump_json() + "\n")
    _tell(model)
    out.print(f"Written to {escape(str(output))}.")
    result({"hash": model.hash, "format": model.format, "card": model.card, "file": output})


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A model's file, or the format of one that comes with the package.")] = (
        "gen9randombattle"
    ),
) -> None:
    """Show what a value model was fitted on, how good it is, and what it weighs."""
    found = read_value(Path(model)) if Path(model).is_file() else shipped_value(model)
    if found is None:
        raise UsageError(f"{model!r} is no file, and no value model comes with the package for a format of that name")
    _tell(found)
    out.print("What its straight part weighs, in log-odds for one of each more than the other side has:")
    shares = zip(found.features, found.weights, found.scales, strict=True)
    for name, weight, scale in sorted(shares, key=lambda each: -abs(each[1])):
        out.print(f"  {name:<20} {weight / scale:+8.3f}")
    result({"hash": found.hash, **found.model_dump()})


def _tell(model: ValueModel) -> None:
    card = model.card
    units = f"{len(model.features)} features of each side, {len(model.hidden)} hidden units"
    out.print(f"Value model {model.hash} of {escape(model.format)}: {units}.")
    positions = f"{card.copies} copies of each of {card.positions:,} positions"
    versions = escape(", ".join(card.versions))
    out.print(f"Fitted on {card.battles:,} battles, with {positions}; simulator {versions}.")
    for policies in card.policies:
        out.print(f"  {escape(policies)}")
    out.print(f"On {card.held_out_battles:,} held-out battles: log loss {card.log_loss:.3f} (a coin: 0.693).")
    out.print(f"With all luck taken out, {card.variance_left:.0%} of the variance of their outcomes is left.")
    out.print("  said   happened   positions")
    for each in card.calibration:
        out.print(f"  {each.said:4.0%}   {each.happened:8.0%}   {each.positions:9,}")
