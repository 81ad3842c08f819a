"""Which jobs there are: what each carries, which function runs it, on which queue, how long, and how often.

Nothing else runs. RQ alone would import whatever dotted name a job holds; here a job names a row of ROUTES and carries
one payload as JSON, and `Job.read` resolves nothing else and unpickles nothing.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from shared.errors import AlphaStralError, first_fault
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

MAX_PAYLOAD_BYTES = 100_000


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
        function="services.reporter.report:write_report",
        give_up="services.reporter.report:give_up_report",
        payload=WriteReport,
        job_id=lambda payload: f"{payload.matchup_id}-report-{payload.revision}",
        timeout_seconds=lambda payload: 600,
    ),
    "write_leaderboard": Route(
        queue="reporter",
        function="services.reporter.leaderboard:write_leaderboard",
        give_up="services.reporter.leaderboard:give_up_leaderboard",
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


def called(function: str) -> Callable[..., None]:
    """What a route's `module:function` names."""
    module, _, name = function.partition(":")
    found: Callable[..., None] = getattr(import_module(module), name)
    return found
