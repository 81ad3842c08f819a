"""Ctrl-C while battles are played: the first lets those in play end, the second leaves at once."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def interruptible(tell: Callable[[str], None]) -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C sets. The next one is Python's own again: KeyboardInterrupt.

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
