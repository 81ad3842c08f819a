"""What is true of a species, a move or a type in a generation, whatever the battle.

The facts come from the simulator's own data (pokemon-showdown, MIT licence), written to data/pokedex.json
by data/build_pokedex.js, so that prompts and battles never disagree. `Pokedex.hash` names the snapshot.
A name that the snapshot lacks gives None: a battle can always meet a forme that is newer than the data.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

Category = Literal["Physical", "Special", "Status"]

LATEST_GENERATION = 9
SNAPSHOT = Path(__file__).parent / "data" / "pokedex.json"
_MECHANICS = SNAPSHOT.with_name("mechanics.json")
# No facts of a contract's own: they say what can be known of what was not shown.
_ABILITIES = SNAPSHOT.with_name("abilities.json")
_UNPRESSED = SNAPSHOT.with_name("unpressed.json")
_NOT_IN_AN_ID = re.compile(r"[^a-z0-9]+")


@lru_cache(4096)
def to_id(name: str) -> str:
    """Showdown's id of a name: `Rotom-Wash` → `rotomwash`."""
    return _NOT_IN_AN_ID.sub("", name.lower())


@dataclass(frozen=True, slots=True)
class Stats:
    """Base stats."""

    hp: int
    attack: int
    defense: int
    special_attack: int
    special_defense: int
    speed: int


@dataclass(frozen=True, slots=True)
class Species:
    """A species or forme."""

    name: str
    types: tuple[str, ...]
    stats: Stats


@dataclass(frozen=True, slots=True)
class MoveFacts:
    """A move, before anything in the battle changes it."""

    name: str
    type: str
    category: Category
    power: int
    """0 for a status move and for a move whose power or damage is worked out on use."""
    accuracy: int | None
    """Percent; None for a move that does not check it."""
    pp: int
    priority: int


@dataclass(frozen=True, slots=True)
class Mechanics:
    """What else counts for a move's damage."""

    traits: frozenset[str] = frozenset()
    """`contact`, `sound`, `secondary`, `recoil`, `one hit` and the like, as build_pokedex.js names them."""
    hits: tuple[int, int] = (1, 1)
    """The fewest and the most."""
    fixed: int | Literal["level"] | None = None
    """Its damage in HP, where it is always the same."""
    heals: int = 0
    """Percent of its user's HP."""


class Pokedex:
    """The snapshot as one generation sees it. Get one from `pokedex(generation)`."""

    def __init__(self, generation: int, snapshot: Mapping[str, Any], digest: str) -> None:
        self.generation = generation
        self.hash = digest
        self._species = _as_of(generation, snapshot["species"])
        self._moves = _as_of(generation, snapshot["moves"])
        self._chart = _as_of(generation, snapshot["chart"])
        self._cosmetic: Mapping[str, str] = snapshot["cosmetic"]
        self._abilities: Mapping[str, str] = snapshot["abilities"]
        self._items: Mapping[str, str] = snapshot["items"]
        self._abilities_of = _as_of(generation, json.loads(_ABILITIES.read_bytes()))
        mechanics = json.loads(_MECHANICS.read_bytes())
        self._mechanics = _as_of(generation, mechanics["moves"])
        self._bodies = _as_of(generation, mechanics["bodies"])
        self._unpressed = frozenset(json.loads(_UNPRESSED.read_bytes())[str(generation)])
        self._species_met: dict[str, Species | None] = {}
        self._moves_met: dict[str, MoveFacts | None] = {}

    def species(self, name: str) -> Species | None:
        """The species or forme of that name or id; of an unknown forme, its base species."""
        if name not in self._species_met:
            self._species_met[name] = self._find_species(name)
        return self._species_met[name]

    def types(self, name: str) -> tuple[str, ...]:
        """The types of that species or forme; none when it is unknown."""
        found = self.species(name)
        return found.types if found is not None else ()

    def abilities(self, name: str) -> tuple[str, ...]:
        """Ids of the abilities that this species or forme can have, that of a change of forme first."""
        key = to_id(name)
        return tuple(self._abilities_of.get(self._cosmetic.get(key, key), ())) if self.generation > 2 else ()

    def move(self, name: str) -> MoveFacts | None:
        """The move of that name or id; power written behind it (`Return 102`) is left aside."""
        if name not in self._moves_met:
            self._moves_met[name] = self._find_move(name)
        return self._moves_met[name]

    @cache  # noqa: B019 - there is one Pokedex for each generation, and it stays
    def mechanics(self, name: str) -> Mechanics:
        """The move of that name or id, as damage is worked out; a plain attack where it is unknown."""
        key = to_id(name)
        found = self._mechanics.get(key) or self._mechanics.get(key.rstrip("0123456789"))
        if found is None:
            return Mechanics()
        traits, (fewest, most), fixed, heals = found
        return Mechanics(frozenset(traits), (fewest, most), fixed, heals)

    def body(self, name: str) -> tuple[float, bool]:
        """Weight in kilograms, and whether it still evolves; 0 and no where the species is unknown."""
        found = self.species(name)
        weight, evolves = self._bodies.get(to_id(found.name), (0.0, False)) if found else (0.0, False)
        return weight, evolves

    def move_name(self, move: str) -> str:
        """The display name of a move's id; the id itself when unknown."""
        found = self.move(move)
        return found.name if found is not None else move

    def is_status(self, move: str) -> bool:
        """Whether the move of that name or id is a status move."""
        found = self.move(move)
        return found is not None and found.category == "Status"

    def is_pressed(self, move: str) -> bool:
        """Whether the move of that id costs more PP against Pressure; not said of Curse, which does as a Ghost's."""
        return move not in self._unpressed

    def multiplier(self, attacking: str, defending: Sequence[str]) -> float:
        """What the type chart makes of an attack of one type against these types: 0, 0.25, … 4."""
        row = self._chart.get(attacking, {})
        result = 1.0
        for type_name in defending:
            result *= row.get(type_name, 1)
        return result

    def ability_name(self, ability: str) -> str:
        """The display name of an ability's id; the id itself when unknown."""
        return self._abilities.get(to_id(ability), ability)

    def item_name(self, item: str) -> str:
        """The display name of an item's id; the id itself when unknown."""
        return self._items.get(to_id(item), item)

    def _find_species(self, name: str) -> Species | None:
        parts = name.split("-")
        for length in range(len(parts), 0, -1):
            key = to_id("-".join(parts[:length]))
            found = self._species.get(self._cosmetic.get(key, key))
            if found is not None:
                return Species(found[0], tuple(found[1]), Stats(*found[2]))
        return None

    def _find_move(self, name: str) -> MoveFacts | None:
        key = to_id(name)
        found = self._moves.get(key) or self._moves.get(key.rstrip("0123456789"))
        return None if found is None else MoveFacts(*found)


@cache
def pokedex(generation: int) -> Pokedex:
    """The pokedex of a generation, 1 to 9."""
    snapshot, digest = _read()
    return Pokedex(generation, snapshot, digest)


@cache
def _read() -> tuple[Mapping[str, Any], str]:
    raw = SNAPSHOT.read_bytes()
    return json.loads(raw), hashlib.sha256(raw).hexdigest()


def _as_of(generation: int, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    # The latest generation is whole; each earlier one holds what differs from the one after it.
    seen: dict[str, Any] = {}
    for number in range(LATEST_GENERATION, generation - 1, -1):
        seen.update(tables[str(number)])
    return seen
