"""Policy files: short names for policies with their options, for the command line alone.

    [large]
    policy = "mistral:mistral-large-latest"
    contract = "v2"
    reasoning = true

A name is replaced by the whole policy before anything is played, so that a run says what played and not what somebody
called it.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.errors import UsageError
from shared.policies import KINDS, parse_policy

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
