"""A website that belongs to others, asked politely.

The client says who asks, opens few connections, keeps to a rate, waits as long as the site says (`Retry-After`), and
waits longer after each failure (exponential backoff with full jitter). A wait that the site asks for holds for every
request to it, not only for the one that was told.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from types import TracebackType
from typing import Self

import httpx2

from shared.errors import BrokenRecord, NotFound, Unreachable
from shared.text import one_line

USER_AGENT = f"alphaStral/{version('alphastral')} (battles between language models; a small, patient client)"
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_LONGEST_WAIT_SECONDS = 600.0
_FIRST_WAIT_SECONDS = 1.0
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Again(Exception):
    """This request may succeed later. `after_seconds` is what the site asks for."""

    def __init__(self, why: str, after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class Website:
    """The site at `url`; an async context. `sleep` is passed in by tests that do not want to wait."""

    def __init__(
        self,
        url: str,
        *,
        connections: int = 4,
        requests_per_second: float = 8.0,
        attempts: int = 6,
        timeout_seconds: float = 30.0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.requests = 0
        """Sent so far, those that failed included."""
        self._attempts = attempts
        self._interval_seconds = 1 / requests_per_second
        self._max_answer_bytes = max_answer_bytes
        self._sleep = sleep
        self._places = asyncio.Semaphore(connections)
        self._next_start = 0.0
        self._client = httpx2.AsyncClient(
            headers={"user-agent": USER_AGENT},
            timeout=timeout_seconds,
            follow_redirects=True,
            limits=httpx2.Limits(max_connections=connections),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> bytes:
        """The body at `path`, which begins with a slash.

        Raises NotFound where the site has no such page, BrokenRecord for an answer too large to be one, and Unreachable
        when it did not answer after several attempts, or refuses.
        """
        attempt = 1
        while True:
            try:
                return await self._get_once(path, dict(params or {}))
            except _Again as error:
                if attempt >= self._attempts:
                    raise Unreachable(f"{self.url}{path} does not answer: {error}") from error
                backoff_seconds = random.uniform(0, _FIRST_WAIT_SECONDS * 2**attempt)
                await self._sleep(backoff_seconds if error.after_seconds is None else error.after_seconds)
            attempt += 1

    async def _get_once(self, path: str, params: dict[str, str | int]) -> bytes:
        async with self._places:
            await self._wait_for_turn()
            self.requests += 1
            try:
                async with self._client.stream("GET", self.url + path, params=params) as response:
                    self._judge(response, path)
                    return await self._body(response, path)
            except httpx2.TransportError as error:
                raise _Again(one_line(error) or type(error).__name__) from error
            except (httpx2.DecodingError, httpx2.TooManyRedirects) as error:
                raise Unreachable(f"{self.url}{path} cannot be read: {one_line(error)}") from error

    async def _wait_for_turn(self) -> None:
        # Each request takes the next free moment; one that the site put off puts off all that come after it.
        now = asyncio.get_running_loop().time()
        start = max(now, self._next_start)
        self._next_start = start + self._interval_seconds
        if start > now:
            await self._sleep(start - now)

    def _judge(self, response: httpx2.Response, path: str) -> None:
        if response.status_code == httpx2.codes.NOT_FOUND:
            raise NotFound(f"{self.url}{path} does not exist")
        if response.status_code in _BUSY:
            after_seconds = _retry_after_seconds(response)
            if after_seconds is not None:
                if after_seconds > _LONGEST_WAIT_SECONDS:
                    raise Unreachable(f"{self.url} asks to come back in {after_seconds:.0f} s: come back then")
                now = asyncio.get_running_loop().time()
                self._next_start = max(self._next_start, now + after_seconds)
            raise _Again(f"status {response.status_code}", after_seconds)
        if response.status_code != httpx2.codes.OK:
            raise Unreachable(f"{self.url}{path} answers with status {response.status_code}")

    async def _body(self, response: httpx2.Response, path: str) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes(65536):
            body += piece
            if len(body) > self._max_answer_bytes:
                raise BrokenRecord(f"{self.url}{path} is larger than {self._max_answer_bytes} bytes")
        return bytes(body)


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    """RFC 9110: seconds, or a date."""
    given = response.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
