"""How many requests may be in flight at an endpoint, whoever sends them: of one process, or across workers.

Across workers, the places of an endpoint are divided: each process holds a lease on some of them, renews it while it
lives, and gives its requests their turns without asking Redis. What one does not want goes to the others, and what
divides unevenly goes round. The lease of a process that died runs out, and its places with it.
"""

import asyncio
import logging
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import redis.asyncio
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

LEASE_SECONDS = 10.0
"""A lease that was not renewed for this long has run out."""
RENEW_SECONDS = 0.5
HURRY_SECONDS = 0.05
"""How soon a process that waits for places asks again."""
TURN_SECONDS = 2.0
"""How long a place that cannot be divided stays with one process while others want it."""
_KEY = "alphastral:in-flight:"

# KEYS: an endpoint's leases, process → "places held:places wanted:end of the lease in milliseconds".
# ARGV: this process, the places it holds, those it wants, all there are, milliseconds of a lease, of a turn.
# Answers how many it may use from now on. What it holds counts until it says that it holds less.
_CLAIM = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me, holds, wants, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local free, claims = most, {{name = me, wants = wants}}
local leases = redis.call('HGETALL', KEYS[1])
for i = 1, #leases, 2 do
  local held, wanted, ends = string.match(leases[i + 1], '(%d+):(%d+):(%d+)')
  if leases[i] ~= me then
    if tonumber(ends) < now then
      redis.call('HDEL', KEYS[1], leases[i])
    else
      free = free - held
      claims[#claims + 1] = {name = leases[i], wants = tonumber(wanted)}
    end
  end
end
-- The modest get what they want; the others divide the rest evenly.
table.sort(claims, function(a, b) return a.wants < b.wants or (a.wants == b.wants and a.name < b.name) end)
local rest, first = most, 1
while first < #claims and claims[first].wants <= rest / (#claims - first + 1) do
  rest = rest - claims[first].wants
  first = first + 1
end
local sharers, share = #claims - first + 1, wants
for i = first, #claims do
  if claims[i].name == me then
    local turn = (i - first + math.floor(now / tonumber(ARGV[6]))) % sharers
    share = math.floor(rest / sharers) + (turn < rest % sharers and 1 or 0)
  end
end
local may = math.max(0, math.min(wants, share, free))
redis.call('HSET', KEYS[1], me, string.format('%d:%d:%d', math.max(may, holds), wants, now + ARGV[5]))
redis.call('PEXPIRE', KEYS[1], ARGV[5] * 2)
return may
"""


class Limiter(Protocol):
    """Gives out places at endpoints. Belongs to one event loop."""

    def place(self, endpoint: str, most: int) -> AbstractAsyncContextManager[None]:
        """Waits until fewer than `most` requests are in flight at `endpoint`, and holds a place while inside."""
        ...

    async def aclose(self) -> None:
        """Give back what is still held."""
        ...


@dataclass(slots=True)
class Line:
    """The places of one endpoint in this process, and who waits for one, in order."""

    places: int
    taken: int = 0
    waiting: "deque[asyncio.Future[None]]" = field(default_factory=deque)

    @property
    def wanted(self) -> int:
        """As many places as would make nobody wait."""
        return self.taken + len(self.waiting)

    async def turn(self) -> None:
        """Wait for a place, and take it."""
        if self.taken < self.places and not self.waiting:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place came in the moment of giving up.
                self.give_back()
            elif turn in self.waiting:
                self.waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """A place is free again."""
        self.taken -= 1
        self.serve()

    def serve(self) -> None:
        """Let in as many as there are places."""
        while self.waiting and self.taken < self.places:
            turn = self.waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)


class LocalLimiter:
    """The limits of one process, for the command line."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    @asynccontextmanager
    async def place(self, endpoint: str, most: int) -> AsyncIterator[None]:
        """See Limiter."""
        line = self._lines.setdefault(endpoint, Line(most))
        await line.turn()
        try:
            yield
        finally:
            line.give_back()

    async def aclose(self) -> None:
        """Nothing is held anywhere else."""


@dataclass(slots=True)
class _LeasedLine(Line):
    """A line whose places are leased. What was wanted of late counts as wanted, so that no lull costs a place."""

    most: int = 0
    leased: int = 0
    """What Redis counts as held."""
    good_until: float = 0.0
    peaks: tuple[int, int] = (0, 0)

    @property
    def held(self) -> int:
        """Places that may be in use until Redis is asked again."""
        return max(self.taken, self.places)

    @property
    def is_in_need(self) -> bool:
        """Whether more places would help, or others should hear that some are free."""
        return self.leased > self.held or (bool(self.waiting) and self.places < self.most)

    def note(self) -> None:
        """Remember how many are wanted."""
        self.peaks = (self.peaks[0], max(self.peaks[1], self.wanted))


class SharedLimiter:
    """The limits of all processes that reach the same Redis."""

    def __init__(self, connection: redis.asyncio.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._redis = connection
        self._claim = connection.register_script(_CLAIM)
        self._clock = clock
        self._lines: dict[str, _LeasedLine] = {}
        self._hurry = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._is_closed = False

    @asynccontextmanager
    async def place(self, endpoint: str, most: int) -> AsyncIterator[None]:
        """See Limiter."""
        line = self._lines.setdefault(endpoint, _LeasedLine(places=0))
        line.most = most
        if self._clock() > line.good_until:
            line.places = 0
        if line.places <= line.wanted < line.most:
            self._hurry.set()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        await line.turn()
        line.note()
        try:
            yield
        finally:
            line.give_back()
            if line.is_in_need:
                self._hurry.set()

    async def aclose(self) -> None:
        """See Limiter."""
        self._is_closed = True
        if self._keeper is not None:
            # redis-py waits by wait_for, which before Python 3.12 loses a cancellation that meets the end of its wait:
            # hence the flag beside it.
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        with suppress(RedisError):
            for endpoint in self._lines:
                await self._redis.hdel(_KEY + endpoint, self.name)
        await self._redis.aclose()

    async def _keep(self) -> None:
        """Renew all leases until closed, sooner where places are wanted."""
        away = False
        while not self._is_closed:
            try:
                for endpoint, line in list(self._lines.items()):
                    await self._renew(endpoint, line)
                away = False
            except RedisError as error:
                if not away:
                    log.warning("Redis does not renew the leases on model servers: %s. Waiting for it.", error)
                away = True
            in_need = any(line.is_in_need for line in self._lines.values())
            await asyncio.sleep(HURRY_SECONDS)
            if not in_need or away:
                self._hurry.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_SECONDS):
                        await self._hurry.wait()

    async def _renew(self, endpoint: str, line: _LeasedLine) -> None:
        line.note()
        held, wanted, asked_at = line.held, min(max(line.peaks), line.most), self._clock()
        milliseconds = int(LEASE_SECONDS * 1000), int(TURN_SECONDS * 1000)
        may = await self._claim(keys=[_KEY + endpoint], args=[self.name, held, wanted, line.most, *milliseconds])
        line.peaks = (line.peaks[1], line.wanted)
        line.places = int(may)
        line.leased = max(line.places, held)
        line.good_until = asked_at + LEASE_SECONDS * 0.8
        line.serve()


def shared_limiter(redis_url: str, password_file: Path | None = None) -> SharedLimiter:
    """The limits of all who reach the Redis at that URL."""
    password = password_file.read_text().strip() if password_file else None
    return SharedLimiter(redis.asyncio.Redis.from_url(redis_url, password=password, socket_timeout=5.0))
