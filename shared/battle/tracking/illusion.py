"""The log under true names: what happened to a disguised Pokémon, told of itself once the disguise is known.

Illusion makes a Pokémon enter under the name of a team mate, and every line until it breaks bears that name. Either way
of reading a log rewrites those lines, as if it had come as itself:

- `TrueNames` follows a battle as it goes on. The opponent's disguise is known when a `|replace|` line breaks it; one's
  own at the next request, which always tells the truth.
- `unmask` looks at a whole log. A disguise is known by the `|replace|` that lifts it later, or by a maximum HP that is
  another's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.battle.action import Request
from shared.battle.protocol import SEATS, Line, Seat
from shared.battle.tracking.in_sight import seat_of


class TrueNames:
    """One side's view of a battle, lines and requests in the order heard, corrected for Illusion."""

    def __init__(self, seat: Seat) -> None:
        self.past: list[Line | Request] = []
        self._seat: Seat = seat
        self._entered: dict[Seat, int] = {}
        """Where in the past the active Pokémon of a seat entered."""
        self._names: dict[str, str] = {}
        """Shown ident → true ident, of those now on the field in a known disguise."""

    def hear(self, line: Line) -> bool:
        """Take in a line, split at `|`. True when the past has changed and must be told again."""
        kind, ident = (line[1], line[2]) if len(line) > 2 else ("", "")
        seat = seat_of(ident)
        if seat is not None and kind in ("switch", "drag"):
            self._names = {shown: true for shown, true in self._names.items() if seat_of(shown) != seat}
            self._entered[seat] = len(self.past)
        elif seat is not None and kind == "replace" and seat in self._entered:
            known = self._entry(seat)[2] == ident
            if not known:
                self._unmask(seat, ident, line[3])
            self._names = {shown: true for shown, true in self._names.items() if true != ident}
            return not known
        self.past.append(_renamed(line, self._names) if self._names else line)
        return False

    def request(self, request: Request) -> bool:
        """Take in a request. True when the past has changed and must be told again."""
        disguised = self._disguised(request)
        if disguised is not None:
            shown = self._entry(self._seat)[2]
            true = f"{shown[:3]}{disguised['ident'][2:]}"
            self._unmask(self._seat, true, disguised["details"])
            self._names[shown] = true
        self.past.append(request)
        return disguised is not None

    def _disguised(self, request: Request) -> Mapping[str, Any] | None:
        if self._seat not in self._entered or request.get("teamPreview"):
            return None
        shown_name = self._entry(self._seat)[2][3:]
        active = next((pokemon for pokemon in request["side"]["pokemon"] if pokemon["active"]), None)
        if active is None or "illusion" not in (active.get("ability"), active.get("baseAbility")):
            return None
        return active if active["ident"][2:] != shown_name else None

    def _entry(self, seat: Seat) -> Line:
        entry = self.past[self._entered[seat]]
        assert isinstance(entry, list)
        return entry

    def _unmask(self, seat: Seat, ident: str, details: str) -> None:
        start = self._entered[seat]
        names = {self._entry(seat)[2]: ident}
        for index in range(start, len(self.past)):
            line = self.past[index]
            if isinstance(line, list):
                self.past[index] = _renamed(line, names)
        entry = self._entry(seat)
        self.past[start] = [*entry[:3], details, *entry[4:]]


@dataclass(slots=True)
class Stint:
    """A Pokémon's stay on the field."""

    start: int
    end: int
    seat: Seat
    shown: str
    """With position: `p1a: Sparky`."""
    true: str
    details: str
    maximum: str
    """Maximum HP as the log says it when it came in."""


def unmask(lines: Sequence[Line]) -> tuple[list[Stint], list[Stint]]:
    """Everyone's stays on the field under true names, and those of them of whom only the disguise is known."""
    stints = _stints(lines)
    return stints, _who_they_are(stints)


def _stints(lines: Sequence[Line]) -> list[Stint]:
    stints: list[Stint] = []
    current: dict[Seat, Stint] = {}
    for index, line in enumerate(lines):
        kind = line[1] if len(line) > 3 else ""
        if kind not in ("switch", "drag", "replace"):
            continue
        seat = seat_of(line[2])
        if seat is None:
            continue
        if kind == "replace":
            if seat in current:
                current[seat].true, current[seat].details = line[2], line[3]
            continue
        if seat in current:
            current[seat].end = index
        maximum = line[4].partition("/")[2].partition(" ")[0] if len(line) > 4 else ""
        current[seat] = Stint(index, len(lines), seat, line[2], line[2], line[3], maximum)
        stints.append(current[seat])
    return stints


def _who_they_are(stints: Sequence[Stint]) -> list[Stint]:
    """Name those whose maximum HP shows who they are; return those who may be another than they seem."""
    doubtful: list[Stint] = []
    for seat in SEATS:
        own = [stint for stint in stints if stint.seat == seat]
        illusionists = {
            stint.maximum: stint for stint in own if _is_known_illusionist(stint) and stint.maximum != "100"
        }
        by_name: dict[str, dict[str, list[Stint]]] = {}
        for stint in own:
            if stint.true == stint.shown and not _is_known_illusionist(stint):
                by_name.setdefault(stint.shown, {}).setdefault(stint.maximum, []).append(stint)
        for by_maximum in by_name.values():
            known = [maximum for maximum in by_maximum if maximum in illusionists]
            if len(by_maximum) == 2 and len(known) == 1:
                for stint in by_maximum[known[0]]:
                    stint.true, stint.details = illusionists[known[0]].true, illusionists[known[0]].details
            elif len(by_maximum) > 1 or known:
                doubtful.extend(stint for under_it in by_maximum.values() for stint in under_it)
    return doubtful


def _is_known_illusionist(stint: Stint) -> bool:
    return stint.true != stint.shown or stint.details.startswith("Zoroark")


def under_true_names(lines: Sequence[Line], stints: Sequence[Stint]) -> Sequence[Line]:
    """The log as if everyone had come as itself."""
    masked = [stint for stint in stints if stint.true != stint.shown]
    if not masked:
        return lines
    told = list(lines)
    for stint in masked:
        for index in range(stint.start, stint.end):
            told[index] = _renamed(told[index], {stint.shown: stint.true})
        entry = told[stint.start]
        told[stint.start] = [*entry[:3], stint.details, *entry[4:]]
    return told


def _renamed(line: Sequence[str], names: Mapping[str, str]) -> Line:
    result = list(line)
    for index, part in enumerate(result):
        prefix = "[of] " if part.startswith("[of] ") else ""
        if part[len(prefix) :] in names:
            result[index] = prefix + names[part[len(prefix) :]]
    return result
