"""Real Redis, and whole stacks of real processes."""

from collections.abc import Iterator

import pytest

from deploy.redis_server import private_redis


@pytest.fixture
def redis_url() -> Iterator[str]:
    with private_redis() as url:
        yield url
