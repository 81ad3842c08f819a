"""Where battles are fought: the interface, the seeds of a battle, and the official simulator. Servers: server.py."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from services.arena.player import Player
from shared.battle.action import needs_answer
from shared.battle.protocol import SEATS, Seat
from shared.errors import BattleBroken
from shared.records import Seeds
from shared.simulator.simulator import SeatSetup, SimulatedBattle, Simulator, Step


@dataclass(frozen=True, slots=True)
class BattleSetup:
    """One battle about to be fought."""

    tag: str
    format: str
    names: Mapping[Seat, str]
    """What each seat is called in the log."""
    seeds: Seeds | None
    teams: Mapping[Seat, str] | None
    """Packed teams, for a format that needs them."""


@dataclass(frozen=True, slots=True)
class FoughtBattle:
    """How a battle ended."""

    winner: Seat | None
    """The seat that won; None for a draw."""
    turns: int
    input_log: tuple[str, ...] = ()


class Battlefield(AbstractAsyncContextManager["Battlefield"], Protocol):
    """A place that fights many battles at once."""

    async def versions(self) -> Mapping[str, str]:
        """Software → version."""
        ...

    async def validate_team(self, format_id: str, team: str) -> str:
        """The packed form of an exported team. Raises InvalidTeam."""
        ...

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        """Fight one battle to its end, appending each log line as it comes: a broken battle keeps what was seen.

        Lines may still hold `|split|` blocks. Raises SimulatorError or BattleBroken.
        """
        ...


class SimulatorBattlefield(Simulator):
    """All battles of a shard on one simulator process."""

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        if setup.seeds is None:
            raise BattleBroken("a battle on the simulator needs seeds")
        team_seeds = {"p1": setup.seeds.p1_team, "p2": setup.seeds.p2_team}
        seats = {
            seat: SeatSetup(setup.names[seat], team=setup.teams[seat] if setup.teams else None, seed=team_seeds[seat])
            for seat in SEATS
        }
        battle = await self.open(setup.format, setup.seeds.dice, seats)
        try:
            return await _fight(battle, setup, players, log)
        finally:
            battle.close()


async def _fight(
    battle: SimulatedBattle, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]
) -> FoughtBattle:
    while True:
        step = await battle.step()
        log.extend(step.lines)
        if step.end is not None:
            winners = [seat for seat in SEATS if setup.names[seat] == step.end.winner]
            return FoughtBattle(winners[0] if winners else None, step.end.turns, step.end.input_log)
        if orders := await _orders(step, players):
            battle.choose(orders)


async def _orders(step: Step, players: Mapping[Seat, Player]) -> dict[Seat, str]:
    """Both sides think at the same time; a refused order is answered from the new request that came with it."""
    for seat in SEATS:
        players[seat].hear(step.lines)
    for seat, line in step.private:
        players[seat].hear((line,))
    for seat, message in step.errors:
        players[seat].refused(message)
    asked = [seat for seat, request in step.requests.items() if needs_answer(request)]
    if len(asked) < 2:
        return {seat: await players[seat].answer(step.requests[seat]) for seat in asked}
    first, second = asked
    meanwhile = asyncio.create_task(players[second].answer(step.requests[second]))
    try:
        return {first: await players[first].answer(step.requests[first]), second: await meanwhile}
    finally:
        meanwhile.cancel()


def battle_seeds(seed: int, index: int, *, pairs: bool) -> Seeds:
    """The seeds of battle `index`: dice, both teams, and both policies' own randomness.

    Seeds belong to seats. With pairs, battles 2k and 2k + 1 have the same, so the policies that exchange seats
    meet the same teams and dice.
    """
    game = index // 2 if pairs else index

    def draw(purpose: str) -> str:
        return sha256(f"alphastral/{seed}/{game}/{purpose}".encode()).hexdigest()[:32]

    return Seeds(
        dice=f"sodium,{draw('dice')}",
        p1_team=f"sodium,{draw('p1 team')}",
        p2_team=f"sodium,{draw('p2 team')}",
        p1_policy=int(draw("p1 policy"), 16),
        p2_policy=int(draw("p2 policy"), 16),
    )


def pair_of(index: int, battles: int, *, pairs: bool) -> int | None:
    """The number of the pair that battle `index` belongs to; None without pairs and for an odd last battle."""
    return index // 2 if pairs and index // 2 * 2 + 1 < battles else None


def p1_seat(index: int, *, pairs: bool) -> Seat:
    """Where the policy p1 sits: on its own seat, but across the table in the second battle of a pair."""
    return "p2" if pairs and index % 2 else "p1"
