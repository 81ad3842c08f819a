"""Real Redis, and whole stacks of real processes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import LocalStack
from deploy.redis_server import private_redis
from shared.settings import Settings


@pytest.fixture
def redis_url() -> Iterator[str]:
    with private_redis() as url:
        yield url


def make_stack(folder: Path, *, arena_workers: int = 2, **settings: Any) -> LocalStack:
    given = Settings(**{"store": str(folder / "store"), "redis_url": None, "api_port": None, **settings})
    return LocalStack(given, arena_workers=arena_workers, folder=folder)


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
