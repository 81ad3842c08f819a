"""Policies without a model: a coin, and two of poke-env's players, unmodified so that their known strength holds."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random as Generator

from poke_env.battle import Battle, Pokemon
from poke_env.battle import Move as KnownMove
from poke_env.player import MaxBasePowerPlayer, SimpleHeuristicsPlayer
from poke_env.player.battle_order import BattleOrder, SingleBattleOrder

from services.arena.policies.base import View
from shared.battle.action import Action, Gimmick, Move, Switch
from shared.battle.decision import Decision, Outcome, Reason
from shared.policies import PolicySpec


class Random:
    """Uniform over the legal actions."""

    contract: Mapping[str, str] = {}

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec

    async def decide(self, view: View) -> Decision:
        """Draw one."""
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
        with _drawing_from(view.rng):
            wanted = self._choose(view.battle)
        action = _legal_action(wanted, view)
        if action is None:
            return Decision(view.rng.choice(view.legal), Outcome.SUBSTITUTED, Reason.ILLEGAL, reasoning=str(wanted))
        return Decision(action)


def max_damage(view: View) -> Action | None:
    """The move of most base power; None where poke-env's order is no legal action, and at team preview."""
    if view.request.get("teamPreview"):
        return None
    with _drawing_from(view.rng):
        return _legal_action(MaxBasePowerPlayer.choose_singles_move(view.battle), view)


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


def _legal_action(wanted: BattleOrder, view: View) -> Action | None:
    if not isinstance(wanted, SingleBattleOrder):
        return None
    if isinstance(wanted.order, KnownMove):
        gimmick = _gimmick(wanted)
        return next(
            (a for a in view.legal if isinstance(a, Move) and a.id == wanted.order.id and a.gimmick == gimmick), None
        )
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
