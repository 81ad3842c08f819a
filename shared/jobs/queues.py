"""Which jobs there are, and how they are put on their queues in Redis.

The layout in Redis is RQ's: a list and a hash that any RQ tool reads. What a job may be is ours: a job names a route
of ROUTES, and carries one payload as JSON. RQ alone would import whatever dotted name a job holds and unpickle its
meta; here a job is read by `Job.read`, which resolves nothing outside ROUTES and unpickles nothing.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from pydantic import ValidationError
from redis.backoff import ConstantBackoff
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.defaults import RQ_KEY_PREFIX
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from shared.errors import AlphaStralError, Unreachable, UsageError, first_fault
from shared.jobs.payloads import (
    BuildDataset,
    LookAtMatchup,
    LookAtTournament,
    Payload,
    PlayShard,
    ScrapePages,
    TrainModel,
    WriteLeaderboard,
    WriteReport,
)
from shared.text import one_line

MAX_PAYLOAD_BYTES = 100_000
_SOCKET_TIMEOUT_SECONDS = 5.0
_RETRY_EVERY_SECONDS = 0.25


class Refused(AlphaStralError):
    """A job that this project did not write. It is set aside and never run."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one kind of job is run. Functions are named, so that an API need not import them."""

    queue: str
    function: str
    """`module:function`, called as function(payload, context)."""
    give_up: str
    """`module:function`, called as give_up(payload, context, reason) when the job has failed for good."""
    payload: type[Payload]
    job_id: Callable[[Any], str]
    """The same work has the same id, and is on the queue once."""
    timeout_seconds: Callable[[Any], float]
    retries: int = 2
    at_front: bool = False
    """Before the jobs that wait already: it is short, and they may not be needed any more after it."""


ROUTES: Mapping[str, Route] = {
    "play_shard": Route(
        queue="arena",
        function="services.arena.tasks:play_shard",
        give_up="services.arena.tasks:give_up_shard",
        payload=PlayShard,
        job_id=lambda payload: f"{payload.matchup_id}-shard-{payload.start:05d}",
        timeout_seconds=lambda payload: 60 + (payload.stop - payload.start) * payload.seconds_per_battle,
    ),
    "look_at_matchup": Route(
        queue="arena",
        function="services.arena.tasks:look_at_matchup",
        give_up="services.arena.tasks:give_up_look",
        payload=LookAtMatchup,
        job_id=lambda payload: f"{payload.matchup_id}-look-{payload.revision}",
        timeout_seconds=lambda payload: 600,
        at_front=True,
    ),
    "look_at_tournament": Route(
        queue="arena",
        function="services.arena.tasks:look_at_tournament",
        give_up="services.arena.tasks:give_up_tournament",
        payload=LookAtTournament,
        job_id=lambda payload: f"{payload.tournament_id}-look-{payload.revision}",
        timeout_seconds=lambda payload: 600,
        at_front=True,
    ),
    "write_report": Route(
        queue="reporter",
        function="services.reporter.tasks:write_report",
        give_up="services.reporter.tasks:give_up_report",
        payload=WriteReport,
        job_id=lambda payload: f"{payload.matchup_id}-report-{payload.revision}",
        timeout_seconds=lambda payload: 600,
    ),
    "write_leaderboard": Route(
        queue="reporter",
        function="services.reporter.tasks:write_leaderboard",
        give_up="services.reporter.tasks:give_up_leaderboard",
        payload=WriteLeaderboard,
        job_id=lambda payload: f"{payload.tournament_id}-leaderboard-{payload.revision}",
        timeout_seconds=lambda payload: 600,
    ),
    "scrape_pages": Route(
        queue="scraper",
        function="services.scraper.tasks:scrape_pages",
        give_up="services.scraper.tasks:give_up_pages",
        payload=ScrapePages,
        job_id=lambda payload: f"{payload.scrape_id}-pages-{payload.number:05d}",
        # A site may ask to wait, and is asked slowly.
        timeout_seconds=lambda payload: 7_200,
    ),
    "build_dataset": Route(
        queue="scraper",
        function="services.scraper.tasks:build_dataset",
        give_up="services.scraper.tasks:give_up_dataset",
        payload=BuildDataset,
        job_id=lambda payload: f"{payload.name}-dataset",
        timeout_seconds=lambda payload: 86_400,
        retries=1,
    ),
    "train_model": Route(
        queue="train",
        function="services.trainer.tasks:train_model",
        give_up="services.trainer.tasks:give_up_training",
        payload=TrainModel,
        job_id=lambda payload: f"{payload.training_id}-train",
        timeout_seconds=lambda payload: 14 * 86_400,
        # A machine that is taken away now and then should not end a training that goes on from its checkpoint.
        retries=8,
    ),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job as read from Redis: its route, its payload, and nothing that could run anything else."""

    id: str
    route: Route
    payload: Payload
    timeout_seconds: float
    retries_left: int
    """Negative when it has no attempt left."""
    last_failure: str

    @classmethod
    def read(cls, job_id: str, fields: Mapping[bytes, bytes], routes: Mapping[str, Route]) -> "Job":
        """Read RQ's hash of a job. Raises Refused for anything that `Queues.enqueue` would not have written."""
        if not _JOB_ID.fullmatch(job_id):
            raise Refused("its id is none of ours")
        foreign = sorted(name for name, value in fields.items() if value and name not in _OWN_FIELDS)
        if foreign:
            raise Refused(f"it carries {', '.join(name.decode(errors='replace') for name in foreign)}")
        name, payload = _read_data(fields.get(b"data", b""))
        route = routes.get(name)
        if route is None:
            raise Refused(f"no route is called {name!r}")
        try:
            return cls(
                id=job_id,
                route=route,
                payload=route.payload.model_validate(payload),
                timeout_seconds=float(fields[b"timeout"]),
                retries_left=int(fields[b"retries_left"]),
                last_failure=fields.get(b"last_failure", b"").decode(errors="replace"),
            )
        except ValidationError as error:
            at, why = first_fault(error)
            raise Refused(f"its payload is no {route.payload.__name__}: {at}: {why}") from error
        except (KeyError, ValueError) as error:
            raise Refused(f"it lacks or garbles a field: {error}") from error


# What RQ writes for a plain job, and the note that a failed attempt leaves. Callbacks, webhooks, meta, groups,
# dependencies, repeats and rate limits are not among them.
_OWN_FIELDS = frozenset(
    b"created_at data description started_at ended_at last_heartbeat worker_name retries_left retry_intervals origin "
    b"enqueued_at timeout result_ttl status last_failure".split()
)


_JOB_ID = re.compile(r"[a-z0-9-]{1,200}")


def _read_data(raw: bytes) -> tuple[str, dict[str, Any]]:
    unpack = zlib.decompressobj()
    try:
        data = unpack.decompress(raw, MAX_PAYLOAD_BYTES)
        document = None if unpack.unconsumed_tail else json.loads(data)
    except (zlib.error, ValueError, RecursionError) as error:
        raise Refused("its data is not JSON") from error
    match document:
        case [str(name), None, [], dict(payload)]:
            return name, payload
        case _:
            raise Refused("its data is not one route and one payload")


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker that gave a sign of life in the last seconds."""

    name: str
    queue: str
    state: str
    pid: int


class Queues:
    """The queues at one Redis. Every method raises Unreachable when it does not answer."""

    def __init__(self, connection: redis.Redis, routes: Mapping[str, Route] | None = None) -> None:
        self._connection = connection
        self._routes = ROUTES if routes is None else routes

    def enqueue(self, payload: Payload) -> bool:
        """Put a payload on its queue. False, and nothing done, when the same job waits or runs already."""
        name, route = next((name, route) for name, route in self._routes.items() if route.payload is type(payload))
        queue = Queue(route.queue, connection=self._connection, serializer=JSONSerializer)
        job_id = route.job_id(payload)
        with reaching_redis():
            for _ in range(2):
                try:
                    queue.enqueue_call(
                        name,
                        kwargs=payload.model_dump(mode="json"),
                        job_id=job_id,
                        timeout=int(route.timeout_seconds(payload)),
                        retry=Retry(max=route.retries),
                        result_ttl=0,
                        description=f"{name} {job_id}",
                        unique=True,
                        at_front=route.at_front,
                    )
                    return True
                except DuplicateJobError:
                    if self._connection.hget(f"{RQ_KEY_PREFIX}:job:{job_id}", "status") != b"failed":
                        return False
                    # A job of that id was refused or failed once; it does not stand in the way for ever.
                    self._connection.delete(f"{RQ_KEY_PREFIX}:job:{job_id}")
        return False

    def depths(self) -> dict[str, int]:
        """Queue → jobs that wait on it."""
        names = sorted({route.queue for route in self._routes.values()})
        with reaching_redis():
            return {name: int(self._connection.llen(f"{RQ_KEY_PREFIX}:queue:{name}")) for name in names}

    def workers(self) -> list[WorkerSeen]:
        """The workers that live. Those that died are forgotten."""
        known, seen = f"{RQ_KEY_PREFIX}:workers", []
        with reaching_redis():
            for key in map(text, self._connection.smembers(known)):
                queue, state, pid = self._connection.hmget(key, "queues", "state", "pid")
                if queue is None:
                    self._connection.srem(known, key)
                    continue
                name = key.removeprefix(f"{RQ_KEY_PREFIX}:worker:")
                seen.append(WorkerSeen(one_line(name), one_line(text(queue)), one_line(text(state)), int(pid or 0)))
        return sorted(seen, key=lambda worker: worker.name)

    def ping(self) -> None:
        """Raises Unreachable when Redis does not answer."""
        with reaching_redis():
            self._connection.ping()


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
