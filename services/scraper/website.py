"""Websites that belong to others, asked politely; and the replay site among them, by its search and one by one.

The client says who asks, opens few connections, keeps to a rate, waits as long as the site says (`Retry-After`), and
waits longer after each failure (exponential backoff with full jitter). A wait that the site asks for holds for every
request to it, not only for the one that was told.

The replay site's search answers 51 rows, newest first; the 51st is the first of the next page. `page` goes to 100 and
excludes `before`, which gives what was uploaded earlier than a second (the site's own documentation). So the first
pages are asked for by their numbers, where replays that come in meanwhile push rows onto later pages and none is
missed, and those behind them by time.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from typing import Self

import httpx2
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.scraper.replay import MAX_REPLAY_BYTES
from services.scraper.sources import parse_replay
from services.scraper.views import LAST_PAGE, Cursor
from shared.battle.pokedex import to_id
from shared.document import retry_after_seconds
from shared.errors import BrokenRecord, NotFound, Unreachable
from shared.jobs.limits import Limiter
from shared.settings import Settings
from shared.text import one_line

USER_AGENT = f"alphaStral/{version('alphastral')} (battles between language models; a small, patient client)"
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_LONGEST_WAIT_SECONDS = 600.0
_FIRST_WAIT_SECONDS = 1.0
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
ROWS_A_PAGE = 50
_ROWS = TypeAdapter(list[object])
_BROKEN_ANSWERS = 3
"""A site under load may cut an answer short; one that does so this often means it."""


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

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> bytes:
        """The body at `path`, which begins with a slash.

        Raises NotFound where the site has no such page, BrokenRecord for an answer too large to be one, and Unreachable
        when it did not answer after several attempts, or refuses.
        """
        for attempt in count(1):
            try:
                return await self._get_once(path, dict(params or {}))
            except _Again as error:
                if attempt >= self._attempts:
                    raise Unreachable(f"{self.url}{path} does not answer: {error}") from error
                backoff_seconds = random.uniform(0, _FIRST_WAIT_SECONDS * 2**attempt)
                await self._sleep(backoff_seconds if error.after_seconds is None else error.after_seconds)
        raise AssertionError("the last attempt returns or raises")

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
            after_seconds = retry_after_seconds(response.headers.get("retry-after"))
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


# ── the replay site ─────────────────────────────────────────────────────────────────────────────────


class SearchRow(BaseModel):
    """A replay as the search tells of it; what else a row may hold is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")
    format: str = Field(max_length=200)
    uploadtime: int = Field(ge=0, lt=1 << 40)
    rating: int | None = None

    @property
    def format_id(self) -> str:
        """`[Gen 9] OU` → `gen9ou`."""
        return to_id(self.format)


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of the search. `next` is None behind the last one."""

    rows: tuple[SearchRow, ...]
    broken_rows: int
    next: Cursor | None


@asynccontextmanager
async def replay_site(settings: Settings, limiter: Limiter) -> AsyncIterator["ReplaySite"]:
    """The site, asked as the settings permit."""
    connections, rate = settings.replay_site_connections, settings.replay_site_requests_per_second
    url, most = settings.replay_site_url, MAX_REPLAY_BYTES
    async with Website(url, connections=connections, requests_per_second=rate, max_answer_bytes=most) as website:
        # Whoever holds one of N places for N / rate seconds starts no more requests than the rate.
        yield ReplaySite(website, limiter, connections, connections / rate)


class ReplaySite:
    """Asks the site, in places and at a rate that all who share `limiter` keep to together."""

    def __init__(self, website: Website, limiter: Limiter, connections: int, slot_seconds: float) -> None:
        self._website = website
        self._limiter = limiter
        self.connections = connections
        self._slot_seconds = slot_seconds

    async def search(self, cursor: Cursor, *, format_id: str, user: str | None = None) -> SearchPage:
        """A page. Raises BrokenRecord for an answer that is none, and Unreachable."""
        params: dict[str, str | int] = {"format": format_id}
        if user:
            params["user"] = user
        if cursor.before is not None:
            params["before"] = cursor.before
        elif cursor.page is not None and cursor.page > 1:
            params["page"] = cursor.page
        for _ in range(_BROKEN_ANSWERS):
            with suppress(ValidationError):
                return _page(_ROWS.validate_json(await self._get("/search.json", params)), cursor)
        raise BrokenRecord(f"the search of {self._website.url} answers with something else than a list")

    async def fetch(self, replay_id: str) -> bytes:
        """A replay's JSON, as it is. Raises NotFound, BrokenRecord for an answer that is no replay, and Unreachable."""
        for _ in range(_BROKEN_ANSWERS):
            raw = await self._get(f"/{replay_id}.json")
            if not raw.strip():
                raise NotFound(f"{self._website.url}/{replay_id} is empty")
            document = parse_replay(raw)
            if document is not None and document.get("id", replay_id) == replay_id:
                return raw
        raise BrokenRecord(f"{self._website.url}/{replay_id}.json is no replay")

    async def _get(self, path: str, params: dict[str, str | int] | None = None) -> bytes:
        async with self._limiter.slot(self._website.url, self.connections):
            clock = asyncio.get_running_loop().time
            began = clock()
            try:
                return await self._website.get(path, params)
            finally:
                await asyncio.sleep(max(0.0, began + self._slot_seconds - clock()))


def _page(given: Sequence[object], cursor: Cursor) -> SearchPage:
    rows: list[SearchRow] = []
    for row in given[: ROWS_A_PAGE + 1]:
        with suppress(ValidationError):
            rows.append(SearchRow.model_validate(row))
    broken = min(len(given), ROWS_A_PAGE + 1) - len(rows)
    if len(given) <= ROWS_A_PAGE or not rows:
        return SearchPage(tuple(rows), broken, None)
    return SearchPage(tuple(rows), broken, _after(cursor, rows[-1].uploadtime))


def _after(cursor: Cursor, oldest: int) -> Cursor | None:
    if cursor.before is None and (cursor.page or 1) < LAST_PAGE:
        return Cursor(page=(cursor.page or 1) + 1)
    # One second later than the last row, since others of that second may not have been shown yet. A page that is all of
    # one second is left behind, and a site that does not go back in time is left.
    back = [second for second in (oldest + 1, oldest) if cursor.before is None or second < cursor.before]
    return Cursor(before=back[0]) if back else None
