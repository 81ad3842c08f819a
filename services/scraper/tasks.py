"""The scraper's jobs: fetch a range of the replay site's pages; build a dataset in the store."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from services.scraper.datasets import Datasets, build
from services.scraper.rows import Reader, Wanted
from services.scraper.scrapes import RangeProgress, Scrapes, StoredReplays, fetch_range
from services.scraper.sources import find_sources
from services.scraper.views import DatasetRequest
from services.scraper.website import replay_site
from shared.asked import LOOK_SECONDS, now_and_then
from shared.errors import Conflict, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.limits import limiter_of
from shared.jobs.routes import BuildDataset, ScrapePages
from shared.store import Store


class BuildProgress(NamedTuple):
    """How far a dataset is, for whoever watches."""

    done: int
    """Sources, of the total."""
    outcomes: Mapping[str, int]
    """What became of the battles → how many."""
    total: int


class _Cancelled(Exception):
    """What is being done is wanted no longer."""


def scrape_pages(payload: ScrapePages, context: Context) -> None:
    """Fetch the replays of a range. The next range is on the queue as soon as it is known where it begins.

    Raises HandedBack when the worker is told to stop before all are fetched; what is stored is not fetched again.
    """
    with suppress(_Cancelled):
        asyncio.run(_scrape_pages(payload.scrape_id, payload.number, context))


async def _scrape_pages(id: str, number: int, context: Context) -> None:
    scrapes, settings = Scrapes(context.store), context.settings
    go_on = _going_on(scrapes, id, context)
    go_on()
    if scrapes.is_done(id, number):
        return

    def advance(outcomes: Mapping[str, int]) -> None:
        context.tell(RangeProgress(number, outcomes))
        go_on()

    async def fetch() -> None:
        async with limiter_of(settings) as limiter, replay_site(settings, limiter) as site:
            listing = await scrapes.list_range(id, number, site)
            if listing.next is not None:
                context.enqueue(ScrapePages(scrape_id=id, number=number + 1))
            outcomes = await fetch_range(listing, StoredReplays(context.store), site, advance)
        scrapes.finish(id, number, outcomes)

    # Also while a site that is away, or has asked to be spared for minutes, is waited for.
    fetching = asyncio.ensure_future(fetch())
    try:
        while not (await asyncio.wait((fetching,), timeout=LOOK_SECONDS))[0]:
            go_on()
        await fetching
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)


def give_up_scrape_pages(payload: ScrapePages, context: Context, reason: str) -> None:
    """Record that a range failed for good. What was fetched of it stays."""
    Scrapes(context.store).fail(payload.scrape_id, f"range {payload.number}: {reason}", payload.number)


def build_dataset(payload: BuildDataset, context: Context) -> None:
    """Build a dataset, whole or not at all; one that is in the store already is left alone.

    Raises HandedBack when the worker is told to stop; what was read so far is not read again.
    """
    datasets, store = Datasets(context.store), context.store
    asked = datasets.request(payload.name)
    if datasets.card(payload.name) is not None:
        return
    kept = store.on_disk(datasets.path(payload.name, "read"))
    go_on = _going_on(datasets, payload.name, context)
    with TemporaryDirectory(prefix="alphastral-dataset-") as folder, suppress(_Cancelled, Conflict):
        # A conflict: another worker was faster, and both have built the same.
        go_on()
        out = asked.out or Path(folder) / asked.name
        try:
            _build(asked, out, kept, context, go_on)
        except UsageError as error:
            if context.in_person:
                raise
            # No battle among the sources, say: another attempt would find none either.
            datasets.fail(payload.name, error.message)
        else:
            if asked.out is None:
                files: dict[str, Path | bytes] = {path.name: path for path in sorted(out.iterdir())}
                store.add_folder(f"datasets/{asked.name}", files, last="card.json")
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)


def _build(asked: DatasetRequest, out: Path, kept: Path | None, context: Context, go_on: Callable[[], None]) -> None:
    # What a command asks for is kept in a store of its own; the battles lie in the one of the settings.
    sources = find_sources(asked.sources, Store(context.settings.store))

    def advance(done: int, outcomes: Mapping[str, int]) -> None:
        context.tell(BuildProgress(done, outcomes, len(sources)))
        go_on()

    wanted = Wanted(asked.contract, asked.min_rating, asked.winner_only, asked.side)
    build(
        sources,
        Reader(wanted, asked.simulators, context.settings.node, kept),
        out,
        val_fraction=asked.val_fraction,
        command=asked.command or f"POST /datasets {asked.model_dump_json(exclude_defaults=True)}",
        advance=advance,
    )


def give_up_build_dataset(payload: BuildDataset, context: Context, reason: str) -> None:
    """Record that a dataset could not be built."""
    Datasets(context.store).fail(payload.name, f"it could not be built: {reason}")


def _going_on(asked: Scrapes | Datasets, id: str, context: Context) -> Callable[[], None]:
    """What raises HandedBack once the worker is to stop, and _Cancelled once the work was cancelled."""
    cancelled = now_and_then(lambda: asked.cancelled(id) is not None)

    def go_on() -> None:
        if context.stopping():
            raise HandedBack
        if cancelled():
            raise _Cancelled

    return go_on
