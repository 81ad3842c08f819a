"""Every error this project raises on purpose, as one tree.

    AlphaStralError
    ├── UsageError            what was asked for cannot be done as asked (exit code 2, HTTP 422)
    │   ├── UnknownPolicy
    │   ├── UnknownFormat
    │   └── InvalidTeam       carries the simulator's own reasons
    ├── NotFound              nothing is stored under that name (HTTP 404)
    ├── Conflict              the same name already stands for something else (HTTP 409)
    ├── BrokenRecord          a stored file that cannot be read as what it should be
    ├── Unreachable           a server that should answer does not, or a store takes nothing (HTTP 503)
    │   └── NotServed         a model's server answers, but does not serve the version asked for
    ├── HostUnfit             this machine cannot do what another may: no Node.js, no room, a package that is missing
    ├── SimulatorError        the simulator process died, hung or refused a battle
    │   └── InputRefused      an input log asks for what is not run
    └── BattleBroken          one battle cannot go on; its neighbours can

The message is written for the person who has to act on it and is shown without a traceback.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class AlphaStralError(Exception):
    """Base of all expected errors. `field` names the request field at fault, where there is one."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class UsageError(AlphaStralError):
    """What was asked for cannot be done as asked."""


class UnknownPolicy(UsageError):
    """A policy name that no kind of policy answers to, or options that its kind does not take."""


class UnknownFormat(UsageError):
    """A format that the arena does not play."""


class InvalidTeam(UsageError):
    """A team that the simulator's validator refuses; `reasons` are the validator's own lines."""

    def __init__(self, message: str, reasons: Sequence[str], *, field: str | None = None) -> None:
        super().__init__("\n".join([message, *(f"  - {reason}" for reason in reasons)]), field=field)
        self.reasons = tuple(reasons)


class NotFound(AlphaStralError):
    """Nothing is stored under that name."""


class Conflict(AlphaStralError):
    """The name already stands for something else, or the thing is in a state that forbids the step."""


class BrokenRecord(AlphaStralError):
    """A stored file that cannot be read as what it should be."""


class Unreachable(AlphaStralError):
    """A server that should answer does not, or a store takes nothing."""


class NotServed(Unreachable):
    """A model's server does not serve the version that was asked for, however long one waited."""


class HostUnfit(AlphaStralError):
    """This machine cannot do it, whatever was asked; another one may."""


class SimulatorError(AlphaStralError):
    """The simulator process died, hung or refused a battle."""


class InputRefused(SimulatorError):
    """An input log that the simulator host does not run."""


class BattleBroken(AlphaStralError):
    """This battle cannot go on. Recorded as the battle's outcome, never as a loss of either policy."""


@contextmanager
def at_field(field: str | None) -> Iterator[None]:
    """What is wrong inside is wrong with this field of the request."""
    try:
        yield
    except AlphaStralError as error:
        error.field = field
        raise


def first_fault(error: "ValidationError") -> tuple[str, str]:
    """Where the first thing lies that a document has wrong, its parts joined by dots ("" for all of it), and what.

    Nothing of the document itself is repeated: it may be a stranger's, and it may hold a secret.
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]
