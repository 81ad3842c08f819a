"""Runs one function over many items in several processes, and gives the results in the items' order.

The processes are started afresh: what the parent has loaded (poke-env's thread, an event loop) would not survive a
fork. They end when the parent does, however that comes about.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from shared.errors import AlphaStralError

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
