"""Battles on the official simulator in a child process: many at once, from seeds."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from services.arena.battlefields import BattleSetup, FoughtBattle
from services.arena.player import Player
from shared.battle.action import needs_answer
from shared.battle.protocol import SEATS, Seat
from shared.errors import BattleBroken
from shared.simulator.simulator import SeatSetup, SimulatedBattle, Simulator, Step


class SimulatorBattlefield:
    """All battles of a shard on one simulator process."""

    def __init__(self, node: Path | None = None) -> None:
        self.simulator = Simulator(node)

    async def __aenter__(self) -> "SimulatorBattlefield":
        await self.simulator.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.simulator.__aexit__(kind, error, trace)

    async def versions(self) -> Mapping[str, str]:
        return await self.simulator.versions()

    async def validate_team(self, format_id: str, team: str) -> str:
        return await self.simulator.validate_team(format_id, team)

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        if setup.seeds is None:
            raise BattleBroken("a battle on the simulator needs seeds")
        team_seeds = {"p1": setup.seeds.p1_team, "p2": setup.seeds.p2_team}
        seats = {
            seat: SeatSetup(setup.names[seat], team=setup.teams[seat] if setup.teams else None, seed=team_seeds[seat])
            for seat in SEATS
        }
        battle = await self.simulator.open(setup.format, setup.seeds.dice, seats)
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
