"""How jobs are put on their queues in Redis, and how a worker holds one and lets it go.

The layout in Redis is RQ's: a list and a hash that any RQ tool reads.

A worker holds a job by a lease, an entry of RQ's registry of started jobs that the worker renews every second. A lease
that has run out, and that a second look finds not renewed, means that the worker died: whoever sees it puts the job
back. Redis's own clock counts, so that hosts need not agree on the time.
"""

import os
import socket
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.defaults import RQ_KEY_PREFIX
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from shared.errors import Unreachable, UsageError
from shared.jobs.routes import ROUTES, Job, Payload, Refused, Route
from shared.text import one_line

LEASE_SECONDS = 5.0
"""A lease that was not renewed for this long has run out."""
SECOND_LOOK_SECONDS = 3.0
"""After Redis was away, the living have this long to renew their leases."""
WORKER_SEEN_SECONDS = 10
_REFUSED_KEPT_SECONDS = 86_400
_SOCKET_TIMEOUT_SECONDS = 5.0
_RETRY_EVERY_SECONDS = 0.25
_Mapping = dict[bytes | bytearray | memoryview | str | int | float, Any]
_STEPS = Path(__file__).with_name("queue.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker that gave a sign of life in the last seconds."""

    name: str
    queue: str
    state: str
    pid: int


class Queues:
    """The queues at one Redis. Every method raises Unreachable when it does not answer."""

    def __init__(self, connection: redis.Redis, routes: Mapping[str, Route] = ROUTES) -> None:
        self._connection = connection
        self._routes = routes

    def enqueue(self, payload: Payload) -> bool:
        """Put a payload on its queue. False, and nothing done, when the same job waits or runs already."""
        route = next(route for route in self._routes.values() if route.payload is type(payload))
        queue = Queue(route.queue, connection=self._connection, serializer=JSONSerializer)
        job_id = route.job_id(payload)
        with reaching_redis():
            if self._connection.hget(_key("job", job_id), "status") == b"failed":
                # A job of that id was refused or failed once; it does not stand in the way for ever.
                self._connection.delete(_key("job", job_id))
            with suppress(DuplicateJobError):
                queue.enqueue_call(
                    route.name,
                    kwargs=payload.model_dump(mode="json"),
                    job_id=job_id,
                    timeout=int(route.timeout_seconds(payload)),
                    retry=Retry(max=route.retries),
                    result_ttl=0,
                    description=f"{route.name} {job_id}",
                    unique=True,
                    at_front=route.at_front,
                )
                return True
        return False

    def depths(self) -> dict[str, int]:
        """Queue → jobs that wait on it."""
        names = sorted({route.queue for route in self._routes.values()})
        with reaching_redis():
            return {name: int(self._connection.llen(_key("queue", name))) for name in names}

    def workers(self) -> list[WorkerSeen]:
        """The workers that live. Those that died are forgotten."""
        known, seen = _key("workers"), []
        with reaching_redis():
            for key in map(text, self._connection.smembers(known)):
                queue, state, pid = self._connection.hmget(key, "queues", "state", "pid")
                if queue is None:
                    self._connection.srem(known, key)
                    continue
                name = key.removeprefix(_key("worker", ""))
                seen.append(WorkerSeen(one_line(name), one_line(text(queue)), one_line(text(state)), int(pid or 0)))
        return sorted(seen, key=lambda worker: worker.name)

    def ping(self) -> None:
        """Raises Unreachable when Redis does not answer."""
        with reaching_redis():
            self._connection.ping()


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that this worker holds."""

    job: Job
    member: str
    """The lease's entry in the registry of started jobs."""


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
        self._worker = _key("worker", self.worker)
        self._listed_in = (_key("workers"), _key("workers", queue))
        self._queue = _key("queue", queue)
        self._between = _key("queue", queue, "intermediate")
        self._started = _key("wip", queue)
        self._failed = _key("failed", queue)
        self._step = connection.register_script(_STEPS)
        self._clock = clock
        self._overdue_since: dict[str, float] = {}
        self._born = _timestamp()

    def beat(self, lease: Lease | None = None) -> None:
        """Say that this worker lives, and renew its lease."""
        seen: _Mapping = {
            "birth": self._born,
            "last_heartbeat": _timestamp(),
            "queues": self._queue_name,
            "state": "busy" if lease else "idle",
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
        }
        now = self._now()
        with self._redis.pipeline() as pipeline:
            pipeline.hset(self._worker, mapping=seen)
            pipeline.expire(self._worker, WORKER_SEEN_SECONDS)
            for workers in self._listed_in:
                pipeline.sadd(workers, self._worker)
            if lease:
                pipeline.zadd(self._started, {lease.member: now + LEASE_SECONDS}, xx=True)
            pipeline.execute()

    def goodbye(self) -> None:
        """Say that this worker ends."""
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
            job = Job.read(job_id, self._fields(job_id), self._routes)
        except Refused as refusal:
            self._set_aside(job_id, refusal)
            raise Refused(f"Refused job {one_line(job_id)}: {one_line(refusal)}.") from refusal
        lease = Lease(job, f"{job_id}:{uuid.uuid4().hex}")
        started: _Mapping = {"status": "started", "worker_name": self.worker, "started_at": _timestamp()}
        now = self._now()
        with self._redis.pipeline() as pipeline:
            pipeline.zadd(self._started, {lease.member: now + LEASE_SECONDS})
            pipeline.hset(_key("job", job_id), mapping=started)
            pipeline.lrem(self._between, 1, job_id)
            pipeline.execute()
        return lease

    def finish(self, lease: Lease) -> None:
        """The job is done; nothing of it stays in Redis, its results are in the store."""
        self._step(keys=[self._started, _key("job", lease.job.id)], args=["finish", lease.member])

    def put_back(self, lease: Lease, *, failure: str | None = None) -> None:
        """Another worker may take the job. With `failure`, one of its attempts is used up."""
        self._put_back(lease.job.id, lease.member, failure)

    def recover(self) -> list[str]:
        """Put back the jobs of workers that died; their ids. Any number of workers may do this at once."""
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
                done = self._put_back(job_id, name, "its worker died")
            else:
                job_id = name
                done = self._step(keys=[self._between, self._queue], args=["rescue", job_id])
            recovered += [job_id] if done else []
        return recovered

    def _put_back(self, job_id: str, member: str, failure: str | None) -> object:
        keys = [self._started, _key("job", job_id), self._queue]
        return self._step(keys=keys, args=["put_back", member, job_id, 0 if failure is None else -1, failure or ""])

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

    def _fields(self, job_id: str) -> Mapping[bytes, bytes]:
        try:
            return cast("Mapping[bytes, bytes]", self._redis.hgetall(_key("job", job_id)))
        except redis.ResponseError as error:
            raise Refused("what is stored under its id is no job") from error

    def _set_aside(self, job_id: str, refusal: Refused) -> None:
        key = _key("job", job_id)
        is_hash = self._redis.type(key) == b"hash"
        with self._redis.pipeline() as pipeline:
            if is_hash:
                refused: _Mapping = {"status": "failed", "exc_info": zlib.compress(str(refusal).encode())}
                pipeline.hset(key, mapping=refused)
                pipeline.expire(key, _REFUSED_KEPT_SECONDS)
                pipeline.zadd(self._failed, {job_id: time.time() + _REFUSED_KEPT_SECONDS})
            pipeline.lrem(self._between, 1, job_id)
            pipeline.execute()


def connect(url: str, password_file: Path | None = None, *, patience_seconds: float = 0.5) -> redis.Redis:
    """A connection to Redis that tries again for about `patience_seconds` before it gives up.

    Raises UsageError for a URL that is none, or a password file that cannot be read.
    """
    try:
        password = password_file.read_text().strip() if password_file else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read Redis's password from {password_file}: {error}") from error
    try:
        connection: redis.Redis = redis.Redis.from_url(
            url,
            **({"password": password} if password else {}),
            encoding_errors="surrogateescape",
            socket_timeout=_SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=2.0,
            retry=RedisRetry(ConstantBackoff(_RETRY_EVERY_SECONDS), int(patience_seconds / _RETRY_EVERY_SECONDS)),
        )
    except ValueError as error:
        # Not the URL itself: a password may stand in it.
        raise UsageError(f"REDIS_URL is no address of a Redis: {error}") from error
    return connection


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Turns what redis raises when it does not answer into Unreachable."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unreachable(f"Redis does not answer: {one_line(error)}") from error


def text(raw: object) -> str:
    """What Redis answered, as text that `connect`'s connections turn back into the same bytes, whatever they are."""
    return raw.decode(errors="surrogateescape") if isinstance(raw, bytes) else str(raw)


def _key(*parts: str) -> str:
    return ":".join((RQ_KEY_PREFIX, *parts))


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
