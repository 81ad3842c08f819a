"""`alphastral ladder`: how strong a training was at each of its kept checkpoints.

    DIR/store/        the matchups: every checkpoint against every anchor, until it is decided who is stronger
    DIR/ladder.html   the ratings, as a table and a curve; DIR/ladder.json their figures

Given again, it plays what is missing.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from deploy.cli.play import Steps
from deploy.cli.show import interrupts_told, out, result
from deploy.stack import alone_in
from shared.errors import NotFound, UsageError
from shared.records import AskedUntilDecided, NewMatchup
from shared.settings import Settings
from shared.text import configure_logging

if TYPE_CHECKING:
    from services.reporter.ladder import Ladder

ANCHORS = ("random", "typed", "heuristic")


def ladder(
    training: Annotated[str, typer.Argument(help="A name below var/trainings, or the folder of a training.")],
    folder: Annotated[Path | None, typer.Option("--dir", help="Where it goes [default: var/ladders/NAME].")] = None,
    battles: Annotated[int, typer.Option(help="Of each matchup at most, in pairs.", min=2, max=10_000)] = 60,
    anchors: Annotated[list[str] | None, typer.Option("--anchor", help="Whom each meets.")] = None,
    concurrency: Annotated[int, typer.Option(help="Battles at once.", min=1, max=256)] = 16,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of teams and dice.")] = 0,
) -> None:
    """Have every kept checkpoint of a training play fixed anchors until decided, and rate them."""
    configure_logging("WARNING")
    source = Path(training) if Path(training).is_dir() else Path("var/trainings") / training
    with interrupts_told():
        page, found = climb(
            source,
            folder or Path("var/ladders") / source.resolve().name,
            battles=battles,
            anchors=anchors or ANCHORS,
            concurrency=concurrency,
            seed=seed,
        )
    out.print(escape(f"the ladder: {page}"))
    result({"page": page, **found.figures})


def climb(
    training: Path,
    folder: Path,
    *,
    battles: int,
    anchors: list[str] | tuple[str, ...] = ANCHORS,
    concurrency: int = 16,
    seed: int = 0,
    settings: Settings | None = None,
) -> tuple[Path, "Ladder"]:
    """Play what is missing, and give the page's path and what it tells.

    Raises NotFound where the folder holds no checkpoints.
    """
    from services.reporter.ladder import ladder as ladder_of
    from services.reporter.ladder import render_ladder

    checkpoints, contract = read_checkpoints(training)
    asked_by = "" if contract == "v2" else f"?contract={contract}"
    rungs = {f"tgi:{path.name}{asked_by}": path.name.replace("checkpoint-", "step ") for path in checkpoints}
    asked = {
        f"{name} vs {anchor}": NewMatchup(
            p1=policy,
            p2=anchor,
            until_decided=AskedUntilDecided(max_battles=battles),
            seed=seed,
            concurrency=concurrency,
        )
        for policy, name in rungs.items()
        for anchor in anchors
    }
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, "a ladder"):
        steps = Steps(folder, settings or Settings(), key=f"ladder-{seed}-{battles}")
        ids = steps.fought(asked, [str(path.resolve()) for path in checkpoints])
        runs = [steps.matchups.asked.run(id) for id in ids.values()]
        found = ladder_of(runs, rungs, "heuristic" if "heuristic" in anchors else anchors[0])
        page = folder / "ladder.html"
        page.write_text(render_ladder(found, training.resolve().name))
        (folder / "ladder.json").write_text(json.dumps(found.figures, indent=1))
    for line in found.lines:
        out.print(escape(line))
    return page, found


def read_checkpoints(training: Path) -> tuple[list[Path], str]:
    """The checkpoints of a training that are whole, in order, and the contract it was trained for."""
    from services.trainer.recipes import Recipe

    found = {
        int(path.name.rpartition("-")[2]): path
        for path in training.glob("checkpoint-*")
        if (path / "trainer_state.json").is_file() and (path / "adapter_config.json").is_file()
    }
    if not found:
        raise NotFound(f"{training} holds no checkpoint: give the folder that `train` wrote to")
    try:
        recipe = Recipe.model_validate(json.loads((training / "training.json").read_text())["recipe"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UsageError(f"{training / 'training.json'} tells of no training") from error
    return [found[step] for step in sorted(found)], recipe.contract
