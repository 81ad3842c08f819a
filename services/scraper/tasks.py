"""The scraper's jobs: fetch a range of the replay site's pages; build a dataset in the store."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from services.scraper.builds import Builds
from services.scraper.dataset import Reader, build
from services.scraper.samples import Wanted
from services.scraper.scrapes import Scrapes
from services.scraper.scraping import Interrupted, fetch_range, list_range, replay_site, website
from services.scraper.sources import find_sources
from services.scraper.stored_replays import StoredReplays
from shared.errors import BrokenRecord, Conflict, UsageError
from shared.jobs.limits import LocalLimiter, shared_limiter
from shared.jobs.payloads import BuildDataset, ScrapePages
from shared.jobs.worker import Context, HandedBack


def scrape_pages(payload: ScrapePages, context: Context) -> None:
    """Fetch the replays of a range. The next range is on the queue as soon as it is known where it begins.

    Raises HandedBack when the worker is told to stop before all are fetched; what is stored is not fetched again.
    """
    try:
        asyncio.run(_scrape_pages(payload, context))
    except Interrupted:
        raise HandedBack from None
    except BrokenRecord as error:
        # The site answers with something else, and would again.
        give_up_pages(payload, context, error.message)


async def _scrape_pages(payload: ScrapePages, context: Context) -> None:
    settings, scrapes = context.settings, Scrapes(context.store)
    if scrapes.is_done(payload.scrape_id, payload.number):
        return
    limiter = shared_limiter(settings.redis_url, settings.redis_password_file) if settings.redis_url else LocalLimiter()
    try:
        async with website(settings) as connections:
            site = replay_site(connections, limiter, settings)
            listing = await list_range(scrapes, payload.scrape_id, payload.number, site)
            if listing.next is not None:
                context.enqueue(ScrapePages(scrape_id=payload.scrape_id, number=payload.number + 1))
            replays = StoredReplays(context.store)
            outcomes = await fetch_range(listing, replays, site, stopping=context.stopping)
    finally:
        await limiter.aclose()
    scrapes.finish(payload.scrape_id, payload.number, outcomes)


def give_up_pages(payload: ScrapePages, context: Context, reason: str) -> None:
    """Record that a range failed for good. What was fetched of it stays."""
    Scrapes(context.store).fail(payload.scrape_id, payload.number, f"range {payload.number}: {reason}")


def build_dataset(payload: BuildDataset, context: Context) -> None:
    """Build a dataset and store it whole; one that is there already is left alone."""
    builds, store, settings = Builds(context.store), context.store, context.settings
    asked = builds.request(payload.name)
    if builds.card(payload.name) is not None:
        return
    with TemporaryDirectory(prefix="alphastral-dataset-") as folder:
        out = Path(folder) / asked.name
        wanted = Wanted(asked.contract, asked.min_rating, asked.winner_only, asked.side)
        try:
            build(
                find_sources(asked.sources, store),
                Reader(wanted, node=settings.node),
                out,
                val_fraction=asked.val_fraction,
                command=f"POST /datasets {asked.model_dump_json(exclude_defaults=True)}",
            )
            files: dict[str, Path | bytes] = {path.name: path for path in sorted(out.iterdir())}
            store.add_folder(f"datasets/{asked.name}", files, last="card.json")
        except UsageError as error:
            # No battle among the sources, say: another attempt would find none either.
            builds.fail(payload.name, error.message)
        except Conflict:
            # Another worker was faster; both have built the same.
            return


def give_up_dataset(payload: BuildDataset, context: Context, reason: str) -> None:
    """Record that a dataset could not be built."""
    Builds(context.store).fail(payload.name, f"it could not be built: {reason}")
