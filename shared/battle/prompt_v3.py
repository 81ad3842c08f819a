"""Contract v3's prompt: v2's facts of the state, and what a damage calculator makes of them, at each legal action.

Percents are of the HP that the target has left: the mean roll without a critical hit, at most 100. They are facts of
the game as far as this side knows it (damage.py), never a policy's opinion. Every action has a line of its own, and
in it the facts come before its name, because a causal model reads from left to right.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from shared.battle.action import Action, Move, Switch
from shared.battle.blow import Fighter, is_grounded
from shared.battle.completion import completions_v2
from shared.battle.damage import Calculator, fighter
from shared.battle.effectiveness import attack_type
from shared.battle.formula import Damage
from shared.battle.pokedex import pokedex
from shared.battle.prompt_v2 import MAX_MOVES, Page, name
from shared.battle.state import BattleState, PokemonState

MAX_CHARACTERS = 1150
UNSEEN_POWER = 80
"""Of the attacks of its own types that an opponent may have, as long as it has not shown four moves."""
FEW_PP = 5
_KNOCKS_OUT = {"surely": " KO", "perhaps": " maybe KO", "never": ""}
_IS_KNOCKED_OUT = {"surely": " faints", "perhaps": " may faint", "never": ""}


def prompt_v3(state: BattleState) -> str:
    """The prompt: a line a subject, then a line a legal action."""
    return _Page(state, pokedex(state.generation)).fitting(MAX_CHARACTERS)


class _Figures:
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


@dataclass(frozen=True, slots=True)
class _Page(Page):
    """v2's page, with figures in place of base speed, power, effectiveness and priority, which they hold."""

    figures: _Figures = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", _Figures(self.state))

    def _speed(self, pokemon: PokemonState) -> str:
        return ""

    def _shown(self, foe: PokemonState) -> str:
        figures, own = self.figures, self.figures.own
        if own is None:
            return ", ".join(name(move.name) for move in foe.moves[:MAX_MOVES])
        shown = [f"{name(move)}{self._figure(damage, own)}{figures.haste(move)}" for move, damage in figures.shown(own)]
        unseen = [f"{type_name.lower()}{self._figure(damage, own)}" for type_name, damage in figures.unseen(own)]
        return "; ".join(filter(None, (", ".join(shown), f"unseen {', '.join(unseen)}" if unseen else "")))

    def _figure(self, damage: Damage | None, target: Fighter) -> str:
        if damage is None:
            return ""
        return f" {damage.percent(target.hp)}{_IS_KNOCKED_OUT[damage.knocks_out(target.hp)]}"

    def _actions(self) -> Iterable[str]:
        own, own_takes = self.figures.own, ""
        if own is not None:
            own_takes = self._takes(own)
        for text, action in completions_v2(self.state).items():
            facts = " ".join(fact for fact in self._facts(action, own_takes) if fact)
            yield f"{facts}: {text}" if facts else text

    def _facts(self, action: Action, own_takes: str) -> Iterator[str]:
        own = self.figures.own
        if isinstance(action, Switch):
            yield from self._of_switch(self.state.switched_to(action))
        elif isinstance(action, Move) and own is not None:
            if action.gimmick is None:
                yield from self._of_move(action, own)
                yield own_takes
            elif action.gimmick == "tera" and own.pokemon.tera_type:
                changed = _terastallized(own)
                yield f"tera {own.pokemon.tera_type.lower()}"
                yield self._hits(self.figures.of_move(action.name, changed, action.told_power))
                yield self.figures.order(changed, action.name)
                yield self._takes(changed)

    def _of_move(self, action: Move, own: Fighter) -> Iterator[str]:
        facts = self.dex.move(action.name)
        if facts is None:
            return
        ability = own.pokemon.ability
        yield attack_type(action.name, facts, own.pokemon.in_sight, weather=self.state.weather, ability=ability).lower()
        if facts.category == "Status":
            yield "status"
        yield f"acc{facts.accuracy}" if facts.accuracy not in (None, 100) else ""
        pp = next((move.pp for move in own.pokemon.moves if move.name == action.name), None)
        yield f"pp{pp}" if pp is not None and pp <= FEW_PP else ""
        heals = self.dex.mechanics(action.name).heals
        yield f"heals {heals}" if heals else ""
        yield self._hits(self.figures.of_move(action.name, own, action.told_power))
        yield self.figures.order(own, action.name)

    def _of_switch(self, mate: PokemonState) -> Iterator[str]:
        yield self._mate(mate)
        if mate.fainted:
            return
        entered = fighter(self.dex, mate, self.state.own)
        conditions = self.state.own.conditions
        lost = self.figures.calculator.on_entry(entered, conditions)
        if lost:
            yield f"entry {lost}" + (" faints" if lost >= mate.hp_percent else "")
        if "toxic spikes" in conditions and self._is_poisoned(entered):
            yield "poisoned"
        left = replace(entered, pokemon=replace(mate, hp_percent=max(1, mate.hp_percent - lost)))
        yield self._hits(self.figures.best_of(left))
        yield self.figures.order(left)
        yield self._takes(left)

    def _is_poisoned(self, mate: Fighter) -> bool:
        pokemon = mate.pokemon
        safe = pokemon.status or pokemon.item == "heavydutyboots" or {"Poison", "Steel"} & set(pokemon.types)
        return not safe and is_grounded(mate, pokemon.ability, self.figures.calculator.around)

    def _hits(self, damage: Damage | None) -> str:
        foe = self.figures.foe
        if damage is None or foe is None:
            return ""
        return f"hits {damage.percent(foe.hp)}{_KNOCKS_OUT[damage.knocks_out(foe.hp)]}"

    def _takes(self, target: Fighter) -> str:
        worst = self.figures.worst_for(target)
        return f"takes{self._figure(worst, target)}" if worst else ""


def _terastallized(own: Fighter) -> Fighter:
    pokemon, tera_type = own.pokemon, own.pokemon.tera_type
    types = pokemon.types if tera_type in (None, "Stellar") else (tera_type,)
    return replace(own, pokemon=replace(pokemon, terastallized=True, types=types))
