"""What the two Pokémon on the field can do to one another, and what those on the bench could, as one side knows it."""

from collections.abc import Iterator
from dataclasses import replace

from shared.battle.blow import Fighter
from shared.battle.damage import Calculator, fighter
from shared.battle.effectiveness import attack_type
from shared.battle.formula import Damage
from shared.battle.pokedex import pokedex
from shared.battle.prompt_v2 import MAX_MOVES
from shared.battle.state import BattleState, PokemonState

UNSEEN_POWER = 80
"""Of the attacks of its own types that an opponent may have, as long as it has not shown four moves."""


class Prospects:
    """What the two sides can do to one another, worked out once for a state."""

    def __init__(self, state: BattleState) -> None:
        dex = pokedex(state.generation)
        self._state, self._dex = state, dex
        self.calculator = Calculator(dex, state.weather, state.fields)
        own, foe = state.own.active, state.foe.active
        self.own = fighter(dex, own, state.own, foe) if own is not None and not own.fainted else None
        self.foe = fighter(dex, foe, state.foe, own) if foe is not None and not foe.fainted else None

    def of_move(self, move: str, user: Fighter, power: int | None = None) -> Damage | None:
        """What a move of one's own does to the opponent."""
        if self.foe is None:
            return None
        return self.calculator.damage(move, user, self.foe, self._state.foe.conditions, power=power)

    def best_of(self, mate: Fighter) -> Damage | None:
        """What the strongest of its moves does to the opponent."""
        found = [self.of_move(move.name, mate) for move in mate.pokemon.moves[:MAX_MOVES]]
        return max((each for each in found if each), key=lambda each: each.mean, default=None)

    def shown(self, target: Fighter) -> Iterator[tuple[str, Damage | None]]:
        """What each move that the opponent has shown does to `target`."""
        foe = self.foe
        for move in foe.pokemon.moves[:MAX_MOVES] if foe else ():
            assert foe is not None
            yield move.name, self.calculator.damage(move.name, foe, target, self._state.own.conditions)

    def unseen(self, target: Fighter) -> Iterator[tuple[str, Damage]]:
        """The same of plain attacks of its types of which it has shown none, while it may have other moves."""
        foe = self.foe
        if foe is None or len(foe.pokemon.moves) >= MAX_MOVES:
            return
        facts = [self._dex.move(move.name) for move in foe.pokemon.moves]
        known = {
            attack_type(each.name, each, foe.pokemon.in_sight, weather=self._state.weather, ability=foe.pokemon.ability)
            for each in facts
            if each is not None and each.category != "Status"
        }
        for type_name in foe.pokemon.types:
            if type_name not in known:
                conditions = self._state.own.conditions
                yield type_name, self.calculator.of_type(type_name, UNSEEN_POWER, foe, target, conditions)

    def worst_for(self, target: Fighter) -> Damage | None:
        """The most that any of these does."""
        found = [*(damage for _, damage in self.shown(target)), *(damage for _, damage in self.unseen(target))]
        return max((each for each in found if each), key=lambda each: each.mean, default=None)

    def entered(self, mate: PokemonState) -> tuple[Fighter, int]:
        """One of the bench as it comes in, with 1 % left at least, and what the hazards take from it, in percent."""
        entering = fighter(self._dex, mate, self._state.own)
        lost = self.calculator.on_entry(entering, self._state.own.conditions)
        return replace(entering, pokemon=replace(mate, hp_percent=max(1, mate.hp_percent - lost))), lost

    def haste(self, move: str) -> str:
        """Whether this move of the opponent's comes before those without priority."""
        return " first" if self.foe is not None and self.calculator.priority(move, self.foe) > 0 else ""

    def order(self, user: Fighter, move: str | None = None) -> str:
        """Whether one's own Pokémon moves before the opponent, if that one's move has no priority."""
        if self.foe is None:
            return ""
        priority = self.calculator.priority(move, user) if move else 0
        if priority:
            return "first" if priority > 0 else "second"
        return self.calculator.order(user, self._state.own.conditions, self.foe, self._state.foe.conditions)


def terastallized(own: Fighter) -> Fighter:
    """The same after it has terastallized."""
    pokemon, tera_type = own.pokemon, own.pokemon.tera_type
    types = pokemon.types if tera_type in (None, "Stellar") else (tera_type,)
    return replace(own, pokemon=replace(pokemon, terastallized=True, types=types))
