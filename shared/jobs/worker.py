"""A worker: takes jobs from one queue, runs each in a process of its own, and never loses one.

It replaces RQ's worker and keeps RQ's layout in Redis. The reasons are in docs/decisions/0004-workers.md.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

import redis

from shared.errors import NotFound, Unreachable
from shared.jobs import Context
from shared.jobs.forked import Ending, ForkedJob, Report
from shared.jobs.leases import Lease, Leases
from shared.jobs.queue import Queues, reaching_redis
from shared.jobs.routes import ROUTES, Refused, Route
from shared.process import hang_up_as_terminate
from shared.settings import Settings
from shared.store import Store
from shared.text import one_line

log = logging.getLogger(__name__)

T = TypeVar("T")
Restore = Callable[[Store, Queues], int]
"""Enqueues what the store says is to be done and no queue holds; how many jobs."""
BEAT_SECONDS = 1
_LOOK_SECONDS = 0.1
"""How often the worker of a running job looks whether it was told to stop, and the job, whether it is another's."""
_PATIENCE_SECONDS = 30.0
"""How long a worker that has something to say to Redis waits for it to come back."""
_PARTING_SECONDS = 3.0
"""The same, once it was told to stop."""
_LONGEST_WAIT_SECONDS = 300
"""A job that fails waits 1 s, 2 s, 4 s, … before it is tried again, and never longer than this."""
_LONGEST_WAIT_FOR_OTHERS_SECONDS = 30
"""The same, where the store or a server is to blame: once they are back, nothing is to stand still."""
_AWAY_AT_MOST = 30
"""Such a job is tried this often in a row, for a quarter of an hour in all."""
_IN_A_ROW_SECONDS = 60.0
"""An attempt that went well for this long begins a new row of failures."""
_LONGEST_REST_SECONDS = {"host": 30, "store": 4}
"""A worker whose machine lacks something takes nothing for 2 s, 4 s, … and tries again. Where it fails one job after
another because the store or a server does not answer, it leaves some to others; not for long, since one of these jobs
alone may be to blame."""


class Worker:
    """Takes jobs from `queue` until it is told to stop by SIGTERM, SIGHUP or SIGINT.

    The first signal is passed on to the job, which has `settings.worker_grace_seconds` to end or to hand itself back; a
    second one, or the end of the grace, ends it at once. Either way the job is back on its queue when `run` returns.
    Idle or at work, it takes its turn at `restore`.
    """

    def __init__(
        self,
        queue: str,
        connection: redis.Redis,
        settings: Settings,
        routes: Mapping[str, Route] = ROUTES,
        restore: Restore = lambda store, queues: 0,
    ) -> None:
        self._routes = routes
        self._settings = settings
        self._leases = Leases(connection, queue, self._routes)
        self._queues = Queues(connection, routes)
        self._queue = queue
        self._signals = 0
        self._restore = restore
        self._restoring: ForkedJob | None = None
        self._fault = ""
        self._failed_in_a_row = 0
        self._rests_until = 0.0

    @property
    def name(self) -> str:
        """Unique among all workers: host, process and a random tail."""
        return self._leases.worker

    def run(self) -> None:
        hang_up_as_terminate()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_signal)
        for route in self._routes.values():
            if route.queue == self._queue:
                route.load()
                route.load("give_up_")
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
                    log.warning("%s. Waiting for it.", error)
                away = True
                time.sleep(BEAT_SECONDS)
                continue
            away = False
            if lease is not None:
                self._work_on(lease)
        # From here on there is nothing left to hurry: one signal more does not turn a clean end into a violent one.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._restoring is not None:
            self._restoring.kill()
        self._insist(self._leases.goodbye, patience_seconds=1)
        log.info("Worker %s has stopped.", self.name)

    def _note_signal(self, *_: object) -> None:
        self._signals += 1

    def _next(self) -> Lease | None:
        self._leases.beat(fault=self._fault)
        for job_id in self._leases.recover():
            log.warning("The worker of job %s died; the job is on its queue again.", job_id)
        self._restore_in_turn()
        if time.monotonic() < self._rests_until:
            time.sleep(BEAT_SECONDS)
            return None
        return self._leases.take(BEAT_SECONDS)

    def _restore_in_turn(self) -> None:
        """Begin to hold the queues against the store, beside all else, where that is this worker's turn."""
        if self._restoring is not None:
            if (report := self._restoring.wait(0)) is None:
                return
            self._restoring = None
            if report.ending is not Ending.DONE:
                log.warning("The queues could not be held against the store: %s", one_line(report.reason))
        if not self._signals and self._queues.is_turn(self.name):
            self._restoring = ForkedJob(lambda: self._restore_queues())

    def _restore_queues(self) -> None:
        if added := self._restore(Store(self._settings.store), self._queues):
            log.info("%s unfinished jobs are on their queues again.", added)

    def _work_on(self, lease: Lease) -> None:
        job = lease.job
        if job.retries_left < 0:
            self._give_up(lease, job.last_failure)
            return
        log.info("Job %s begins.", job.id)
        began = time.monotonic()
        report = self._attend(lease, lambda context: job.route.load()(job.payload, context))
        in_a_row = 0 if time.monotonic() - began > _IN_A_ROW_SECONDS else job.failures
        match report.ending:
            case Ending.DONE:
                log.info("Job %s is done.", job.id)
                self._fault, self._failed_in_a_row = "", 0
                self._insist(partial(self._leases.finish, lease))
            case Ending.HANDED_BACK:
                log.info("Job %s is handed back.", job.id)
                self._insist(partial(self._leases.put_back, lease))
            case Ending.LOST:
                log.warning("Job %s is another worker's by now.", job.id)
            case Ending.UNFIT:
                log.error("Job %s is for another machine than this: %s", job.id, one_line(report.reason))
                self._fault = report.reason
                self._rest("host")
                # Behind the others: it may be this job alone that finds no room here.
                self._insist(partial(self._leases.put_back, lease, at_front=False))
            case Ending.AWAY if in_a_row < _AWAY_AT_MOST:
                self._rest("store")
                self._try_later(lease, report.reason, in_a_row, uses_attempt=False)
            case Ending.FAILED if job.retries_left > 0:
                self._try_later(lease, report.reason, in_a_row)
            case Ending.FAILED | Ending.IMPOSSIBLE | Ending.AWAY:
                self._give_up(lease, report.reason)

    def _rest(self, lacking: str) -> None:
        self._failed_in_a_row += 1
        seconds = 2**self._failed_in_a_row if lacking == "host" else 2 ** (self._failed_in_a_row - 1) - 1
        self._rests_until = time.monotonic() + min(_LONGEST_REST_SECONDS[lacking], seconds)

    def _try_later(self, lease: Lease, reason: str, in_a_row: int, *, uses_attempt: bool = True) -> None:
        soon = not uses_attempt and in_a_row < _AWAY_AT_MOST
        wait_seconds = min(_LONGEST_WAIT_FOR_OTHERS_SECONDS if soon else _LONGEST_WAIT_SECONDS, 2**in_a_row)
        log.warning("Job %s failed and is tried again in %s s: %s", lease.job.id, wait_seconds, one_line(reason))
        self._insist(
            partial(self._leases.postpone, lease, reason, in_a_row + 1, wait_seconds, uses_attempt=uses_attempt)
        )

    def _give_up(self, lease: Lease, reason: str) -> None:
        """Let the job's service record that it failed for good; where it cannot, both are tried again."""
        log.error("Job %s failed for good: %s", lease.job.id, one_line(reason))
        give_up = lease.job.route.load("give_up_")

        def record(context: Context) -> None:
            try:
                give_up(lease.job.payload, context, reason)
            except NotFound as error:
                log.warning("Nobody asks for job %s any more: %s", lease.job.id, error)

        report = self._attend(lease, record)
        match report.ending:
            case Ending.DONE:
                self._insist(partial(self._leases.finish, lease))
            case Ending.HANDED_BACK | Ending.UNFIT:
                self._insist(partial(self._leases.put_back, lease))
            case Ending.FAILED | Ending.AWAY | Ending.IMPOSSIBLE:
                log.error("That job %s failed could not be recorded: %s", lease.job.id, one_line(report.reason))
                self._try_later(lease, reason, lease.job.failures, uses_attempt=False)

    def _attend(self, lease: Lease, task: Callable[[Context], None]) -> Report:
        """Run a task in a process of its own, renew the lease meanwhile, and end the process when its time is up."""
        job = ForkedJob(lambda: task(self._context(lease)))
        started, beaten = time.monotonic(), 0.0
        told_at: float | None = None
        verdict: Report | None = None
        while (report := job.wait(_LOOK_SECONDS)) is None:
            now = time.monotonic()
            if now - beaten >= BEAT_SECONDS:
                beaten = now
                held = self._insist(partial(self._beat, lease), patience_seconds=0)
                if held is False and verdict is None:
                    verdict = Report(Ending.LOST)
                    job.kill()
            if self._signals and told_at is None:
                told_at = now
                job.stop()
            grace_is_over = told_at is not None and now - told_at > self._settings.worker_grace_seconds
            if verdict is None and (grace_is_over or self._signals > 1):
                verdict = Report(Ending.HANDED_BACK)
                job.kill()
            if verdict is None and now - started > lease.job.timeout_seconds:
                verdict = Report(Ending.FAILED, f"it took longer than {lease.job.timeout_seconds:.0f} s")
                job.kill()
        if verdict is None and self._signals > 1 and report.ending is Ending.FAILED:
            return Report(Ending.HANDED_BACK)
        return verdict or report

    def _beat(self, lease: Lease) -> bool:
        held = self._leases.beat(lease, self._fault)
        self._restore_in_turn()
        return held

    def _context(self, lease: Lease) -> Context:
        """Made in the job's process: a store may have threads, which do not survive a fork."""
        threading.Thread(target=self._end_with_lease, args=(lease,), daemon=True).start()
        asked_at, lost = 0.0, False

        def stopping() -> bool:
            nonlocal asked_at, lost
            if not lost and time.monotonic() - asked_at > _LOOK_SECONDS:
                lost, asked_at = self._is_lost(lease), time.monotonic()
            return lost or self._signals > 0

        return Context(
            settings=self._settings,
            store=Store(self._settings.store),
            enqueue=self._queues.enqueue,
            stopping=stopping,
            worker=self.name,
        )

    def _end_with_lease(self, lease: Lease) -> None:
        """End this process, a job's, once another worker has the job: its own may be stopped, and tell nothing."""
        while not self._is_lost(lease):
            time.sleep(BEAT_SECONDS)
        log.warning("Job %s is another worker's by now; it is not gone on with here.", lease.job.id)
        os.killpg(0, signal.SIGKILL)

    def _is_lost(self, lease: Lease) -> bool:
        # While Redis is away, nobody learns anything, and nobody takes the job.
        with suppress(Unreachable), reaching_redis():
            return self._leases.is_lost(lease)
        return False

    def _insist(self, say: Callable[[], T], patience_seconds: float = _PATIENCE_SECONDS) -> T | None:
        """Say something to Redis, again and again for a while when it is away; what it answers, None where it does not.

        Nothing is lost when it stays away: leases run out, and the queues are held against the store.
        """
        began = time.monotonic()
        while True:
            try:
                with reaching_redis():
                    return say()
            except Unreachable as error:
                # A worker that was told to stop has little time for a Redis that may never come back.
                patience = min(patience_seconds, _PARTING_SECONDS) if self._signals else patience_seconds
                if time.monotonic() - began >= patience or self._signals > 1:
                    log.warning("%s. Going on without it.", error)
                    return None
                time.sleep(0.25)
