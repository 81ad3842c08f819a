"""`alphastral`: the command line.

Expected errors are shown as one sentence, without a traceback: exit code 2 when the command was used wrongly, else 1.
"""

import sys

import typer
from rich.markup import escape

from deploy import serving
from deploy.cli import (
    bench,
    data,
    judge,
    loop,
    models,
    play,
    queue,
    selfplay,
    tournament,
)
from deploy.cli.options import NAMES
from deploy.cli.show import err
from shared.errors import AlphaStralError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Language models in Pokémon Showdown battles: who won, and how sure we are.",
)

for command in (
    *(play.battle, queue.enqueue, queue.matchups, queue.matchup, queue.cancel, queue.resume, queue.up, queue.demo),
    *(judge.report, judge.verify, judge.skew, judge.ratings, selfplay.selfplay, data.scrape),
    *(models.train, models.evaluate, loop.loop, tournament.tournament, bench.bench),
    *(serving.serve, data.pokedex),
):
    app.command()(command)
app.command(name="policies")(models.list_policies)
app.command(name="try")(play.try_policy)
app.add_typer(data.app, name="dataset")
app.add_typer(models.app, name="models")


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except AlphaStralError as error:
        field = (error.field or "").removeprefix("until_decided.")
        option = f" ({NAMES.get(field, f'--{field}'.replace('_', '-')).partition('/')[0]})" if field else ""
        err.print(f"[bold red]error{escape(option)}:[/] {escape(error.message)}")
        sys.exit(2 if isinstance(error, UsageError) else 1)
