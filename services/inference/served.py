"""Which models one server answers for, and which of them a request means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is answered for: the base itself, or an adapter over it."""

    name: str
    """NAME@VERSION of a model of the registry."""
    adapter: str | None = None
    card: Mapping[str, Any] | None = None
    """What it was trained for, among the rest; None where it has no card."""


class UnknownModel(Exception):
    """Nothing of that name is served here; the text says what is."""


def meant(served: Sequence[Served], name: str | None) -> Served:
    """The model that a request names. Raises UnknownModel.

    A server of one model takes any name for it, as TGI does, but for another version: whoever asks for NAME@VERSION is
    answered by that one or not at all.
    """
    found = [each for each in served if name in (each.name, each.adapter)] or [
        each for each in served if name == each.name.rpartition("@")[0]
    ]
    if len(found) == 1:
        return found[0]
    if name in (None, "", "tgi") or (len(served) == 1 and "@" not in (name or "")):
        return served[0]
    raise UnknownModel(f"no model {(name or '')[:100]!r} is served here, but {', '.join(each.name for each in served)}")
