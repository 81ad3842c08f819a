"""Which jobs there are: what each carries, which function runs it, on which queue, how long, and how often.

Nothing else runs. RQ alone would import whatever dotted name a job holds; here a job names a row of ROUTES and carries
one payload as JSON, and `Job.read` resolves nothing else and unpickles nothing.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated, Any

from pydantic import Field, ValidationError

from shared.document import Strict
from shared.errors import AlphaStralError, first_fault
from shared.records import MAX_BATTLES

MAX_PAYLOAD_BYTES = 100_000
MAX_JOB_SECONDS = 14 * 86_400
"""Whatever a job says: one that hangs holds its worker no longer."""

_Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
_Revision = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
"""What the store held when this was asked for: a later state is another job, and none is lost."""


# ── what they carry ─────────────────────────────────────────────────────────────────────────────────


class Payload(Strict):
    """Base of all payloads, plain JSON: nothing may be added, nothing may change."""


class PlayShard(Payload):
    """Play battles `start` … `stop` - 1 of a matchup, those that have no record yet."""

    matchup_id: _Id
    start: int = Field(ge=0, lt=MAX_BATTLES)
    stop: int = Field(gt=0, le=MAX_BATTLES)
    seconds_per_battle: float = Field(gt=0, le=100_000)
    """How long one battle may take, were they played one after the other."""


class ReviewBattles(Payload):
    """Look back at the battles `start` … `stop` - 1 of a matchup, those that are recorded and have no review yet."""

    matchup_id: _Id
    start: int = Field(ge=0)
    stop: int = Field(gt=0)
    revision: _Revision


class LookAtMatchup(Payload):
    """Look what comes next in a matchup, shards or its report, and enqueue it; first whether it is decided."""

    matchup_id: _Id
    revision: _Revision


class WriteReport(Payload):
    """Write a matchup's run and report from what the store holds."""

    matchup_id: _Id
    revision: _Revision


class LookAtTournament(Payload):
    """Look at a tournament's matchups, and enqueue what comes next: more matchups, and its leaderboard."""

    tournament_id: _Id
    revision: _Revision


class WriteLeaderboard(Payload):
    """Write a tournament's table and page from the results that the store holds."""

    tournament_id: _Id
    revision: _Revision


class ScrapePages(Payload):
    """Fetch the replays of one range of a scrape's pages, those that are not stored yet."""

    scrape_id: _Id
    number: int = Field(ge=0, lt=100_000)


class BuildDataset(Payload):
    """Build a dataset from what the store holds."""

    name: _Id


class TrainModel(Payload):
    """Do a training, from its last checkpoint on."""

    training_id: _Id


# ── how they are run ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Route:
    """How one kind of job is run."""

    name: str
    """Of the function that runs it, called as NAME(payload, context). Once the job has failed for good,
    give_up_NAME(payload, context, reason) is called."""
    payload: type[Payload]
    id: str
    """A format of the payload's fields. The same work has the same id, and is on the queue once."""
    tasks: str
    """The module of both functions. It is imported only where the job is done: an API need not."""
    queue: str
    timeout_seconds: Callable[[Any], float] = lambda payload: 600
    retries: int = 5
    """Attempts after the first, each after a longer wait. What the store or a server is to blame for uses up none."""
    at_front: bool = False
    """Before the jobs that wait already: it is short, and they may not be needed any more after it."""

    def job_id(self, payload: Payload) -> str:
        return self.id.format_map(dict(payload))

    def load(self, prefix: str = "") -> Callable[..., None]:
        """The function that runs the job, or with the prefix `give_up_` the other one."""
        found: Callable[..., None] = getattr(import_module(self.tasks), prefix + self.name)
        return found


_SECONDS_PER_REVIEW = 120
"""Far more than it takes."""

_ARENA = "services.arena.tasks"
_arena = partial(Route, queue="arena")
_reporter = partial(Route, queue="reporter")
_scraper = partial(Route, tasks="services.scraper.tasks", queue="scraper")
_trainer = partial(Route, tasks="services.trainer.tasks", queue="train")

_ROWS = (
    _arena(
        "play_shard",
        PlayShard,
        "{matchup_id}-shard-{start:05d}",
        _ARENA,
        timeout_seconds=lambda shard: min(MAX_JOB_SECONDS, 60 + (shard.stop - shard.start) * shard.seconds_per_battle),
    ),
    _arena(
        "review",
        ReviewBattles,
        "{matchup_id}-review-{start:05d}-{revision}",
        "services.arena.reviews",
        timeout_seconds=lambda review: 60 + (review.stop - review.start) * _SECONDS_PER_REVIEW,
    ),
    _arena("look_at_matchup", LookAtMatchup, "{matchup_id}-look-{revision}", _ARENA, at_front=True),
    _arena("look_at_tournament", LookAtTournament, "{tournament_id}-look-{revision}", _ARENA, at_front=True),
    _reporter(
        "write_report",
        WriteReport,
        "{matchup_id}-report-{revision}",
        "services.reporter.report",
        # 100,000 battles of models, on a slow machine.
        timeout_seconds=lambda _: 14_400,
    ),
    _reporter(
        "write_leaderboard",
        WriteLeaderboard,
        "{tournament_id}-leaderboard-{revision}",
        "services.reporter.leaderboard",
    ),
    # A site may ask to wait, and is asked slowly.
    _scraper("scrape_pages", ScrapePages, "{scrape_id}-pages-{number:05d}", timeout_seconds=lambda _: 7_200),
    _scraper("build_dataset", BuildDataset, "{name}-dataset", timeout_seconds=lambda _: 86_400),
    # A machine that is taken away now and then should not end a training that goes on from its checkpoint.
    _trainer("train_model", TrainModel, "{training_id}-train", timeout_seconds=lambda _: MAX_JOB_SECONDS, retries=8),
)
ROUTES: Mapping[str, Route] = {route.name: route for route in _ROWS}


# ── reading them from Redis ─────────────────────────────────────────────────────────────────────────


class Refused(AlphaStralError):
    """A job that this project did not write. It is set aside and never run."""


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
    failures: int = 0
    """Attempts that have failed in a row, whatever was to blame."""

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
                timeout_seconds=_seconds(fields[b"timeout"]),
                retries_left=int(fields[b"retries_left"]),
                last_failure=fields.get(b"last_failure", b"").decode(errors="replace"),
                failures=int(fields.get(b"failures", b"0")),
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
    b"enqueued_at timeout result_ttl status last_failure failures".split()
)


_JOB_ID = re.compile(r"[a-z0-9-]{1,200}")


def _seconds(written: bytes) -> float:
    seconds = float(written)
    if not 0 < seconds <= MAX_JOB_SECONDS:
        raise ValueError(f"{seconds} is no time for a job")
    return seconds


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
