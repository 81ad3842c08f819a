"""How many requests may be in flight at an endpoint, whoever sends them: from this process, or from any of ours.

What all processes hold stands in Redis (limits.lua). A process asks for slots when its requests want them and tells
when they are free again, in one question for all that happened since the last; who has waited longest for a slot gets
the next. The slots of a process that died are free again when it was silent for LEASE_SECONDS.
"""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import redis.asyncio
from redis.exceptions import RedisError

from shared.settings import Settings

log = logging.getLogger(__name__)

LEASE_SECONDS = 10.0
_RENEW_SECONDS = 2.0
_ASK_AGAIN_SECONDS = 0.02
"""How soon a process that waits for a slot of another one asks again."""
_TURN_SECONDS = 1.0
"""A process that waits, and did not ask again for this long, is passed over."""
_PATIENCE_SECONDS = 0.1
"""A process may use its own slots again before others get them, until one of these has waited for this long: a slot
that goes to another process is idle until that one asks."""
_KEY = "alphastral:in-flight:"
_CLAIM = Path(__file__).with_name("limits.lua").read_text(encoding="utf-8")


class Limiter(Protocol):
    """Gives out slots at endpoints. Belongs to one event loop."""

    def slot(self, endpoint: str, most: int) -> AbstractAsyncContextManager[None]:
        """Waits until fewer than `most` requests are in flight at `endpoint`, and holds a slot while inside."""
        ...

    async def aclose(self) -> None:
        """Give back what is still held."""
        ...


class LocalLimiter:
    """The limits of one process, for the command line."""

    def __init__(self) -> None:
        self._free: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def slot(self, endpoint: str, most: int) -> AsyncIterator[None]:
        async with self._free.setdefault(endpoint, asyncio.Semaphore(most)):
            yield

    async def aclose(self) -> None:
        """Nothing is held anywhere else."""


@dataclass(slots=True)
class Slots:
    """The slots of one endpoint that this process holds, as Redis will be told."""

    most: int
    held: int = 0
    """In use, or free for this process's next request."""
    waiting: int = 0
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class SharedLimiter:
    """The limits of all processes that reach the same Redis. While Redis is away, nobody gets a slot."""

    def __init__(self, connection: redis.asyncio.Redis) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._redis = connection
        self._claim = connection.register_script(_CLAIM)
        self._slots: dict[str, Slots] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._is_closed = False

    @asynccontextmanager
    async def slot(self, endpoint: str, most: int) -> AsyncIterator[None]:
        if endpoint not in self._slots:
            self._slots[endpoint] = Slots(most)
            self._keepers.append(asyncio.create_task(self._keep(endpoint, self._slots[endpoint])))
        slots = self._slots[endpoint]
        slots.most = most
        slots.waiting += 1
        slots.changed.set()
        try:
            await slots.free.acquire()
        finally:
            slots.waiting -= 1
        try:
            yield
        finally:
            slots.held -= 1
            slots.changed.set()

    async def aclose(self) -> None:
        self._is_closed = True
        # redis-py waits by wait_for, which before Python 3.12 loses a cancellation that meets the end of its wait:
        # hence the flag beside it.
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        with suppress(RedisError):
            for endpoint in self._slots:
                await self._redis.hdel(_KEY + endpoint, self.name)
        await self._redis.aclose()

    async def _keep(self, endpoint: str, slots: Slots) -> None:
        """Tell Redis what this process holds and wants until closed: whenever that changes, and now and then."""
        durations = [int(seconds * 1000) for seconds in (LEASE_SECONDS, _TURN_SECONDS, _PATIENCE_SECONDS)]
        away = False
        while not self._is_closed:
            slots.changed.clear()
            while not slots.free.locked():
                # Granted, and nobody waits for it any more.
                await slots.free.acquire()
                slots.held -= 1
            granted, others = 0, 0
            try:
                counts = (slots.held, min(slots.waiting, slots.most), slots.most)
                granted, others = await self._claim(keys=[_KEY + endpoint], args=[self.name, *counts, *durations])
                away = False
            except RedisError as error:
                if not away:
                    log.warning("Redis does not renew the slots at model servers: %s. Waiting for it.", error)
                away = True
                await asyncio.sleep(_RENEW_SECONDS)
            slots.held += granted
            for _ in range(granted):
                slots.free.release()
            # Of what others give back, nobody tells.
            asks_again = others and slots.waiting > granted
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN_SECONDS if asks_again else _RENEW_SECONDS):
                    await slots.changed.wait()


def shared_limiter(redis_url: str, password_file: Path | None = None) -> SharedLimiter:
    """The limits of all who reach the Redis at that URL."""
    return SharedLimiter(connected(redis_url, password_file))


def connected(redis_url: str, password_file: Path | None = None) -> redis.asyncio.Redis:
    """The Redis at that URL, for an event loop."""
    password = password_file.read_text().strip() if password_file else None
    return redis.asyncio.Redis.from_url(redis_url, password=password, socket_timeout=5.0)


@asynccontextmanager
async def limiter_of(settings: Settings) -> AsyncIterator[Limiter]:
    """The limits that this process keeps to: those of all who share its Redis, or its own where it has none."""
    url, password_file = settings.redis_url, settings.redis_password_file
    limiter: Limiter = shared_limiter(url, password_file) if url else LocalLimiter()
    try:
        yield limiter
    finally:
        await limiter.aclose()
