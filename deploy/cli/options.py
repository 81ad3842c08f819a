"""The options of the command line that ask for a matchup, and what they ask for."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from deploy.cli.suites import read_policies
from shared.errors import UsageError, first_fault
from shared.records import NewMatchup
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
LogLevel = Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: LOG_LEVEL, else INFO].")]


@dataclass(frozen=True, slots=True)
class MatchupOptions:
    """What `battle` and `enqueue` are told of a matchup."""

    p1: P1 = "random"
    p2: P2 = "random"
    n: Battles = 1
    format_name: FormatName = "gen9randombattle"
    move_delay: MoveDelay = 0.0
    seed: Seed = None
    concurrency: Concurrency = 8
    pairs: Pairs = None
    team1: TeamFile = None
    team2: TeamFile = None
    battlefield: Battlefield = "simulator"
    until_decided: UntilDecided = False
    margin: Margin = 0.1
    error: Error = 0.05
    max_battles: MaxBattles = 400
    max_cost: MaxCost = None
    max_tokens: MaxTokens = None
    policies: PolicyFile = None

    def new_matchup(self) -> NewMatchup:
        """What they ask for. Raises UsageError naming the option at fault."""
        named = read_policies(self.policies) if self.policies else {}
        fields: dict[str, object] = {
            "p1": named.get(self.p1, self.p1),
            "p2": named.get(self.p2, self.p2),
            "battles": self.n,
            "format": self.format_name,
            "move_delay": self.move_delay,
            "seed": self.seed,
            "concurrency": self.concurrency,
            "pairs": self.pairs,
            "battlefield": self.battlefield,
            "max_cost_usd": self.max_cost,
            "max_tokens": self.max_tokens,
        }
        if self.team1 or self.team2:
            teams = ((self.team1, "team1"), (self.team2, "team2"))
            fields["teams"] = tuple(path and read_team(path, field) for path, field in teams)
        if self.until_decided:
            if self.n != 1:
                raise UsageError("with --until-decided, --max-battles says how many at most", field="battles")
            del fields["battles"]
            fields["until_decided"] = {"margin": self.margin, "error": self.error, "max_battles": self.max_battles}
        try:
            return NewMatchup.model_validate(fields)
        except ValidationError as error:
            at, why = first_fault(error)
            raise UsageError(why, field=at) from error


def asks_for_a_matchup(command: Callable[..., None]) -> Callable[..., None]:
    """`command(asked: MatchupOptions, …)` as typer reads it: each field of MatchupOptions an option, before its own."""
    asked = inspect.signature(MatchupOptions).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    @wraps(command)
    def with_options(**given: Any) -> None:
        command(MatchupOptions(**{name: given.pop(name) for name in asked}), **given)

    every = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*asked.values(), *own)]
    with_options.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in every}
    return with_options


def read_team(path: Path, field: str) -> str:
    """The text of a team file. Raises UsageError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the team file {path}: {error}", field=field) from error


def check_push(push: str | None, settings: Settings) -> None:
    """Raise UsageError where something is to be sent to the Hub without a key: before the work, not after it."""
    if push is not None and settings.hf_token is None:
        raise UsageError("pushing needs a key that may write: set HF_TOKEN", field="push")
