"""A battle as it can be shown: its log, step by step, each with the position as a spectator sees it then.

A step is one action (the leads, a move, a switch, the end of a turn) with all that follows from it. A film is JSON,
made here once and shown by pages that know nothing of Showdown's protocol. Its sides are the policies p1 and p2,
wherever they sat.
What repeats is told once: `pokemon` lists each Pokémon in each condition that it was seen in, and steps name those by
number, since an action changes one or two of twelve.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from shared.battle.pokedex import Pokedex, pokedex
from shared.battle.protocol import SEATS, Seat, other
from shared.battle.state import PokemonState, Side
from shared.battle.tracker import Tracker
from shared.battle.words import Words

_BEGIN = frozenset(("switch", "drag", "move", "cant", "turn", "upkeep", "win", "tie"))


class FilmSide(TypedDict):
    """One side at a step. Numbers name entries of the film's `pokemon`."""

    active: int | None
    bench: list[int]
    unseen: int
    conditions: list[str]


class FilmStep(TypedDict):
    """One action and what followed from it."""

    turn: int
    said: list[str]
    """A sentence a line."""
    field: list[str]
    """Weather, terrains, rooms."""
    p1: FilmSide
    p2: FilmSide


class Film:
    """Follows one battle's public log, as far as it has come."""

    def __init__(self, generation: int, p1_seat: Seat, names: Mapping[Seat, str]) -> None:
        """`names` are what the policies p1 and p2 are to be called."""
        self.pokemon: list[dict[str, Any]] = []
        self.steps: list[FilmStep] = []
        self._numbers: dict[str, int] = {}
        self._pokedex = pokedex(generation)
        self._seats: Mapping[Seat, Seat] = {"p1": p1_seat, "p2": other(p1_seat)}
        called = {self._seats[policy]: names[policy] for policy in SEATS}
        # A spectator knows of each side what its opponent has been shown.
        self._opponents = {seat: Tracker(generation, other(seat), called) for seat in SEATS}
        self._words = Words(called)
        self._heard: list[str] = []
        self._turn = 0

    @property
    def winner(self) -> Seat | None:
        """The policy that won, once it has."""
        return next((policy for policy, seat in self._seats.items() if seat == self._words.winner), None)

    def hear(self, lines: Iterable[str]) -> None:
        """Take in public lines. The step that they end with stays open: more of it may follow."""
        for line in lines:
            kind = line[1:].partition("|")[0]
            if kind in _BEGIN and (self._turn or kind == "turn"):  # Both leads are one step.
                self.cut()
            if kind == "turn":
                self._turn = int(line.split("|")[2])
            self._heard.append(line)

    def cut(self) -> None:
        """End the step that is open. One in which nothing happened is left out."""
        heard, self._heard = self._heard, []
        for tracker in self._opponents.values():
            tracker.hear(heard)
        said = [sentence for line in heard if line.startswith("|") and (sentence := self._words.say(line.split("|")))]
        if not said:
            return
        sides = {policy: self._opponents[seat].opponent() for policy, seat in self._seats.items()}
        effects = self._opponents["p1"].field_effects()
        p1, p2 = (self._side(sides[policy]) for policy in SEATS)
        self.steps.append(FilmStep(turn=self._turn, said=said, field=effects, p1=p1, p2=p2))

    def _side(self, side: Side) -> FilmSide:
        return FilmSide(
            active=None if side.active is None else self._number(side.active),
            bench=[self._number(pokemon) for pokemon in side.bench],
            unseen=side.unseen,
            conditions=[_counted(name, number) for name, number in side.conditions.items()],
        )

    def _number(self, pokemon: PokemonState) -> int:
        seen = _seen(pokemon, self._pokedex)
        number = self._numbers.setdefault(json.dumps(seen), len(self.pokemon))
        if number == len(self.pokemon):
            self.pokemon.append(seen)
        return number


def _seen(pokemon: PokemonState, names: Pokedex) -> dict[str, Any]:
    seen = {
        "name": pokemon.species,
        "level": pokemon.level,
        "hp": pokemon.hp_percent,
        "types": pokemon.types,
        "status": pokemon.status,
        "boosts": pokemon.boosts,
        "effects": pokemon.effects,
        "ability": pokemon.ability and names.ability_name(pokemon.ability),
        "item": pokemon.item and names.item_name(pokemon.item),
        "tera": pokemon.tera_type if pokemon.terastallized else None,
        "as": pokemon.transformed_into,
        "moves": [move.name for move in pokemon.moves],
    }
    return {name: value for name, value in seen.items() if value or name == "hp"}


def _counted(name: str, number: int) -> str:
    # Of hazards that come in layers a side tells how many, of the rest the turn that they began in.
    return f"{name} ×{number}" if name in ("spikes", "toxic spikes") and number > 1 else name
