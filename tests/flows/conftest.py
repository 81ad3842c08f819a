"""Whole stacks of real processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local import LocalStack
from shared.settings import Settings


def make_stack(folder: Path, *, arena_workers: int = 2, **settings: Any) -> LocalStack:
    given = Settings(
        **{"store": str(folder / "store"), "redis_url": None, "api_port": None, "scraper_workers": 0, **settings}
    )
    return LocalStack(given, arena_workers=arena_workers, folder=folder)


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
