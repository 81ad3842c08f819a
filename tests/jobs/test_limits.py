"""Requests in flight: never more than the limit, over any number of processes, and never a place lost."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis

from shared.jobs.limits import LEASE_SECONDS, Limiter, LocalLimiter, SharedLimiter, shared_limiter
from shared.jobs.queue import connect
from tests.jobs.conftest import ROOT
from tests.standins.models import TGI, StandIn, together

LEASES = "alphastral:in-flight:gpu1"


class Watch:
    """Counts who is inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.done = 0
        self.first = asyncio.Event()

    async def work(self, limiter: Limiter, most: int, times: int, seconds: float = 0.005) -> None:
        for _ in range(times):
            async with limiter.slot("gpu1", most):
                self.inside += 1
                self.most = max(self.most, self.inside)
                await asyncio.sleep(seconds)
                self.inside -= 1
                self.done += 1
                self.first.set()


@asynccontextmanager
async def limiters(url: str, count: int) -> AsyncIterator[list[SharedLimiter]]:
    async with AsyncExitStack() as stack:
        made = [shared_limiter(url) for _ in range(count)]
        for limiter in made:
            stack.push_async_callback(limiter.aclose)
        yield made


async def test_a_process_lets_in_no_more_than_its_limit_and_all_in_turn() -> None:
    watch, limiter = Watch(), LocalLimiter()
    await asyncio.gather(*(watch.work(limiter, 3, 4) for _ in range(10)))

    assert (watch.most, watch.done, watch.inside) == (3, 40, 0)


async def test_who_gives_up_waiting_leaves_no_place_taken() -> None:
    watch, limiter = Watch(), LocalLimiter()
    async with limiter.slot("gpu1", 1):
        waiting = [asyncio.ensure_future(watch.work(limiter, 1, 1)) for _ in range(5)]
        await asyncio.sleep(0.01)
        for each in waiting[:4]:
            each.cancel()
    await asyncio.wait_for(waiting[4], 20)
    await asyncio.wait_for(watch.work(limiter, 1, 1), 20)

    assert (watch.most, watch.done) == (1, 2)


async def test_all_may_give_up_at_once() -> None:
    watch, limiter = Watch(), LocalLimiter()
    crowd = [asyncio.ensure_future(watch.work(limiter, 2, 1, seconds=5)) for _ in range(6)]
    await asyncio.sleep(0.01)
    for each in crowd:
        each.cancel()
    ended = await asyncio.gather(*crowd, return_exceptions=True)
    await asyncio.wait_for(asyncio.gather(*(watch.work(limiter, 2, 1) for _ in range(2))), 20)

    assert {type(each) for each in ended} == {asyncio.CancelledError}


@pytest.mark.parametrize(("processes", "most"), [(1, 8), (2, 8), (3, 8), (3, 2)])
async def test_processes_share_one_limit_and_use_all_of_it(redis_url: str, processes: int, most: int) -> None:
    watch = Watch()
    async with limiters(redis_url, processes) as shared:
        crowds = [watch.work(limiter, most, 25) for limiter in shared for _ in range(12)]
        await asyncio.wait_for(asyncio.gather(*crowds), 60)

    assert (watch.most, watch.done) == (most, processes * 12 * 25)


async def test_everyone_gets_a_turn_where_places_are_fewer_than_processes(redis_url: str) -> None:
    watches = [Watch(), Watch()]
    async with limiters(redis_url, 2) as shared:
        crowds = [
            asyncio.ensure_future(watch.work(limiter, 1, 10_000))
            for watch, limiter in zip(watches, shared, strict=True)
        ]
        await asyncio.wait_for(asyncio.gather(*(watch.first.wait() for watch in watches)), 60)
        for crowd in crowds:
            crowd.cancel()

    assert all(watch.done for watch in watches)


async def test_places_that_one_does_not_want_go_to_the_other(redis_url: str) -> None:
    idle, busy = Watch(), Watch()
    async with limiters(redis_url, 2) as (first, second):
        await asyncio.gather(*(idle.work(first, 8, 5) for _ in range(8)))
        async with first.slot("gpu1", 8):
            await asyncio.gather(*(busy.work(second, 8, 300) for _ in range(20)))

    assert busy.most == 7


async def test_the_places_of_a_process_that_died_are_free_again_when_its_lease_has_run_out(redis_url: str) -> None:
    watch = Watch()
    loop = asyncio.get_running_loop()
    began = loop.time()
    connection: redis.Redis = connect(redis_url)
    seconds, _ = connection.time()
    connection.hset(LEASES, "dead", f"8:0:{(seconds + 2 - LEASE_SECONDS) * 1000:.0f}")
    async with limiters(redis_url, 1) as (limiter,):
        await asyncio.wait_for(watch.work(limiter, 8, 1), 30)

    assert loop.time() - began > 0.9
    assert LEASE_SECONDS <= 10


async def test_a_closed_limiter_leaves_nothing_behind(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await Watch().work(limiter, 8, 1)
        held: redis.Redis = connect(redis_url)
        assert held.hlen(LEASES) == 1

    assert held.hlen(LEASES) == 0


async def test_closing_ends_whatever_the_keeper_of_the_leases_is_doing(redis_url: str) -> None:
    async def closes_after(lull_seconds: float, turns: int) -> bool:
        limiter = shared_limiter(redis_url)
        await Watch().work(limiter, 8, 1)
        await asyncio.sleep(lull_seconds)
        working = asyncio.ensure_future(Watch().work(limiter, 8, 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(limiter.aclose())
        done, waiting = await asyncio.wait([closing], timeout=60)
        for each in (working, *waiting):
            each.cancel()
        await asyncio.wait([working, closing])
        return bool(done)

    moments = [(tenths / 10, turns) for tenths in range(1, 8) for turns in range(6)]
    closed = await asyncio.gather(*(closes_after(*moment) for moment in moments))
    assert all(closed)


async def test_two_workers_share_one_limit_and_the_server_never_sees_a_ninth(redis_url: str) -> None:
    model = StandIn(TGI, [together(8)], service_seconds=0.03)
    async with model.server:
        command = [sys.executable, "-m", "tests.jobs.askers", redis_url, model.server.url, "8", "150"]
        workers = [await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
        told = await asyncio.wait_for(asyncio.gather(*(worker.communicate() for worker in workers)), 90)

    assert [out.decode().strip() for out, _ in told] == ["150 answered", "150 answered"]
    assert model.answered == 300
    assert model.most_in_flight == 8
