"""Scrapes: replays fetched from the site into the store, each once.

The site's search is cut into ranges of pages; a range is one job.

    scrapes/ID/listed/NNNNN.json   what the search showed in that range, and where the next one begins
    scrapes/ID/done/NNNNN.json     what became of it
    replays/FORMAT/ID.json.gz      a replay: the site's own JSON, compressed

What all work has lies beside it (shared/asked.py). A scrape's state follows from these files, never from the queue.
"""

import asyncio
import gzip
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from services.scraper.views import Cursor, NewScrape, ScrapeStatus
from shared.asked import Asked
from shared.document import Strict
from shared.errors import BrokenRecord, NotFound
from shared.jobs.routes import ScrapePages
from shared.store import Store
from shared.work import WorkKind

if TYPE_CHECKING:
    from services.scraper.website import ReplaySite, SearchRow

PAGES_A_RANGE = 5
FETCHED, STORED, GONE, BROKEN = "fetched", "stored already", "gone", "no replay"
OTHER_FORMAT, UNRATED, RATED_LOWER, BROKEN_ROW = "another format", "not rated", "rated lower", "a row that is none"
_FORMAT = re.compile(r"[a-z0-9]{1,60}")
_FILE = re.compile(r"([a-z0-9][a-z0-9-]{0,99})\.json\.gz")
"""Where a format is a folder's name, and a replay's id a file's."""


class ToFetch(Strict):
    """A replay that passed the filters."""

    id: str
    format: str


class Listing(Strict):
    """What the search showed in a range of its pages."""

    start: Cursor
    next: Cursor | None
    """Where the next range begins; None where nothing more is wanted."""
    found: int
    """Replays found in all ranges up to this one."""
    replays: tuple[ToFetch, ...]
    passed_over: Mapping[str, int]
    """Why rows were passed over → how many."""


class Done(Strict):
    """What became of a range's replays → how many."""

    outcomes: Mapping[str, int]


class RangeProgress(NamedTuple):
    """What became of a range's replays so far, for whoever watches."""

    number: int
    outcomes: Mapping[str, int]


class Scrapes(Asked[NewScrape], WorkKind[NewScrape, NewScrape]):
    """The scrapes of a store."""

    folder = "scrapes"
    noun = "scrape"
    model = body = NewScrape
    line = status = ScrapeStatus
    earlier_failures = "failed"

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked = self

    def accept(self, body: NewScrape, seed: int, before: NewScrape | None) -> NewScrape:
        return body

    def jobs(self, id: str) -> list[ScrapePages]:
        """The ranges that are still to be done, as far as they are known; those that failed are left out."""
        self.request(id)
        if self.cancelled(id) is not None:
            return []
        listed, ended = self.numbered(id, "listed"), {*self.numbered(id, "done"), *self.failures(id)}
        last = self.listing(id, max(listed)) if listed else None
        behind = [] if last is not None and last.next is None else [max(listed) + 1 if listed else 0]
        return [
            ScrapePages(scrape_id=id, number=number) for number in (*sorted(listed), *behind) if number not in ended
        ]

    def standing(self, id: str) -> ScrapeStatus:
        request = self.request(id)
        listed, done = self.numbered(id, "listed"), self.numbered(id, "done")
        outcomes: Counter[str] = Counter()
        for name in done.values():
            if (ended := self.read(id, name, Done)) is not None:
                outcomes.update(ended.outcomes)
        last = self.listing(id, max(listed)) if listed else None
        finished = last is not None and last.next is None and set(listed) == set(done)
        return ScrapeStatus(
            id=id,
            state=self.state(id, finished=finished, begun=bool(listed)),
            created_at=self.created_at(id),
            request=request,
            ranges=len(listed),
            ranges_done=len(done),
            found=last.found if last else 0,
            outcomes=dict(sorted(outcomes.items())),
            failures=list(self.failures(id).values()),
        )

    def listing(self, id: str, number: int) -> Listing | None:
        """What a range shows; None before the search was asked."""
        return self.read(id, f"listed/{number:05d}.json", Listing)

    async def list_range(self, id: str, number: int, site: "ReplaySite") -> Listing:
        """What the search shows in a range; asked once, then known. Raises NotFound where no range begins there."""
        if (known := self.listing(id, number)) is not None:
            return known
        request = self.request(id)
        before = self.listing(id, number - 1) if number else None
        first = Cursor(page=1) if request.until is None else Cursor(before=_seconds(request.until))
        start = before.next if before else first if number == 0 else None
        if start is None:
            raise NotFound(f"scrape {id} has no range {number}")
        listing = await _list(request, start, before, site)
        # Where another process was first, that one's counts.
        self.files.create(self.path(id, f"listed/{number:05d}.json"), listing.model_dump_json().encode())
        return self.listing(id, number) or listing

    def is_done(self, id: str, number: int) -> bool:
        return self.files.exists(self.path(id, f"done/{number:05d}.json"))

    def finish(self, id: str, number: int, outcomes: Mapping[str, int]) -> None:
        self.files.write(self.path(id, f"done/{number:05d}.json"), Done(outcomes=outcomes).model_dump_json().encode())


class StoredReplays:
    """The replays of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def formats(self) -> list[str]:
        return sorted(filter(_FORMAT.fullmatch, self._store.folders("replays")))

    def ids(self, format_id: str) -> frozenset[str]:
        """The replays of a format; none of what cannot be one."""
        names = self._store.files(f"replays/{format_id}") if _FORMAT.fullmatch(format_id) else []
        return frozenset(found[1] for name in names if (found := _FILE.fullmatch(name)))

    def read(self, format_id: str, replay_id: str) -> bytes:
        """A replay, compressed as it lies there. Raises NotFound."""
        if not (_FORMAT.fullmatch(format_id) and _FILE.fullmatch(f"{replay_id}.json.gz")):
            raise NotFound(f"no replay {replay_id!r}")
        return self._store.read(f"replays/{format_id}/{replay_id}.json.gz", f"no replay {replay_id} is stored")

    def write(self, format_id: str, replay_id: str, raw: bytes) -> None:
        """Raises Unreachable."""
        self._store.write(f"replays/{format_id}/{replay_id}.json.gz", gzip.compress(raw, compresslevel=6, mtime=0))


async def fetch_range(
    listing: Listing,
    replays: StoredReplays,
    site: "ReplaySite",
    advance: Callable[[Mapping[str, int]], None] = lambda outcomes: None,
) -> Mapping[str, int]:
    """Fetch and store the replays of a range that are not stored yet; outcome → how many, rows passed over included.

    `advance` is told the outcomes after each replay, and before the first. What it raises leaves the range before its
    end; what was fetched is stored. Raises Unreachable where the site stays away.
    """
    outcomes = Counter(listing.passed_over)
    there = {format_id: replays.ids(format_id) for format_id in {replay.format for replay in listing.replays}}
    missing = [replay for replay in listing.replays if replay.id not in there[replay.format]]
    waiting = iter(missing)
    outcomes[STORED] += len(listing.replays) - len(missing)
    advance(outcomes)

    async def fetch_in_turn() -> None:
        for replay in waiting:
            outcomes[await _fetch(replay, replays, site)] += 1
            advance(outcomes)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(site.connections):
                group.create_task(fetch_in_turn())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return +outcomes


async def _fetch(replay: ToFetch, replays: StoredReplays, site: "ReplaySite") -> str:
    try:
        raw = await site.fetch(replay.id)
    except NotFound:
        return GONE
    except BrokenRecord:
        return BROKEN
    await asyncio.to_thread(replays.write, replay.format, replay.id, raw)
    return FETCHED


async def _list(request: NewScrape, start: Cursor, before: Listing | None, site: "ReplaySite") -> Listing:
    found = before.found if before else 0
    seen = {replay.id for replay in before.replays} if before else set()
    chosen: list[ToFetch] = []
    passed_over: Counter[str] = Counter()
    cursor: Cursor | None = start
    for _ in range(PAGES_A_RANGE):
        if cursor is None:
            break
        page = await site.search(cursor, format_id=request.format, user=request.user)
        passed_over[BROKEN_ROW] += page.broken_rows
        cursor = page.next
        for row in page.rows:
            if request.since is not None and row.uploadtime < _seconds(request.since):
                cursor = None
                break
            if row.id in seen:
                continue
            seen.add(row.id)
            if (reason := _reason_against(row, request)) is not None:
                passed_over[reason] += 1
                continue
            chosen.append(ToFetch(id=row.id, format=row.format_id))
            if found + len(chosen) >= request.max_replays:
                cursor = None
                break
    return Listing(start=start, next=cursor, found=found + len(chosen), replays=tuple(chosen), passed_over=+passed_over)


def _reason_against(row: "SearchRow", request: NewScrape) -> str | None:
    if row.format_id != request.format:
        return OTHER_FORMAT
    if request.until is not None and row.uploadtime >= _seconds(request.until):
        return "uploaded later"
    if request.min_rating is None or (row.rating is not None and row.rating >= request.min_rating):
        return None
    return UNRATED if row.rating is None else RATED_LOWER


def _seconds(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
