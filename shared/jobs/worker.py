"""A worker: takes jobs from one queue, runs each in a process of its own, and never loses one.

It replaces RQ's worker and keeps RQ's layout in Redis. The reasons are in docs/decisions/0004-workers.md.
"""

import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import redis

from shared.errors import Unreachable
from shared.jobs.forked_job import Ending, ForkedJob, HandedBack, Report
from shared.jobs.payloads import Payload
from shared.jobs.queue import Lease, Leases, Queues, reaching_redis
from shared.jobs.routes import ROUTES, Refused, Route, called
from shared.policies import PolicySpec
from shared.settings import Settings
from shared.store import Store
from shared.text import one_line

log = logging.getLogger(__name__)

__all__ = ["Context", "HandedBack", "Worker"]

BEAT_SECONDS = 1
_LOOK_SECONDS = 0.1
"""How often the worker of a running job looks whether it was told to stop."""
_PATIENCE_SECONDS = 30.0
"""How long a worker that has something to say to Redis waits for it to come back."""
_PARTING_SECONDS = 3.0
"""The same, once it was told to stop."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a task gets besides its payload."""

    settings: Settings
    store: Store
    enqueue: Callable[[Payload], bool]
    stopping: Callable[[], bool]
    """True once the worker was told to stop: begin nothing new, and raise HandedBack for what is left."""
    worker: str
    tell: Callable[[Any], None] = lambda told: None
    """Given what a task says of its progress: a battle's record, a count, a sentence. Nobody listens on a worker."""
    in_person: bool = False
    """True where a command waits for this very job: what a person can put right is raised, not recorded."""
    connect: Callable[[PolicySpec], Any] | None = None
    """How models are reached, where not as the settings say."""
    budget: Any = None
    """What may be spent, where that is not the matchup's own to say."""


class Worker:
    """Takes jobs from `queue` until it is told to stop by SIGTERM or SIGINT.

    The first signal is passed on to the job, which has `settings.worker_grace_seconds` to end or to hand itself back; a
    second one, or the end of the grace, ends it at once. Either way the job is back on its queue when `run` returns.
    """

    def __init__(
        self,
        queue: str,
        connection: redis.Redis,
        settings: Settings,
        routes: Mapping[str, Route] = ROUTES,
    ) -> None:
        self._routes = routes
        self._connection = connection
        self._settings = settings
        self._leases = Leases(connection, queue, self._routes)
        self._queue = queue
        self._signals = 0

    @property
    def name(self) -> str:
        """Unique among all workers: host, process and a random tail."""
        return self._leases.worker

    def run(self) -> None:
        """Work until told to stop."""
        signal.signal(signal.SIGTERM, self._note_signal)
        signal.signal(signal.SIGINT, self._note_signal)
        for route in self._routes.values():
            if route.queue == self._queue:
                called(route.function)
        log.info("Worker %s takes jobs from the queue %s.", self.name, self._queue)
        away = False
        while not self._signals:
            try:
                with reaching_redis():
                    lease = self._next()
            except Refused as refusal:
                log.error("%s", refusal)  # noqa: TRY400 - the sentence says it all
                continue
            except Unreachable as error:
                if not away:
                    log.warning("%s Waiting for it.", error)
                away = True
                time.sleep(BEAT_SECONDS)
                continue
            away = False
            if lease is not None:
                self._work_on(lease)
        # From here on there is nothing left to hurry: one signal more does not turn a clean end into a violent one.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._insist(self._leases.goodbye, patience_seconds=1)
        log.info("Worker %s has stopped.", self.name)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _next(self) -> Lease | None:
        self._leases.beat()
        for job_id in self._leases.recover():
            log.warning("The worker of job %s died; the job is on its queue again.", job_id)
        return self._leases.take(BEAT_SECONDS)

    def _work_on(self, lease: Lease) -> None:
        job = lease.job
        if job.retries_left < 0:
            self._give_up(lease, job.last_failure)
            return
        log.info("Job %s begins.", job.id)
        report = self._attend(lease, lambda context: called(job.route.function)(job.payload, context))
        match report.ending:
            case Ending.DONE:
                log.info("Job %s is done.", job.id)
                self._insist(partial(self._leases.finish, lease))
            case Ending.HANDED_BACK:
                log.info("Job %s is handed back.", job.id)
                self._insist(partial(self._leases.put_back, lease))
            case Ending.FAILED if job.retries_left > 0:
                log.warning("Job %s failed and is tried again: %s", job.id, one_line(report.reason))
                self._insist(partial(self._leases.put_back, lease, failure=report.reason))
            case Ending.FAILED | Ending.IMPOSSIBLE:
                self._give_up(lease, report.reason)

    def _give_up(self, lease: Lease, reason: str) -> None:
        """Let the job's service record that it failed for good."""
        log.error("Job %s failed for good: %s", lease.job.id, one_line(reason))
        give_up, payload = lease.job.route.give_up, lease.job.payload
        report = self._attend(lease, lambda context: called(give_up)(payload, context, reason))
        if report.ending is Ending.HANDED_BACK:
            self._insist(partial(self._leases.put_back, lease))
            return
        if report.ending is not Ending.DONE:
            # The store says that the work is unfinished; `resume` will find it there.
            log.error("That job %s failed could not be recorded: %s", lease.job.id, one_line(report.reason))
        self._insist(partial(self._leases.finish, lease))

    def _attend(self, lease: Lease, task: Callable[[Context], None]) -> Report:
        """Run a task in a process of its own, renew the lease meanwhile, and end the process when its time is up."""
        job = ForkedJob(lambda: task(self._context()))
        started, beaten = time.monotonic(), 0.0
        told_at: float | None = None
        verdict: Report | None = None
        while (report := job.wait(_LOOK_SECONDS)) is None:
            now = time.monotonic()
            if now - beaten >= BEAT_SECONDS:
                beaten = now
                self._insist(partial(self._leases.beat, lease), patience_seconds=0)
            if self._signals and told_at is None:
                told_at = now
                job.stop()
            if verdict is None and told_at is not None and self._at_once(now - told_at):
                verdict = Report(Ending.HANDED_BACK)
                job.kill()
            if verdict is None and now - started > lease.job.timeout_seconds:
                verdict = Report(Ending.FAILED, f"it took longer than {lease.job.timeout_seconds:.0f} s")
                job.kill()
        if verdict is None and self._signals > 1 and report.ending is Ending.FAILED:
            return Report(Ending.HANDED_BACK)
        return verdict or report

    def _at_once(self, seconds_since_told: float) -> bool:
        return self._signals > 1 or seconds_since_told > self._settings.worker_grace_seconds

    def _context(self) -> Context:
        """Made in the job's process: a store may have threads, which do not survive a fork."""
        return Context(
            settings=self._settings,
            store=Store(self._settings.store),
            enqueue=Queues(self._connection, self._routes).enqueue,
            stopping=lambda: self._signals > 0,
            worker=self.name,
        )

    def _insist(self, say: Callable[[], None], patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Say something to Redis, again and again for a while when it is away.

        Nothing is lost when it stays away: leases run out, and `resume` reads the store.
        """
        began = time.monotonic()
        while True:
            try:
                with reaching_redis():
                    say()
                return
            except Unreachable as error:
                # A worker that was told to stop has little time for a Redis that may never come back.
                patience = min(patience_seconds, _PARTING_SECONDS) if self._signals else patience_seconds
                if time.monotonic() - began >= patience or self._signals > 1:
                    log.warning("%s Going on without it.", error)
                    return
                time.sleep(0.25)
