"""What a worker writes in Redis: that it lives, which job it holds, and how the job went.

A worker holds a job by a lease, an entry of RQ's registry of started jobs that it renews every second. A lease that
has run out, and that a second look finds not renewed, means that the worker died: whoever sees it puts the job back.
Redis's own clock counts, so that hosts need not agree on the time.
"""

import os
import socket
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import redis
from rq.defaults import RQ_KEY_PREFIX

from shared.jobs.queues import Job, Refused, Route, text
from shared.text import one_line

LEASE_SECONDS = 5.0
"""A lease that was not renewed for this long has run out."""
SECOND_LOOK_SECONDS = 3.0
"""After Redis was away, the living have this long to renew their leases."""
WORKER_SEEN_SECONDS = 10
_REFUSED_KEPT_SECONDS = 86_400

# KEYS: started jobs, the job, its queue. ARGV: the lease, the job's id, change of the attempts left, why
# the last one failed.
# Only who holds the lease, or takes it away, may put the job back: so it is never on the queue twice.
_PUT_BACK = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], 'retries_left', ARGV[3])
redis.call('HSET', KEYS[2], 'status', 'queued', 'last_failure', ARGV[4])
redis.call('LPUSH', KEYS[3], ARGV[2])
return 1
"""
# KEYS: started jobs, the job. ARGV: the lease. A job that was given to another meanwhile is left to the other.
_FINISH = "if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then return redis.call('DEL', KEYS[2]) end return 0"
# KEYS: jobs between queue and lease, the queue. ARGV: the job's id.
_RESCUE = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
return redis.call('LPUSH', KEYS[2], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that this worker holds."""

    job: Job
    member: str
    """The lease's entry in the registry of started jobs."""


@dataclass(slots=True)
class Suspects:
    """What looked dead at the last look, and since when (seconds of the caller's clock)."""

    since: dict[str, float] = field(default_factory=dict)

    def confirm(self, seen: Iterable[str], now: float) -> list[str]:
        """Of what looks dead now, all that has looked so for SECOND_LOOK_SECONDS."""
        self.since = {name: self.since.get(name, now) for name in seen}
        return [name for name, since in self.since.items() if now - since >= SECOND_LOOK_SECONDS]


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
        self._worker = f"{RQ_KEY_PREFIX}:worker:{self.worker}"
        self._queue = f"{RQ_KEY_PREFIX}:queue:{queue}"
        self._between = f"{self._queue}:intermediate"
        self._started = f"{RQ_KEY_PREFIX}:wip:{queue}"
        self._failed = f"{RQ_KEY_PREFIX}:failed:{queue}"
        self._put_back = connection.register_script(_PUT_BACK)
        self._finish = connection.register_script(_FINISH)
        self._rescue = connection.register_script(_RESCUE)
        self._clock = clock
        self._suspects = Suspects()
        self._born = _timestamp()

    def beat(self, lease: Lease | None = None) -> None:
        """Say that this worker lives, and renew its lease."""
        seconds, microseconds = self._redis.time()
        with self._redis.pipeline() as pipeline:
            pipeline.hset(
                self._worker,
                mapping={
                    "birth": self._born,
                    "last_heartbeat": _timestamp(),
                    "queues": self._queue_name,
                    "state": "busy" if lease else "idle",
                    "pid": os.getpid(),
                    "hostname": socket.gethostname(),
                },
            )
            pipeline.expire(self._worker, WORKER_SEEN_SECONDS)
            pipeline.sadd(f"{RQ_KEY_PREFIX}:workers", self._worker)
            pipeline.sadd(f"{RQ_KEY_PREFIX}:workers:{self._queue_name}", self._worker)
            if lease:
                pipeline.zadd(self._started, {lease.member: seconds + microseconds / 1e6 + LEASE_SECONDS}, xx=True)
            pipeline.execute()

    def goodbye(self) -> None:
        """Say that this worker ends."""
        with self._redis.pipeline() as pipeline:
            pipeline.delete(self._worker)
            pipeline.srem(f"{RQ_KEY_PREFIX}:workers", self._worker)
            pipeline.srem(f"{RQ_KEY_PREFIX}:workers:{self._queue_name}", self._worker)
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
        lease = Lease(job, f"{job_id}:{uuid.uuid4().hex}")
        seconds, _ = self._redis.time()
        with self._redis.pipeline() as pipeline:
            pipeline.zadd(self._started, {lease.member: seconds + LEASE_SECONDS})
            pipeline.hset(
                self._job(job_id),
                mapping={"status": "started", "worker_name": self.worker, "started_at": _timestamp()},
            )
            pipeline.lrem(self._between, 1, job_id)
            pipeline.execute()
        return lease

    def finish(self, lease: Lease) -> None:
        """The job is done; nothing of it stays in Redis, its results are in the store."""
        self._finish(keys=[self._started, self._job(lease.job.id)], args=[lease.member])

    def put_back(self, lease: Lease, *, failure: str | None = None) -> None:
        """Another worker may take the job. With `failure`, one of its attempts is used up."""
        self._put_back(
            keys=[self._started, self._job(lease.job.id), self._queue],
            args=[lease.member, lease.job.id, 0 if failure is None else -1, failure or ""],
        )

    def recover(self) -> list[str]:
        """Put back the jobs of workers that died; their ids. Any number of workers may do this at once."""
        seconds, microseconds = self._redis.time()
        overdue = [text(member) for member in self._redis.zrangebyscore(self._started, 0, seconds + microseconds / 1e6)]
        between = [text(job_id) for job_id in self._redis.lrange(self._between, 0, -1)]
        recovered = []
        for name in self._suspects.confirm([*overdue, *between], self._clock()):
            job_id = name.rpartition(":")[0] or name
            if name in overdue:
                keys = [self._started, self._job(job_id), self._queue]
                done = self._put_back(keys=keys, args=[name, job_id, -1, "its worker died"])
            else:
                done = self._rescue(keys=[self._between, self._queue], args=[name])
            recovered += [job_id] if done else []
        return recovered

    def _fields(self, job_id: str) -> Mapping[bytes, bytes]:
        try:
            return cast("Mapping[bytes, bytes]", self._redis.hgetall(self._job(job_id)))
        except redis.ResponseError as error:
            raise Refused("what is stored under its id is no job") from error

    def _set_aside(self, job_id: str, refusal: Refused) -> None:
        key = self._job(job_id)
        is_hash = self._redis.type(key) == b"hash"
        with self._redis.pipeline() as pipeline:
            if is_hash:
                pipeline.hset(key, "status", "failed")
                pipeline.hset(key, "exc_info", zlib.compress(str(refusal).encode()))
                pipeline.expire(key, _REFUSED_KEPT_SECONDS)
                pipeline.zadd(self._failed, {job_id: time.time() + _REFUSED_KEPT_SECONDS})
            pipeline.lrem(self._between, 1, job_id)
            pipeline.execute()

    def _job(self, job_id: str) -> str:
        return f"{RQ_KEY_PREFIX}:job:{job_id}"


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
