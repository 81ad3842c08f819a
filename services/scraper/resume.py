"""The unfinished scrapes and datasets that a start of the API, and `alphastral resume`, put on the queue again."""

import logging
from collections.abc import Callable, Iterator

from services.scraper.builds import Builds
from services.scraper.scrapes import Scrapes
from shared.errors import BrokenRecord, NotFound
from shared.jobs.payloads import BuildDataset, Payload, ScrapePages
from shared.store import Store

log = logging.getLogger(__name__)


def resume(store: Store, enqueue: Callable[[Payload], bool], *, retry_failed: bool = False) -> int:
    """Put the open ranges of scrapes and the open datasets on their queue; how many jobs were not there yet."""
    jobs = (
        *_of_scrapes(Scrapes(store), retry_failed=retry_failed),
        *_of_builds(Builds(store), retry_failed=retry_failed),
    )
    return sum(map(enqueue, jobs))


def _of_scrapes(scrapes: Scrapes, *, retry_failed: bool) -> Iterator[Payload]:
    for scrape_id in scrapes.ids():
        try:
            if retry_failed:
                scrapes.forget_failures(scrape_id)
            yield from (ScrapePages(scrape_id=scrape_id, number=number) for number in scrapes.open_ranges(scrape_id))
        except (BrokenRecord, NotFound) as error:
            log.warning("Scrape %s is passed over: %s", scrape_id, error)


def _of_builds(builds: Builds, *, retry_failed: bool) -> Iterator[Payload]:
    for name in builds.names():
        try:
            if retry_failed:
                builds.forget_failure(name)
            if builds.status(name).state == "running":
                yield BuildDataset(name=name)
        except (BrokenRecord, NotFound) as error:
            log.warning("Dataset %s is passed over: %s", name, error)
