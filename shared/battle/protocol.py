"""Showdown's battle log: who sees which line, who stands on the field by it, and what happened in the last turn.

A chunk of the log holds lines for everyone and blocks of three: `|split|p1`, the line as p1 sees it, the line as
everyone else sees it (SIM-PROTOCOL.md of the pokemon-showdown repository). What is followed is what is in sight, not
what is true: a Pokémon under Illusion is seen as its disguise until that breaks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from shared.battle.pokedex import Pokedex, pokedex

Seat = Literal["p1", "p2"]
SEATS: tuple[Seat, Seat] = ("p1", "p2")
Line = list[str]
"""A line of the log, split at `|`."""
Who = Literal["own", "foe"]
Happening = Literal["move", "switch", "cant", "tera", "faint"]
MOVES_KEPT = 4
_SEATS: Mapping[str, Seat] = {seat: seat for seat in SEATS}


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


def seat_of(ident: str) -> Seat | None:
    """The seat a log's name for a Pokémon (`p1a: Sparky`, `p1: Sparky`) begins with."""
    return _SEATS.get(ident[:2])


def name_of(ident: str) -> str:
    """A log's name for a Pokémon without its position: `p1a: Sparky` → `p1: Sparky`, as requests have it."""
    return ident if ident[2:3] == ":" else ident[:2] + ident[3:]


@lru_cache(4096)
def read_details(details: str) -> tuple[str, int, str | None]:
    """Species, level and shown tera type of `Rotom-Wash, L83, shiny, tera:Water`."""
    species, *rest = (part.strip() for part in details.split(","))
    level = next((int(part[1:]) for part in rest if part[:1] == "L" and part[1:].isdigit()), 100)
    return species, level, next((part[5:] for part in rest if part.startswith("tera:")), None)


@lru_cache(4096)
def hp_percent(condition: str) -> int:
    """Remaining HP of a condition (`201/264 par`, `24/48y`, `0 fnt`) in percent, rounded up: 0 only when fainted."""
    amount = condition.split(" ", 1)[0]
    current, _, maximum = amount.rstrip("gyr").partition("/")
    if not current.isdigit() or not maximum.isdigit() or int(maximum) == 0:
        return 0
    return -(-100 * int(current) // int(maximum))


def status_of(condition: str) -> str | None:
    """Showdown's id of the status in a condition (`201/264 par`); None for none and for a fainted Pokémon."""
    status = condition.partition(" ")[2]
    return None if status in ("", "fnt") else status


def renamed(line: Sequence[str], names: Mapping[str, str]) -> Line:
    """The line with each Pokémon that `names` names, by its disguise, called by its true name.

    A line that only tells the types in sight tells the disguise's, and is left empty.
    """
    match line:
        case [_, "-start", ident, "typechange", _, "[silent]"] if ident in names:
            return ["", ""]
    result = list(line)
    for index, part in enumerate(result):
        prefix = "[of] " if part.startswith("[of] ") else ""
        if part[len(prefix) :] in names:
            result[index] = prefix + names[part[len(prefix) :]]
    return result


# ── what a side sees of it ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class InSight:
    """A Pokémon on the field. `ident` is its name in the log (`p1a: Sparky`)."""

    ident: str
    species: str
    level: int
    own_types: tuple[str, ...]
    """Without terastallization and without `added_type`."""
    tera_type: str | None = None
    """Only once terastallized."""
    transformed_into: str | None = None
    added_type: str | None = None
    """By Trick-or-Treat or Forest's Curse."""

    @property
    def types(self) -> tuple[str, ...]:
        """The types that count when it is attacked. The tera type Stellar leaves them as they were."""
        types = self.own_types if self.tera_type in (None, "Stellar") else (self.tera_type,)
        return (*types, self.added_type) if self.added_type else types

    @property
    def forme(self) -> str:
        """The species it acts as."""
        return self.transformed_into or self.species


class FieldTracker:
    """Follows both sides' active Pokémon through a log, line by line."""

    def __init__(self, generation: int) -> None:
        self.active: dict[Seat, InSight] = {}
        self.met: dict[str, InSight] = {}
        """Everyone who was ever in sight, by name without position (`p1: Sparky`), as it leaves the field."""
        self.pokedex: Pokedex = pokedex(generation)
        self._roosting: dict[Seat, tuple[str, ...]] = {}
        """Types that come back when the turn ends."""

    def see(self, fields: Sequence[str]) -> None:
        """Take in one line, split at `|` (so that `fields[1]` is its kind). Most kinds change nothing."""
        if self._roosting and fields[1] in ("upkeep", "turn"):
            self._end_roosting()
        if len(fields) < (3 if fields[1] == "faint" else 4) or (seat := seat_of(fields[2])) is None:
            return
        kind, ident, what = (*fields[1:4], "")[:3]
        shown = self.active.get(seat)
        if kind in ("switch", "drag") or (kind == "replace" and (shown is None or shown.ident != ident)):
            species, level, tera = read_details(what)
            if kind == "replace" and shown is not None:
                # It came in as it is, but for its looks, and this line leaves out what it said then.
                tera = tera or shown.tera_type
            entered = InSight(ident, species, level, self.pokedex.types(species), tera)
            self.active[seat] = self.met[name_of(ident)] = entered
            self._roosting.pop(seat, None)
        elif shown is not None and ident in (shown.ident, name_of(shown.ident)):
            self.active[seat] = self._changed(seat, shown, kind, what, fields[4:])

    def _changed(self, seat: Seat, shown: InSight, kind: str, what: str, rest: Sequence[str]) -> InSight:
        match kind:
            case "detailschange" | "-formechange":
                return self._change_forme(shown, what, lasts=kind == "detailschange")
            case "-terastallize" | "faint":
                # Fainting ends it, should somebody revive it. Morpeko stays in the forme that it terastallizes in.
                name, tera_type = name_of(shown.ident), what or None
                stays = tera_type is not None and shown.species.startswith("Morpeko")
                species = shown.species if stays else self.met[name].species
                self.met[name] = replace(self.met[name], species=species, tera_type=tera_type)
                return replace(shown, tera_type=tera_type, added_type=None)
            case "-transform" if (copied := seat_of(what)) and (target := self.active.get(copied)):
                types = self._roosting.get(copied, target.own_types)
                return replace(shown, transformed_into=target.forme, own_types=types, added_type=target.added_type)
            case "-start" if what == "typeadd" and rest:
                return replace(shown, added_type=rest[0])
            case "-start" if what == "typechange" and rest:
                return self._change_types(shown, rest)
            case "-end" if what == "typechange":
                return replace(shown, own_types=self.pokedex.types(shown.forme), added_type=None)
            case "-singleturn" if what == "move: Roost" and "Flying" in shown.own_types:
                self._roosting[seat] = shown.own_types
                left = tuple(each for each in shown.own_types if each != "Flying")
                return replace(shown, own_types=left or ("Normal" if self.pokedex.generation > 4 else "???",))
        return shown

    def _end_roosting(self) -> None:
        for seat, types in self._roosting.items():
            self.active[seat] = replace(self.active[seat], own_types=types)
        self._roosting.clear()

    def _change_forme(self, shown: InSight, details: str, *, lasts: bool) -> InSight:
        species, _, tera = read_details(details)
        types = self.pokedex.types(species)
        changed = replace(shown, own_types=types, added_type=None, tera_type=shown.tera_type or tera)
        # A `-formechange` ends when the Pokémon leaves the field; one of a transformed Pokémon is of what it copied.
        if lasts:
            changed = replace(changed, species=species)
            self.met[name_of(shown.ident)] = changed
        elif shown.transformed_into is not None:
            changed = replace(changed, transformed_into=species)
        else:
            changed = replace(changed, species=species)
        return changed

    def _change_types(self, shown: InSight, rest: Sequence[str]) -> InSight:
        # Either the new types (`Water/Ground`), or, for Reflect Type, whose types are taken on.
        if not rest[0].startswith("["):
            return replace(shown, own_types=tuple(part for part in rest[0].split("/") if part), added_type=None)
        copied = next((seat_of(part[5:]) for part in rest if part.startswith("[of] ")), None)
        source = self.active.get(copied) if copied else None
        if source is None:
            return shown
        taken = replace(source, added_type=None).types
        types = tuple(each for each in taken if each != "???") or ("Normal",)
        return replace(shown, own_types=types, added_type=source.added_type)


@dataclass(frozen=True, slots=True)
class Event:
    """Something seen to happen. `damage_percent` is what a move took from its target."""

    who: Who
    what: Happening
    pokemon: str
    detail: str = ""
    """The move's name, the reason it could not move, or the tera type."""
    damage_percent: int | None = None


class TurnTracker:
    """Follows one side's view of a log, line by line."""

    def __init__(self, seat: Seat, generation: int) -> None:
        self.seat: Seat = seat
        self.field = FieldTracker(generation)
        self.turn = 0
        self.weather: str | None = None
        """As the log names it: RainDance."""
        self.team_size: dict[Seat, int] = {}
        self.preview: dict[Seat, list[str]] = {"p1": [], "p2": []}
        """Details of the Pokémon shown at team preview."""
        self._this_turn: list[Event] = []
        self._turn_before: list[Event] = []
        self._moves: dict[Seat, list[str]] = {"p1": [], "p2": []}
        self._hp_percent: dict[str, int] = {}

    @property
    def last_turn(self) -> tuple[Event, ...]:
        """In the middle of a turn that turn so far, otherwise the one before."""
        return tuple(self._this_turn or self._turn_before)

    @property
    def foe_moves(self) -> tuple[str, ...]:
        """The opponent's last four distinct moves, in order of first use."""
        return tuple(self._moves[other(self.seat)][-MOVES_KEPT:])

    def see(self, fields: Sequence[str]) -> None:
        """Take in one line, split at `|`."""
        self.field.see(fields)
        if len(fields) < 3:
            return
        kind, subject = fields[1], fields[2]
        seat = seat_of(subject)
        if kind == "teamsize" and seat is not None:
            self.team_size[seat] = int(fields[3])
        elif kind == "poke" and seat is not None:
            self.preview[seat].append(fields[3])
        elif seat is not None:
            self._see_pokemon(kind, subject, seat, fields[3:])
        elif kind == "turn":
            self._turn_before, self._this_turn = self._this_turn if self.turn else [], []
            self.turn = int(subject)
        elif kind == "-weather":
            self.weather = None if subject == "none" else subject

    def _see_pokemon(self, kind: str, subject: str, seat: Seat, rest: Sequence[str]) -> None:
        # A chain of comparisons: a match over all parts of every line costs datasets a twentieth of their time.
        if kind == "faint":
            self._add(seat, "faint")
        elif not rest:
            return
        elif kind in ("-damage", "-heal", "-sethp"):
            hp = hp_percent(rest[0])
            lost = self._hp_percent.get(subject, 100) - hp
            self._hp_percent[subject] = hp
            if kind == "-damage" and not any(source.startswith("[from]") for source in rest[1:]):
                self._credit(seat, lost)
        elif kind == "move":
            self._add(seat, "move", rest[0])
            if rest[0] not in self._moves[seat]:
                self._moves[seat].append(rest[0])
        elif kind in ("switch", "drag") and len(rest) > 1:
            self._add(seat, "switch", "dragged" if kind == "drag" else "")
            self._hp_percent[subject] = hp_percent(rest[1])
        elif kind in ("cant", "-terastallize"):
            self._add(seat, "cant" if kind == "cant" else "tera", rest[0])

    def _add(self, seat: Seat, what: Happening, detail: str = "") -> None:
        shown = self.field.active.get(seat)
        who: Who = "own" if seat == self.seat else "foe"
        self._this_turn.append(Event(who, what, shown.species if shown else "?", detail))

    def _credit(self, victim: Seat, percent: int) -> None:
        # A move's own damage follows its line; crashes and recoil name their source and come with `[from]`.
        last = self._this_turn[-1] if self._this_turn else None
        if last is not None and last.what == "move" and (last.who == "own") == (victim != self.seat):
            total = (last.damage_percent or 0) + max(0, percent)
            self._this_turn[-1] = Event(last.who, last.what, last.pokemon, last.detail, total)
