"""How a worker holds a job and lets it go.

A worker holds a job by a lease, an entry of RQ's registry of started jobs that the worker renews every second. A lease
that has run out, and that a second look finds not renewed, means that the worker died: whoever sees it puts the job
back, and who lost it so learns it. Redis's own clock counts, so that hosts need not agree on the time.
"""

import os
import socket
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import redis

from shared.jobs.queue import STEPS, key, keys_of, text
from shared.jobs.routes import Job, Refused, Route
from shared.text import one_line

LEASE_SECONDS = 5.0
"""A lease that was not renewed for this long has run out."""
SECOND_LOOK_SECONDS = 3.0
"""After Redis was away, the living have this long to renew their leases."""
WORKER_SEEN_SECONDS = 10
_LOST_SECONDS = 86_400
"""How long a worker that was stopped can find out that its job was taken away."""
_REFUSED_KEPT_SECONDS = 86_400
_Mapping = dict[bytes | bytearray | memoryview | str | int | float, Any]


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that this worker holds."""

    job: Job
    member: str
    """The lease's entry in the registry of started jobs."""
    fields: tuple[bytes, ...] = field(default=(), repr=False)
    """The job as Redis has it, name and value by turns: where it forgets, its worker tells it again."""


class Leases:
    """One worker's hold on the jobs of one queue."""

    def __init__(
        self,
        connection: redis.Redis,
        queue: str,
        routes: Mapping[str, Route],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._redis = connection
        self._queue_name = queue
        self._routes = routes
        self._worker = key("worker", self.worker)
        self._listed_in = (key("workers"), key("workers", queue))
        self._started, _, self._queue, self._between, _, _ = keys_of(queue)
        self._failed = key("failed", queue)
        self._step = connection.register_script(STEPS)
        self._clock = clock
        self._overdue_since: dict[str, float] = {}
        self._born = _timestamp()

    def beat(self, lease: Lease | None = None, fault: str = "") -> bool:
        """Say that this worker lives and what its machine lacks, and renew its lease: False where it was lost."""
        seen: _Mapping = {
            "birth": self._born,
            "last_heartbeat": _timestamp(),
            "queues": self._queue_name,
            "state": "busy" if lease else "idle",
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "fault": fault,
        }
        with self._redis.pipeline() as pipeline:
            pipeline.hset(self._worker, mapping=seen)
            pipeline.expire(self._worker, WORKER_SEEN_SECONDS)
            for workers in self._listed_in:
                pipeline.sadd(workers, self._worker)
            pipeline.execute()
        if lease is None:
            return True
        told: tuple[bytes | str | float, ...] = (self.worker, LEASE_SECONDS, *lease.fields)
        return bool(self._do("renew", lease.job.id, lease.member, *told))

    def is_lost(self, lease: Lease) -> bool:
        """Whether another worker has its job by now, since this one was silent for too long."""
        return bool(self._do("is_lost", lease.job.id, lease.member, self.worker))

    def goodbye(self) -> None:
        with self._redis.pipeline() as pipeline:
            pipeline.delete(self._worker)
            for workers in self._listed_in:
                pipeline.srem(workers, self._worker)
            pipeline.execute()

    def take(self, wait_seconds: int) -> Lease | None:
        """The next job of the queue; None when none came. Raises Refused for one that may not run; it is set aside."""
        taken = self._redis.blmove(self._queue, self._between, wait_seconds)
        if taken is None:
            return None
        job_id = text(taken)
        try:
            fields = self._fields(job_id)
            job = Job.read(job_id, fields, self._routes)
        except Refused as refusal:
            self._set_aside(job_id, refusal)
            raise Refused(f"Refused job {one_line(job_id)}: {one_line(refusal)}.") from refusal
        lease = Lease(job, f"{job_id}:{uuid.uuid4().hex}", tuple(part for pair in fields.items() for part in pair))
        started: _Mapping = {"status": "started", "worker_name": self.worker, "started_at": _timestamp()}
        now = self._now()
        with self._redis.pipeline() as pipeline:
            pipeline.zadd(self._started, {lease.member: now + LEASE_SECONDS})
            pipeline.hset(key("job", job_id), mapping=started)
            pipeline.lrem(self._between, 1, job_id)
            pipeline.execute()
        return lease

    def finish(self, lease: Lease) -> None:
        """The job is done; nothing of it stays in Redis, its results are in the store."""
        self._do("finish", lease.job.id, lease.member)

    def put_back(self, lease: Lease, *, at_front: bool = True) -> None:
        """Another worker may take the job."""
        self._do("put_back", lease.job.id, lease.member, 0, "", 0, 0 if at_front else -1, 0)

    def postpone(
        self, lease: Lease, failure: str, failures: int, wait_seconds: float, *, uses_attempt: bool = True
    ) -> None:
        """The job, which failed for the `failures`-th time in a row, may be taken again after a while."""
        change = -1 if uses_attempt else 0
        self._do("put_back", lease.job.id, lease.member, change, failure, failures, wait_seconds, 0)

    def recover(self) -> list[str]:
        """Put back the jobs of workers that died; their ids. Any number of workers may do this at once.

        Jobs that have waited for their time are on their queue again, too.
        """
        self._do("promote")
        overdue = [text(member) for member in self._redis.zrangebyscore(self._started, 0, self._now())]
        between = [text(job_id) for job_id in self._redis.lrange(self._between, 0, -1)]
        now = self._clock()
        self._overdue_since = {name: self._overdue_since.get(name, now) for name in (*overdue, *between)}
        recovered = []
        for name, since in self._overdue_since.items():
            if now - since < SECOND_LOOK_SECONDS:
                continue
            if name in overdue:
                job_id = name.rpartition(":")[0] or name
                done = self._do("put_back", job_id, name, -1, "its worker died", 0, 0, _LOST_SECONDS)
            else:
                job_id = name
                done = self._do("rescue", job_id)
            recovered += [job_id] if done else []
        return recovered

    def _do(self, step: str, job_id: str = "", member: str = "", *more: bytes | str | float) -> object:
        return self._step(keys=keys_of(self._queue_name, job_id, member), args=[step, job_id, member, *more])

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

    def _fields(self, job_id: str) -> Mapping[bytes, bytes]:
        try:
            return cast("Mapping[bytes, bytes]", self._redis.hgetall(key("job", job_id)))
        except redis.ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            raise Refused("what is stored under its id is no job") from error

    def _set_aside(self, job_id: str, refusal: Refused) -> None:
        job = key("job", job_id)
        is_hash = self._redis.type(job) == b"hash"
        with self._redis.pipeline() as pipeline:
            if is_hash:
                refused: _Mapping = {"status": "failed", "exc_info": zlib.compress(str(refusal).encode())}
                pipeline.hset(job, mapping=refused)
                pipeline.expire(job, _REFUSED_KEPT_SECONDS)
                pipeline.zadd(self._failed, {job_id: time.time() + _REFUSED_KEPT_SECONDS})
            pipeline.lrem(self._between, 1, job_id)
            pipeline.execute()


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
