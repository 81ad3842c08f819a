"""Contract v3's prompt: v2's facts of the state, and what a damage calculator makes of them, at each legal action.

Percents are of the HP that the target has left: the mean roll without a critical hit, at most 100. They are facts of
the game as far as this side knows it (damage.py), never a policy's opinion. Every action has a line of its own, and
in it the facts come before its name, because a causal model reads from left to right. Moves come before moves with a
gimmick, and these before switches; in each the strongest comes first, of switches what hits by most more than it takes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.battle.action import Action, Move, Switch
from shared.battle.blow import Fighter, is_grounded
from shared.battle.completion import completions_v2
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
        worst = self.figures.worst_for(self.figures.own) if self.figures.own else None
        lines: list[tuple[int, int, str]] = []
        for text, action in completions_v2(self.state).items():
            user = self._user(action)
            # The strongest first: a small model that knows nothing else begins with the first line.
            kind, rank = 2 if isinstance(action, Switch) else int(getattr(action, "gimmick", None) is not None), 0
            facts = [self._mate(self.state.switched_to(action)) if isinstance(action, Switch) else ""]
            if user is not None:
                hits = self._damage(action, user)
                takes = worst if user is self.figures.own else self.figures.worst_for(user)
                rank = hits.percent(self.figures.foe.hp) if hits and self.figures.foe else -1
                rank -= takes.percent(user.hp) if takes and isinstance(action, Switch) else 0
                facts += [*self._facts(action, user), self._hits(hits), self._order(action, user)]
                facts.append(f"takes{self._figure(takes, user)}" if takes else "")
            told = " ".join(filter(None, facts))
            lines.append((kind, -rank, f"{told}: {text}" if told else text))
        # Of equals, and where there are no figures, the order of the request stays.
        return [line for _, _, line in sorted(lines, key=lambda each: each[:2])]

    def _user(self, action: Action) -> Fighter | None:
        """Who acts, as it will be by then; None where figures say nothing of it."""
        own = self.figures.own
        if isinstance(action, Switch):
            mate = self.state.switched_to(action)
            return None if mate.fainted else self.figures.entered(mate)[0]
        if not isinstance(action, Move) or own is None or action.gimmick not in (None, "tera"):
            return None
        if action.gimmick is None:
            return own if self.dex.move(action.name) else None
        return terastallized(own) if own.pokemon.tera_type else None

    def _damage(self, action: Action, user: Fighter) -> Damage | None:
        if isinstance(action, Move):
            return self.figures.of_move(action.name, user, action.told_power)
        return self.figures.best_of(user)

    def _order(self, action: Action, user: Fighter) -> str:
        return self.figures.order(user, action.name if isinstance(action, Move) else None)

    def _on_entry(self, entered: Fighter) -> int:
        return self.figures.calculator.on_entry(entered, self.state.own.conditions)

    def _facts(self, action: Action, user: Fighter) -> Iterator[str]:
        """What is told before the figures."""
        if isinstance(action, Switch):
            mate = self.state.switched_to(action)
            if lost := self._on_entry(user):
                yield f"entry {lost}" + (" faints" if lost >= mate.hp_percent else "")
            if "toxic spikes" in self.state.own.conditions and self._is_poisoned(user):
                yield "poisoned"
        elif isinstance(action, Move) and action.gimmick is not None:
            yield f"tera {(user.pokemon.tera_type or '').lower()}"
        elif isinstance(action, Move) and (facts := self.dex.move(action.name)) is not None:
            ability, seen = user.pokemon.ability, user.pokemon.in_sight
            yield attack_type(action.name, facts, seen, weather=self.state.weather, ability=ability).lower()
            if facts.category == "Status":
                yield "status"
            yield f"acc{facts.accuracy}" if facts.accuracy not in (None, 100) else ""
            pp = next((move.pp for move in user.pokemon.moves if move.name == action.name), None)
            yield f"pp{pp}" if pp is not None and pp <= FEW_PP else ""
            heals = self.dex.mechanics(action.name).heals
            yield f"heals {heals}" if heals else ""

    def _is_poisoned(self, mate: Fighter) -> bool:
        pokemon = mate.pokemon
        safe = pokemon.status or pokemon.item == "heavydutyboots" or {"Poison", "Steel"} & set(pokemon.types)
        return not safe and is_grounded(mate, pokemon.ability, self.figures.calculator.around)

    def _hits(self, damage: Damage | None) -> str:
        foe = self.figures.foe
        if damage is None or foe is None:
            return ""
        return f"hits {damage.percent(foe.hp)}{_KNOCKS_OUT[damage.knocks_out(foe.hp)]}"
