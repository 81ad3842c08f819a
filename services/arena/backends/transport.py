"""How a request reaches an endpoint: with its key and no other, in its place in the line, again where that may help.

A key goes to the scheme, host and port that it belongs to. A request to anywhere else is not sent, and no redirect is
followed. What comes back is bounded, whoever reads it. A server that is away is waited for: patience counts from when
it last answered anybody, so that a busy server is not given up and a dead one is given up once, not once a battle.

What can go wrong between a question and its answer:

    PassingFault                another try may help
    ├── Away             no connection, or it broke
    ├── Busy             429 or 503: too much at once; says how long to wait, where the server did
    └── Failing          5xx, or a body that is no answer
    Declined             the server will not answer this question, however often it is asked
    Unreachable          the endpoint itself will not do: a refused key, no such model, a redirect
"""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from random import random, uniform
from time import monotonic

import httpx2

from services.arena.backends import Reply
from shared.battle.decision import Reason
from shared.errors import Unreachable
from shared.jobs.limits import Limiter
from shared.settings import Endpoint
from shared.text import one_line

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 5.0
MAX_ANSWER_BYTES = 8 << 20
"""Unpacked, and of a stream all its events together. The most tokens that may be asked for are a fiftieth of it."""
ITS_OWN_FAULT = 4
"""A question that fails so often, while others are answered in between, is not asked again."""
_FOR_THIS_QUESTION = frozenset({400, 405, 406, 411, 413, 414, 415, 422, 451})
_PASSING = frozenset({408, 409, 421, 423, 424, 425})


class PassingFault(Exception):
    """The server did not answer as it should; another try may help."""


class Away(PassingFault):
    """No connection, or it broke."""


class Failing(PassingFault):
    """The server says that it failed, or says what is no answer."""


class Busy(PassingFault):
    """The server asks to be spared for a while."""

    def __init__(self, detail: str, retry_after_seconds: float | None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Declined(Exception):
    """The server will not answer this question."""


class Transport:
    """The way to one endpoint, for any number of requests at once in one event loop."""

    def __init__(self, endpoint: Endpoint, limiter: Limiter, *, patience_seconds: float) -> None:
        self.endpoint = endpoint
        self.http = _client(endpoint)
        self._limiter = limiter
        self._patience_seconds = patience_seconds
        self._answers = 0
        self._not_before = 0.0
        """The endpoint asked to be spared until then."""
        self._silent_since: float | None = None
        """When it first failed after it had last answered anybody."""

    async def deliver(self, send: Callable[[], Awaitable[Reply]], timeout_seconds: float) -> Reply:
        """Send a request through `http`, and again while that may help; the reply says what that took.

        `send` raises PassingFault or Declined for an answer that is none; HTTP's own errors are seen to here.
        Raises Unreachable when the endpoint is away, busy or failing for longer than patience lasts, and when it cannot
        be asked at all.
        """
        began = monotonic()
        faults = overtaken = 0
        seen = self._answers
        while True:
            if (seconds := self._not_before - monotonic()) > 0:
                # A little later, each its own little: not all at once.
                await asyncio.sleep(seconds + random() * min(1.0, seconds))
                continue
            try:
                async with self._limiter.slot(self.endpoint.name, self.endpoint.max_in_flight):
                    sent = monotonic()
                    came = await self._attempt(send, timeout_seconds)
            except Unreachable as error:
                raise Unreachable(f"{self.endpoint.name} cannot be asked: {self._shown(error)}") from None
            if isinstance(came, PassingFault):
                faults += 1
                self._failed(came)
                if self._answers > seen and not isinstance(came, Busy):
                    seen, overtaken = self._answers, overtaken + 1
                if overtaken < ITS_OWN_FAULT:
                    await self._wait_after(came, faults)
                    continue
                came = Reply("", Reason.REFUSED, detail=str(came))
            return replace(came, detail=self._shown(came.detail), retries=faults, waited_ms=1000 * (sent - began))

    async def aclose(self) -> None:
        await self.http.aclose()

    async def _attempt(self, send: Callable[[], Awaitable[Reply]], timeout_seconds: float) -> Reply | PassingFault:
        sent = monotonic()
        try:
            async with asyncio.timeout(timeout_seconds):
                reply = replace(await send(), last_token_ms=1000 * (monotonic() - sent))
        except TimeoutError:
            return Reply("", Reason.TIMED_OUT, detail=f"no answer within {timeout_seconds:g} s")
        except httpx2.HTTPError as error:
            return Away(f"{type(error).__name__} {error}".strip())
        except PassingFault as fault:
            return fault
        except Declined as declined:
            reply = Reply("", Reason.REFUSED, detail=str(declined))
        self._answers += 1
        if self._silent_since is not None:
            log.info("%s answers again.", self.endpoint.name)
            self._silent_since = None
        return reply

    def _failed(self, fault: PassingFault) -> None:
        if self._silent_since is None:
            self._silent_since = monotonic()
            name = type(fault).__name__
            log.warning("%s: %s. Trying again for %g s.", self.endpoint.name, name, self._patience_seconds)
        if isinstance(fault, Busy) and fault.retry_after_seconds is not None:
            self._not_before = max(self._not_before, monotonic() + fault.retry_after_seconds)

    async def _wait_after(self, fault: PassingFault, faults: int) -> None:
        """Wait before the next attempt. Raises Unreachable when the endpoint has been silent for too long, or asks to
        be spared for too long.
        """
        now = monotonic()
        if max(now, self._not_before) - (self._silent_since or now) > self._patience_seconds:
            raise Unreachable(f"{self.endpoint.name} does not answer: {self._shown(fault)}")
        if not (isinstance(fault, Busy) and fault.retry_after_seconds is not None):
            await asyncio.sleep(uniform(0, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(faults - 1, 9))))

    def _shown(self, what: object) -> str:
        """In one line and without the key, whatever a server put into its message."""
        text, key = str(what), self.endpoint.key
        return one_line(text.replace(key.get_secret_value(), "…") if key else text)


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
        response.stream = _Bounded(response)
        # Before a library makes its own error of it.
        if not response.is_success:
            await response.aread()
            raise answered_with(response.status_code, response.headers, response.text)

    return httpx2.AsyncClient(
        # As many as may be in flight, all kept: opening one costs more than asking.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0),
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
        headers={"accept-encoding": "gzip, deflate"},
        follow_redirects=False,
        event_hooks={"request": [bind], "response": [read]},
    )


class _Bounded(httpx2.AsyncByteStream):
    """An answer's body, unpacked, up to its bound: of a server that never ends, no more is kept."""

    def __init__(self, response: httpx2.Response) -> None:
        """Raises Declined for a packing that was not asked for."""
        packing = response.headers.pop("content-encoding", "identity").lower()
        if packing not in ("identity", "gzip", "x-gzip", "deflate"):
            raise Declined(f"its answer is packed as {packing}, which was not asked for")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self._stream = response.stream
        self._unpack = None if packing == "identity" else zlib.decompressobj(wbits=47)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER_BYTES
        async for piece in self._stream:
            try:
                whole = self._unpack.decompress(piece, left + 1) if self._unpack else piece
            except zlib.error as error:
                raise httpx2.DecodingError(str(error)) from error
            left -= len(whole)
            if left < 0:
                raise Declined(f"its answer is longer than {MAX_ANSWER_BYTES:,} bytes")
            yield whole

    async def aclose(self) -> None:
        await self._stream.aclose()


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def answered_with(status: int, headers: Mapping[str, str], body: str) -> Exception:
    """What an HTTP status other than success means, as the exception to raise."""
    detail = f"HTTP {status}: {one_line(body.strip())}" if body.strip() else f"HTTP {status}"
    retry_after = _seconds(headers.get("retry-after"))
    if status == 429 or (status == 503 and retry_after is not None):
        return Busy(detail, retry_after)
    if status >= 500 or status in _PASSING:
        return Failing(detail)
    if status in _FOR_THIS_QUESTION:
        return Declined(detail)
    if status in (401, 403):
        # What the server says about a key may hold the key.
        return Unreachable(f"the key is refused (HTTP {status})")
    if 300 <= status < 400:
        return Unreachable(f"it redirects to another address (HTTP {status}), which is not followed")
    return Unreachable(detail)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as RFC 9110 has it: seconds, or a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if isfinite(seconds) else None
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
