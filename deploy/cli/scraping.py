"""`alphastral scrape`: replays from the site into the store, in this process."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from deploy.cli.show import err, out, steps
from services.scraper.schemas import NewScrape
from services.scraper.scrapes import Scrapes
from shared.errors import UsageError, first_fault
from shared.jobs.limits import LocalLimiter
from shared.settings import Settings
from shared.store import Store, new_matchup_id
from shared.text import configure_logging

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def scrape(
    format_name: Annotated[str, typer.Option("--format", help="A Showdown format.")] = "gen9randombattle",
    min_rating: Annotated[int | None, typer.Option(help="Of the lower rated player, after the battle.")] = None,
    max_replays: Annotated[int, typer.Option(help="Newest first; those that are stored already count.")] = 1_000,
    since: Annotated[datetime | None, typer.Option(formats=_DATES, help="Uploaded then or later, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DATES, help="Uploaded before then, UTC.")] = None,
    user: Annotated[str | None, typer.Option(help="Only battles of this player.")] = None,
) -> None:
    """Fetch replays into the store, each once; given again, it fetches what is new or was not reached."""
    from services.scraper.scraping import scrape_here

    configure_logging("WARNING")
    settings = Settings()
    try:
        asked = NewScrape(
            format=format_name, min_rating=min_rating, max_replays=max_replays, since=since, until=until, user=user
        )
    except ValidationError as error:
        at, why = first_fault(error)
        raise UsageError(why, field=at.replace("_", "-")) from error
    store = Store(settings.store)
    scrape_id = new_matchup_id()
    Scrapes(store).create(scrape_id, asked)
    told: dict[str, int] = {}
    try:
        with steps("replays", max_replays) as advance:

            def tell(found: int, outcomes: Mapping[str, int]) -> None:
                told.update(outcomes)
                advance(
                    sum(outcomes.get(name, 0) for name in ("fetched", "stored already", "gone", "no replay")), outcomes
                )

            asyncio.run(scrape_here(scrape_id, store, settings, LocalLimiter(), tell))
    except KeyboardInterrupt:
        err.print("interrupted; what was fetched is stored, and the same command goes on from there")
        raise typer.Exit(1) from None
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in told.items()) or "nothing found"
    out.print(f"{escape(format_name)}: {escape(counts)}")
    out.print(f"For a dataset: alphastral dataset build store:replays/{escape(format_name)} --out DIR")
