"""Ends a process when the one that started it has ended, however that came about.

A started process holds the read end of a pipe as its standard input. It never reads a byte there, only the end.
"""

import os
import signal
import sys
import threading
import time


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
