"""What one side knows at a request: all that a policy may decide by, and nothing it may not see.

Names are Showdown's: species, moves and types by display name, everything else by id. A state reads and
can be kept as JSON (`from_json`), shown and tried again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from shared.battle.action import Action, Switch
from shared.battle.protocol import Event, InSight
from shared.errors import BrokenRecord, first_fault

Question = Literal["move", "switch", "lead"]


@dataclass(frozen=True, slots=True)
class KnownMove:
    """A move that a Pokémon is known to have. PP is None where this side cannot know it."""

    name: str
    pp: int | None = None
    max_pp: int | None = None


@dataclass(frozen=True, slots=True)
class PokemonState:
    """One Pokémon, as far as this side knows it."""

    species: str
    """The forme in sight: `Rotom-Wash`."""
    level: int
    hp_percent: int
    """Rounded up, so 0 means fainted."""
    types: tuple[str, ...]
    """In sight now: after a change of type or terastallization."""
    status: str | None = None
    """Showdown's id: brn, frz, par, psn, slp, tox."""
    ability: str | None = None
    item: str | None = None
    """None while unknown, empty when it holds none."""
    tera_type: str | None = None
    """Of an opponent only once it has shown it."""
    terastallized: bool = False
    transformed_into: str | None = None
    moves: tuple[KnownMove, ...] = ()
    boosts: Mapping[str, int] = field(default_factory=dict)
    """Stat → stages, where not 0."""
    effects: tuple[str, ...] = ()
    """Ids of the volatile effects on it, sorted."""
    stats: Mapping[str, int] = field(default_factory=dict)
    """Of one's own: hp (the most), atk, def, spa, spd, spe, before anything in the battle changes them."""

    @property
    def fainted(self) -> bool:
        """Whether it is out of the battle."""
        return self.hp_percent == 0

    @property
    def in_sight(self) -> InSight:
        """As it stands on the field."""
        tera_type = self.tera_type if self.terastallized else None
        return InSight("", self.species, self.level, self.types, tera_type, transformed_into=self.transformed_into)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the field."""

    active: PokemonState | None
    """None before the first is sent in."""
    bench: tuple[PokemonState, ...] = ()
    """The others, fainted ones too; of the opponent those that were in sight or at team preview."""
    unseen: int = 0
    """How many more the opponent has."""
    conditions: Mapping[str, int] = field(default_factory=dict)
    """Side condition → layers of spikes, or the turn it began."""


@dataclass(frozen=True, slots=True)
class BattleState:
    """One side's knowledge at a request."""

    generation: int
    turn: int
    asked: Question
    own: Side
    foe: Side
    legal: tuple[Action, ...]
    weather: str | None = None
    fields: Mapping[str, int] = field(default_factory=dict)
    """Terrains, rooms and gravity → the turn each began."""
    last_turn: tuple[Event, ...] = ()
    """In order: everything since the last decision of a whole turn."""
    foe_moves_seen: tuple[str, ...] = ()
    """The opponent's last four distinct moves, in order of first use, whoever used them."""

    def switched_to(self, action: Switch) -> PokemonState:
        """The Pokémon that `action`, one of `legal`, sends in. A request lists the active one first."""
        return self.own.bench[action.slot - (1 if self.own.active is None else 2)]


_STATE = TypeAdapter(BattleState)


def from_json(text: str | bytes, name: str) -> BattleState:
    """A state from its JSON. Raises BrokenRecord, naming `name` and the first field at fault."""
    try:
        return _STATE.validate_json(text)
    except ValidationError as error:
        where, why = first_fault(error)
        raise BrokenRecord(f"{name} is not a battle state: {where or 'the document'}: {why}") from error
