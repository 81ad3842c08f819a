"""The scraper's routes: have replays fetched, have datasets built, and see how either stands."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from services.scraper.builds import Builds
from services.scraper.schemas import DatasetStatus, NewDataset, NewScrape, ScrapeStatus
from services.scraper.scrapes import Scrapes
from shared.jobs.payloads import BuildDataset, ScrapePages
from shared.jobs.queue import Queues
from shared.store import Store, new_matchup_id


def router(store: Store, queues: Queues, new_id: Callable[[], str] = new_matchup_id) -> APIRouter:
    """The routes, over this store and these queues."""
    routes = APIRouter(tags=["scraper"])
    scrapes, builds = Scrapes(store), Builds(store)

    @routes.post("/scrapes", status_code=202)
    def scrape(
        asked: NewScrape,
        response: Response,
        idempotency_key: Annotated[str | None, Header(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")] = None,
    ) -> ScrapeStatus:
        """Have replays fetched. With the header Idempotency-Key, asking again gives the same scrape."""
        scrape_id = f"key-{idempotency_key}" if idempotency_key else new_id()
        queues.ping()
        scrapes.create(scrape_id, asked)
        for number in scrapes.open_ranges(scrape_id):
            queues.enqueue(ScrapePages(scrape_id=scrape_id, number=number))
        response.headers["Location"] = f"/scrapes/{scrape_id}"
        return scrapes.status(scrape_id)

    @routes.get("/scrapes")
    def all_scrapes(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[ScrapeStatus]:
        """The scrapes, newest first."""
        return [scrapes.status(scrape_id) for scrape_id in scrapes.ids()[:limit]]

    @routes.get("/scrapes/{scrape_id}")
    def one_scrape(scrape_id: str) -> ScrapeStatus:
        """One scrape, and how far it is."""
        return scrapes.status(scrape_id)

    @routes.post("/datasets", status_code=202)
    def build(asked: NewDataset, response: Response) -> DatasetStatus:
        """Have a dataset built from what the store holds. Asking again for the same gives the same."""
        queues.ping()
        builds.create(asked)
        status = builds.status(asked.name)
        if status.state == "running":
            queues.enqueue(BuildDataset(name=asked.name))
        response.headers["Location"] = f"/datasets/{asked.name}"
        return status

    @routes.get("/datasets")
    def all_datasets() -> list[DatasetStatus]:
        """The datasets, in order of their names."""
        return [builds.status(name) for name in builds.names()]

    @routes.get("/datasets/{name}")
    def one_dataset(name: str) -> DatasetStatus:
        """One dataset: its card, or why there is none."""
        return builds.status(name)

    return routes
