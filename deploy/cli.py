"""`alphastral`: the command line.

Expected errors are shown as one sentence, without a traceback: exit code 2 when the command was used wrongly, else 1.
"""

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape

from deploy.show import err, out, print_result, progress
from shared import logs
from shared.errors import AlphaStralError, UsageError
from shared.policies import FORMATS, KINDS
from shared.records import MatchupRequest, read_run
from shared.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Language models in Pokémon Showdown battles: who won, and how sure we are.",
)

P1 = Annotated[str, typer.Option(help="A policy; `alphastral policies` lists them.")]
P2 = Annotated[str, typer.Option(help="The policy it plays against.")]
Battles = Annotated[int, typer.Option("--n", help="Battles to play.")]
FormatName = Annotated[str, typer.Option("--format", help="A Showdown format.")]
MoveDelay = Annotated[float, typer.Option(help="Seconds to wait before each order, so that a person can follow.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same battles; drawn when not given.")]
Concurrency = Annotated[int, typer.Option(help="Battles at once.")]
Pairs = Annotated[
    bool | None,
    typer.Option("--pairs/--no-pairs", help="Same teams and dice twice, policies exchanged. On, but for the server."),
]
TeamFile = Annotated[Path | None, typer.Option(help="A team in Showdown's export format.")]
LogLevel = Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: LOG_LEVEL, else INFO].")]
_OPTIONS = {"battles": "--n", "move_delay": "--move-delay"}
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
def battle(
    p1: P1 = "random",
    p2: P2 = "random",
    n: Battles = 1,
    format_name: FormatName = "gen9randombattle",
    move_delay: MoveDelay = 0.0,
    log_level: LogLevel = None,
    output: Annotated[Path | None, typer.Option(help="Where the run goes; its report beside it.")] = None,
    seed: Seed = None,
    concurrency: Concurrency = 8,
    pairs: Pairs = None,
    team1: TeamFile = None,
    team2: TeamFile = None,
    battlefield: Annotated[
        str, typer.Option(help="simulator, or server: to watch, or to play yourself.")
    ] = "simulator",
    challenge: Annotated[str | None, typer.Option(help="With the server: wait for this person to play p1.")] = None,
    showdown_url: Annotated[str | None, typer.Option(help="A running Showdown server, as ws://HOST:PORT.")] = None,
) -> None:
    """Play a matchup in this process and write its run and report."""
    from deploy.single import play_here, write_result

    configure_logs(log_level)
    request = make_request(
        p1=p1,
        p2=p2,
        battles=n,
        format=format_name,
        move_delay=move_delay,
        seed=seed,
        concurrency=concurrency,
        pairs=pairs,
        team1=team1,
        team2=team2,
        battlefield=battlefield,
    )
    err.print(f"{escape(describe(request))}")
    with progress("battles", request.battles) as advance:
        run = asyncio.run(play_here(request, advance=advance))
    print_result(run, *write_result(run, output))
    if run.cancelled or run.summary.broken:
        raise typer.Exit(1)


@app.command()
def report(
    run_file: Annotated[Path, typer.Argument(help="A run file, ours or the original project's.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: reports/<name>.html.")] = None,
) -> None:
    """Write the HTML report of a run file."""
    from deploy.single import write_file
    from services.reporter.report import render

    path = output or Path("reports") / f"{run_file.name.removesuffix('.gz').removesuffix('.json')}.html"
    write_file(path, render(read_run(run_file)))
    out.print(escape(str(path)))


@app.command()
def policies() -> None:
    """List the policies and the formats they play."""
    for kind in KINDS.values():
        out.print(f"{kind.name:<12} {kind.description}")
        for option, meaning in kind.options.items():
            out.print(f"{'':<12}   ?{option}=… {meaning}")
    out.print(f"formats: {', '.join(FORMATS)}")


def make_request(
    *, seed: int | None, pairs: bool | None, team1: Path | None, team2: Path | None, **fields: Any
) -> MatchupRequest:
    """A request from the command line's options. Raises UsageError naming the option at fault."""
    if pairs is None:
        pairs = fields["battlefield"] == "simulator"
    teams = {name: read_team(path, name) for name, path in (("team1", team1), ("team2", team2)) if path is not None}
    try:
        return MatchupRequest(seed=secrets.randbits(32) if seed is None else seed, pairs=pairs, **teams, **fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(str(first["msg"]), field=".".join(str(part) for part in first["loc"])) from error


def read_team(path: Path, field: str) -> str:
    """The text of a team file. Raises UsageError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the team file {path}: {error}", field=field) from error


def describe(request: MatchupRequest) -> str:
    """One line that says what is about to be played."""
    how = "in pairs" if request.pairs else "unpaired"
    return f"{request.p1} vs {request.p2}: {request.battles} battles of {request.format}, {how}, seed {request.seed}"


def configure_logs(level: str | None) -> None:
    """Log from `level` on, or from the level in the environment. Raises UsageError for an unknown one."""
    wanted = (level or Settings().log_level).upper()
    if wanted not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise UsageError(f"unknown log level {level!r}; the levels are DEBUG, INFO, WARNING, ERROR", field="log-level")
    logs.configure(wanted)
