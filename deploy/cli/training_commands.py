"""`alphastral train` and `alphastral evaluate`: a model of one's own, and how well it decides."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from deploy.cli.options import LogLevel, check_push
from deploy.cli.show import err, out
from shared.errors import UsageError
from shared.settings import Settings
from shared.store import Store, is_id
from shared.text import configure_logging

if TYPE_CHECKING:
    from services.trainer.trainings import TrainingStanding

Dataset = Annotated[Path, typer.Option(help="A dataset's folder, as `alphastral dataset build` writes it.")]


def train(
    recipe: Annotated[str, typer.Option(help="A recipe of ours by name, or a TOML file.")],
    dataset: Dataset,
    name: Annotated[str, typer.Option(help="What the model is called in the registry.")],
    base: Annotated[str | None, typer.Option(help="Another base: smollm2, a folder, or a name on the Hub.")] = None,
    output: Annotated[Path | None, typer.Option(help="Checkpoints and metrics [default: var/trainings/NAME].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, exactly.")] = False,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value of the recipe: lora.r=32.")] = None,
    push: Annotated[
        str | None, typer.Option(help="Send it to this repository on the Hub, too: NAMESPACE/NAME.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A repository that is made is public.")] = False,
    log_level: LogLevel = None,
) -> None:
    """Fine-tune a model on a dataset by a recipe, and publish it to the registry."""
    from services.trainer import recipes

    configure_logging(log_level or "WARNING")
    settings = Settings()
    chosen = recipes.load(recipe, recipes.parse_changes(changes or []), settings.recipes)
    if base is not None:
        chosen = chosen.model_copy(update={"base": base})
    if not is_id(name):
        raise UsageError(f"a model cannot be called {name!r}: letters a to z, digits and dashes", field="name")
    check_push(push, settings)
    from services.trainer.machine import check_device, is_first_process

    check_device(chosen)
    err.print("loading torch and the model …")
    from services.trainer.publish import publish
    from services.trainer.sft import train as train_model
    from shared.registry import Registry

    folder = output or Path("var/trainings") / name
    with training_bar() as show:
        trained = train_model(
            chosen, dataset, folder, resume=resume, on_standing=show, tell=lambda sentence: err.print(escape(sentence))
        )
    if not is_first_process():
        return
    registry = Registry(Store(settings.store))
    version = publish(registry, name, chosen, trained)
    out.print(escape(f"{name}@{version} is in the registry, and {name} stands for it now"))
    out.print(escape(f"its metrics: {folder / 'metrics.jsonl'}"))
    if push is not None:
        from shared.hub import Hub
        from shared.registry.exchange import push as send

        hub = Hub(settings.hub_url, settings.hf_token)
        out.print(escape(f"it is at {send(registry, name, version, hub, push, private=not public)}"))


def evaluate(
    model: Annotated[str, typer.Argument(help="smollm2, NAME or NAME@VERSION of the registry, a folder, or the Hub.")],
    dataset: Dataset,
    decisions: Annotated[int, typer.Option(help="Held-out decisions that are scored.", min=1)] = 500,
    written: Annotated[int, typer.Option(help="On how many of them it writes without constraint.", min=0)] = 50,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    seed: Annotated[int, typer.Option(help="Draws the decisions.")] = 0,
) -> None:
    """Decision accuracy by kind on held-out battles, legal share without constraint, and perplexity."""
    from deploy.model_names import resolve
    from services.trainer.data import read_card, read_splits
    from services.trainer.evaluate import drawn, table
    from services.trainer.evaluate import evaluate as measure
    from shared.language.load import load

    configure_logging("WARNING")
    card = read_card(dataset)
    splits = read_splits(dataset, card.contract)
    rows = drawn(splits.validation, decisions, seed)
    with TemporaryDirectory(prefix="alphastral-models-") as copies:
        named = resolve(model, Settings(), Path(copies))
        adapters = {named.name: named.adapter} if named.adapter else None
        loaded = load(named.base, adapters=adapters, device=device, dtype=dtype)
        loaded.use_adapter(named.name if named.adapter else None)
        found = measure(loaded, rows, name=model, written=written)
    head, *lines = table(found)
    shown = Table(*head, box=None)
    for line in lines:
        shown.add_row(*map(escape, line))
    out.print(shown)
    out.print(f"legal without constraint: {found.legal.rate:.3f} of {found.legal.decisions}")
    out.print(f"perplexity: {found.perplexity:.3f} a token of the completion")


@contextmanager
def training_bar(label: str = "steps") -> Iterator[Callable[["TrainingStanding"], None]]:
    """A progress bar with loss, learning rate, tokens a second and time left; a line now and then elsewhere."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[standing]}"),
        console=err,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task(label, total=None, standing="")
        told = -1

        def show(standing: "TrainingStanding") -> None:
            nonlocal told
            figures = (
                f"loss {standing.loss:.3f}" if standing.loss is not None else "",
                f"rate {standing.learning_rate:.1e}" if standing.learning_rate is not None else "",
                f"{standing.tokens_per_second:,.0f} tokens/s" if standing.tokens_per_second else "",
                f"{standing.seconds_left / 60:.1f} min left" if standing.seconds_left is not None else "",
            )
            text = " · ".join(filter(None, figures))
            bar.update(task, completed=standing.step, total=standing.steps, standing=text)
            twentieth = standing.step * 20 // max(1, standing.steps)
            if not err.is_terminal and twentieth > told:
                told = twentieth
                err.print(f"{label}: {standing.step} of {standing.steps} · {text}")

        yield show
