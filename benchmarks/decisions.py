"""How full an arena worker keeps a model server, and what a decision costs the arena.

    python benchmarks/decisions.py [--seconds 20] [--battles 64] [--contract v2]

The model is a stand-in in a process of its own, with TGI's chat route, that takes a fixed time for each answer and
works on a fixed number at once: 200 ms and 32, so that it can give 160 answers a second and no more. It is asked in
battles against `random`.

  arena       one worker's event loop with 64 battles in flight, its slots asked of a real Redis. It keeps a few
              more requests in flight than the server works on, so that the next is there when one is done. What the
              server answers in the window is counted, by the server, once it has been full for a while.
  sequential  the same matchup one battle and one call at a time, with a pause of 2 s between calls, as the project did
              that asked this question first.

CPU is that of the arena's process: tracking, prompts, HTTP, records; not the simulator's (shown beside it), nor the
server's. The last line is JSON: {"share_of_capacity": x, "times_sequential": x, "arena_cpu_ms_per_decision": x}.
"""

import argparse
import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

from deploy.stack import private_redis
from services.arena.battlefields import SimulatorBattlefield
from services.arena.play import play
from services.arena.policies.language_model import connector
from shared.jobs.limits import Limiter, LocalLimiter, shared_limiter
from shared.records import BattleRecord, MatchupRequest
from shared.settings import Settings

SERVICE_SECONDS = 0.2
AT_ONCE = 32
IN_FLIGHT = AT_ONCE + 8
PAUSE_SECONDS = 2.0
WARM_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in some seconds of play."""

    decisions: int
    seconds: float
    cpu_seconds: float
    simulator_cpu_seconds: float

    @property
    def decisions_per_second(self) -> float:
        """Answers that the server gave, a second."""
        return self.decisions / self.seconds


class StandIn:
    """The model server, in a process of its own."""

    def __init__(self, process: Process, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process = process

    @classmethod
    @asynccontextmanager
    async def running(cls) -> "AsyncIterator[StandIn]":
        """Started, and stopped at the end."""
        command = [sys.executable, "-m", "tests.standins.models", "--service-ms", f"{SERVICE_SECONDS * 1000}"]
        process = await asyncio.create_subprocess_exec(
            *command, "--at-once", str(AT_ONCE), stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[1]
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield cls(process, int(await process.stdout.readline()))
        finally:
            process.stdin.close()
            await process.wait()

    async def answered(self) -> int:
        """Questions answered so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"?\n")
        return int(json.loads(await self._process.stdout.readline())["answered"])


class Pausing:
    """One call at a time, and a pause behind each."""

    def __init__(self) -> None:
        self._one = LocalLimiter()

    @asynccontextmanager
    async def slot(self, endpoint: str, most: int) -> AsyncIterator[None]:
        """See Limiter."""
        async with self._one.slot(endpoint, 1):
            yield
            await asyncio.sleep(PAUSE_SECONDS)

    async def aclose(self) -> None:
        """Nothing is held."""


async def measure(
    server: StandIn, limiter: Limiter, contract: str, *, battles: int, warm_up_seconds: float, seconds: float
) -> Window:
    """Play that many battles at once, and look at some seconds of it. What is still in play then is dropped."""
    broken: list[str] = []

    def note(record: BattleRecord) -> None:
        if record.broken:
            broken.append(record.broken)

    request = MatchupRequest(
        p1=f"tgi:{server.url}?contract={contract}", p2="random", battles=10_000, concurrency=battles, seed=1
    )
    connect = connector(Settings(max_in_flight=IN_FLIGHT), limiter)
    field = SimulatorBattlefield()
    playing = asyncio.create_task(
        play(
            request,
            range(request.battles),
            matchup_id="benchmark",
            worker="benchmark",
            on_record=note,
            battlefield=field,
            connect=connect,
        )
    )
    await asyncio.sleep(warm_up_seconds)
    simulator = field.pid
    answered, cpu, node, began = await server.answered(), process_time(), cpu_seconds(simulator), perf_counter()
    await asyncio.sleep(seconds)
    window = Window(
        await server.answered() - answered,
        perf_counter() - began,
        process_time() - cpu,
        cpu_seconds(simulator) - node,
    )
    if playing.done() or broken:
        raise SystemExit(f"the matchup ended early or broke: {broken[:1] or playing.exception()}")
    playing.cancel()
    with suppress(asyncio.CancelledError):
        await playing
    return window


def cpu_seconds(pid: int | None) -> float:
    """User and system time of a process, by proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    """Measure both, print what was found, and last the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to look at the arena")
    parser.add_argument("--battles", type=int, default=64, help="battles at once")
    parser.add_argument("--contract", default="v2")
    options = parser.parse_args()
    capacity = AT_ONCE / SERVICE_SECONDS
    with private_redis() as (redis_url, _):
        async with StandIn.running() as server:
            limiter = shared_limiter(redis_url)
            arena = await measure(
                server,
                limiter,
                options.contract,
                battles=options.battles,
                warm_up_seconds=WARM_UP_SECONDS,
                seconds=options.seconds,
            )
            await limiter.aclose()
        async with StandIn.running() as server:
            # Ten calls are enough: nothing in it varies but the pause.
            sequential = await measure(
                server, Pausing(), options.contract, battles=1, warm_up_seconds=3.0, seconds=10 * PAUSE_SECONDS
            )
    share = arena.decisions_per_second / capacity
    times = arena.decisions_per_second / sequential.decisions_per_second
    cpu_ms = 1000 * arena.cpu_seconds / arena.decisions
    print(f"the server can give         {capacity:8.1f} decisions a second")
    print(f"arena, {options.battles} battles at once {arena.decisions_per_second:8.1f} = {share:.1%} of it")
    print(
        f"sequential, 2 s pauses      {sequential.decisions_per_second:8.2f}, of which the arena is {times:.0f} times"
    )
    print(
        f"CPU a decision: the arena {cpu_ms:.2f} ms, the simulator beside it"
        f" {1000 * arena.simulator_cpu_seconds / arena.decisions:.2f} ms\n"
    )
    figures = {"share_of_capacity": share, "times_sequential": times, "arena_cpu_ms_per_decision": cpu_ms}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    asyncio.run(main())
