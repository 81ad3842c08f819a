"""What every test process starts from."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
import redis
from hypothesis import HealthCheck, settings

from deploy.stack import private_redis
from tests.engine import redis_in_container

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process that they start:
# those that send it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# And one that was started to outlive its terminal is deaf to what is sent when that closes.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The Hub's client reads this when it is imported. Its newer way to send large files goes to servers of its own, for
# which no stand-in exists.
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# To take the luck out of a battle costs more than to play it: only the tests of that do.
os.environ["ALPHASTRAL_LUCK"] = "false"

# Timings are benchmarks, and what passes once passes again: no deadline, and the same examples each time.
settings.register_profile("ours", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

MOST_DATABASES = 4096


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there are several processes, files that take long begin first, so that none is left over at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        long = {item.path for item in items if any(map(item.get_closest_marker, ("slow", "timeout")))}
        items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def logs_end_with_their_test() -> Iterator[None]:
    """A command that runs in this process sets what is logged, to the standard error of its test: no longer than it."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def redis_databases() -> Iterator[Iterator[str]]:
    """Each time the URL of an empty database, of a Redis that is started once for each test process."""
    with redis_in_container() as contained, ExitStack() as started:
        if contained is None:
            url, _ = started.enter_context(private_redis("--databases", str(MOST_DATABASES)))
            # One of its own for each test: what an earlier one left running may still write to that one's.
            yield (f"{url}?db={number}" for number in range(MOST_DATABASES))
            return
        with redis.Redis.from_url(contained) as connection:
            yield (contained for _ in count() if connection.flushall())


@pytest.fixture
def redis_url(redis_databases: Iterator[str]) -> str:
    """An empty, real Redis: in a container where an engine answers, else a process of this machine."""
    return next(redis_databases)
