"""`alphastral`: the command line.

A command's module is imported when the command is called: each needs other large libraries, and help needs none.
Expected errors are shown as one sentence, without a traceback: exit code 2 when the command was used wrongly, else 1.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import CompletionItem, TyperGroup  # type: ignore[attr-defined]

from shared.errors import AlphaStralError, HostUnfit, UsageError
from shared.process import hang_up_as_terminate

COMMANDS: Mapping[str, str] = {
    name: module
    for module, names in (
        ("deploy.cli.play", ("battle", "try")),
        ("deploy.cli.queue", ("enqueue", "matchups", "matchup", "cancel", "resume", "up", "demo")),
        ("deploy.cli.judge", ("report", "show", "verify", "skew", "ratings")),
        ("deploy.cli.review", ("review",)),
        ("deploy.cli.export", ("export",)),
        ("deploy.cli.tournament", ("tournament",)),
        ("deploy.cli.bench", ("bench",)),
        ("deploy.cli.ladder", ("ladder",)),
        ("deploy.cli.selfplay", ("selfplay",)),
        ("deploy.cli.data", ("scrape", "dataset", "pokedex")),
        ("deploy.cli.models", ("train", "evaluate", "models", "policies")),
        ("deploy.cli.value", ("value",)),
        ("deploy.cli.doctor", ("doctor",)),
        ("deploy.cli.loop", ("loop",)),
        ("deploy.serving", ("serve",)),
    )
    for name in names
}
"""Command → the module of its function, which is called as it is, but `try_`."""
GROUPS = ("dataset", "models", "value")
"""Those with commands of their own: the module's `app`. Its callback is called as they are."""
WITHOUT_JSON: Mapping[str, str] = {
    "up": "it runs until it is stopped",
    "serve": "it runs until it is stopped",
    "dataset": "its commands have results, not itself",
    "value": "its commands have results, not itself",
}
"""The commands that have no `--json`, and why."""


class _Commands(Mapping[str, Any]):
    """The commands as typer makes them, each imported when it is taken out."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        module = import_module(COMMANDS[name])
        if name in GROUPS:
            group: Any = typer.main.get_command(module.app)
            for command in group.commands.values():
                command.params.append(_json())
            return _with_json(name, group)
        alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
        alone.command(name)(getattr(module, _function(name)))
        return _with_json(name, typer.main.get_command(alone))


def _with_json(name: str, command: Any) -> Any:
    if name not in WITHOUT_JSON:
        command.params.append(_json())
    return command


def _json() -> Any:
    """The option that makes a command's result all of its standard output."""

    def ask(context: Any, _: Any, value: bool) -> None:
        from deploy.cli.show import out

        # A group and its command share what is asked for.
        out.stderr = context.meta["alphastral.json"] = value or context.meta.get("alphastral.json", False)

    def command(
        json: Annotated[
            bool, typer.Option("--json", help="The result as JSON on standard output, all else on standard error.")
        ] = False,
    ) -> None: ...

    alone = typer.Typer(add_completion=False)
    alone.command()(command)
    (option,) = typer.main.get_command(alone).params
    option.callback, option.expose_value = ask, False
    return option


class _Group(TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands()  # type: ignore[assignment]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, without importing them, and the options."""
        options = super(TyperGroup, self).shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=said(name)) for name in COMMANDS if name.startswith(incomplete)] + options

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """What each does, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, said(name)) for name in COMMANDS])


def said(name: str) -> str:
    """The first sentence of a command's docstring, read from its source."""
    for node in _source(COMMANDS[name]).body:
        if isinstance(node, ast.FunctionDef) and node.name == _function(name):
            return (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
    raise KeyError(name)


def _function(name: str) -> str:
    return name + "_" * iskeyword(name)


@cache
def _source(module: str) -> ast.Module:
    path = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Language models in Pokémon Showdown battles: who won, and how sure we are.",
)


@app.callback(invoke_without_command=True)
def _options(show_version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if show_version:
        typer.echo(f"alphastral {version('alphastral')}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit."""
    hang_up_as_terminate()
    try:
        app()
    except AlphaStralError as error:
        from rich.markup import escape

        from deploy.cli.options import NAMES
        from deploy.cli.show import err

        field = (error.field or "").removeprefix("until_decided.")
        option = f" ({NAMES.get(field, f'--{field}'.replace('_', '-')).partition('/')[0]})" if field else ""
        err.print(f"[bold red]error{escape(option)}:[/] {escape(error.message)}")
        sys.exit(2 if isinstance(error, UsageError | HostUnfit) else 1)
