"""One engine as a child process: started, asked how it is, and ended with all that it started."""

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class EngineProcess:
    """An engine that was started. It counts as healthy from its first good answer on."""

    version: str
    engine: str
    process: "subprocess.Popen[bytes]"
    started_at: float
    """On the supervisor's clock."""
    healthy_since: float | None = None
    looked_at: float = 0.0
    bad_looks: int = 0

    @property
    def ended(self) -> str | None:
        """How the process ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def end(self, grace_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """End it and all that it started: asked first, killed when the grace is over."""
        self._signal(signal.SIGTERM)
        deadline = clock() + grace_seconds
        while self.process.poll() is None and clock() < deadline:
            time.sleep(0.02)
        # Also where it has ended: what it started, and left behind, may hold the GPU.
        self._signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def start(command: Sequence[str], version: str, engine: str, *, within: Path | None, now: float) -> EngineProcess:
    """Start a command in a folder. Raises OSError where there is no such program."""
    # A group of its own, so that all of it can be ended. It ends with us however we end: our own server with its
    # standard input, on Linux any engine by a signal.
    process = subprocess.Popen(
        command, cwd=within, stdin=subprocess.PIPE, start_new_session=True, preexec_fn=_end_with_parent
    )
    return EngineProcess(version, engine, process, now)


def folder_of_links(within: Path, model: str, folder: Path) -> Path:
    """A folder in which nothing but `model` lies: a link to the published files. Raises OSError."""
    within.mkdir(parents=True, exist_ok=True)
    for link in within.iterdir():
        if link.is_symlink():
            link.unlink()
    (within / model).symlink_to(folder.resolve(), target_is_directory=True)
    return within


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def is_healthy(host: str, port: int, timeout_seconds: float) -> bool:
    """Whether `/health` answers 200 in time."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens there already."""
    with suppress(OSError), socket.create_connection((reachable(host), port), timeout=1.0):
        return True
    return False


def reachable(host: str) -> str:
    """An address to ask at, for one that was listened on."""
    return "127.0.0.1" if host in ("0.0.0.0", "") else host
