"""How a request reaches an endpoint: with its key and no other, in its place in the line, again where that may help.

A key goes to the scheme, host and port that it belongs to. A request to anywhere else is not sent, and no redirect is
followed. A server that is away is waited for: patience counts from when it last answered anybody, so that a busy server
is not given up and a dead one is given up once, not once a battle.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import random
from typing import Generic, TypeVar

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from services.arena.backends.faults import Away, Busy, Declined, Fault, answered_with
from shared.battle.outcome import Reason
from shared.errors import Unreachable
from shared.jobs.limits import Limiter
from shared.settings import Endpoint
from shared.text import one_line

log = logging.getLogger(__name__)

T = TypeVar("T")
CONNECT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 5.0
ITS_OWN_FAULT = 4
"""A question that fails so often, while others are answered in between, is not asked again."""

_backoff = wait_random_exponential(multiplier=0.25, max=LONGEST_WAIT_SECONDS)


@dataclass(frozen=True, slots=True)
class Delivery(Generic[T]):
    """What came of a request and its repetitions. Without a value, `problem` says why."""

    value: T | None
    problem: Reason | None
    detail: str
    retries: int
    waited_ms: float
    last_attempt_ms: float


class Transport:
    """The way to one endpoint, for any number of requests at once in one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        limiter: Limiter,
        *,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.http = _client(endpoint)
        self._limiter = limiter
        self._clock = clock
        self._sleep = sleep
        self._health = _Health(endpoint.name, patience_seconds, clock)

    async def deliver(self, send: Callable[[], Awaitable[T]], timeout_seconds: float) -> Delivery[T]:
        """Send a request through `http`, and again while that may help.

        `send` raises what `faults` draws for an answer that is none; HTTP's own errors are seen to here.
        Raises Unreachable when the endpoint is away, busy or failing for longer than patience lasts, and when it cannot
        be asked at all.
        """
        began = sent = self._clock()
        value: T | None = None
        problem: Reason | None = None
        detail = ""
        course = _Course(self._health)
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Fault), wait=course.wait, stop=course.stop, sleep=self._sleep, reraise=True
        )
        try:
            async for attempt in attempts:
                with attempt:
                    await self._until_welcome()
                    async with self._limiter.slot(self.endpoint.name, self.endpoint.max_in_flight):
                        sent = self._clock()
                        value = await _within(timeout_seconds, send)
        except _TimedOut:
            problem, detail = Reason.TIMED_OUT, f"no answer within {timeout_seconds:g} s"
        except Declined as declined:
            self._health.answered()
            problem, detail = Reason.REFUSED, self.shown(declined)
        except Fault as fault:
            if not course.is_its_own_fault:
                raise Unreachable(f"{self.endpoint.name} does not answer: {self.shown(fault)}") from None
            problem, detail = Reason.REFUSED, self.shown(fault)
        except Unreachable as error:
            raise Unreachable(f"{self.endpoint.name} cannot be asked: {self.shown(error)}") from None
        else:
            self._health.answered()
        return Delivery(value, problem, detail, course.faults, 1000 * (sent - began), 1000 * (self._clock() - sent))

    def shown(self, what: object) -> str:
        """In one line and without the key, whatever a server put into its message."""
        text, key = str(what), self.endpoint.key
        return one_line(text.replace(key.get_secret_value(), "…") if key else text)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def _until_welcome(self) -> None:
        while (seconds := self._health.not_before - self._clock()) > 0:
            # A little later, each its own little: not all at once.
            await self._sleep(seconds + random() * min(1.0, seconds))


class _Health:
    """What is known of an endpoint from all that was asked of it."""

    def __init__(self, name: str, patience_seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.patience_seconds = patience_seconds
        self.clock = clock
        self.answers = 0
        self.not_before = clock()
        """It asked to be spared until then."""
        self.silent_since: float | None = None
        """When it first failed after it had last answered anybody."""

    def answered(self) -> None:
        self.answers += 1
        if self.silent_since is not None:
            log.info("%s answers again.", self.name)
            self.silent_since = None

    def failed(self, fault: BaseException) -> None:
        now = self.clock()
        if self.silent_since is None:
            self.silent_since = now
            log.warning("%s: %s. Trying again for %g s.", self.name, type(fault).__name__, self.patience_seconds)
        if isinstance(fault, Busy) and fault.retry_after_seconds is not None:
            self.not_before = max(self.not_before, now + fault.retry_after_seconds)

    def is_given_up(self) -> bool:
        """Whether it has been silent for too long, or asks to be spared for too long."""
        since = self.clock() if self.silent_since is None else self.silent_since
        return max(self.clock(), self.not_before) - since > self.patience_seconds


class _Course:
    """One question's faults, and what follows from them: tenacity's `wait` and `stop`."""

    def __init__(self, health: _Health) -> None:
        self.faults = 0
        self._health = health
        self._answers_seen = health.answers
        self._overtaken = 0

    @property
    def is_its_own_fault(self) -> bool:
        """Whether the server fails at this question alone."""
        return self._overtaken >= ITS_OWN_FAULT

    def stop(self, state: RetryCallState) -> bool:
        self.faults += 1
        fault = state.outcome.exception() if state.outcome else None
        if fault is not None:
            self._health.failed(fault)
        if self._health.answers > self._answers_seen and not isinstance(fault, Busy):
            self._answers_seen = self._health.answers
            self._overtaken += 1
        return self.is_its_own_fault or self._health.is_given_up()

    def wait(self, state: RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome else None
        if isinstance(fault, Busy) and fault.retry_after_seconds is not None:
            return 0.0
        return _backoff(state)


class _TimedOut(Exception):
    """This attempt took too long."""


async def _within(seconds: float, send: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await _reaching(send)
    except TimeoutError:
        raise _TimedOut from None


async def _reaching(send: Callable[[], Awaitable[T]]) -> T:
    try:
        return await send()
    except httpx2.HTTPError as error:
        raise Away(f"{type(error).__name__} {error}".strip()) from None


def _client(endpoint: Endpoint) -> httpx2.AsyncClient:
    address = httpx2.URL(endpoint.url)
    key = f"Bearer {endpoint.key.get_secret_value()}" if endpoint.key else None

    async def bind(request: httpx2.Request) -> None:
        # Whatever a library put there: the only key sent is this endpoint's, and only to this endpoint.
        if _origin(request.url) != _origin(address):
            raise Unreachable(f"the request would go to {request.url.host}")
        request.headers.pop("Authorization", None)
        if key is not None:
            request.headers["Authorization"] = key

    async def read(response: httpx2.Response) -> None:
        # Before a library makes its own error of it.
        if not response.is_success:
            await response.aread()
            raise answered_with(response.status_code, response.headers, response.text)

    return httpx2.AsyncClient(
        # As many as may be in flight, all kept: opening one costs more than asking.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0),
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
        follow_redirects=False,
        event_hooks={"request": [bind], "response": [read]},
    )


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
