"""Being told to end: Ctrl-C while battles are played, and SIGTERM."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def interruptible(tell: Callable[[str], None]) -> Iterator[asyncio.Event]:
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
