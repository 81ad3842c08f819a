"""The HTTP API: every kind of work, and every service's routes, in one app. `python -m deploy.api` serves it."""

import asyncio
import json
import logging
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

import services.arena.api
import services.reporter.api
from deploy.console import pages
from deploy.kinds import kinds, restoring
from shared.errors import AlphaStralError, UsageError
from shared.guards import BODY_SECONDS
from shared.jobs.queue import Queues, connect
from shared.process import end_with_parent, in_url, listen
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store, replace_file
from shared.text import configure_logging
from shared.web import create_app, routes_of
from shared.work import AnyKind, resume

log = logging.getLogger(__name__)


def build(settings: Settings) -> FastAPI:
    """The app. While it is served, it takes its turn at enqueuing again what Redis has forgotten."""
    if settings.redis_url is None:
        raise UsageError("the API needs REDIS_URL to reach the queues")
    store = Store(settings.store)
    every = kinds(store, settings)
    queues = Queues(connect(settings.redis_url, settings.redis_password_file))
    return create_app(
        [
            *(routes_of(kind, queues) for kind in every),
            services.arena.api.router(store, settings),
            services.reporter.api.router(store, settings),
            _own_routes(store, queues, every),
        ],
        queues,
        pages=pages(),
        host=settings.api_published_at or settings.api_host,
        token=settings.api_token,
        beside=lambda: restoring(every, queues),
    )


class ModelLine(BaseModel):
    """A model in the registry."""

    name: str
    versions: list[str]
    current: str | None


class Models(BaseModel):
    """The registry's models."""

    items: list[ModelLine]


class Resumed(BaseModel):
    """How many jobs are on their queues again."""

    jobs: int


def _own_routes(store: Store, queues: Queues, every: Sequence[AnyKind]) -> APIRouter:
    routes, registry = APIRouter(), Registry(store)

    @routes.get("/models", tags=["models"], summary="The models in the registry.")
    def models() -> Models:
        """By name, with their versions; `current` is what a bare name means."""
        names, promoted = registry.names(), registry.promoted
        lines = ((name, registry.versions(name), next(iter(promoted(name)), None)) for name in names)
        return Models(items=[ModelLine(name=name, versions=of, current=now) for name, of, now in lines])

    @routes.post("/resume", tags=["health"], summary="Give what failed for good another try.")
    def resume_all() -> Resumed:
        """Puts all unfinished work on its queues again."""
        return Resumed(jobs=resume(every, queues, retry_failed=True))

    @routes.get("/metrics", tags=["health"], summary="Counts and depths, in Prometheus' text format.")
    def metrics() -> Response:
        """Queues, workers, battles, decisions, tokens, money and the time that models take."""
        return Response(exposition(queues), media_type="text/plain; version=0.0.4")

    return routes


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────


_COUNTED = {
    "battles": "Battles that were recorded, by how they ended.",
    "decisions": "Decisions in them, by how they came about.",
    "tokens": "Tokens that models read (in) and wrote (out), where their servers told.",
    "cost_usd": "What models cost, where their prices are known.",
}


def exposition(queues: Queues) -> bytes:
    """Queues, workers, and what the arena counted, in Prometheus' text format. Raises Unreachable."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(_metrics(queues))))
    return generate_latest(registry)


@dataclass(frozen=True, eq=False)
class _Collected(Collector):
    metrics: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        """What a registry asks for."""
        return self.metrics


def _metrics(queues: Queues) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("alphastral_queue_jobs", "Jobs that wait.", labels=["queue"])
    for queue, depth in queues.depths().items():
        waiting.add_metric([queue], depth)
    yield waiting
    workers = GaugeMetricFamily("alphastral_workers", "Workers that live.", labels=["queue", "state"])
    for (queue, state), number in Counter((each.queue, each.state) for each in queues.workers()).items():
        workers.add_metric([queue, state], number)
    yield workers
    counted = queues.counted()
    for name, said in _COUNTED.items():
        family = CounterMetricFamily(f"alphastral_{name}", said, labels=["kind"])
        for key, value in sorted(counted.items()):
            if key.startswith(f"{name}:"):
                family.add_metric([key.partition(":")[2]], value)
        yield family
    answers = SummaryMetricFamily("alphastral_answer_seconds", "From a question to a model to the last token.")
    answers.add_metric([], int(counted.get("answers:", 0)), counted.get("answer_seconds:", 0.0))
    yield answers


# ── serving ─────────────────────────────────────────────────────────────────────────────────────────


class PromptRequests(H11Protocol):
    """HTTP on one connection, which is closed where the head of a request does not come in time, like its body."""

    seconds = BODY_SECONDS
    _closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._closing = self.loop.call_later(self.seconds, transport.close)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest, where a head has only begun; for nothing, where a request is being answered."""
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if self._closing is not None and answering:
            self._closing.cancel()
            self._closing = None
        elif self._closing is None and not answering:
            self._closing = self.loop.call_later(self.seconds, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        if self._closing is not None:
            self._closing.cancel()


def serve(settings: Settings, address_file: Path | None = None) -> None:
    """Serve until told to stop, on the port asked for or a free one, whose address goes to `address_file`."""
    app = build(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=PromptRequests,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            server_header=False,
        )
    )
    listening = listen(settings.api_host, settings.api_port or 0)
    url = f"http://{in_url(settings.api_host)}:{listening.getsockname()[1]}"
    if address_file is not None:
        replace_file(address_file, json.dumps({"url": url}).encode())
    log.info("The API listens at %s.", url)
    server.run(sockets=[listening])


def main() -> None:
    """Run the command and exit."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--address-file", type=Path, help="a file to write the API's address to, as JSON")
    end_with_parent()
    try:
        settings = Settings()
        configure_logging(settings.log_level)
        serve(settings, parser.parse_args().address_file)
    except AlphaStralError as error:
        sys.exit(f"error: {error.message}")


if __name__ == "__main__":
    main()
