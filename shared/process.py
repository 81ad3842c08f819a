"""How this project's processes are started, waited for and ended, and where they listen.

A process that is started here ends when the one that started it does, killed or not: ours watch their standard input
(`end_with_parent`), and `python -m shared.process COMMAND …` watches it for a program that does not.
"""

import ctypes
import http.client
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from shared.errors import AlphaStralError, Unreachable, UsageError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_AGAIN_SECONDS = 1.0
"""A process that was told to end a second time has this long."""
_LOOK_SECONDS = 0.05
_SHOWN_LINES = 12
_AHEAD = 2
"""Items given out for each process, so that none waits for the parent."""
_PR_SET_PDEATHSIG = 1


class Child(subprocess.Popen[bytes]):
    """A process that this one started, in a session of its own: Ctrl-C does not reach it.

    Its standard input ends when this process does. With `watches_input=False` it is told by SIGTERM, on Linux alone.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        watches_input: bool = True,
    ) -> None:
        """`log` is the file that its output is added to; without one, it goes where this process's does.

        Raises OSError where there is no such program.
        """
        self.name = name
        self._log = log
        self.again = partial(
            Child, name, command, log=log, environment=environment, folder=folder, watches_input=watches_input
        )
        """Starts the same once more."""
        with log.open("ab") if log else nullcontext() as output:
            super().__init__(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=folder,
                start_new_session=True,
                preexec_fn=None if watches_input else partial(_end_with, os.getpid()),
            )

    def said(self, lines: int = _SHOWN_LINES) -> list[str]:
        with suppress(OSError):
            return self._log.read_text(errors="replace").strip().splitlines()[-lines:] if self._log else []
        return []

    def last_words(self) -> str:
        """How it ended, and the end of its log, with the log's place where it will still be there."""
        gone = self._log is None or self._log.is_relative_to(tempfile.gettempdir())
        where = "its log" if gone else str(self._log)
        return f"status {self.poll()}; {where} ends with\n" + "\n".join(f"  {line}" for line in self.said())

    def wait_until(self, ready: Callable[[], object], within_seconds: float) -> None:
        """Until `ready()` neither is False nor raises Unreachable.

        Raises Unreachable, with the end of the log, where the process ends before that or takes longer.
        """
        deadline = time.monotonic() + within_seconds
        while True:
            with suppress(Unreachable):
                if ready() is not False:
                    return
            if self.poll() is not None:
                raise Unreachable(f"{self.name} did not start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Unreachable(f"{self.name} was not ready after {within_seconds:.0f} s: {self.last_words()}")
            time.sleep(_LOOK_SECONDS)

    def end(self, grace_seconds: float) -> None:
        """End it and all that it started: told to, told again when the grace is over, and killed a second later."""
        for seconds in (grace_seconds, _AGAIN_SECONDS):
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.wait(seconds)
                break
        # Also where it has ended: what it started and left behind may hold a GPU, or a port.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        assert self.stdin is not None
        self.stdin.close()

    @contextmanager
    def running(self, grace_seconds: float) -> Iterator["Child"]:
        """It, which is ended when the context is."""
        try:
            yield self
        finally:
            self.end(grace_seconds)


# ── ending with the parent ──────────────────────────────────────────────────────────────────────────


def end_with_parent() -> None:
    """From now on, this process gets SIGTERM when its standard input ends, and a second one a second later.

    Also when its terminal is closed. Where standard input is no pipe, somebody started this process by hand.
    """
    hang_up_as_terminate()
    if not sys.stdin or sys.stdin.closed or (os.fstat(sys.stdin.fileno()).st_mode & 0o170000) != 0o010000:
        return

    def wait_for_end(descriptor: int) -> None:
        while os.read(descriptor, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_AGAIN_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_end, args=(sys.stdin.fileno(),), daemon=True).start()


def killed_with_parent(*, with_group: bool = False) -> None:
    """From now on, this process, one of multiprocessing's, is killed when the one that started it has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_for_end(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os.kill(0 if with_group else os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait_for_end, args=(parent.sentinel,), daemon=True).start()


def main() -> None:
    """Run the command given behind this module's name until it ends, or until this process is to: then end it, too.

    Its exit status is passed on. On Linux the command is told to end when this process is killed, as well.
    """
    child = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=partial(_end_with, os.getpid())
    )
    say = iter((child.terminate, child.kill))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: next(say, child.kill)())
    end_with_parent()
    sys.exit(child.wait())


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


# ── being told to end ───────────────────────────────────────────────────────────────────────────────


def hang_up_as_terminate() -> None:
    """From now on, SIGHUP ends this process as SIGTERM does; not where `nohup` has it ignored.

    Outside the main thread nothing is changed.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


@contextmanager
def handled(numbers: Iterable[signal.Signals], handler: Callable[..., None] | signal.Handlers) -> Iterator[None]:
    """What is done on these signals while the context lasts. Outside the main thread nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def interruptible(tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first lets battles in play end, the next is Python's own KeyboardInterrupt.

    `tell` is given what the first one does, when it comes. Outside the main thread nothing is caught.
    """
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        tell("No new battle begins; those in play go on to their end. Ctrl-C again leaves at once.")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with handled([signal.SIGINT], interrupt):
        yield interrupted.is_set


def terminated_as_interrupted() -> AbstractContextManager[None]:
    """SIGTERM ends this process the way Ctrl-C does: through every `finally`. Told again, it goes on ending."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    hang_up_as_terminate()
    return handled([signal.SIGTERM], interrupt)


# ── many at once ────────────────────────────────────────────────────────────────────────────────────


def cores() -> int:
    """How many processes this one may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    function: Callable[[_Item], _Result], items: Iterable[_Item], processes: int | None = None
) -> Iterator[_Result]:
    """`function(item)` of every item, in order; at most a few results wait for whoever reads them.

    The processes are started afresh: what this one has loaded (poke-env's thread, an event loop) would not survive a
    fork. With one process, it is this one. Function, items and results must be fit for pickle. Raises what `function`
    raises, and AlphaStralError where a process was killed.
    """
    processes = processes or cores()
    if processes == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[_Result]] = deque()
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= processes * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise AlphaStralError("a process of this command was killed; maybe the machine ran out of memory") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    # Ctrl-C reaches the whole foreground group; the parent says what became of it, and no child needs to.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    killed_with_parent()


# ── where servers listen ────────────────────────────────────────────────────────────────────────────


def listen(host: str, port: int) -> socket.socket:
    """A socket bound there, before its server starts, so that its address is known; port 0 is a free one.

    Raises UsageError.
    """
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    return listening


def in_url(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens there already."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


def answers(url: str, timeout_seconds: float) -> bool:
    """Whether a GET of an http:// address is answered with 200 in time. No proxy is asked."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
