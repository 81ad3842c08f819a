"""The options that ask for a matchup, one for each field of shared.records.NewMatchup, and the files they name.

A policy file, or the tables `[policies.NAME]` of a bench's suite, has short names for policies:

    [large]
    policy = "mistral:mistral-large-latest"
    contract = "v2"
    reasoning = true

A name is replaced by the whole policy before anything is played, so that a run says what played and not what somebody
called it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer
from pydantic import BaseModel, ValidationError

from shared import document
from shared.errors import UsageError, first_fault
from shared.policies import KINDS, parse_policy
from shared.records import AskedUntilDecided, NewMatchup
from shared.settings import Settings

M = TypeVar("M", bound=BaseModel)
Policies = Mapping[str, str]
"""Name → the whole policy."""

NAMES = {"battles": "--n", "pairs": "--pairs/--no-pairs", "max_cost_usd": "--max-cost"}
"""Fields whose option is called otherwise."""
_HELP = {
    "p1": "A policy; `alphastral policies` lists them.",
    "p2": "The policy it plays against.",
    "battles": "Battles to play.",
    "format": "A Showdown format.",
    "seed": "The same seed gives the same battles; drawn when not given.",
    "pairs": "Same teams and dice twice, policies exchanged. On, but for the server.",
    "concurrency": "Battles at once.",
    "team1": "A team in Showdown's export format.",
    "team2": "A team in Showdown's export format.",
    "battlefield": "simulator; or server: to watch, or to play yourself.",
    "until_decided": "Play until it is decided who is stronger, in place of --n battles.",
    "margin": "Until decided: closer to even than this is not told apart.",
    "error": "Until decided: how often the verdict may be wrong.",
    "max_battles": "Until decided: stop there at the latest.",
    "max_cost_usd": "US dollars: no battle begins that its models would probably spend beyond this.",
    "max_tokens": "The same in tokens, in and out together.",
    "name1": "What p1 is called in report and verdict [its model's name, or its name in --policies].",
    "name2": "The same of p2.",
    "teacher": "A policy that advises at every decision of both sides and plays none, for a dataset: race or search.",
    "luck": "on: take it out of the win rate, by looking back at each battle; or off. On, wherever that can be done.",
}
"""What a terminal shows of a field in place of its docstring, which is the API's."""
_KINDS = {"team1": Path | None, "team2": Path | None, "battlefield": str, "until_decided": bool, "luck": str | None}
"""What is typed where that is not what is asked for. Bounds are the model's: its error names the option."""
_DEFAULTS = {"p1": "random", "p2": "random", "until_decided": False}


def _option(name: str, kind: Any) -> Any:
    flag = NAMES.get(name, f"--{name.replace('_', '-')}")
    return Annotated[kind, typer.Option(flag, help=_HELP.get(name) or NewMatchup.model_fields[name].description)]


P1 = _option("p1", str)
P2 = _option("p2", str)
FormatName = _option("format", str)
Seed = _option("seed", int | None)
Concurrency = _option("concurrency", int)
Teacher = _option("teacher", str | None)
MaxCost = _option("max_cost_usd", float | None)
MaxTokens = _option("max_tokens", int | None)
PolicyFile = Annotated[Path | None, typer.Option("--policies", help="A file that names policies with their options.")]
LogLevel = Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: LOG_LEVEL, else INFO].")]

AskedMatchup = Callable[..., NewMatchup]
"""What the options ask for; keywords replace some of them. Raises UsageError naming the option at fault."""


def asks_for_a_matchup(command: Callable[..., None]) -> Callable[..., None]:
    """`command(asked: AskedMatchup, …)` as typer reads it: an option for each field of a matchup, before its own."""
    asked = {each.name: each for each in _parameters()}
    own = list(inspect.signature(command).parameters.values())[1:]

    @wraps(command)
    def with_options(**given: Any) -> None:
        command(partial(_new_matchup, **{name: given.pop(name) for name in asked}), **given)

    every = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*asked.values(), *own)]
    with_options.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in every}
    return with_options


def _parameters() -> Iterator[inspect.Parameter]:
    for name, field in (NewMatchup.model_fields | AskedUntilDecided.model_fields).items():
        if name != "teams":
            default = _DEFAULTS.get(name, field.default)
            annotation = _option(name, _KINDS.get(name, field.annotation))
            yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    yield inspect.Parameter("policies", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PolicyFile)


def _new_matchup(*, policies: Path | None, until_decided: bool, **fields: Any) -> NewMatchup:
    named = read_policies(policies)
    for side, name in (("p1", "name1"), ("p2", "name2")):
        if fields[side] in named:
            fields |= {side: named[fields[side]], name: fields[name] or fields[side]}
    fields |= {team: read_team(fields[team], team) for team in ("team1", "team2") if fields[team]}
    test = {name: fields.pop(name) for name in AskedUntilDecided.model_fields}
    if until_decided:
        if fields.pop("battles") != 1:
            raise UsageError("with --until-decided, --max-battles says how many at most", field="battles")
        fields["until_decided"] = test
    return checked(NewMatchup, fields)


def checked(model: type[M], fields: Any) -> M:
    """What is asked for. Raises UsageError naming the field at fault."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        at, why = first_fault(error)
        raise UsageError(why, field=at) from error


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


def read_policies(path: Path | None) -> Policies:
    """The policies that a file names; without one, none. Raises UsageError, naming the file and the entry at fault."""
    return {} if path is None else policies_of(read_toml(path, "the policy file"), f"the policy file {path}")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file. Raises UsageError."""
    try:
        return document.read_toml(path)
    except OSError as error:
        raise UsageError(f"{what} {path} cannot be read: {error}") from error
    except ValueError as error:
        raise UsageError(f"{what} {path} cannot be read, for it is no TOML file: {error}") from error


def policies_of(entries: Mapping[str, Any], where: str) -> Policies:
    """Name → policy, from a table of tables. Raises UsageError."""
    found: dict[str, str] = {}
    for name, entry in entries.items():
        if name in KINDS or ":" in name or "?" in name:
            raise UsageError(f"{where}: {name!r} is or looks like a policy of its own; choose another name")
        if not isinstance(entry, dict) or not isinstance(entry.get("policy"), str):
            raise UsageError(f'{where}: {name!r} is no policy: it needs a line `policy = "…"`')
        options = "&".join(f"{option}={_written(value)}" for option, value in entry.items() if option != "policy")
        policy = entry["policy"] + (("&" if "?" in entry["policy"] else "?") + options if options else "")
        try:
            parse_policy(policy)
        except UsageError as error:
            raise UsageError(f"{where}: {name!r}: {error.message}") from error
        found[name] = policy
    return found


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return quote(str(value))


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
