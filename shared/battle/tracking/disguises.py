"""Who really stood on the field: Illusion, seen from the end of a battle.

A Pokémon under Illusion bears a team mate's name in the log. It is told apart by the `|replace|` that lifts the
disguise later, or by a maximum HP that is another's. A side knows its own; its opponent does not, until it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.battle.protocol import SEATS, Line, Seat
from shared.battle.tracking.in_sight import seat_of


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
            told[index] = [_renamed(part, stint.shown, stint.true) for part in told[index]]
        entry = list(told[stint.start])
        entry[3] = stint.details
        told[stint.start] = entry
    return told


def _renamed(part: str, shown: str, true: str) -> str:
    if part == shown:
        return true
    return f"[of] {true}" if part == f"[of] {shown}" else part
