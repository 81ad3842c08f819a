"""`alphastral`: the command line.

Expected errors are shown as one sentence, without a traceback: exit code 2 when the command was used wrongly, else 1.
"""

import asyncio
import secrets
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape

from deploy import serving
from deploy.cli import (
    data,
    judge,
    loop,
    model_commands,
    models,
    pokedex,
    scraping,
    selfplay,
    training_commands,
)
from deploy.cli.options import ArenaWorkers, LogLevel, MatchupId, MatchupOptions, asks_for_a_matchup
from deploy.cli.queue import api_client, follow
from deploy.cli.show import describe, err, out, print_result, print_status, progress
from deploy.client import find_redis
from services.arena.checks import check_matchup, pinned
from shared.errors import AlphaStralError, UsageError
from shared.jobs.limits import LocalLimiter
from shared.records import NewMatchup
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Language models in Pokémon Showdown battles: who won, and how sure we are.",
)

for command in (judge.report, judge.verify, judge.skew, judge.ratings, judge.tournament):
    app.command()(command)

app.command()(selfplay.selfplay)
app.command()(scraping.scrape)
app.command()(training_commands.train)
app.command()(training_commands.evaluate)
app.command()(loop.loop)
app.add_typer(data.app, name="dataset")

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


@app.command()
@asks_for_a_matchup
def battle(
    asked: MatchupOptions,
    log_level: LogLevel = None,
    output: Annotated[Path | None, typer.Option(help="Where the run goes; its report beside it.")] = None,
    challenge: Annotated[str | None, typer.Option(help="On the server: wait for this person to play p1.")] = None,
    showdown_url: Annotated[
        str | None, typer.Option(help="A running server, ws://HOST:PORT; else one is started.")
    ] = None,
    showdown_port: Annotated[
        int | None, typer.Option(help="The port of the server that is started.", min=1, max=65535)
    ] = None,
) -> None:
    """Play a matchup in this process and write its run and report."""
    from deploy.cli.play import check_output, play_here, write_result
    from deploy.local_models import local_models
    from services.arena.policies.language_model import connector

    configure_logging(log_level or Settings().log_level)
    check_output(output)
    if challenge is not None:
        asked = replace(asked, p2=f"human:{challenge}")
    request = asked.new_matchup().request(secrets.randbits(32))
    check_matchup(request, person_may_play=True)
    settings = Settings()
    request = pinned(request, Registry(Store(settings.store)), settings)
    err.print(escape(describe(request)))
    if showdown_url is not None:
        settings = settings.model_copy(update={"showdown_url": showdown_url})

    def tell(sentence: str) -> None:
        err.print(escape(sentence))

    with local_models((request.p1, request.p2), tell) as reach, progress("battles", request.battles) as advance:
        run = asyncio.run(
            play_here(
                request,
                advance=advance,
                tell=tell,
                settings=settings,
                connect=reach(connector(settings, LocalLimiter())),
                showdown_port=showdown_port,
            )
        )
    print_result(run, *write_result(run, output))
    if run.cancelled or run.summary.broken:
        raise typer.Exit(1)


app.add_typer(models.app, name="models")
app.command(name="policies")(model_commands.list_policies)
app.command(name="try")(model_commands.try_policy)
app.command()(model_commands.bench)
app.command()(serving.serve)
app.command()(pokedex.pokedex)


@app.command()
def up(
    arena: ArenaWorkers = 2,
    trainer: Annotated[bool, typer.Option("--trainer", help="And a worker that trains; it needs torch.")] = False,
    log_level: LogLevel = None,
) -> None:
    """Run the local stack (Redis, API, arena and scraper workers, reporter) until interrupted."""
    from deploy.stack import LocalStack

    configure_logging(log_level or Settings().log_level)
    settings = Settings()
    if log_level is not None:
        settings = settings.model_copy(update={"log_level": log_level.upper()})
    with suppress(KeyboardInterrupt), LocalStack(settings, arena_workers=arena, trainers=int(trainer)) as stack:
        out.print(f"The API listens at {stack.url} (documentation: {stack.url}/docs). Ctrl-C ends everything.")
        stack.wait()


@app.command()
def demo(arena: ArenaWorkers = 2) -> None:
    """Start the stack, play heuristic against random through API and queue, show the verdict, and stop everything."""
    from deploy.stack import LocalStack

    configure_logging("WARNING")
    try:
        err.print("starting Redis, the API, arena workers and a reporter …")
        with TemporaryDirectory(prefix="alphastral-demo-") as folder:
            settings = Settings().model_copy(update={"scraper_workers": 0})
            if settings.redis_url is None:
                # A store of its own, so that nothing of an earlier matchup is resumed here.
                settings = settings.model_copy(update={"store": f"{folder}/store"})
            with LocalStack(settings, arena_workers=arena, folder=Path("var/demo")) as stack, stack.client() as client:
                err.print(f"the API listens at {escape(stack.url)}")
                follow(client, NewMatchup(p1="heuristic", p2="random", battles=20), check=stack.check)
    except KeyboardInterrupt:
        err.print("interrupted; everything is stopped")
        raise typer.Exit(1) from None


@app.command()
@asks_for_a_matchup
def enqueue(
    asked: MatchupOptions,
    output: Annotated[Path | None, typer.Option(help="Where the run goes; its report beside it.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow it to its end and write run and report here.")] = True,
) -> None:
    """Ask the API for a matchup, and follow it."""
    from deploy.cli.play import check_output

    new = asked.new_matchup()
    if wait:
        check_output(output)
    with api_client() as client:
        if not wait:
            out.print(client.enqueue(new).id)
            return
        try:
            follow(client, new, output)
        except KeyboardInterrupt:
            err.print("no longer following; the matchup goes on: alphastral matchup ID, alphastral cancel ID")
            raise typer.Exit(1) from None


@app.command()
def matchups(limit: Annotated[int, typer.Option(min=1, max=200)] = 20) -> None:
    """List matchups, newest first."""
    with api_client() as client:
        for line in client.matchups(limit=limit).items:
            standing = f"{line.id}  {line.state:<9}  {line.recorded:>6}/{line.battles:<6}"
            out.print(f"{standing} {escape(line.p1)} vs {escape(line.p2)}")


@app.command()
def matchup(matchup_id: MatchupId) -> None:
    """Show how a matchup stands."""
    with api_client() as client:
        print_status(client.matchup(matchup_id))


@app.command()
def cancel(matchup_id: MatchupId) -> None:
    """Cancel a matchup; what is played already is kept and reported."""
    with api_client() as client:
        print_status(client.cancel(matchup_id))


@app.command()
def resume(
    retry_failed: Annotated[bool, typer.Option(help="Give what failed for good another try.")] = False,
) -> None:
    """Enqueue all unfinished work again (matchups, scrapes, datasets, trainings), as every start of the API does."""
    from deploy.kinds import resume as resume_all
    from shared.jobs.queue import Queues, connect

    settings = Settings()
    queues = Queues(connect(find_redis(settings, Path("var")), settings.redis_password_file))
    added = resume_all(Store(settings.store), queues, settings, retry_failed=retry_failed)
    out.print(f"{added} jobs enqueued")
