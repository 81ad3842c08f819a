"""Files of the command line: short names for policies, the suite of a bench, and the suite of a tournament.

A policy file, or the tables `[policies.NAME]` of a bench's suite:

    [large]
    policy = "mistral:mistral-large-latest"
    contract = "v2"
    reasoning = true

A name is replaced by the whole policy before anything is played, so that a run says what played and not what somebody
called it.

The suite of a bench has a `title`, defaults for all matchups (`battles`, `format`, `seed`, `concurrency`, `pairs`), a
budget (`max_cost_usd`, `max_tokens`), and a `[[matchup]]` for each matchup with `p1`, `p2`, and defaults of its own.
That of a tournament is shared.tournaments.Suite.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.arena.checks import check_matchup
from services.arena.tournaments import check_suite
from shared.errors import UsageError, first_fault
from shared.policies import KINDS, parse_policy
from shared.records import MAX_BATTLES, MAX_CONCURRENCY, MatchupRequest
from shared.tournaments import Suite

Policies = Mapping[str, str]
"""Name → the whole policy."""


def read_policies(path: Path) -> Policies:
    """The policies that a file names. Raises UsageError, naming the file and the entry at fault."""
    return policies_of(read_toml(path, "the policy file"), f"the policy file {path}")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file. Raises UsageError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{what} {path} cannot be read: {error}") from error


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
    match value:
        case bool():
            return "yes" if value else "no"
        case _:
            return quote(str(value))


# ── the suite of a bench ────────────────────────────────────────────────────────────────────────────


class _MatchupEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    p1: str
    p2: str
    battles: int | None = Field(default=None, ge=1, le=MAX_BATTLES)
    format: str | None = None
    seed: int | None = Field(default=None, ge=0)


class _BenchFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    battles: int = Field(default=100, ge=1, le=MAX_BATTLES)
    format: str = "gen9randombattle"
    seed: int = Field(default=1, ge=0)
    concurrency: int = Field(default=8, ge=1, le=MAX_CONCURRENCY)
    pairs: bool = True
    max_cost_usd: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    policies: dict[str, dict[str, str | int | float | bool]] = Field(default_factory=dict)
    matchup: tuple[_MatchupEntry, ...] = Field(min_length=1)


class BenchMatchup(BaseModel):
    """A matchup of a suite: what it is called in the table, under which id it is kept, and what is played."""

    model_config = ConfigDict(frozen=True)

    label: str
    matchup_id: str
    request: MatchupRequest


class Bench(BaseModel):
    """A suite, its policies resolved."""

    model_config = ConfigDict(frozen=True)

    rows: tuple[BenchMatchup, ...]
    max_cost_usd: float | None
    max_tokens: int | None


def read_bench(path: Path, pin: Callable[[MatchupRequest], MatchupRequest] = lambda request: request) -> Bench:
    """The suite in a file, each matchup as `pin` makes it. Raises UsageError, naming the file and what is wrong."""
    where = f"the suite {path}"
    try:
        written = _BenchFile.model_validate(read_toml(path, "the suite"))
    except ValidationError as error:
        at, why = first_fault(error)
        raise UsageError(f"{where}: {at}: {why}") from error
    named = policies_of(written.policies, where)
    rows = []
    for matchup in written.matchup:
        request = MatchupRequest(
            p1=named.get(matchup.p1, matchup.p1),
            p2=named.get(matchup.p2, matchup.p2),
            battles=matchup.battles or written.battles,
            format=matchup.format or written.format,
            seed=written.seed if matchup.seed is None else matchup.seed,
            pairs=written.pairs,
            concurrency=written.concurrency,
        )
        try:
            check_matchup(request)
            request = pin(request)
        except UsageError as error:
            raise UsageError(f"{where}: {error.message}") from error
        rows.append(
            BenchMatchup(label=f"{matchup.p1} vs {matchup.p2}", matchup_id=_id(written.title, request), request=request)
        )
    if len({row.matchup_id for row in rows}) < len(rows):
        raise UsageError(f"{where}: a matchup stands there twice; give one of the two another seed")
    return Bench(rows=tuple(rows), max_cost_usd=written.max_cost_usd, max_tokens=written.max_tokens)


def _id(title: str, request: MatchupRequest) -> str:
    """Of what is played and nothing else, so that a changed matchup is another one, and a changed budget is not."""
    played = request.model_dump_json(exclude={"concurrency", "max_cost_usd", "max_tokens"})
    return f"{title}-{hashlib.sha256(played.encode()).hexdigest()[:12]}"


# ── the suite of a tournament ───────────────────────────────────────────────────────────────────────


def read_tournament(path: Path, named: Mapping[str, str] | None = None) -> Suite:
    """A suite from its TOML file, with the policies that `named` has other names for.

    Raises UsageError, naming the field, when it is not one or cannot be played.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        for field in ("policies", "anchors"):
            if named and isinstance(document.get(field), list):
                document[field] = [named.get(name, name) for name in document[field]]
        suite = Suite.model_validate(document)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the suite {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML file: {error}") from error
    except ValidationError as error:
        where, why = first_fault(error)
        raise UsageError(f"{path}: {where or 'the suite'}: {why}") from error
    check_suite(suite)
    return suite
