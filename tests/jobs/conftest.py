"""Queues, and worker processes that the test may kill."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import redis

from shared.jobs.leases import LEASE_SECONDS
from shared.jobs.queue import Queues, connect, text
from tests.jobs.errands import ROUTES, Errand, work

ROOT = Path(__file__).parents[2]
FORK = get_context("fork")


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def tell(worker: ForkProcess, number: signal.Signals) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, number)


def order(connection: redis.Redis, *words: str) -> object:
    """Redis's answer to a command that few have a method for."""
    return connection.execute_command(*words)  # type: ignore[no-untyped-call]


@dataclass
class Yard:
    """Queues, a journal that errands write, and workers."""

    redis_url: str
    folder: Path
    workers: list[ForkProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis: redis.Redis = connect(self.redis_url)
        self.queues = Queues(self.redis, ROUTES)

    def start_worker(self, grace_seconds: float = 10, environment: Mapping[str, str] | None = None) -> ForkProcess:
        """Forked from this process, which has imported all that a worker needs: that takes more than a second."""
        worker = FORK.Process(target=work, args=(self.redis_url, str(self.folder), grace_seconds, environment or {}))
        worker.start()
        self.workers.append(worker)
        return worker

    def let_leases_run_out(self) -> None:
        for member in map(text, self.redis.zrange("rq:wip:errands", 0, -1)):
            self.redis.zincrby("rq:wip:errands", -LEASE_SECONDS - 1, member)

    def send(self, name: str, **more: object) -> bool:
        return self.queues.enqueue(Errand.model_validate({"name": name, **more}))

    @property
    def journal(self) -> list[str]:
        path = self.folder / "journal"
        return path.read_text().splitlines() if path.exists() else []

    def await_line(self, start: str, times: int = 1, seconds: float = 20) -> str:
        eventually(lambda: sum(line.startswith(start) for line in self.journal) >= times, seconds)
        return [line for line in self.journal if line.startswith(start)][times - 1]

    def waiting(self) -> list[bytes | str]:
        return list(self.redis.lrange("rq:queue:errands", 0, -1))


@pytest.fixture
def yard(redis_url: str, tmp_path: Path) -> Iterator[Yard]:
    made = Yard(redis_url, tmp_path)
    yield made
    for worker in made.workers:
        worker.kill()
        worker.join()
