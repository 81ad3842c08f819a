"""What was asked for, as it lies in the store: the same few files whatever kind of work it is.

    KIND/ID/request.json           what was asked for, written once
    KIND/ID/cancelled              empty, or why, where it was not a person's wish
    KIND/ID/failures/NNNNN.txt     why a part of it failed for good; work that has no parts has part 0
    KIND/ID/…/unreadable-…         a file that was cut short, say, set aside for a person to look at

A kind of work adds files of its own. The state of what was asked for follows from the store, never from the queue.
"""

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel

from shared.document import M, parsed
from shared.errors import BrokenRecord, Conflict, NotFound, Unreachable
from shared.store import Store, is_id

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a running job asks the store whether its work was cancelled."""
UNREADABLE = "unreadable"
"""How the name of a file begins that was set aside."""

R = TypeVar("R", bound=BaseModel)


def now_and_then(look: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """`look`, asked at most every LOOK_SECONDS until it is true, and never again: it is a question to the store."""
    found, next_look = False, clock()

    def ask() -> bool:
        nonlocal found, next_look
        if not found and clock() >= next_look:
            found, next_look = look(), clock() + LOOK_SECONDS
        return found

    return ask


class Asked(Generic[R]):
    """All that was asked for of one kind. A subclass names its folder, its model and what one is called."""

    folder: ClassVar[str]
    noun: ClassVar[str]
    model: type[R]
    earlier_failures: ClassVar[str] = ""
    """Where failures lay before they had one place for all kinds: a folder like `failures`, or a file."""

    def __init__(self, files: Store) -> None:
        self.files = files
        self._created: dict[str, datetime] = {}

    def path(self, id: str, name: str) -> str:
        """Where a file of it lies in the store. Raises NotFound for what cannot be an id."""
        if not is_id(id):
            raise NotFound(f"no {self.noun} {id!r}")
        return f"{self.folder}/{id}/{name}"

    # ── requests ────────────────────────────────────────────────────────────────────────────────────

    def create(self, id: str, request: R) -> bool:
        """Store a request. False when the same one is there already; raises Conflict where another one is.

        Of several that ask at once, in one process or in many, one is first.
        """
        if self.files.create(self.path(id, "request.json"), self._written(request)):
            return True
        if self.request(id) != request:
            raise Conflict(f"{self.noun} {id} was asked for with another body")
        return False

    def replace(self, id: str, request: R) -> None:
        """Store another request in place of the one that is there."""
        self.files.write(self.path(id, "request.json"), self._written(request))

    def claim(self, key: str, id: str) -> None:
        """Let a key, 64 letters, stand for this id alone. Raises Conflict where it stands for another."""
        path = f"{self.folder}/.keys/{key}"
        if not self.files.create(path, id.encode()) and (stands_for := self.files.read(path, path).decode()) != id:
            raise Conflict(f"this Idempotency-Key stands for the {self.noun} {stands_for} already")

    def request(self, id: str) -> R:
        """What was asked for. Raises NotFound, and BrokenRecord."""
        path = self.path(id, "request.json")
        return parsed(self.model, self.files.read(path, f"no {self.noun} {id}"), path)

    def ids(self) -> list[str]:
        """All of them, those whose ids begin with their time newest first."""
        return sorted(self.files.folders(self.folder), reverse=True)

    def created_at(self, id: str) -> datetime:
        """When it was asked for, UTC. Raises NotFound."""
        if id not in self._created:
            self._created[id] = self.files.modified(self.path(id, "request.json"), f"no {self.noun} {id}")
        return self._created[id]

    # ── how it ended, where it ended early ──────────────────────────────────────────────────────────

    def cancel(self, id: str, why: str = "") -> None:
        """Nothing more of it is begun. `why` is given where that is not a person's wish. Raises NotFound."""
        self.request(id)
        self.files.write(self.path(id, "cancelled"), why.encode())

    def cancelled(self, id: str) -> str | None:
        """None where it goes on; else why it was cancelled, empty where a person wished it."""
        return self._text(id, "cancelled")

    def fail(self, id: str, why: str, part: int = 0) -> None:
        """Say why a part failed for good. Raises NotFound where nobody asks for it any more."""
        self.created_at(id)
        self.files.write(self.path(id, f"failures/{part:05d}.txt"), why.encode())

    def failures(self, id: str) -> dict[int, str]:
        """Part → why it failed for good, in order."""
        return {part: self._text(id, name) or "" for part, name in sorted(self._failed(id).items())}

    def forget(self, id: str, part: int | None = None) -> None:
        """What failed, or one part of it, gets another try."""
        for number, name in self._failed(id).items():
            if part in (None, number):
                self.files.remove(self.path(id, name))

    # ── files ───────────────────────────────────────────────────────────────────────────────────────

    def _written(self, request: R) -> bytes:
        return request.model_dump_json(indent=2, by_alias=True).encode()

    def _failed(self, id: str) -> dict[int, str]:
        found = self.numbered(id, "failures")
        if self.earlier_failures.endswith(".txt"):
            if self.files.exists(self.path(id, self.earlier_failures)):
                found.setdefault(0, self.earlier_failures)
        elif self.earlier_failures:
            found = self.numbered(id, self.earlier_failures) | found
        return found

    def numbered(self, id: str, folder: str) -> dict[int, str]:
        """Number → name below the id, of the files in one of its folders; temporary files are none of them."""
        names = self.files.files(self.path(id, folder))
        return {int(name.split(".", 1)[0]): f"{folder}/{name}" for name in names if name[:1].isdigit()}

    def read(self, id: str, name: str, model: type[M]) -> M | None:
        """A document beside the request, which can be made again; None where there is none that can be read."""
        path = self.path(id, name)
        with suppress(NotFound):
            try:
                return parsed(model, self.files.read(path, path), path)
            except BrokenRecord as error:
                self.set_aside(id, name, error.message)
        return None

    def set_aside(self, id: str, name: str, why: str) -> None:
        """Keep a file that cannot be read under another name: from now on it counts as missing, and is made again."""
        path = self.path(id, name)
        aside = f"{UNREADABLE}-{path.rpartition('/')[2]}-{secrets.token_hex(4)}"
        try:
            self.files.rename(path, aside)
            log.warning("%s, so it counts as missing; it is kept beside its place as %s.", why, aside)
        except Unreachable as error:
            log.warning("%s, so it counts as missing; it cannot be set aside: %s.", why, error)

    def _text(self, id: str, name: str) -> str | None:
        path = self.path(id, name)
        with suppress(NotFound):
            return self.files.read(path, path).decode(errors="replace")
        return None
