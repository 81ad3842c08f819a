"""`alphastral`: the command line.

Expected errors are shown as one sentence, without a traceback: exit code 2 when the command was used wrongly, else 1.
"""

import sys

import typer
from rich.markup import escape

from deploy import serving
from deploy.cli import (
    data,
    judge,
    loop,
    models,
    play,
    queue,
    selfplay,
    tournament,
    trying,
)
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
    *(models.train, models.evaluate, loop.loop, tournament.tournament, tournament.bench),
    *(serving.serve, data.pokedex),
):
    app.command()(command)
app.command(name="policies")(models.list_policies)
app.command(name="try")(trying.try_policy)
app.add_typer(data.app, name="dataset")
app.add_typer(models.app, name="models")

_OPTIONS = {
    "battles": "--n",
    "move_delay": "--move-delay",
    "teams.0": "--team1",
    "teams.1": "--team2",
    "until_decided.margin": "--margin",
    "until_decided.error": "--error",
    "until_decided.max_battles": "--max-battles",
    "max_cost_usd": "--max-cost",
    "max_tokens": "--max-tokens",
}
"""Fields of a request whose option has another name."""


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except AlphaStralError as error:
        option = f" ({_OPTIONS.get(error.field, f'--{error.field}')})" if error.field else ""
        err.print(f"[bold red]error{escape(option)}:[/] {escape(error.message)}")
        sys.exit(2 if isinstance(error, UsageError) else 1)
