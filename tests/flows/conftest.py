"""Whole stacks of real processes, and commands in this one."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from deploy.cli import main
from deploy.stack import LocalStack
from shared.jobs.queue import connect
from shared.jobs.routes import ROUTES
from shared.settings import Settings

T = TypeVar("T")


def make_stack(folder: Path, *, arena_workers: int = 2, **settings: Any) -> LocalStack:
    given = Settings(
        **{"store": str(folder / "store"), "redis_url": None, "api_port": None, "scraper_workers": 0, **settings}
    )
    return LocalStack(given, arena_workers=arena_workers, folder=folder)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command came to."""

    status: int
    stdout: str
    stderr: str


def alphastral(*arguments: object, folder: Path, **environment: str) -> Ended:
    """Run a command in `folder`, in this process: to import all that it needs takes two seconds."""
    status = 0
    with (
        chdir(folder),
        patch.dict(os.environ, environment),
        patch.object(sys, "argv", ["alphastral", *map(str, arguments)]),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


def await_no_job(redis_url: str, seconds: float = 60) -> None:
    """Wait until every job has ended, and every job that those put on a queue.

    What `/health` tells is not enough: a worker that has just taken a job still shows as idle.
    """
    queues = {route.queue for route in ROUTES.values()}
    with connect(redis_url) as redis:

        def is_all_done() -> bool:
            # In one transaction: a job is on its queue, between queue and lease, or leased, at every moment.
            with redis.pipeline() as pipeline:
                for queue in queues:
                    pipeline.llen(f"rq:queue:{queue}")
                    pipeline.llen(f"rq:queue:{queue}:intermediate")
                    pipeline.zcard(f"rq:wip:{queue}")
                return not any(pipeline.execute())

        eventually(is_all_done, seconds)


def eventually(condition: Callable[[], T | None], seconds: float = 60) -> T:
    """What `condition` gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found
