"""The log under true names: what happened to a disguised Pokémon, told of itself once the disguise is known.

Illusion makes a Pokémon enter under the name of a team mate, and every line until it breaks bears that
name. The opponent's is known when a `|replace|` line breaks it; one's own is known at the next request,
which always tells the truth. Either way the lines since it entered are rewritten, as if it had come as itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.battle.action import Request
from shared.battle.protocol import Seat
from shared.battle.tracking.in_sight import seat_of

Line = list[str]


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


def _renamed(line: Sequence[str], names: Mapping[str, str]) -> Line:
    result = list(line)
    for index, part in enumerate(result):
        prefix = "[of] " if part.startswith("[of] ") else ""
        if part[len(prefix) :] in names:
            result[index] = prefix + names[part[len(prefix) :]]
    return result
