"""Replays for tests: seeded battles on the real simulator, both sides choosing at random, told as sites tell them."""

import asyncio
from collections.abc import Iterable, Sequence
from random import Random

from services.scraper.replay import Replay
from shared.battle.action import Move, legal_actions, needs_answer, order
from shared.battle.protocol import SEATS, seen_by
from shared.simulator.simulator import SeatSetup, Simulator

SWITCH_RATE = 0.2
ROOM_LINES = ("|j|☆Red", "|c|☆Red|good luck", "|inactive|Battle timer is ON")


async def replays(seeds: Iterable[int], *, exact_hp: bool = True, team: str | None = None) -> list[Replay]:
    """A replay of each seed: of gen9randombattle, or of gen9ou where both have a team.

    `exact_hp` as replays of random battles have it, otherwise in percent.
    """
    async with Simulator() as simulator:
        at_once = asyncio.Semaphore(8)
        packed = await simulator.validate_team("gen9ou", team) if team else None

        async def one(seed: int) -> Replay:
            async with at_once:
                return await replay(simulator, seed, exact_hp=exact_hp, team=packed)

        return list(await asyncio.gather(*map(one, seeds)))


async def replay(simulator: Simulator, seed: int, *, exact_hp: bool = True, team: str | None = None) -> Replay:
    """One battle."""
    format_id = "gen9ou" if team else "gen9randombattle"
    rng = Random(seed)
    seats = {
        seat: SeatSetup(name, team=team, seed=f"sodium,{seed:030x}{seat[1]:>02}")
        for seat, name in zip(SEATS, NAMES, strict=True)
    }
    battle = await simulator.open(format_id, f"sodium,{seed:032x}", seats)
    log: list[str] = []
    while True:
        step = await battle.step()
        log.extend(step.lines)
        if step.end is not None:
            battle.close()
            told = (*ROOM_LINES, *(uncovered(log) if exact_hp else seen_by(None, log)), "|raw|rated")
            return Replay(f"{format_id}-{seed}", format_id, told, step.end.input_log)
        asked = {seat: request for seat, request in step.requests.items() if needs_answer(request)}
        orders = {}
        for seat, request in asked.items():
            legal = legal_actions(request)
            moves = [action for action in legal if isinstance(action, Move)]
            orders[seat] = order(rng.choice(moves if moves and rng.random() > SWITCH_RATE else legal), request)
        if orders:
            battle.choose(orders)


NAMES = ("Red", "Blue")


def uncovered(log: Sequence[str]) -> list[str]:
    """The log with everybody's HP as they see it themselves."""
    told: list[str] = []
    rest = iter(log)
    for line in rest:
        if line.startswith("|split|"):
            line = next(rest)
            next(rest)
        if line:
            told.append(line)
    return told
