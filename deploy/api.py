"""The HTTP API: every kind of work, and every service's routes, in one app. `python -m deploy.api` serves it."""

import json
import logging
import sys
from argparse import ArgumentParser
from pathlib import Path

import uvicorn
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

import services.arena.api
import services.reporter.api
from deploy.console import pages
from deploy.kinds import kinds, restoring, resume
from shared.errors import AlphaStralError, NotFound, UsageError
from shared.jobs.queue import Queues, connect
from shared.process import end_with_parent, in_url, listen
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store, replace_file
from shared.text import configure_logging
from shared.web import create_app, routes_of

log = logging.getLogger(__name__)


def build(settings: Settings) -> FastAPI:
    """The app. While it is served, it takes its turn at enqueuing again what Redis has forgotten."""
    if settings.redis_url is None:
        raise UsageError("the API needs REDIS_URL to reach the queues")
    store = Store(settings.store)
    queues = Queues(connect(settings.redis_url, settings.redis_password_file))
    return create_app(
        [
            *(routes_of(kind, queues) for kind in kinds(store, settings)),
            services.arena.api.router(store, settings),
            services.reporter.api.router(store, settings),
            _own_routes(store, queues, settings),
        ],
        queues,
        pages=pages(),
        host=settings.api_published_at or settings.api_host,
        token=settings.api_token,
        beside=lambda: restoring(store, queues, settings),
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


def _own_routes(store: Store, queues: Queues, settings: Settings) -> APIRouter:
    routes, registry = APIRouter(), Registry(store)

    @routes.get("/models", tags=["models"], summary="The models in the registry.")
    def models() -> Models:
        """By name, with their versions; `current` is what a bare name means."""
        return Models(items=[line(name) for name in registry.names()])

    @routes.post("/resume", tags=["health"], summary="Give what failed for good another try.")
    def resume_all() -> Resumed:
        """Puts all unfinished work on its queues again."""
        return Resumed(jobs=resume(store, queues, settings, retry_failed=True))

    def line(name: str) -> ModelLine:
        try:
            current = registry.current(name)
        except NotFound:
            current = None
        return ModelLine(name=name, versions=registry.versions(name), current=current)

    return routes


def serve(settings: Settings, address_file: Path | None = None) -> None:
    """Serve until told to stop, on the port asked for or a free one, whose address goes to `address_file`."""
    app = build(settings)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=3, server_header=False)
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
