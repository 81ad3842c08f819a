"""Names and options of policies, and the formats played: all that an API can check without playing.

A policy is written `kind`, `kind:model`, `kind:model@url`, each with `?option=value&…` behind it:
the kind ends at the first `:`, the URL starts at the last `@`, the options start at the last `?`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import parse_qsl

from shared.errors import UnknownFormat, UnknownPolicy


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of policy: what it is called, what it does, what may stand behind its name."""

    name: str
    description: str
    options: Mapping[str, str] = field(default_factory=dict)
    """Option → what it means."""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy's name, taken apart. `text` is what was written."""

    text: str
    kind: str
    model: str | None = None
    url: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Format:
    """A Showdown format that the arena plays: singles only."""

    id: str
    generation: int
    needs_team: bool = False


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("random", "uniform over the legal actions, seeded"),
        Kind("max-damage", "the move of most base power (poke-env's MaxBasePowerPlayer)"),
        Kind("heuristic", "type matchups, hazards, boosts and switches (poke-env's SimpleHeuristicsPlayer)"),
    )
}

FORMATS: Mapping[str, Format] = {
    format.id: format
    for format in (
        *(Format(f"gen{generation}randombattle", generation) for generation in range(9, 0, -1)),
        Format("gen9ou", 9, needs_team=True),
    )
}


def parse_policy(text: str) -> PolicySpec:
    """Take a policy's name apart and check it against KINDS.

    Raises UnknownPolicy, with the list of kinds, when no kind answers to it or an option is not its own.
    """
    rest, question, query = text.rpartition("?") if "?" in text else (text, "", "")
    kind_name, colon, behind = rest.partition(":")
    kind = KINDS.get(kind_name)
    if kind is None:
        raise UnknownPolicy(
            f"unknown policy {text!r}; {_suggest(kind_name, KINDS)}the policies are: {', '.join(KINDS)}"
        )
    if colon:
        raise UnknownPolicy(f"the policy {kind.name!r} takes nothing behind its name, but {text!r} has {behind!r}")
    options = dict(parse_qsl(query, keep_blank_values=True)) if question else {}
    for option in options:
        if option not in kind.options:
            known = ", ".join(kind.options) or "none"
            raise UnknownPolicy(f"the policy {kind.name!r} has no option {option!r}; its options are: {known}")
    if question and not options:
        raise UnknownPolicy(f"no option=value behind the '?' of {text!r}")
    return PolicySpec(text=text, kind=kind.name, options=options)


def person_behind(text: str) -> str | None:
    """The name of the person in `human:NAME`, who plays on a Showdown server in a policy's place; None for a policy.

    No policy, so `parse_policy` refuses it and no API takes it.
    """
    kind, _, name = text.partition(":")
    return name.strip() or None if kind == "human" else None


def check_format(name: str) -> Format:
    """The format of that name. Raises UnknownFormat, with the list, when the arena does not play it."""
    found = FORMATS.get(name)
    if found is None:
        raise UnknownFormat(
            f"unknown format {name!r}; {_suggest(name, FORMATS)}the formats are: {', '.join(FORMATS)}", field="format"
        )
    return found


def _suggest(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
