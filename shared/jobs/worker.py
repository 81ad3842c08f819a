"""A worker: takes jobs from one queue, runs each in a process of its own, and never loses one.

It replaces RQ's worker and keeps RQ's layout in Redis. The reasons are in docs/decisions/0004-workers.md.
"""

import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from multiprocessing.connection import Connection

import redis

from shared.errors import AlphaStralError, Unreachable, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.queue import Lease, Leases, Queues, reaching_redis
from shared.jobs.routes import ROUTES, Refused, Route
from shared.process import killed_with_parent
from shared.settings import Settings
from shared.store import Store
from shared.text import one_line

log = logging.getLogger(__name__)

BEAT_SECONDS = 1
_LOOK_SECONDS = 0.1
"""How often the worker of a running job looks whether it was told to stop."""
_PATIENCE_SECONDS = 30.0
"""How long a worker that has something to say to Redis waits for it to come back."""
_PARTING_SECONDS = 3.0
"""The same, once it was told to stop."""
_MOMENT_SECONDS = 0.005
_REASON_CHARACTERS = 500
# What a job needs takes a second to import, and the worker has imported it already.
_FORK = multiprocessing.get_context("fork")


class Ending(StrEnum):
    """How a job's attempt ended."""

    DONE = "done"
    HANDED_BACK = "handed back"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"
    """Failed, and no other attempt can do better."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a job's process says last, or what is said of it when it could not."""

    ending: Ending
    reason: str = ""


class Worker:
    """Takes jobs from `queue` until it is told to stop by SIGTERM or SIGINT.

    The first signal is passed on to the job, which has `settings.worker_grace_seconds` to end or to hand itself back; a
    second one, or the end of the grace, ends it at once. Either way the job is back on its queue when `run` returns.
    """

    def __init__(
        self, queue: str, connection: redis.Redis, settings: Settings, routes: Mapping[str, Route] = ROUTES
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

    def _note_signal(self, *_: object) -> None:
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
        report = self._attend(lease, lambda context: job.route.load()(job.payload, context))
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
        give_up = lease.job.route.load("give_up_")
        report = self._attend(lease, lambda context: give_up(lease.job.payload, context, reason))
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


# ── the process of one job ──────────────────────────────────────────────────────────────────────────


class ForkedJob:
    """A job's own process, forked from the worker, so that a job can be ended whatever it is doing.

    It ends when the worker does, by kill -9 too, and takes along whatever it started.
    """

    def __init__(self, task: Callable[[], None]) -> None:
        self._report, reporting = _FORK.Pipe(duplex=False)
        self._said = b""
        self._process = _FORK.Process(target=_run, args=(task, reporting))
        self._process.start()
        assert self._process.pid is not None
        self._pid = self._process.pid
        reporting.close()
        # Also done by the process; whoever comes first, its group exists before anybody kills it.
        with suppress(OSError):
            os.setpgid(self._pid, self._pid)

    def wait(self, seconds: float) -> Report | None:
        """Its report once it has ended; None when it still runs after `seconds`."""
        self._listen(seconds)
        # Not its sentinel: what the job left running holds copies of all pipes.
        status = self._process.exitcode
        if status is None:
            return None
        self._listen(0)
        # What it started and left behind, a Node.js process above all, ends with it.
        self.kill()
        self._process.close()
        self._report.close()
        if self._said:
            ending, reason = json.loads(self._said)
            return Report(Ending(ending), reason)
        return Report(
            Ending.FAILED, f"its process was ended by signal {-status}" if status < 0 else "its process ended"
        )

    def _listen(self, seconds: float) -> None:
        if self._report.poll(seconds):
            try:
                self._said = self._report.recv_bytes()
            except EOFError:
                # It has closed its end and is about to exit.
                time.sleep(_MOMENT_SECONDS)

    def stop(self) -> None:
        """Ask it to begin nothing new."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started, now."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)


def _run(task: Callable[[], None], reporting: Connection) -> None:
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        killed_with_parent(with_group=True)
        report = _attempt(task)
        reporting.send_bytes(json.dumps([report.ending, report.reason[:_REASON_CHARACTERS]]).encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not multiprocessing's way out, which waits for threads that the job left running.
        os._exit(0)


def _attempt(task: Callable[[], None]) -> Report:
    try:
        task()
    except HandedBack:
        return Report(Ending.HANDED_BACK)
    except UsageError as error:
        return Report(Ending.IMPOSSIBLE, error.message)
    except AlphaStralError as error:
        return Report(Ending.FAILED, error.message)
    except Exception as error:
        # The end of this process: whatever it was, the worker must hear of it.
        log.exception("A job failed unexpectedly.")
        return Report(Ending.FAILED, f"{type(error).__name__}: {error}")
    return Report(Ending.DONE)
