"""How a request reaches an endpoint: with its key and no other, in its place in the line, again where that may help.

A key goes to the scheme, host and port that it belongs to. A request to anywhere else is not sent, and no redirect is
followed. What comes back is bounded, whoever reads it. A server that is away is waited for: patience counts from when
it last answered anybody, so that a busy server is not given up and a dead one is given up once, not once a battle.

What can go wrong between a question and its answer:

    PassingFault                another try may help
    ├── Away             no connection, or it broke
    ├── Busy             429 or 503: too much at once; says how long to wait, where the server did
    ├── Failing          5xx
    └── Garbled          an answer that is none: tried a few times, since the server is there
    Declined             the server will not answer this question, however often it is asked
    Unreachable          the endpoint itself will not do: a refused key, no such model, a redirect, nobody there

A server that is slow is none of these: each question has its time, and the log says where that runs out.
"""

import asyncio
import json
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from random import random, uniform
from time import monotonic
from typing import Any

import httpx2

from services.arena.backends import Reply
from shared.battle.decision import Reason
from shared.document import retry_after_seconds
from shared.errors import Unreachable
from shared.jobs.limits import Limiter
from shared.settings import Endpoint
from shared.text import one_line

log = logging.getLogger(__name__)

CONNECT_SECONDS = 4.0
KEPT_SECONDS = 4.0
"""For how long an idle connection is kept: many servers close theirs after five seconds, and a question that is on its
way then is lost."""
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 5.0
MAX_ANSWER_BYTES = 8 << 20
"""Unpacked, and of a stream all its events together. The most tokens that may be asked for are a fiftieth of it."""
ITS_OWN_FAULT = 4
"""A question that fails so often, while others are answered in between, is not asked again; nor one whose answer is
none so often."""
_LONGEST_ERROR = 100_000
_FOR_THIS_QUESTION = frozenset({400, 405, 406, 411, 413, 414, 415, 422, 451})
_PASSING = frozenset({408, 409, 421, 423, 424, 425})


class PassingFault(Exception):
    """The server did not answer as it should; another try may help."""


class Away(PassingFault):
    """No connection, or it broke."""

    def __init__(self, detail: str, *, connected: bool) -> None:
        super().__init__(detail)
        self.connected = connected


class Failing(PassingFault):
    """The server says that it failed."""


class Garbled(PassingFault):
    """The server answered, but with what is no answer."""


class Busy(PassingFault):
    """The server asks to be spared for a while."""

    def __init__(self, detail: str, retry_after_seconds: float | None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Declined(Exception):
    """The server will not answer this question."""


class Answered(Exception):
    """Carries an answer's body past the library that asked: it is read by one reader, whoever sent the question."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


class Transport:
    """The way to one endpoint, for any number of requests at once in one event loop."""

    def __init__(
        self, endpoint: Endpoint, limiter: Limiter, *, patience_seconds: float, waits_for_first: bool = False
    ) -> None:
        """`waits_for_first`: whether a server that has never answered is waited for as one that has."""
        self.endpoint = endpoint
        self.http = _client(endpoint)
        self._limiter = limiter
        self._patience_seconds = patience_seconds
        self._was_there = waits_for_first
        self._answers = 0
        self._in_flight = 0
        self._not_before = 0.0
        """The endpoint asked to be spared until then."""
        self._silent_since: float | None = None
        """When it first failed after it had last answered anybody."""
        self._told: set[type] = set()
        """Of what the log was told since then."""

    async def deliver(
        self, send: Callable[[], Awaitable[Reply]], timeout_seconds: float, *, tries: int | None = None
    ) -> Reply:
        """Send a request through `http`, and again while that may help; the reply says what that took.

        `send` raises PassingFault or Declined for an answer that is none; HTTP's own errors are seen to here.
        Raises Unreachable when the endpoint is away, busy or failing for longer than patience lasts (or fails as often
        as `tries`), when it cannot be asked at all, and at once when it is away and has never answered.
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
                if isinstance(came, Garbled):
                    overtaken += 1
                elif self._answers > seen and not isinstance(came, Busy):
                    seen, overtaken = self._answers, overtaken + 1
                if overtaken < ITS_OWN_FAULT:
                    self._failed(came, faults, waits=tries is None)
                    if tries is not None and faults >= tries and not isinstance(came, Busy):
                        raise Unreachable(f"{self.endpoint.name} does not answer: {self._shown(came)}")
                    await self._wait_after(came, faults)
                    continue
                reason = Reason.UNPARSABLE if isinstance(came, Garbled) else Reason.REFUSED
                came = Reply("", reason, detail=str(came))
            return replace(came, detail=self._shown(came.detail), retries=faults, waited_ms=1000 * (sent - began))

    async def aclose(self) -> None:
        await self.http.aclose()

    async def _attempt(self, send: Callable[[], Awaitable[Reply]], timeout_seconds: float) -> Reply | PassingFault:
        sent = monotonic()
        self._in_flight += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                reply = replace(await send(), last_token_ms=1000 * (monotonic() - sent))
        except TimeoutError:
            many = f", with {self._in_flight} questions at it" if self._in_flight > 1 else ""
            self._tell_once(
                TimeoutError,
                f"is slow: no answer within {timeout_seconds:g} s{many}. Give it more time (?timeout=…), or have fewer "
                "battles at once",
            )
            return Reply("", Reason.TIMED_OUT, detail=f"no answer within {timeout_seconds:g} s")
        except httpx2.DecodingError as error:
            return Garbled(f"its answer cannot be unpacked: {error}")
        except httpx2.HTTPError as error:
            connected = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            return Away(f"{type(error).__name__} {error}".strip(), connected=connected)
        except Garbled as fault:
            self._answered()
            return fault
        except PassingFault as fault:
            return fault
        except Declined as declined:
            reply = Reply("", Reason.REFUSED, detail=str(declined))
        finally:
            self._in_flight -= 1
        self._answered()
        return reply

    def _answered(self) -> None:
        self._answers += 1
        self._was_there = True
        if self._told - {TimeoutError}:
            log.info("%s answers again.", self.endpoint.name)
        self._silent_since = None
        self._told &= {TimeoutError}

    def _failed(self, fault: PassingFault, faults: int, *, waits: bool) -> None:
        if self._silent_since is None and not isinstance(fault, Garbled):
            self._silent_since = monotonic()
        shown = self._shown(fault)
        if isinstance(fault, Away) and not fault.connected and not self._was_there:
            raise Unreachable(
                f"nobody answers at {self.endpoint.url} ({shown}): is the server running, and the address right?"
            )
        self._was_there = True
        if isinstance(fault, Busy) and fault.retry_after_seconds is not None:
            self._not_before = max(self._not_before, monotonic() + fault.retry_after_seconds)
        # One connection that breaks is a server's own housekeeping: the next attempt tells.
        if isinstance(fault, Busy) or (
            waits and not isinstance(fault, Garbled) and (faults > 1 or isinstance(fault, Failing))
        ):
            what = {Away: "is away", Busy: "is busy"}.get(type(fault), "fails")
            self._tell_once(type(fault), f"{what} ({shown}). Trying again for {self._patience_seconds:g} s")

    def _tell_once(self, what: type, sentence: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("%s %s.", self.endpoint.name, sentence)

    async def _wait_after(self, fault: PassingFault, faults: int) -> None:
        """Wait before the next attempt. Raises Unreachable when the endpoint has been silent for too long, or asks to
        be spared for too long.
        """
        now = monotonic()
        if max(now, self._not_before) - (self._silent_since or now) > self._patience_seconds:
            kept = "is busy all the time" if isinstance(fault, Busy) else "does not answer"
            raise Unreachable(f"{self.endpoint.name} {kept}: {self._shown(fault)}")
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
        await response.aread()
        if response.is_success:
            raise Answered(response.content)
        raise answered_with(response.status_code, response.headers, response.text, key_sent=key is not None)

    return httpx2.AsyncClient(
        # As many as may be in flight, all kept: opening one costs more than asking.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_SECONDS),
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


def answered_with(status: int, headers: Mapping[str, str], body: str, *, key_sent: bool = True) -> Exception:
    """What an HTTP status other than success means, as the exception to raise."""
    words = words_of(body)
    detail = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    if status in (429, 503) and "insufficient_quota" not in body:
        return Busy(detail, retry_after_seconds(headers.get("retry-after")))
    if status >= 500 or status in _PASSING:
        return Failing(detail)
    if status in _FOR_THIS_QUESTION:
        return Declined(detail)
    if status in (401, 403) and not key_sent:
        return Unreachable(
            f"it wants a key (HTTP {status}), and none was sent, since a key goes to its own host alone: give this "
            "server its key in the endpoints file (ALPHASTRAL_ENDPOINTS_FILE), or name it as ALPHASTRAL_OPENAI_URL"
        )
    if status in (401, 403):
        # What the server says about a key may hold the key.
        return Unreachable(f"the key is refused (HTTP {status})")
    if 300 <= status < 400:
        return Unreachable(f"it redirects to another address (HTTP {status}), which is not followed")
    return Unreachable(detail)


def words_of(body: str) -> str:
    """What an error says, in one line: its message where it has one, wherever that stands, else all of it."""
    try:
        found: Any = json.loads(body) if len(body) < _LONGEST_ERROR else body
    except (ValueError, RecursionError):
        found = body
    for name in ("error", "message", "detail"):
        inner = found.get(name) if isinstance(found, dict) else None
        found = inner if isinstance(inner, str | dict) and inner else found
    return one_line((found if isinstance(found, str) else body).strip())
