"""Who sees which line: Showdown's battle log, and what `|split|` hides from whom.

A chunk of the log holds lines for everyone and blocks of three: `|split|p1`, the line as p1 sees it,
the line as everyone else sees it (SIM-PROTOCOL.md of the pokemon-showdown repository).
"""

from collections.abc import Iterable, Iterator
from typing import Literal

Seat = Literal["p1", "p2"]
SEATS: tuple[Seat, Seat] = ("p1", "p2")
Line = list[str]
"""A line of the log, split at `|`."""


def other(seat: Seat) -> Seat:
    """The other seat, or policy."""
    return "p2" if seat == "p1" else "p1"


def seen_by(seat: Seat | None, lines: Iterable[str]) -> Iterator[str]:
    """The lines of a log that `seat` sees; None stands for a spectator.

    An empty line of a split, which stands for nothing to see, is left out.
    """
    marker = f"|split|{seat}"
    rest = iter(lines)
    for line in rest:
        if line.startswith("|split|"):
            private, public = next(rest, ""), next(rest, "")
            line = private if line == marker else public
            if not line:
                continue
        yield line
