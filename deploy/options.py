"""The options of the command line that ask for a matchup, and what they ask for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from deploy.policy_files import read_policies
from services.arena.schemas import NewMatchup
from shared import logs
from shared.errors import UsageError
from shared.settings import Settings

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
Battlefield = Annotated[str, typer.Option(help="simulator; or server: to watch, or to play yourself.")]
UntilDecided = Annotated[
    bool, typer.Option("--until-decided", help="Play until it is decided who is stronger, in place of --n battles.")
]
Margin = Annotated[float, typer.Option(help="Until decided: closer to even than this is not told apart.")]
Error = Annotated[float, typer.Option(help="Until decided: how often the verdict may be wrong.")]
MaxBattles = Annotated[int, typer.Option(help="Until decided: stop there at the latest.")]
MaxCost = Annotated[
    float | None, typer.Option(help="US dollars: no battle begins that its models would probably spend beyond this.")
]
MaxTokens = Annotated[int | None, typer.Option(help="The same in tokens, in and out together.")]
PolicyFile = Annotated[Path | None, typer.Option("--policies", help="A file that names policies with their options.")]
ArenaWorkers = Annotated[int, typer.Option(help="Arena workers.", min=1, max=64)]
MatchupId = Annotated[str, typer.Argument(help="As `enqueue` and `matchups` show it.")]
LogLevel = Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: LOG_LEVEL, else INFO].")]


def new_matchup(
    p1: str,
    p2: str,
    battles: int,
    format_name: str,
    move_delay: float,
    seed: int | None,
    concurrency: int,
    pairs: bool | None,
    team1: Path | None,
    team2: Path | None,
    battlefield: str,
    until_decided: Mapping[str, float] | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    policies: Path | None = None,
) -> NewMatchup:
    """What the options ask for. Raises UsageError naming the option at fault."""
    named = read_policies(policies) if policies else {}
    fields: dict[str, object] = {
        "p1": named.get(p1, p1),
        "p2": named.get(p2, p2),
        "battles": battles,
        "format": format_name,
        "move_delay": move_delay,
        "seed": seed,
        "concurrency": concurrency,
        "pairs": pairs,
        "battlefield": battlefield,
        "max_cost_usd": max_cost,
        "max_tokens": max_tokens,
    }
    if team1 or team2:
        fields["teams"] = (team1 and read_team(team1, "team1"), team2 and read_team(team2, "team2"))
    if until_decided is not None:
        if battles != 1:
            raise UsageError("with --until-decided, --max-battles says how many at most", field="battles")
        del fields["battles"]
        fields["until_decided"] = until_decided
    try:
        return NewMatchup.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(str(first["msg"]), field=".".join(str(part) for part in first["loc"])) from error


def read_team(path: Path, field: str) -> str:
    """The text of a team file. Raises UsageError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the team file {path}: {error}", field=field) from error


def configure_logs(level: str | None) -> None:
    """Log from `level` on, or from the level in the environment. Raises UsageError for an unknown one."""
    wanted = (level or Settings().log_level).upper()
    if wanted not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise UsageError(f"unknown log level {level!r}; the levels are DEBUG, INFO, WARNING, ERROR", field="log-level")
    logs.configure(wanted)
