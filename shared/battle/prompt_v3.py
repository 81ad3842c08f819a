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
from shared.battle.damage import fighter
from shared.battle.effectiveness import attack_type
from shared.battle.formula import Damage
from shared.battle.pokedex import pokedex
from shared.battle.prompt_v2 import MAX_MOVES, Page, name
from shared.battle.prospects import Prospects, terastallized
from shared.battle.state import BattleState, PokemonState

MAX_CHARACTERS = 1150
FEW_PP = 5
_KNOCKS_OUT = {"surely": " KO", "perhaps": " maybe KO", "never": ""}
_IS_KNOCKED_OUT = {"surely": " faints", "perhaps": " may faint", "never": ""}


def prompt_v3(state: BattleState) -> str:
    """The prompt: a line a subject, then a line a legal action."""
    return _Page(state, pokedex(state.generation)).fitting(MAX_CHARACTERS)


@dataclass(frozen=True, slots=True)
class _Page(Page):
    """v2's page, with figures in place of base speed, power, effectiveness and priority, which they hold."""

    figures: Prospects = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", Prospects(self.state))

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
                changed = terastallized(own)
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
