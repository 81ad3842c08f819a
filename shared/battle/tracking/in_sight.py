"""Who stands on the field and of which types, as a battle log shows it.

What is in sight, not what is true: a Pokémon under Illusion is seen as its disguise until that breaks.
Log lines: SIM-PROTOCOL.md of the pokemon-showdown repository.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.battle.pokedex import Pokedex, pokedex
from shared.battle.protocol import SEATS, Seat


@dataclass(frozen=True, slots=True)
class InSight:
    """A Pokémon on the field. `ident` is its name in the log (`p1a: Sparky`)."""

    ident: str
    species: str
    level: int
    own_types: tuple[str, ...]
    """Without terastallization."""
    tera_type: str | None = None
    """Only once terastallized."""
    transformed_into: str | None = None

    @property
    def types(self) -> tuple[str, ...]:
        """The types that count when it is attacked. The tera type Stellar leaves them as they were."""
        return self.own_types if self.tera_type in (None, "Stellar") else (self.tera_type,)

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
        self._pokedex: Pokedex = pokedex(generation)

    def see(self, fields: Sequence[str]) -> None:
        """Take in one line, split at `|` (so that `fields[1]` is its kind). Most kinds change nothing."""
        if len(fields) < 4:
            return
        kind, ident = fields[1], fields[2]
        seat = seat_of(ident)
        if seat is None:
            return
        if kind in ("switch", "drag", "replace"):
            self.active[seat] = self.met[name_of(ident)] = self._entering(ident, fields[3])
            return
        change = _CHANGES.get(kind)
        shown = self.active.get(seat)
        if change is not None and shown is not None and shown.ident == ident:
            self.active[seat] = change(self, shown, fields[3], fields[4:])

    def _entering(self, ident: str, details: str) -> InSight:
        species, level, tera = read_details(details)
        return InSight(ident, species, level, self._pokedex.types(species), tera)

    def _details(self, shown: InSight, details: str, rest: Sequence[str]) -> InSight:
        changed = self._forme(shown, details, rest)
        self.met[name_of(shown.ident)] = changed
        return changed

    def _forme(self, shown: InSight, details: str, _: Sequence[str]) -> InSight:
        # Unlike `detailschange`, a `-formechange` ends when the Pokémon leaves the field.
        species, _level, tera = read_details(details)
        types = self._pokedex.types(species)
        return replace(shown, species=species, own_types=types, tera_type=shown.tera_type or tera)

    def _tera(self, shown: InSight, type_name: str, _: Sequence[str]) -> InSight:
        name = name_of(shown.ident)
        self.met[name] = replace(self.met[name], tera_type=type_name)
        return replace(shown, tera_type=type_name)

    def _transform(self, shown: InSight, into: str, _: Sequence[str]) -> InSight:
        seat = seat_of(into)
        target = self.active.get(seat) if seat else None
        if target is None:
            return shown
        return replace(shown, transformed_into=target.forme, own_types=target.own_types)

    def _start(self, shown: InSight, effect: str, rest: Sequence[str]) -> InSight:
        if effect == "typeadd" and rest and rest[0] not in shown.own_types:
            return replace(shown, own_types=(*shown.own_types, rest[0]))
        if effect == "typechange" and rest:
            return self._change_types(shown, rest)
        return shown

    def _end(self, shown: InSight, effect: str, _: Sequence[str]) -> InSight:
        if effect != "typechange":
            return shown
        return replace(shown, own_types=self._pokedex.types(shown.forme))

    def _change_types(self, shown: InSight, rest: Sequence[str]) -> InSight:
        # Either the new types (`Water/Ground`), or, for Reflect Type, whose types are taken on.
        if not rest[0].startswith("["):
            return replace(shown, own_types=tuple(part for part in rest[0].split("/") if part not in ("", "???")))
        copied = next((seat_of(part[5:]) for part in rest if part.startswith("[of] ")), None)
        source = self.active.get(copied) if copied else None
        return replace(shown, own_types=source.types) if source is not None else shown


_CHANGES: Mapping[str, Callable[[FieldTracker, InSight, str, Sequence[str]], InSight]] = {
    "detailschange": FieldTracker._details,
    "-formechange": FieldTracker._forme,
    "-terastallize": FieldTracker._tera,
    "-transform": FieldTracker._transform,
    "-start": FieldTracker._start,
    "-end": FieldTracker._end,
}


_SEATS: Mapping[str, Seat] = {seat: seat for seat in SEATS}


def seat_of(ident: str) -> Seat | None:
    """The seat a log's name for a Pokémon (`p1a: Sparky`, `p1: Sparky`) begins with."""
    return _SEATS.get(ident[:2])


def name_of(ident: str) -> str:
    """A log's name for a Pokémon without its position: `p1a: Sparky` → `p1: Sparky`, as requests have it."""
    return ident if ident[2:3] == ":" else ident[:2] + ident[3:]


def read_details(details: str) -> tuple[str, int, str | None]:
    """Species, level and shown tera type of `Rotom-Wash, L83, shiny, tera:Water`."""
    species, *rest = (part.strip() for part in details.split(","))
    level = next((int(part[1:]) for part in rest if part[:1] == "L" and part[1:].isdigit()), 100)
    return species, level, next((part[5:] for part in rest if part.startswith("tera:")), None)
