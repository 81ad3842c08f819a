"""Policies without a model: a coin, a rule of types, a person, and two of poke-env's players.

Those two are unmodified so that their known strength holds; only the power that a request tells of a move is told them.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from random import Random as Generator

from poke_env.battle import Battle, Pokemon
from poke_env.battle import Move as KnownMove
from poke_env.player import MaxBasePowerPlayer, SimpleHeuristicsPlayer
from poke_env.player.battle_order import BattleOrder, SingleBattleOrder

from services.arena.player import View
from shared.battle.action import Action, Gimmick, Move, Switch
from shared.battle.decision import Decision, Outcome, Reason
from shared.battle.effectiveness import attack_type, type_multiplier
from shared.battle.pokedex import pokedex
from shared.battle.state import BattleState
from shared.errors import BattleBroken
from shared.policies import PolicySpec

SAME_TYPE_BONUS = 1.5


class Random:
    """Uniform over the legal actions."""

    contract: Mapping[str, str] = {}

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec

    async def decide(self, view: View) -> Decision:
        return Decision(view.rng.choice(view.legal))


class _PokeEnvBaseline:
    """One of poke-env's players, asked for its order and nothing else."""

    contract: Mapping[str, str] = {}

    def __init__(self, spec: PolicySpec, choose: Callable[[Battle], BattleOrder]) -> None:
        self.spec = spec
        self._choose = choose

    async def decide(self, view: View) -> Decision:
        """The player's order as one of the legal actions; an order that is none of them is substituted and says so."""
        if view.request.get("teamPreview"):
            # poke-env's own preview is a random order of the team.
            return Decision(view.rng.choice(view.legal))
        wanted, action = _asked(self._choose, view)
        if action is None:
            return Decision(view.rng.choice(view.legal), Outcome.SUBSTITUTED, Reason.ILLEGAL, reasoning=str(wanted))
        return Decision(action)


def max_damage(view: View) -> Action | None:
    """The move of most base power; None where poke-env's order is no legal action, and at team preview."""
    if view.request.get("teamPreview"):
        return None
    return _asked(MaxBasePowerPlayer.choose_singles_move, view)[1]


class MaxDamage(_PokeEnvBaseline):
    """The move of most base power; switches only when it must."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec, MaxBasePowerPlayer.choose_singles_move)


class Heuristic(_PokeEnvBaseline):
    """Type matchups, entry hazards, setup moves, tera and switches out of bad matchups."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec, lambda battle: SimpleHeuristicsPlayer.choose_singles_move(battle)[0])


@contextmanager
def _drawing_from(rng: Generator) -> Iterator[None]:
    """Let code that draws from Python's global generator draw from `rng`.

    Battles interleave, so without this the same seed would not give the same log. Only around synchronous code.
    """
    outside = random.getstate()
    random.setstate(rng.getstate())
    try:
        yield
    finally:
        rng.setstate(random.getstate())
        random.setstate(outside)


def _asked(choose: Callable[[Battle], BattleOrder], view: View) -> tuple[BattleOrder, Action | None]:
    """The order of one of poke-env's players, and the legal action that it means."""
    battle = view.battle
    # By place, since ids may differ: to poke-env `hiddenpower` is `hiddenpowerground` before generation 7.
    listed = enumerate(view.request["active"][0]["moves"], 1) if "active" in view.request else ()
    slots = [slot for slot, move in listed if not move.get("disabled")]
    slotted = list(zip(battle.available_moves, slots, strict=False))
    told = {action.slot: action.told_power for action in view.legal if isinstance(action, Move)}
    for move, slot in slotted:
        # Of Return and Frustration it knows no power, since that is the Pokémon's; the request tells it.
        if (power := told.get(slot)) is not None:
            move._base_power_override = power
    with _drawing_from(view.rng):
        wanted = choose(battle)
    return wanted, _legal_action(wanted, view, slotted)


def _legal_action(wanted: BattleOrder, view: View, slotted: list[tuple[KnownMove, int]]) -> Action | None:
    if not isinstance(wanted, SingleBattleOrder):
        return None
    if isinstance(wanted.order, KnownMove):
        gimmick = _gimmick(wanted)
        slots = [slot for move, slot in slotted if move is wanted.order]
        return next((a for a in view.legal if isinstance(a, Move) and a.slot in slots and a.gimmick == gimmick), None)
    if isinstance(wanted.order, Pokemon):
        slots = [
            slot
            for slot, pokemon in enumerate(view.request["side"]["pokemon"], 1)
            if view.battle.team.get(pokemon["ident"]) is wanted.order
        ]
        return next((a for a in view.legal if isinstance(a, Switch) and a.slot in slots), None)
    return None


def _gimmick(wanted: SingleBattleOrder) -> Gimmick | None:
    if wanted.terastallize:
        return "tera"
    if wanted.mega:
        return "mega"
    if wanted.z_move:
        return "zmove"
    return "dynamax" if wanted.dynamax else None


class Typed:
    """The move of most power, times accuracy, same-type bonus and effectiveness; switches only when it must.

    Then it sends in who resists the opponent's own types best. It never terastallizes, and draws whom it leads with and
    which of equals it takes.
    """

    contract: Mapping[str, str] = {}

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec

    async def decide(self, view: View) -> Decision:
        return Decision(view.rng.choice(typed_best(view.state)))


def typed_best(state: BattleState) -> list[Action]:
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
    power = facts.power if move.told_power is None else move.told_power
    return power * (facts.accuracy or 100) / 100 * bonus * (1.0 if multiplier is None else multiplier)


def _weakness(switch: Switch, state: BattleState) -> float:
    """How hard the opponent's own types hit who comes in."""
    foe, dex = state.foe.active, pokedex(state.generation)
    types = state.switched_to(switch).types
    return max((dex.multiplier(type_name, types) for type_name in foe.types), default=1.0) if foe else 1.0


class Person:
    """A person in a policy's place, on a Showdown server, from Showdown's own page.

    Never asked: what a person does is between them and the server, and no decision is recorded.
    """

    contract: Mapping[str, str] = {}

    async def decide(self, view: View) -> Decision:
        raise BattleBroken("a person plays only on a Showdown server")
