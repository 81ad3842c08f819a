"""How this project's processes are run and ended, and where they listen.

Whatever is started here ends when the process that started it does, however that comes about.
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import TypeVar

from shared.errors import AlphaStralError, UsageError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_AHEAD = 2
"""Items given out for each process, so that none waits for the parent."""


def cores() -> int:
    """How many processes this one may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    function: Callable[[_Item], _Result], items: Iterable[_Item], processes: int | None = None
) -> Iterator[_Result]:
    """`function(item)` of every item, in order; at most a few results wait for whoever reads them.

    With one process, it is this one. Function, items and results must be fit for pickle. Raises what `function` raises,
    and AlphaStralError where a process was killed.
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
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    multiprocessing.connection.wait([parent])
    os.kill(os.getpid(), signal.SIGKILL)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound there; port 0 is a free one. Raises UsageError."""
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


@contextmanager
def interruptible(tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first lets battles in play end, the next is Python's own KeyboardInterrupt.

    `tell` is given what the first one does, when it comes. Outside the main thread nothing is caught.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted.is_set
        return

    def interrupt(*_: object) -> None:
        interrupted.set()
        tell("No new battle begins; those in play go on to their end. Ctrl-C again leaves at once.")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interruptible_in_loop(tell: Callable[[str], None]) -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C sets, so that battles in play end. The next is Python's own: KeyboardInterrupt.

    `tell` is given what the first one does, when it comes.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        interrupted.set()
        tell("No new battle begins; those in play go on to their end. Ctrl-C again leaves at once.")
        loop.remove_signal_handler(signal.SIGINT)

    with suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends this process the way Ctrl-C does: through every `finally`. Told again, it goes on ending."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_parent() -> None:
    """From now on, this process gets SIGTERM when its standard input ends, and a second one a second later.

    Does nothing where standard input is no pipe: somebody started this process by hand.
    """
    if not sys.stdin or sys.stdin.closed or not _is_pipe(sys.stdin.fileno()):
        return
    threading.Thread(target=_wait_for_end, args=(sys.stdin.fileno(),), daemon=True).start()


def _is_pipe(descriptor: int) -> bool:
    return (os.fstat(descriptor).st_mode & 0o170000) == 0o010000


def _wait_for_end(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
