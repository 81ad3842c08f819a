"""Real battles for these tests: seeded, on the simulator, both sides choosing at random among the legal actions.

What every state became in each contract is kept of all battles, the states themselves of a few: 200 battles
meet about 16,000 of them.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from shared.battle.action import Action, Move, legal_actions, needs_answer, order
from shared.battle.completion import Completions
from shared.battle.contract import CONTRACTS
from shared.battle.protocol import SEATS, Seat
from shared.battle.state import BattleState
from shared.battle.tracker import Tracker
from shared.simulator.simulator import SeatSetup, Simulator

TEAMS = Path(__file__).parents[2] / "services" / "arena" / "sample_teams"
KEPT = 3
"""Battles of each format whose states are kept."""
SWITCH_RATE = 0.15
NAMES: Mapping[Seat, str] = {"p1": "Red", "p2": "Blue"}


@dataclass(frozen=True, slots=True)
class Met:
    """What both sides knew when a step of the simulator asked something, and what those asked then did."""

    states: Mapping[Seat, BattleState]
    """Of the sides that had to answer."""
    chosen: Mapping[Seat, Action]


@dataclass(frozen=True, slots=True)
class Told:
    """A state in a contract's words."""

    legal: tuple[Action, ...]
    prompt: str
    completions: Completions


@dataclass(frozen=True, slots=True)
class Played:
    """One battle."""

    format: str
    seed: int
    keeps_states: bool
    met: list[Met] = field(default_factory=list)
    told: dict[str, list[Told]] = field(default_factory=lambda: {version: [] for version in CONTRACTS})
    """By contract version."""
    log: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)


async def play_all(battles: Iterable[tuple[str, int]]) -> list[Played]:
    """Play these (format, seed), some at a time on one simulator."""
    async with Simulator() as simulator:
        teams = [await simulator.validate_team("gen9ou", path.read_text()) for path in sorted(TEAMS.glob("gen9ou-*"))]
        at_once = asyncio.Semaphore(8)

        async def play_in_turn(format_id: str, seed: int) -> Played:
            async with at_once:
                return await _play(simulator, format_id, seed, teams)

        return list(await asyncio.gather(*(play_in_turn(*battle) for battle in battles)))


async def _play(simulator: Simulator, format_id: str, seed: int, teams: list[str]) -> Played:
    played = Played(format_id, seed, keeps_states=seed < KEPT)
    setup = {
        seat: SeatSetup(NAMES[seat], team=teams[index] if format_id == "gen9ou" else None, seed=_seed(index + 1, seed))
        for index, seat in enumerate(SEATS)
    }
    trackers = {seat: Tracker(int(format_id[3]), seat, NAMES) for seat in SEATS}
    rng = Random(seed)
    battle = await simulator.open(format_id, _seed(0, seed), setup)
    try:
        while True:
            step = await battle.step()
            played.log.extend(step.lines)
            for tracker in trackers.values():
                tracker.hear(step.lines)
            if step.end is not None:
                assert all(tracker.battle.finished for tracker in trackers.values())
                played.untracked.extend(line for tracker in trackers.values() for line in tracker.untracked)
                return played
            _answer(played, step.requests, trackers, rng, battle.choose)
    finally:
        battle.close()


def _answer(
    played: Played, requests: Mapping[Seat, dict[str, Any]], trackers: Mapping[Seat, Tracker], rng: Random, choose: Any
) -> None:
    asked = {seat: request for seat, request in requests.items() if needs_answer(request)}
    if not asked:
        return
    states: dict[Seat, BattleState] = {}
    chosen: dict[Seat, Action] = {}
    for seat, request in asked.items():
        trackers[seat].request(request)
        states[seat] = trackers[seat].state()
        chosen[seat] = _choose(rng, legal_actions(request))
        for version, contract in CONTRACTS.items():
            if version == "v3" and len(played.told["v2"]) % 4:
                # It takes ten times as long to write; every fourth meets all there is.
                continue
            told = Told(states[seat].legal, contract.prompt(states[seat]), contract.completions(states[seat]))
            played.told[version].append(told)
    if played.keeps_states:
        played.met.append(Met(states, chosen))
    choose({seat: order(action, asked[seat]) for seat, action in chosen.items()})


def _choose(rng: Random, legal: tuple[Action, ...]) -> Action:
    # Uniform over all actions, half of the turns would be switches and no battle would end.
    moves = [action for action in legal if isinstance(action, Move)]
    return rng.choice(moves if moves and rng.random() > SWITCH_RATE else legal)


def _seed(which: int, seed: int) -> str:
    return f"sodium,{which:02x}{seed:030x}"
