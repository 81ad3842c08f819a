"""`alphastral models`: what was published, which version each name stands for, and models from and to the Hub."""

from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.show import out
from shared.errors import BrokenRecord, NotFound, UsageError
from shared.registry import ModelCard, Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging, one_line

app = typer.Typer(
    no_args_is_help=False, rich_markup_mode=None, help="The models of the registry; alone, it lists them."
)

Name = Annotated[str, typer.Argument(help="A model's name.")]
Version = Annotated[str, typer.Argument(help="NAME@VERSION.")]
NameOrVersion = Annotated[str, typer.Argument(help="NAME, for what it stands for now, or NAME@VERSION.")]
Repo = Annotated[str, typer.Argument(help="A repository on the Hub: NAMESPACE/NAME.")]


@app.callback(invoke_without_command=True)
def list_models(context: typer.Context) -> None:
    """List every version of every model; a star marks what its name stands for."""
    if context.invoked_subcommand is not None:
        return
    registry = _registry()
    names = registry.names()
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
            out.print(escape(f"{mark} {name}@{version}  {_in_a_line(registry, name, version)}"))


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


@app.command()
def promote(model: Version) -> None:
    """Let a name stand for this version from now on; a supervisor that watches it starts serving it."""
    name, version = _split(model)
    if version is None:
        raise UsageError(f"which version of {name}? Write {name}@VERSION; `alphastral models` lists them")
    _registry().promote(name, version)
    out.print(escape(f"{name} now stands for {name}@{version}"))


@app.command()
def rollback(name: Name) -> None:
    """Let a name stand again for the version before."""
    version = _registry().rollback(name)
    out.print(escape(f"{name} now stands for {name}@{version} again"))


@app.command()
def push(
    model: NameOrVersion,
    repo: Repo,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it, where the repository is new.")
    ] = False,
) -> None:
    """Send a version to the Hub, with a page that people can read."""
    from shared.hub import Hub
    from shared.registry.exchange import push as push_version

    configure_logging("WARNING")
    settings = Settings()
    registry = _registry(settings)
    name, version = _found(registry, model)
    hub = Hub(settings.hub_url, settings.hf_token)
    out.print(escape(f"{name}@{version} is at {push_version(registry, name, version, hub, repo, private=not public)}"))


@app.command()
def pull(
    repo: Repo,
    name: Name,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
    max_gb: Annotated[float, typer.Option(help="Refuse more than this.", min=0.001)] = 40.0,
) -> None:
    """Publish what a repository on the Hub holds as a new version. Promote it to have it served."""
    from shared.hub import Hub
    from shared.registry.exchange import pull as pull_version

    configure_logging("WARNING")
    settings = Settings()
    hub = Hub(settings.hub_url, settings.hf_token)
    version = pull_version(_registry(settings), repo, name, hub, revision=revision, max_bytes=int(max_gb * 1e9))
    out.print(escape(f"published {name}@{version}; to have it served: alphastral models promote {name}@{version}"))


def _registry(settings: Settings | None = None) -> Registry:
    return Registry(Store((settings or Settings()).store))


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
