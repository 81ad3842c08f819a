"""What is asked of the scraper over HTTP and on the command line, and what it answers."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from shared.datasets import DatasetCard
from shared.document import Strict
from shared.work import WorkStatus

LAST_PAGE = 100
"""Of the site's search."""


class Cursor(Strict):
    """Where in the search one is: at a page, or before a second (since 1970, UTC)."""

    page: int | None = Field(default=None, ge=1, le=LAST_PAGE)
    before: int | None = Field(default=None, ge=0)


def _of_these_times(moment: datetime) -> datetime:
    if not 1970 < moment.year < 3000:
        raise ValueError("replays are of these times")
    return moment


class NewScrape(Strict):
    """Which replays are wanted."""

    format: str = Field(default="gen9randombattle", pattern=r"^[a-z0-9]{1,60}$")
    min_rating: int | None = Field(default=None, ge=0, le=10_000)
    """The site has no such filter: it is applied to the rows of its search."""
    max_replays: int = Field(default=1_000, ge=1, le=1_000_000)
    """Newest first; those that are stored already count."""
    since: Annotated[datetime, AfterValidator(_of_these_times)] | None = None
    """Uploaded then or later. Without a time zone, UTC."""
    until: Annotated[datetime, AfterValidator(_of_these_times)] | None = None
    """Uploaded before then."""
    user: str | None = Field(default=None, min_length=1, max_length=40)
    """Only battles of this player."""

    @field_validator("user")
    @classmethod
    def _printable(cls, user: str | None) -> str | None:
        if user is not None and not user.isprintable():
            raise ValueError("a player's name holds no such characters")
        return user


class ScrapeStatus(WorkStatus):
    """A scrape, and how far it is."""

    request: NewScrape
    ranges: int
    """Page ranges found so far; one is one job."""
    ranges_done: int
    found: int
    """Replays that the search showed and the filters let pass."""
    outcomes: Mapping[str, int]
    """What became of the rows → how many."""
    failures: list[str]


class NewDataset(Strict):
    """A dataset to be built."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    sources: tuple[str, ...] = Field(min_length=1, max_length=1_000)
    """In the store: `store:replays`, `store:replays/FORMAT`, `store:matchups/ID`."""
    contract: Literal["v1", "v2", "v3"] = "v2"
    min_rating: int | None = Field(default=None, ge=0, le=10_000)
    winner_only: bool = False
    side: Literal["p1", "p2", "both"] = "both"
    val_fraction: float = Field(default=0.05, ge=0, le=0.9)

    @field_validator("sources")
    @classmethod
    def _in_the_store(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        # A path would be one of the server's own.
        for source in sources:
            if not source.startswith(("store:replays", "store:matchups/")) or len(source) > 200:
                raise ValueError("over the API, a source is store:replays, store:replays/FORMAT or store:matchups/ID")
        return sources


class DatasetRequest(NewDataset):
    """What is stored of it. A command asks for more: paths are sources too, and the dataset has a folder of its own."""

    sources: tuple[str, ...] = Field(min_length=1)
    out: Path | None = None
    """The folder; where there is none, `datasets/NAME` in the store."""
    simulators: tuple[Path, ...] = ()
    """Further builds of the simulator, for replays of their commits."""
    command: str | None = None
    """What the card says that it was made by."""

    @field_validator("sources")
    @classmethod
    def _in_the_store(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        return sources


class DatasetStatus(WorkStatus):
    """A dataset, and whether it is there."""

    name: str
    request: NewDataset | None
    """None for one that was stored otherwise."""
    failure: str | None
    card: DatasetCard | None
