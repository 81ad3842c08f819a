"""One kind of work, whatever it is: how it is asked for, listed, cancelled and taken up again.

Matchups, tournaments, scrapes, datasets and trainings are each a `WorkKind`. The API's routes and the command line ask
for them by the same `ask`; what then has to be done is jobs, for the workers or for this process.
"""

import hashlib
import logging
import secrets
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel

from shared.asked import Asked
from shared.errors import BrokenRecord, Conflict, NotFound, Unreachable
from shared.jobs.queue import Queues
from shared.jobs.routes import Payload

log = logging.getLogger(__name__)

B = TypeVar("B", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


class State(StrEnum):
    """Where something that was asked for stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED = (State.FINISHED, State.CANCELLED, State.FAILED)


class WorkStatus(BaseModel):
    """What is told of all work, whatever its kind."""

    id: str
    state: State
    created_at: datetime
    """When it was asked for, UTC."""


Line = TypeVar("Line", bound=WorkStatus)


class ListOf(BaseModel, Generic[Line]):
    """A page of a list, newest first."""

    items: list[Line]
    next: str | None
    """The cursor of the next page; null on the last."""


class TakesJobs(Protocol):
    """What jobs are given to: the queues, or this very process."""

    def ping(self) -> None:
        """Raises Unreachable where no job could be given now."""

    def enqueue(self, payload: Payload) -> bool:
        """False, and nothing done, where the same job waits or runs already."""


class WorkKind(ABC, Generic[B, R]):
    """One kind of work: what may be asked, which jobs do it, and how it stands, all told from the store."""

    asked: Asked[R]
    body: type[B]
    """What is asked for, as the API takes it."""
    line: ClassVar[type[WorkStatus]]
    """One in a list."""
    status: ClassVar[type[WorkStatus]]

    @property
    def name(self) -> str:
        """Of its routes, and of its folder in most cases."""
        return self.asked.folder

    def called(self, body: B) -> str | None:
        """The id, where who asks chooses it; else it is drawn."""
        return None

    @abstractmethod
    def accept(self, body: B, seed: int, before: R | None) -> R:
        """What is stored of what was asked: checked, and with everything that it leaves open decided.

        `seed` is for what wants one; `before` is what the same Idempotency-Key stands for already. Raises UsageError.
        """

    @abstractmethod
    def jobs(self, id: str) -> Iterable[Payload]:
        """What the queue must hold for it to end; nothing where it has ended. Raises NotFound, and BrokenRecord."""

    @abstractmethod
    def standing(self, id: str) -> WorkStatus:
        """How it stands. Raises NotFound, and BrokenRecord."""

    def state(self, id: str, *, finished: bool, begun: bool = True) -> State:
        """Where work stands whose parts say whether it has begun and is finished."""
        if finished:
            return State.FINISHED
        if self.asked.cancelled(id) is not None:
            return State.CANCELLED
        if self.asked.failures(id):
            return State.FAILED
        return State.RUNNING if begun else State.QUEUED

    def listed(self, id: str) -> WorkStatus:
        """Its line in a list. Raises NotFound, and BrokenRecord."""
        return self.standing(id)

    def after_cancelling(self, id: str) -> Iterable[Payload]:
        """What is still to be done when it was cancelled: to tell of what there is."""
        return self.jobs(id)


AnyKind = WorkKind[Any, Any]


def new_id() -> str:
    """An id that sorts by time: 20261122-142501-3f9c2a."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


def ask(kind: WorkKind[B, R], body: B, queue: TakesJobs, *, key: str | None = None) -> str:
    """Ask for work, and have its jobs begin; its id.

    The same `key` always gives the same work: asking again is harmless, whatever became of it. Raises UsageError,
    Conflict where the key or the name stands for something else, and Unreachable. What is stored is asked for: where
    Redis refuses a job of it after all, `restore` puts it there.
    """
    digest = hashlib.sha256(key.encode()).hexdigest() if key else ""
    named = kind.called(body)
    id = named or (f"key-{digest[:20]}" if key else new_id())
    before = None
    if key:
        with suppress(NotFound):
            before = kind.asked.request(id)
    request = kind.accept(body, int(digest[20:28], 16) if key else secrets.randbits(32), before)
    queue.ping()
    if key and named:
        kind.asked.claim(digest, id)
    try:
        kind.asked.create(id, request)
    except Conflict as error:
        raise Conflict(f"{error.message}, under the same Idempotency-Key" if key else error.message) from error
    try:
        added = sum(queue.enqueue(job) for job in kind.jobs(id))
        log.info("%s %s was asked for: %s jobs enqueued.", kind.asked.noun.capitalize(), id, added)
    except Unreachable as error:
        log.warning("%s %s was asked for, and its jobs must wait: %s", kind.asked.noun.capitalize(), id, error)
    return id


def cancel(kind: AnyKind, id: str, queue: TakesJobs) -> None:
    """Cancel work that has not ended; what there is of it stays. Raises Conflict where it has ended otherwise."""
    state = kind.standing(id).state
    if state in (State.FINISHED, State.FAILED):
        raise Conflict(f"{kind.asked.noun} {id} has {state} already")
    kind.asked.cancel(id)
    try:
        for job in kind.after_cancelling(id):
            queue.enqueue(job)
    except Unreachable as error:
        log.warning("%s %s is cancelled, but to tell of it must wait: %s", kind.asked.noun.capitalize(), id, error)


def resume(kinds: Sequence[AnyKind], queue: TakesJobs, *, retry_failed: bool = False) -> int:
    """Put the unfinished work of all kinds on the queues now; how many jobs were not there yet.

    Harmless at any time: a job that waits or runs already is left alone. With `retry_failed`, what failed for good gets
    another try. What cannot be read keeps nothing else from its work.
    """
    unfinished = _unfinished(kinds, set(), retry_failed=retry_failed)
    return sum(queue.enqueue(job) for _, jobs in unfinished for job in jobs)


def restore(kinds: Sequence[AnyKind], queues: Queues) -> int:
    """The same, by those whose turn it is (`Queues.is_turn`), again and again: what has ended is not read each time."""
    ended: list[str] = []

    def jobs() -> Iterator[Payload]:
        for name, left in _unfinished(kinds, queues.ended(), level=logging.DEBUG):
            yield from left
            if not left:
                ended.append(name)

    added = queues.restore(jobs())
    queues.remember_ended(ended)
    return added


def _unfinished(
    kinds: Sequence[AnyKind], passed: Set[str], *, retry_failed: bool = False, level: int = logging.WARNING
) -> Iterator[tuple[str, list[Payload]]]:
    """What each piece of work is called, and the jobs that would bring it to its end, but for those `passed`."""
    for kind in kinds:
        for id in kind.asked.ids():
            if (name := f"{kind.name}/{id}") in passed:
                continue
            try:
                if retry_failed and kind.asked.cancelled(id) is None:
                    kind.asked.forget(id)
                yield name, list(kind.jobs(id))
            except (BrokenRecord, NotFound, Unreachable) as error:
                log.log(level, "%s %s is passed over: %s", kind.asked.noun.capitalize(), id, error)
