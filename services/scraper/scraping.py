"""Goes through a range of the search's pages, and fetches each replay of it once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count

from services.scraper.replay_site import ReplaySite, SearchRow
from services.scraper.schemas import Cursor, NewScrape
from services.scraper.scrapes import Listing, Scrapes, ToFetch
from services.scraper.stored_replays import StoredReplays
from services.scraper.website import Website
from shared.errors import BrokenRecord, NotFound
from shared.jobs.limits import Limiter
from shared.settings import Settings
from shared.store import Store

PAGES_A_RANGE = 5
FETCHED, STORED, GONE, BROKEN = "fetched", "stored already", "gone", "no replay"
OTHER_FORMAT, UNRATED, RATED_LOWER, BROKEN_ROW = (
    "another format",
    "not rated",
    "rated lower",
    "a row that is none",
)


class Interrupted(Exception):
    """The range is left before its end; what was fetched is stored."""


def replay_site(website: Website, limiter: Limiter, settings: Settings) -> ReplaySite:
    """The site, asked as the settings permit."""
    return ReplaySite(
        website,
        limiter,
        connections=settings.replay_site_connections,
        requests_per_second=settings.replay_site_requests_per_second,
    )


def website(settings: Settings) -> Website:
    """The connections to the replay site."""
    return Website(
        settings.replay_site_url,
        connections=settings.replay_site_connections,
        requests_per_second=settings.replay_site_requests_per_second,
        max_answer_bytes=8 << 20,
    )


async def list_range(scrapes: Scrapes, scrape_id: str, number: int, site: ReplaySite) -> Listing:
    """What the search shows in a range; asked once, then known. Raises NotFound where no range begins there."""
    known = scrapes.listing(scrape_id, number)
    if known is not None:
        return known
    request = scrapes.request(scrape_id)
    before = scrapes.listing(scrape_id, number - 1) if number else None
    start = before.next if before else _first(request) if number == 0 else None
    if start is None:
        raise NotFound(f"scrape {scrape_id} has no range {number}")
    listing = await _list(request, start, before, site)
    return scrapes.add_listing(scrape_id, number, listing)


async def fetch_range(
    listing: Listing,
    replays: StoredReplays,
    site: ReplaySite,
    *,
    stopping: Callable[[], bool] = lambda: False,
    advance: Callable[[Mapping[str, int]], None] = lambda outcomes: None,
) -> Mapping[str, int]:
    """Fetch and store the replays of a range that are not stored yet; outcome → how many, rows passed over included.

    Raises Interrupted once `stopping()`, and Unreachable where the site stays away.
    """
    outcomes = Counter(listing.passed_over)
    there = {format_id: replays.ids(format_id) for format_id in {replay.format for replay in listing.replays}}
    waiting = iter([replay for replay in listing.replays if replay.id not in there[replay.format]])
    outcomes[STORED] += sum(replay.id in there[replay.format] for replay in listing.replays)
    advance(outcomes)

    async def fetch_in_turn() -> None:
        for replay in waiting:
            if stopping():
                raise Interrupted
            outcomes[await _fetch(replay, replays, site)] += 1
            advance(outcomes)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(site.connections):
                group.create_task(fetch_in_turn())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return +outcomes


async def scrape_here(
    scrape_id: str,
    store: Store,
    settings: Settings,
    limiter: Limiter,
    advance: Callable[[int, Mapping[str, int]], None],
) -> None:
    """A whole scrape in this process. `advance` is told how many replays were found, and outcome → how many."""
    scrapes, replays = Scrapes(store), StoredReplays(store)
    total: Counter[str] = Counter()
    async with website(settings) as connections:
        site = replay_site(connections, limiter, settings)
        for number in count():
            listing = await list_range(scrapes, scrape_id, number, site)
            found = listing.found

            def tell(outcomes: Mapping[str, int], found: int = found) -> None:
                advance(found, total + Counter(outcomes))

            outcomes = await fetch_range(listing, replays, site, advance=tell)
            total.update(outcomes)
            scrapes.finish(scrape_id, number, outcomes)
            if listing.next is None:
                return


async def _fetch(replay: ToFetch, replays: StoredReplays, site: ReplaySite) -> str:
    try:
        raw = await site.fetch(replay.id)
    except NotFound:
        return GONE
    except BrokenRecord:
        return BROKEN
    await asyncio.to_thread(replays.write, replay.format, replay.id, raw)
    return FETCHED


def _first(request: NewScrape) -> Cursor:
    return Cursor(page=1) if request.until is None else Cursor(before=_seconds(request.until))


async def _list(request: NewScrape, start: Cursor, before: Listing | None, site: ReplaySite) -> Listing:
    found = before.found if before else 0
    seen = {replay.id for replay in before.replays} if before else set()
    chosen: list[ToFetch] = []
    passed_over: Counter[str] = Counter()
    cursor: Cursor | None = start
    for _ in range(PAGES_A_RANGE):
        assert cursor is not None
        page = await site.search(cursor, format_id=request.format, user=request.user)
        passed_over[BROKEN_ROW] += page.broken_rows
        cursor = page.next
        for row in page.rows:
            if request.since is not None and row.uploadtime < _seconds(request.since):
                cursor = None
                break
            reason = _reason_against(row, request)
            if row.id in seen:
                continue
            seen.add(row.id)
            if reason is not None:
                passed_over[reason] += 1
                continue
            chosen.append(ToFetch(id=row.id, format=row.format_id))
            if found + len(chosen) >= request.max_replays:
                cursor = None
                break
        if cursor is None:
            break
    return Listing(start=start, next=cursor, found=found + len(chosen), replays=tuple(chosen), passed_over=+passed_over)


def _reason_against(row: SearchRow, request: NewScrape) -> str | None:
    if row.format_id != request.format:
        return OTHER_FORMAT
    if request.until is not None and row.uploadtime >= _seconds(request.until):
        return "uploaded later"
    if request.min_rating is not None and row.rating is None:
        return UNRATED
    if request.min_rating is not None and row.rating is not None and row.rating < request.min_rating:
        return RATED_LOWER
    return None


def _seconds(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
