"""Whether a container engine answers here, and a Redis in a container of its own."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

REDIS_IMAGE = "redis:7-bookworm"


@cache
def no_compose() -> str | None:
    """Why no compose file can be read here; None where one can."""
    return None if answers("docker", "compose", "version") else "`docker compose` does not answer"


@cache
def no_engine() -> str | None:
    """Why no container can be run here; None where one can."""
    return no_compose() or (None if answers("docker", "info") else "`docker info` does not answer")


def answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@contextmanager
def redis_in_container() -> Iterator[str | None]:
    """The URL of a Redis in a container; None where no engine answers, or its image cannot be had."""
    # A first import of these costs a second, which a machine without an engine need not spend.
    if no_engine() is not None:
        yield None
        return
    # The container that would clean up after us comes from a registry, and may never be here.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from docker.errors import DockerException
    from testcontainers.community.redis import RedisContainer

    # Its port may be open to more than this machine.
    password = secrets.token_hex(16)
    container = RedisContainer(REDIS_IMAGE, password=password)
    try:
        container.start()
    except DockerException:
        yield None
        return
    try:
        yield f"redis://:{password}@{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
    finally:
        container.stop()
