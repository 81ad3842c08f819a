"""Runs a command that cannot watch its parent: `python -m deploy.leash COMMAND …`.

The command ends with SIGTERM when this process's standard input does, when this process is told to stop, and, on
Linux, when this process is killed. Its exit status is passed on.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from functools import partial

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 5.0


def main() -> None:
    """Run the command given behind this module's name."""
    # start_new_session: a Ctrl-C is for whoever holds the leash.
    child = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=partial(_end_with, os.getpid())
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.terminate())
    threading.Thread(target=_watch, args=(child,), daemon=True).start()
    sys.exit(child.wait())


def _watch(child: "subprocess.Popen[bytes]") -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main()
