"""`alphastral scrape`: replays from the site into the store, in this process."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from deploy.cli.show import err, out, steps
from services.scraper.scrapes import BROKEN, FETCHED, GONE, STORED, Scrapes
from services.scraper.views import NewScrape
from shared.errors import UsageError, first_fault
from shared.jobs.inline import Inline
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging
from shared.work import ask

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
    configure_logging("WARNING")
    settings = Settings()
    try:
        asked = NewScrape(
            format=format_name, min_rating=min_rating, max_replays=max_replays, since=since, until=until, user=user
        )
    except ValidationError as error:
        at, why = first_fault(error)
        raise UsageError(why, field=at.replace("_", "-")) from error
    ranges: dict[int, Counter[str]] = {}
    try:
        with steps("replays", max_replays) as advance:

            def tell(told: tuple[int, Mapping[str, int]]) -> None:
                ranges[told[0]] = Counter(told[1])
                outcomes = sum(ranges.values(), Counter[str]())
                advance(sum(outcomes[name] for name in (FETCHED, STORED, GONE, BROKEN)), outcomes)

            store = Store(settings.store)
            here = Inline(store, settings, tell=tell)
            ask(Scrapes(store), asked, here)
            here.drain()
    except KeyboardInterrupt:
        err.print("interrupted; what was fetched is stored, and the same command goes on from there")
        raise typer.Exit(1) from None
    told = sum(ranges.values(), Counter[str]())
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in told.items()) or "nothing found"
    out.print(f"{escape(format_name)}: {escape(counts)}")
    out.print(f"For a dataset: alphastral dataset build store:replays/{escape(format_name)} --out DIR")
