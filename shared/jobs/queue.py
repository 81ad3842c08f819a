"""How jobs are put on their queues in Redis, and what is told of those queues and their workers.

The layout in Redis is RQ's: a list and a hash that any RQ tool reads. Redis may forget all of it: what has to be done
stands in the store, and `Queues.restore` puts it back.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.defaults import RQ_KEY_PREFIX
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from shared.errors import Unreachable, UsageError
from shared.jobs.live import COUNTS
from shared.jobs.routes import ROUTES, Payload, Route
from shared.text import one_line

RESTORE_EVERY_SECONDS = 12
"""How often somebody, whoever it is, holds what the queues hold against the store. Redis forgets this, too: where it
lost everything, the next one who asks does it at once."""
STEPS = Path(__file__).with_name("queue.lua").read_text(encoding="utf-8")
_ENDED_SECONDS = 600
"""Work that has ended is looked at again no sooner."""
_SOCKET_TIMEOUT_SECONDS = 5.0
_RETRY_EVERY_SECONDS = 0.25
_RESTORED, _ENDED, _PINGED = "alphastral:restored", "alphastral:ended", "alphastral:pinged"


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker that gave a sign of life in the last seconds."""

    name: str
    queue: str
    state: str
    pid: int
    fault: str | None = None
    """Why its machine cannot do what it was given; it takes nothing for a while, and then tries again."""


class Queues:
    """The queues at one Redis. Every method raises Unreachable when it does not answer."""

    def __init__(self, connection: redis.Redis, routes: Mapping[str, Route] = ROUTES) -> None:
        self._connection = connection
        self._routes = routes
        self._step = connection.register_script(STEPS)

    def enqueue(self, payload: Payload) -> bool:
        """Put a payload on its queue. False, and nothing done, when the same job waits or runs already."""
        route = self._route(payload)
        queue = Queue(route.queue, connection=self._connection, serializer=JSONSerializer)
        job_id = route.job_id(payload)
        with reaching_redis():
            while True:
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
                if not self._step(keys=keys_of(route.queue, job_id), args=["forget_stray", job_id, ""]):
                    return False

    def restore(self, payloads: Iterable[Payload]) -> int:
        """Enqueue those that no queue holds; how many. Any number of processes may do this at once."""
        with reaching_redis():
            held = self._held()
        return sum(self.enqueue(each) for each in payloads if self._route(each).job_id(each) not in held)

    def is_turn(self, who: str) -> bool:
        """Whether `who` is the one to hold the queues against the store now: the first to ask since the last time."""
        with reaching_redis():
            return bool(self._connection.set(_RESTORED, who, nx=True, ex=RESTORE_EVERY_SECONDS))

    def ended(self) -> set[str]:
        """What was found lately to have ended."""
        with reaching_redis():
            return set(map(text, self._connection.smembers(_ENDED)))

    def remember_ended(self, names: Iterable[str]) -> None:
        """Let `ended` tell these for a while."""
        if names := list(names):
            with reaching_redis():
                self._connection.sadd(_ENDED, *names)
                if self._connection.ttl(_ENDED) < 0:
                    self._connection.expire(_ENDED, _ENDED_SECONDS)

    def _route(self, payload: Payload) -> Route:
        return next(route for route in self._routes.values() if route.payload is type(payload))

    def _held(self) -> frozenset[str]:
        """The ids of all jobs that wait, run, or are being taken: at one moment, since they move."""
        queues = {route.queue for route in self._routes.values()}
        with self._connection.pipeline() as pipeline:
            for name in queues:
                started, _, waiting, between, later, _ = keys_of(name)
                for listed in (waiting, between):
                    pipeline.lrange(listed, 0, -1)
                for ranked in (later, started):
                    pipeline.zrange(ranked, 0, -1)
            return frozenset(text(held).partition(":")[0] for part in pipeline.execute() for held in part)

    def depths(self) -> dict[str, int]:
        """Queue → jobs that wait on it, those included that failed and wait for another try."""
        names = sorted({route.queue for route in self._routes.values()})
        with reaching_redis(), self._connection.pipeline() as pipeline:
            for name in names:
                pipeline.llen(key("queue", name))
                pipeline.zcard(key("scheduled", name))
            waiting = pipeline.execute()
        return {name: waiting[2 * place] + waiting[2 * place + 1] for place, name in enumerate(names)}

    def workers(self) -> list[WorkerSeen]:
        """The workers that live. Those that died are forgotten."""
        known, seen = key("workers"), []
        with reaching_redis():
            for worker in map(text, self._connection.smembers(known)):
                try:
                    queue, state, pid, fault = self._connection.hmget(worker, "queues", "state", "pid", "fault")
                except redis.ResponseError as error:
                    if not str(error).startswith("WRONGTYPE"):
                        raise
                    continue  # Whoever wrote it, it is no worker.
                if queue is None:
                    self._connection.srem(known, worker)
                    continue
                name = worker.removeprefix(key("worker", ""))
                seen.append(
                    WorkerSeen(
                        one_line(name),
                        one_line(text(queue)),
                        one_line(text(state)),
                        int(pid[:10]) if pid and pid.isdigit() else 0,
                        one_line(text(fault)) if fault else None,
                    )
                )
        return sorted(seen, key=lambda worker: worker.name)

    def counted(self) -> dict[str, float]:
        with reaching_redis():
            return {text(name): float(value) for name, value in self._connection.hgetall(COUNTS).items()}

    def ping(self) -> None:
        """Raises Unreachable when Redis takes nothing: it does not answer, or is read-only, full, or loading."""
        with reaching_redis():
            # Said by writing: a replica, or a Redis without room, answers to a plain PING as if all were well.
            self._connection.set(_PINGED, 1, ex=60)


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
    """Turns what redis raises when it does not answer, or answers with an error, into Unreachable.

    READONLY, OOM, MISCONF, NOPERM, LOADING or a database that is not there: somebody has to mend Redis, and then what
    was asked of it is asked again.
    """
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unreachable(f"Redis does not answer: {one_line(error).rstrip('.')}") from error
    except redis.RedisError as error:
        raise Unreachable(f"Redis refuses: {one_line(error).rstrip('.')}") from error


def text(raw: object) -> str:
    """What Redis answered, as text that `connect`'s connections turn back into the same bytes, whatever they are."""
    return raw.decode(errors="surrogateescape") if isinstance(raw, bytes) else str(raw)


def key(*parts: str) -> str:
    """A key of RQ's."""
    return ":".join((RQ_KEY_PREFIX, *parts))


def keys_of(queue: str, job_id: str = "", member: str = "") -> list[str]:
    """What a step may touch: see queue.lua."""
    waiting = key("queue", queue)
    between, later = f"{waiting}:intermediate", key("scheduled", queue)
    return [key("wip", queue), key("job", job_id), waiting, between, later, f"alphastral:lost:{member}"]
