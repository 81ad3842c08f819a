"""The replay site: its search, page by page, and its replays, one by one.

Its search answers 51 rows, newest first; the 51st is the first of the next page. `page` goes to 100 and excludes
`before`, which gives what was uploaded earlier than a second (the site's own documentation). So the first pages are
asked for by their numbers, where replays that come in meanwhile push rows onto later pages and none is missed, and
those behind them by time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.scraper.replay_files import parse_replay
from services.scraper.schemas import LAST_PAGE, Cursor
from services.scraper.website import Website
from shared.battle.pokedex import to_id
from shared.errors import BrokenRecord, NotFound
from shared.jobs.limits import Limiter

ROWS_A_PAGE = 50
MAX_REPLAY_BYTES = 8 << 20
_BROKEN_ANSWERS = 3
"""A site under load may cut an answer short; one that does so this often means it."""


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


class ReplaySite:
    """Asks the site, in places and at a rate that all who share `limiter` keep to together."""

    def __init__(
        self,
        website: Website,
        limiter: Limiter,
        *,
        connections: int,
        requests_per_second: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._website = website
        self._limiter = limiter
        self.connections = connections
        # Whoever holds one of N places for N / rate seconds starts no more requests than the rate.
        self._place_seconds = connections / requests_per_second
        self._sleep = sleep

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
            rows = _json_rows(await self._get("/search.json", params))
            if rows is not None:
                return _page(rows, cursor)
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
                if (early := began + self._place_seconds - clock()) > 0:
                    await self._sleep(early)


def _json_rows(raw: bytes) -> Sequence[object] | None:
    try:
        rows = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return rows if isinstance(rows, list) else None


def _page(given: Sequence[object], cursor: Cursor) -> SearchPage:
    rows: list[SearchRow] = []
    for row in given[: ROWS_A_PAGE + 1]:
        try:
            rows.append(SearchRow.model_validate(row))
        except ValidationError:
            continue
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
