"""What a turn costs: the simulator alone, our simulator battlefield, and poke-env on the official server.

    python benchmarks/battles.py [--battles 40] [--rounds 5]

All play random vs random in the same format. Each plays the same number of battles in each round, one contestant after
the other, and its figure is the median of its rounds, so that a busy machine is busy for all. Processes are started and
warmed up before the first round, by battles that are not counted.

CPU is that of all processes involved, Python's and Node's:
  bare_simulator               Node alone: BattleStream, getPlayerStreams and the package's RandomPlayerAI as they come.
                               That player never switches without need: its battles are short and its turns dear.
  bare_simulator_switching     the same with the chance to switch that our random policy has: turns of the same kind.
  ours                         services.arena.play.play as a worker calls it, all records made and kept in memory.
  poke_env_server              battle_against between two of poke-env's RandomPlayers, on the official server as it
                               comes: with a process for the network, one for battles and more.
  poke_env_server_one_process  the same with the whole server in one process.

The last line is JSON: {"cpu_ms_per_turn": {…}, "turns_per_second": {…}}.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from poke_env import ServerConfiguration
from poke_env.player import RandomPlayer

from services.arena.battlefields import SimulatorBattlefield
from services.arena.play import play
from shared.matchups import Matchups
from shared.records import BattleRecord, MatchupRequest
from shared.simulator import find_node, find_simulator
from shared.simulator.showdown_server import ShowdownServer
from shared.store import Store
from shared.work import new_id

FORMAT = "gen9randombattle"
CONCURRENCY = MatchupRequest.model_fields["concurrency"].default
WARM_UP_BATTLES = 40
BARE = Path(__file__).with_name("bare_simulator.js")


@dataclass(frozen=True, slots=True)
class Round:
    """What some battles took."""

    turns: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def cpu_ms_per_turn(self) -> float:
        """CPU milliseconds a turn."""
        return 1000 * self.cpu_seconds / self.turns

    @property
    def turns_per_second(self) -> float:
        """Turns a second of wall-clock time."""
        return self.turns / self.wall_seconds


Contestant = Callable[[int], Awaitable[Round]]
"""Plays that many battles."""


async def main() -> None:
    """Play, print a table, and last the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=40, help="battles of each contestant in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(BareSimulator())
        ours = await stack.enter_async_context(Ours())
        server = stack.enter_context(ShowdownServer(processes="several"))
        small_server = stack.enter_context(ShowdownServer())
        print(f"Warming up: {WARM_UP_BATTLES} battles each, not counted.", flush=True)
        await ours.play(WARM_UP_BATTLES)
        move_chance = ours.share_of_moves()
        contestants: Mapping[str, Contestant] = {
            "bare_simulator": node.play,
            "bare_simulator_switching": lambda battles: node.play(battles, move_chance),
            "ours": ours.play,
            "poke_env_server": PokeEnv(server).play,
            "poke_env_server_one_process": PokeEnv(small_server).play,
        }
        for name, contestant in contestants.items():
            if name != "ours":
                await contestant(WARM_UP_BATTLES)
        rounds: dict[str, list[Round]] = {name: [] for name in contestants}
        for number in range(1, options.rounds + 1):
            for name, contestant in contestants.items():
                gc.collect()
                rounds[name].append(await contestant(options.battles))
            print(
                f"Round {number}: "
                + ", ".join(f"{name} {played[-1].cpu_ms_per_turn:.2f}" for name, played in rounds.items())
                + " CPU ms a turn",
                flush=True,
            )
    report(rounds, move_chance)


def report(rounds: Mapping[str, list[Round]], move_chance: float) -> None:
    """Print the table and the line of JSON."""
    cpu = {name: median(played.cpu_ms_per_turn for played in those) for name, those in rounds.items()}
    speed = {name: median(played.turns_per_second for played in those) for name, those in rounds.items()}
    print(f"\n{'median of rounds':<28}{'CPU ms a turn':>14}{'range':>14}{'turns a second':>16}{'turns played':>14}")
    for name, those in rounds.items():
        each = [played.cpu_ms_per_turn for played in those]
        turns = sum(played.turns for played in those)
        print(f"{name:<28}{cpu[name]:>14.2f}{f'{min(each):.2f}–{max(each):.2f}':>14}{speed[name]:>16.0f}{turns:>14}")
    print(
        f"\nours is {cpu['ours'] / cpu['bare_simulator']:.2f} times the bare simulator's CPU a turn"
        f" ({cpu['ours'] / cpu['bare_simulator_switching']:.2f} times with players that switch as often as ours,"
        f" {1 - move_chance:.0%} of their turns),\nand {cpu['ours'] / cpu['poke_env_server']:.2f} times poke-env's.\n"
    )
    rounded = {
        "cpu_ms_per_turn": {name: round(value, 3) for name, value in cpu.items()},
        "turns_per_second": {name: round(value, 1) for name, value in speed.items()},
    }
    print(json.dumps(rounded))


class BareSimulator:
    """The simulator without us, in a Node.js process."""

    def __init__(self) -> None:
        self._played = 0
        self._process: Process

    async def __aenter__(self) -> "BareSimulator":
        find_simulator()
        self._process = await asyncio.create_subprocess_exec(find_node(), BARE, stdin=PIPE, stdout=PIPE)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def play(self, battles: int, move_chance: float = 1.0) -> Round:
        """Play so many battles, one after the other."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"battles": battles, "format": FORMAT, "seed": self._played, "move": move_chance}
        self._played += battles
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return Round(**json.loads(await self._process.stdout.readline()))


class Ours:
    """Matchups as a worker plays them, but on one simulator process that stays, so that its start is not counted."""

    def __init__(self) -> None:
        self._field = _StayingBattlefield()
        self._store = Store("memory://benchmark")
        self._records: list[BattleRecord] = []
        self._seed = 0

    async def __aenter__(self) -> "Ours":
        await self._field.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._field.aclose()

    async def play(self, battles: int) -> Round:
        """Play a matchup."""
        self._seed += 1
        self._records.clear()
        request = MatchupRequest(p1="random", p2="random", battles=battles, format=FORMAT, seed=self._seed)
        matchup_id = new_id()

        def record(battle: BattleRecord) -> None:
            Matchups(self._store).record(matchup_id, battle)
            self._records.append(battle)

        field, indices = self._field, range(battles)
        meter = Meter(field.pid)
        await play(request, indices, matchup_id=matchup_id, worker="benchmark", on_record=record, battlefield=field)
        if broken := [battle.broken for battle in self._records if battle.broken]:
            raise SystemExit(f"{len(broken)} battles broke, the first because: {broken[0]}")
        return meter.read(sum(battle.turns for battle in self._records))

    def share_of_moves(self) -> float:
        """How often the players of the last battles moved rather than switched, of their own free will."""
        first = {(battle.index, d.turn, d.seat): d for battle in self._records for d in reversed(battle.decisions)}
        return sum(d.action_type == "move" for d in first.values()) / len(first)


class PokeEnv:
    """poke-env's own way: two of its players on the official server."""

    def __init__(self, server: ShowdownServer) -> None:
        self._server = server
        self._players = [
            RandomPlayer(
                server_configuration=ServerConfiguration(f"{server.url}/showdown/websocket", ""),
                battle_format=FORMAT,
                max_concurrent_battles=CONCURRENCY,
                log_level=logging.ERROR,
            )
            for _ in range(2)
        ]

    async def play(self, battles: int) -> Round:
        """Play so many battles."""
        first, second = self._players
        meter = Meter(self._server.pid)
        await first.battle_against(second, n_battles=battles)
        played = meter.read(sum(battle.turn for battle in first.battles.values()))
        for player in self._players:
            player.reset_battles()  # type: ignore[no-untyped-call]
        return played


class _StayingBattlefield(SimulatorBattlefield):
    async def __aexit__(self, *_: object) -> None:
        """A matchup closes its battlefield; this one is needed again."""


class Meter:
    """CPU of this process and of a child with all its children, and time on the wall, from its creation on."""

    def __init__(self, child: int | None) -> None:
        self._family = _family(child)
        self._cpu, self._wall = self._used(), perf_counter()

    def read(self, turns: int) -> Round:
        """What was used since."""
        return Round(turns, self._used() - self._cpu, perf_counter() - self._wall)

    def _used(self) -> float:
        # Of this process all threads count: poke-env's event loop has one of its own.
        return process_time() + sum(_stat(pid).cpu_seconds for pid in self._family)


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    cpu_seconds: float


def _stat(pid: int) -> _Stat:
    # proc(5): after the name in parentheses come the state, the parent, and at 11 and 12 user and system ticks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))


def _family(pid: int | None) -> set[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = _stat(int(folder.name)).parent
    family = {pid} if pid else set()
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


if __name__ == "__main__":
    asyncio.run(main())
