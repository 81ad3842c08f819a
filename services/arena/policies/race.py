"""The policy that reckons who knocks out whom first, by the damage calculator's figures, which contract v3 spells out.

It takes each legal action one turn on, and then lets the two Pokémon on the field strike at each other, each with its
strongest attack, until one of them faints. What this wins and costs is told in Pokémon: one that has not fainted counts
ALIVE and what is left of its HP the rest. It knows no effect of a move besides damage, healing and priority, and does
not foresee that the opponent switches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, exp, inf

from services.arena.player import View
from shared.battle.action import Action, Move, Switch
from shared.battle.blow import Fighter
from shared.battle.decision import Advice, Decision
from shared.battle.formula import Damage
from shared.battle.pokedex import pokedex, to_id
from shared.battle.prospects import Prospects, terastallized
from shared.battle.state import BattleState, PokemonState
from shared.policies import PolicySpec

ALIVE = 0.3
TERA = 0.3
"""What terastallization is worth while all others of the side could still do it; it falls with their number."""
SWITCHING = 0.3
"""What a switch costs beyond the damage that is taken, since the opponent may have done something better meanwhile."""
LATER = 0.8
"""What is reckoned to come after this turn counts so much of what happens in it."""
_CLEAR = 0.03
"""A difference in worth by which one action is advised e times as often as another."""
_NEARLY = 0.08
"""So much of a hit may lack for a knockout: rolls vary, and something else may take it."""
_FALLS_WITH_IT = frozenset({"explosion", "selfdestruct", "mistyexplosion", "finalgambit"})
_ANSWERED_FIRST = frozenset({"hyperbeam", "gigaimpact", "solarbeam", "meteorbeam", "futuresight", "focuspunch"})
_DISCOUNTS = {**dict.fromkeys(_FALLS_WITH_IT, 0.35), **dict.fromkeys(_ANSWERED_FIRST, 0.5)}


class Race:
    """What is worth most in the race of the two Pokémon on the field."""

    contract: Mapping[str, str] = {}

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec

    async def decide(self, view: View) -> Decision:
        """The action that is worth most; of equals one is drawn."""
        advice = await self.advise(view)
        most = max(each.probability for each in advice)
        best = [each.action for each in advice if each.probability == most]
        return Decision(view.rng.choice(best), advice=advice)

    async def advise(self, view: View) -> tuple[Advice, ...]:
        """How often each of `view.legal` is taken, and a chance of winning that rises with its worth."""
        worth = worths(view.state)
        shares = [exp((each - max(worth)) / _CLEAR) for each in worth]
        return tuple(
            Advice(action, share / sum(shares), 1 / (1 + exp(-each)))
            for action, share, each in zip(view.legal, shares, worth, strict=True)
        )


def worths(state: BattleState) -> list[float]:
    """What each of the legal actions wins, less what it costs, in Pokémon."""
    reckoning = _Reckoning(state)
    return [reckoning.worth(action) for action in state.legal]


@dataclass(frozen=True, slots=True)
class _Duel:
    """Two Pokémon that strike at each other. HP and damage are parts of all HP that a Pokémon can have."""

    own: float
    foe: float
    deals: float
    takes: float
    is_first: bool

    def worth(self) -> float:
        """What comes of it when both go on to the end, in Pokémon."""
        strikes, suffers = _hits(self.foe, self.deals), _hits(self.own, self.takes)
        if strikes == suffers == inf:
            return 0.0
        if strikes < suffers or (strikes == suffers and self.is_first):
            lost = self.takes * (strikes - self.is_first)
            return _worth(self.foe) - _worth(self.own) + _worth(max(0.01, self.own - lost))
        dealt = self.deals * (suffers - (not self.is_first))
        return _worth(self.foe) - _worth(max(0.01, self.foe - dealt)) - _worth(self.own)


class _Reckoning:
    """One state's actions, reckoned."""

    def __init__(self, state: BattleState) -> None:
        self._state, self._dex, self._prospects = state, pokedex(state.generation), Prospects(state)
        self._foe = _hp(state.foe.active)
        self._others = sum(not mate.fainted for mate in state.own.bench)

    def worth(self, action: Action) -> float:
        if self._prospects.foe is None:
            return 0.0
        if isinstance(action, Switch):
            return self._of_switch(self._state.switched_to(action))
        own = self._prospects.own
        if not isinstance(action, Move) or own is None:
            return 0.0
        if action.gimmick == "tera" and own.pokemon.tera_type:
            return self._of_move(action, terastallized(own)) - TERA * self._others / 5 - 0.02
        return self._of_move(action, own)

    def _of_move(self, action: Move, user: Fighter) -> float:
        deals = self._deals(action.name, user, action.told_power)
        then = _Duel(
            _hp(user.pokemon), self._foe, max(deals, self._strongest(user)), self._takes(user), self._is_first(user)
        )
        own, foe = then.own, then.foe
        heals = self._dex.mechanics(action.name).heals / 100
        if self._is_first(user, action.name):
            foe -= deals
            own = min(1.0, own + heals) - (then.takes if foe > 0 else 0)
        else:
            own -= then.takes
            if own > 0:
                own, foe = min(1.0, own + heals), foe - deals
        now = _worth(then.foe) - _worth(foe) - _worth(then.own) + _worth(own)
        return now + (LATER * replace(then, own=own, foe=foe).worth() if own > 0 and foe > 0 else 0)

    def _of_switch(self, mate: PokemonState) -> float:
        entered, lost = self._prospects.entered(mate)
        own, takes = (mate.hp_percent - lost) / 100, self._takes(entered)
        if self._state.asked == "move":
            own -= self._on_the_way(entered, takes)
        cost = _worth(_hp(mate)) - _worth(own) + (SWITCHING if self._state.asked == "move" else 0)
        if own <= 0:
            return -cost
        return _Duel(own, self._foe, self._strongest(entered), takes, self._is_first(entered)).worth() - cost

    def _on_the_way(self, entered: Fighter, most: float) -> float:
        """What it takes as it comes in: the opponent aims at who is there now, and half expects it."""
        shown = list(self._prospects.shown(self._prospects.own)) if self._prospects.own else []
        aimed = max(shown, key=lambda each: each[1].mean if each[1] else 0, default=None)
        if aimed is None or self._prospects.foe is None:
            return most * 0.75
        found = self._prospects.calculator.damage(aimed[0], self._prospects.foe, entered, self._state.own.conditions)
        return (most + _share(found, entered)) / 2

    def _deals(self, move: str, user: Fighter, power: int | None = None) -> float:
        foe, facts = self._prospects.foe, self._dex.move(move)
        if foe is None or facts is None:
            return 0.0
        accuracy = (facts.accuracy or 100) / 100
        return _share(self._prospects.of_move(move, user, power), foe) * accuracy * _DISCOUNTS.get(to_id(move), 1)

    def _strongest(self, user: Fighter) -> float:
        return max((self._deals(move.name, user) for move in user.pokemon.moves), default=0.0)

    def _takes(self, target: Fighter) -> float:
        return _share(self._prospects.worst_for(target), target)

    def _is_first(self, user: Fighter, move: str | None = None) -> bool:
        return self._prospects.order(user, move) == "first"


def _hits(hp: float, damage: float) -> float:
    """How many it takes."""
    return max(1, ceil(hp / damage - _NEARLY)) if damage > 0.01 else inf


def _share(damage: Damage | None, target: Fighter) -> float:
    """Damage as part of all HP, no more than is left; less where it can't or needn't knock out."""
    if damage is None or not target.hp:
        return 0.0
    most = {"surely": 1.0, "perhaps": 0.97, "never": 0.99}[damage.knocks_out(target.hp)]
    return min(most, damage.mean / target.hp) * target.pokemon.hp_percent / 100


def _hp(pokemon: PokemonState | None) -> float:
    return pokemon.hp_percent / 100 if pokemon else 0.0


def _worth(hp: float) -> float:
    return ALIVE + (1 - ALIVE) * hp if hp > 0 else 0.0
