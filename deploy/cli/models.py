"""The commands about models: `policies`, `train`, `evaluate`, and `models` with what is below it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deploy.cli.options import LogLevel, check_push, read_policies
from deploy.cli.play import done_here
from deploy.cli.show import err, out, result, training_bar
from services.trainer.trainings import TrainingRequest, TrainingResult, Trainings, TrainingStanding
from shared.errors import BrokenRecord, NotFound, UsageError
from shared.jobs.routes import TrainModel
from shared.policies import FORMATS, KINDS, OPTIONS
from shared.registry import ModelCard, Registry
from shared.settings import Settings, is_first_process
from shared.store import Store, is_id
from shared.text import configure_logging, one_line

if TYPE_CHECKING:
    from shared.hub import Hub


UNFINISHED = Path("var/train")
"""What `train` has begun and not ended."""


def policies(
    file: Annotated[Path | None, typer.Argument(help="A policy file, to list what it names too.")] = None,
) -> None:
    """List the policies, their options, and the formats they play."""
    for kind in KINDS.values():
        out.print(f"{kind.name:<12} {escape(kind.description)}")
        if kind.example:
            out.print(f"{'':<12} {escape(kind.example)}{' (command line only)' if kind.command_line_only else ''}")
    out.print("options of policies that ask a model, as in mistral:mistral-small-latest?contract=v1&asks=3:")
    for name, option in OPTIONS.items():
        out.print(f"  {name:<12} {escape(option.meaning)}")
    out.print("options of search, as in search?worlds=4:")
    for name, meaning in KINDS["search"].options.items():
        out.print(f"  {name:<12} {escape(meaning)}")
    for name, policy in read_policies(file).items():
        out.print(f"{escape(name):<12} {escape(policy)}")
    out.print(f"formats: {', '.join(FORMATS)}")
    named, options = read_policies(file), {name: option.meaning for name, option in OPTIONS.items()}
    result({"policies": list(KINDS.values()), "options": options, "named": named, "formats": list(FORMATS)})


app = typer.Typer(no_args_is_help=False, rich_markup_mode=None, add_completion=False)

Name = Annotated[str, typer.Argument(help="A model's name.")]
Version = Annotated[str, typer.Argument(help="NAME@VERSION.")]
NameOrVersion = Annotated[str, typer.Argument(help="NAME, for what it stands for now, or NAME@VERSION.")]
Repo = Annotated[str, typer.Argument(help="A repository on the Hub: NAMESPACE/NAME.")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """The models of the registry; alone, it lists every version. A star marks what a name stands for."""
    if context.invoked_subcommand is not None:
        return
    registry = _registry()
    names, listed = registry.names(), []
    if not names:
        out.print("The registry is empty. `alphastral train` and `alphastral models pull` publish to it.")
    for name in names:
        promoted = next(iter(registry.promoted(name)), None)
        try:
            versions = registry.versions(name)
        except NotFound:
            continue
        for version in versions:
            mark = "*" if version == promoted else " "
            listed.append({"name": name, "version": version, "current": version == promoted})
            out.print(escape(f"{mark} {name}@{version}  {_in_a_line(registry, name, version)}"))
    result(listed)


@app.command()
def show(model: NameOrVersion) -> None:
    """Show a version's card."""
    registry = _registry()
    name, version = _found(registry, model)
    card = registry.card(name, version)
    promoted = registry.promoted(name)
    out.print(escape(f"{name}@{version}{', which the name stands for now' if promoted[:1] == [version] else ''}"))
    for line in _lines(card):
        out.print(escape(line))
    if len(promoted) > 1:
        out.print(escape(f"before:     {', '.join(promoted[1:6])}"))
    result({"name": name, "version": version, "promoted": promoted, "card": card})


@app.command()
def promote(model: Version) -> None:
    """Let a name stand for this version from now on; a supervisor that watches it starts serving it."""
    name, version = _split(model)
    if version is None:
        raise UsageError(f"which version of {name}? Write {name}@VERSION; `alphastral models` lists them")
    _registry().promote(name, version)
    out.print(escape(f"{name} now stands for {name}@{version}"))
    result({"name": name, "version": version})


@app.command()
def rollback(name: Name) -> None:
    """Let a name stand again for the version before."""
    version = _registry().rollback(name)
    out.print(escape(f"{name} now stands for {name}@{version} again"))
    result({"name": name, "version": version})


@app.command()
def push(
    model: NameOrVersion,
    repo: Repo,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it, where the repository is new.")
    ] = False,
) -> None:
    """Send a version to the Hub, with a page that people can read."""
    configure_logging("WARNING")
    registry = _registry()
    name, version = _found(registry, model)
    address = _sent(registry, name, version, repo, public)
    out.print(escape(f"{name}@{version} is at {address}"))
    result({"name": name, "version": version, "pushed_to": address})


@app.command()
def pull(
    repo: Repo,
    name: Name,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
    max_gb: Annotated[float, typer.Option(help="Refuse more than this.", min=0.001)] = 40.0,
) -> None:
    """Publish what a repository on the Hub holds as a new version. Promote it to have it served."""
    from shared.registry.exchange import pull as pull_version

    configure_logging("WARNING")
    version = pull_version(_registry(), repo, name, _hub(), revision=revision, max_bytes=int(max_gb * 1e9))
    out.print(escape(f"published {name}@{version}; to have it served: alphastral models promote {name}@{version}"))
    result({"name": name, "version": version})


def _registry() -> Registry:
    return Registry(Store(Settings().store))


def _hub() -> "Hub":
    from shared.hub import Hub

    return Hub(Settings().hub_url, Settings().hf_token)


def _sent(registry: Registry, name: str, version: str, repo: str, public: bool) -> str:
    from shared.registry.exchange import push

    return push(registry, name, version, _hub(), repo, private=not public)


def _split(model: str) -> tuple[str, str | None]:
    name, at, version = model.partition("@")
    return name, version if at else None


def _found(registry: Registry, model: str) -> tuple[str, str]:
    name, version = _split(model)
    return name, registry.current(name) if version is None else version


def _in_a_line(registry: Registry, name: str, version: str) -> str:
    try:
        card = registry.card(name, version)
    except BrokenRecord as error:
        return one_line(error.message)
    parts = [card.kind, f"of {card.base}", *(f"for {contract}" for contract in card.contract)]
    parts += [f"{metric} {value:.3g}" for metric, value in list(card.metrics.items())[:3]]
    return one_line(", ".join(parts))


def _lines(card: ModelCard) -> list[str]:
    """What a person wants to know of a version. Its texts may come from a repository of somebody else's."""
    size = sum(file.bytes for file in card.files.values())
    said = {
        "kind": f"{card.kind}, {size / 1e6:,.0f} MB in {len(card.files)} files",
        "base": card.base,
        "engine for": card.architecture,
        "contract": ", ".join(f"{name} {digest}" for name, digest in card.contract.items()) or "none",
        "recipe": card.recipe and f"{card.recipe.name} {dict(card.recipe.values)}",
        "dataset": card.dataset and f"{card.dataset.name} {dict(card.dataset.rows)} {card.dataset.hash}",
        "metrics": ", ".join(f"{name} {value:.4g}" for name, value in card.metrics.items()),
        "pulled from": card.pulled_from,
        "made": card.created_at.isoformat(timespec="seconds"),
        "software": ", ".join(f"{name} {version}" for name, version in card.software.items()),
    }
    return [f"{name + ':':<13}{one_line(value, 600)}" for name, value in said.items() if value]


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
    from services.trainer.recipes import parse_changes

    configure_logging(log_level or "WARNING")
    settings = Settings()
    if not is_id(name):
        raise UsageError(f"a model cannot be called {name!r}: letters a to z, digits and dashes", field="name")
    folder = output or Path("var/trainings") / name
    asked = TrainingRequest(
        recipe=recipe,
        dataset=str(dataset),
        name=name,
        base=base,
        set=parse_changes(changes or []),
        push=push,
        public=public,
        output=folder,
        resume=resume,
    )
    check_push(push, settings)
    work = Trainings(Store(str(UNFINISHED)), settings.recipes)
    with (
        training_bar() as show,
        done_here(work, asked, settings, partial(_told, show), key=asked.model_dump_json()) as id,
    ):
        trained = work.asked.read(id, "result.json", TrainingResult)
    if trained is None or not is_first_process():
        return
    out.print(escape(f"{name}@{trained.version} is in the registry, and {name} stands for it now"))
    out.print(escape(f"its metrics: {folder / 'metrics.jsonl'}"))
    if push is not None:
        out.print(escape(f"it is at {trained.pushed_to}"))
    result({"name": name, **trained.model_dump(), "folder": folder})


def _told(show: Callable[[TrainingStanding], None], told: object) -> None:
    match told:
        case TrainModel():
            err.print("loading torch and the model …")
        case str():
            err.print(escape(told))
        case TrainingStanding():
            show(told)


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
    from deploy.serving import resolve
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
    result(found)
