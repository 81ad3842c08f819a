"""What the store knows of scrapes. The search is cut into ranges of pages; a range is one job.

    scrapes/ID/request.json
    scrapes/ID/listed/NNNNN.json   what the search showed in that range, and where the next one begins
    scrapes/ID/done/NNNNN.json     what became of it
    scrapes/ID/failed/NNNNN.txt    why it could not be done

The state of a scrape follows from these files, never from the queue.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from services.scraper.schemas import Cursor, NewScrape, ScrapeStatus
from shared.errors import Conflict, NotFound, broken
from shared.store import Store, is_id

_Model = TypeVar("_Model", bound=BaseModel)
_NUMBERED = re.compile(r"(\d{5})\.(?:json|txt)")


class ToFetch(BaseModel):
    """A replay that passed the filters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    format: str


class Listing(BaseModel):
    """What the search showed in a range of its pages."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    start: Cursor
    next: Cursor | None
    """Where the next range begins; None where nothing more is wanted."""
    found: int
    """Replays found in all ranges up to this one."""
    replays: tuple[ToFetch, ...]
    passed_over: Mapping[str, int]
    """Why rows were passed over → how many."""


class Done(BaseModel):
    """What became of a range's replays → how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcomes: Mapping[str, int]


class Scrapes:
    """The scrapes of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, scrape_id: str, request: NewScrape) -> bool:
        """Store what was asked for. False where it is there already; Conflict where something else is."""
        if self._store.create(_path(scrape_id, "request.json"), request.model_dump_json(indent=1).encode()):
            return True
        if self.request(scrape_id) != request:
            raise Conflict(f"scrape {scrape_id} was asked for with another body")
        return False

    def ids(self) -> list[str]:
        """All scrapes, newest first."""
        return sorted(self._store.folders("scrapes"), reverse=True)

    def request(self, scrape_id: str) -> NewScrape:
        """What was asked for. Raises NotFound."""
        return self._read(NewScrape, _path(scrape_id, "request.json"), f"no scrape {scrape_id}")

    def listing(self, scrape_id: str, number: int) -> Listing | None:
        """What a range shows; None before the search was asked."""
        path = _path(scrape_id, f"listed/{number:05d}.json")
        return self._read(Listing, path, path) if self._store.exists(path) else None

    def add_listing(self, scrape_id: str, number: int, listing: Listing) -> Listing:
        """Store what a range shows. Where another process was first, that one's counts."""
        self._store.create(_path(scrape_id, f"listed/{number:05d}.json"), listing.model_dump_json().encode())
        return self.listing(scrape_id, number) or listing

    def finish(self, scrape_id: str, number: int, outcomes: Mapping[str, int]) -> None:
        """A range is done."""
        self._store.write(
            _path(scrape_id, f"done/{number:05d}.json"), Done(outcomes=outcomes).model_dump_json().encode()
        )

    def fail(self, scrape_id: str, number: int, why: str) -> None:
        """A range can't be done."""
        self._store.write(_path(scrape_id, f"failed/{number:05d}.txt"), why.encode())

    def forget_failures(self, scrape_id: str) -> None:
        """Ranges that failed get another try."""
        for number in self._numbers(scrape_id, "failed"):
            self._store.remove(_path(scrape_id, f"failed/{number:05d}.txt"))

    def status(self, scrape_id: str) -> ScrapeStatus:
        """How far it is. Raises NotFound."""
        request = self.request(scrape_id)
        listed, done = self._numbers(scrape_id, "listed"), self._numbers(scrape_id, "done")
        failed = self._numbers(scrape_id, "failed")
        outcomes: Counter[str] = Counter()
        for number in done:
            path = _path(scrape_id, f"done/{number:05d}.json")
            outcomes.update(self._read(Done, path, path).outcomes)
        last = self.listing(scrape_id, max(listed)) if listed else None
        whole = last is not None and last.next is None and set(listed) == set(done)
        return ScrapeStatus(
            id=scrape_id,
            state="finished" if whole else "failed" if failed else "running",
            request=request,
            created_at=self.created_at(scrape_id),
            ranges=len(listed),
            ranges_done=len(done),
            found=last.found if last else 0,
            outcomes=dict(sorted(outcomes.items())),
            failures=[
                self._store.read(_path(scrape_id, f"failed/{number:05d}.txt"), "").decode(errors="replace")
                for number in failed
            ],
        )

    def created_at(self, scrape_id: str) -> datetime:
        """When it was asked for, UTC. Raises NotFound."""
        return self._store.modified(_path(scrape_id, "request.json"), f"no scrape {scrape_id}")

    def open_ranges(self, scrape_id: str) -> list[int]:
        """The ranges that are still to be done, as far as they are known; those that failed are left out."""
        listed, done = self._numbers(scrape_id, "listed"), set(self._numbers(scrape_id, "done"))
        failed = set(self._numbers(scrape_id, "failed"))
        last = self.listing(scrape_id, max(listed)) if listed else None
        behind = [] if last is not None and last.next is None else [max(listed) + 1 if listed else 0]
        return [number for number in (*listed, *behind) if number not in done | failed]

    def is_done(self, scrape_id: str, number: int) -> bool:
        """Whether a range is done."""
        return self._store.exists(_path(scrape_id, f"done/{number:05d}.json"))

    def _numbers(self, scrape_id: str, folder: str) -> list[int]:
        names = map(_NUMBERED.fullmatch, self._store.files(_path(scrape_id, folder)))
        return sorted(int(name[1]) for name in names if name)

    def _read(self, model: type[_Model], path: str, absent: str) -> _Model:
        try:
            return model.model_validate_json(self._store.read(path, absent))
        except ValidationError as error:
            raise broken(path, error) from error


def _path(scrape_id: str, name: str) -> str:
    if not is_id(scrape_id):
        raise NotFound(f"no scrape {scrape_id!r}")
    return f"scrapes/{scrape_id}/{name}"
