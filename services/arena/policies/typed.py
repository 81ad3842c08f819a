"""A policy without a model that knows types and nothing else: a rung between `max-damage` and `heuristic`."""

from collections.abc import Mapping
from math import inf

from services.arena.policies.base import View
from shared.battle.action import Action, Move, Switch
from shared.battle.decision import Decision
from shared.battle.effectiveness import attack_type, type_multiplier
from shared.battle.pokedex import pokedex
from shared.battle.state import BattleState
from shared.policies import PolicySpec

SAME_TYPE_BONUS = 1.5


class Typed:
    """The move of most power, times accuracy, same-type bonus and effectiveness; switches only when it must.

    Then it sends in who resists the opponent's own types best. It never terastallizes, and leads with whom it draws.
    """

    contract: Mapping[str, str] = {}

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec

    async def decide(self, view: View) -> Decision:
        """The best by that rule; of equals one that is drawn."""
        return Decision(view.rng.choice(best(view.state)))


def best(state: BattleState) -> list[Action]:
    """The legal actions that are worth most."""
    worth = [_worth(action, state) for action in state.legal]
    return [action for action, value in zip(state.legal, worth, strict=True) if value == max(worth)]


def _worth(action: Action, state: BattleState) -> float:
    """What speaks for an action. Any move comes before any switch."""
    match action:
        case Move(gimmick=None):
            return _expected_power(action, state)
        case Switch() if state.asked == "switch":
            return -_weakness(action, state)
        case Switch() if state.asked == "lead":
            return 0.0
        case _:
            return -inf


def _expected_power(move: Move, state: BattleState) -> float:
    own, foe = state.own.active, state.foe.active
    facts = pokedex(state.generation).move(move.name)
    if facts is None or own is None:
        return 0.0
    known = {"weather": state.weather}
    type_name = attack_type(move.name, facts, own.in_sight, ability=own.ability, **known)
    multiplier: float | None = 1.0
    if foe is not None:
        multiplier = type_multiplier(
            pokedex(state.generation),
            move.name,
            own.in_sight,
            foe.in_sight,
            user_ability=own.ability,
            target_ability=foe.ability,
            **known,
        )
    bonus = SAME_TYPE_BONUS if type_name in own.types else 1.0
    # Of unknown effect (Hidden Power), neutral is the best guess.
    return facts.power * (facts.accuracy or 100) / 100 * bonus * (1.0 if multiplier is None else multiplier)


def _weakness(switch: Switch, state: BattleState) -> float:
    """How hard the opponent's own types hit who comes in."""
    foe, dex = state.foe.active, pokedex(state.generation)
    types = state.switched_to(switch).types
    return max((dex.multiplier(type_name, types) for type_name in foe.types), default=1.0) if foe else 1.0
