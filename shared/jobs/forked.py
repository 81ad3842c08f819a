"""The process of one job: forked from the worker's, ended whatever it does, and how that is told."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection

from shared.errors import AlphaStralError, BrokenRecord, HostUnfit, NotFound, Unreachable, UsageError
from shared.jobs import HandedBack
from shared.process import killed_with_parent

log = logging.getLogger(__name__)

_MOMENT_SECONDS = 0.005
_REASON_CHARACTERS = 500
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
"""What a system says that has no room left, or whose disk is broken."""
# What a job needs takes a second to import, and the worker has imported it already.
_FORK = multiprocessing.get_context("fork")


class Ending(StrEnum):
    """How a job's attempt ended."""

    DONE = "done"
    HANDED_BACK = "handed back"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"
    """Failed, and no other attempt can do better."""
    AWAY = "away"
    """Failed, since the store or a server does not answer, or not as it should."""
    UNFIT = "unfit"
    """Failed, since this machine lacks something that another may have."""
    LOST = "lost"
    """Another worker has the job by now."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a job's process says last, or what is said of it when it could not."""

    ending: Ending
    reason: str = ""


class ForkedJob:
    """A job's own process, forked from the worker, so that a job can be ended whatever it is doing.

    It ends when the worker does, by kill -9 too, and takes along whatever it started.
    """

    def __init__(self, task: Callable[[], None]) -> None:
        self._report, reporting = _FORK.Pipe(duplex=False)
        self._said = b""
        self._process = _FORK.Process(target=_run, args=(task, reporting))
        self._process.start()
        assert self._process.pid is not None
        self._pid = self._process.pid
        reporting.close()
        # Also done by the process; whoever comes first, its group exists before anybody kills it.
        with suppress(OSError):
            os.setpgid(self._pid, self._pid)

    def wait(self, seconds: float) -> Report | None:
        """Its report once it has ended; None when it still runs after `seconds`."""
        self._listen(seconds)
        # Not its sentinel: what the job left running holds copies of all pipes.
        status = self._process.exitcode
        if status is None:
            return None
        self._listen(0)
        # What it started and left behind, a Node.js process above all, ends with it.
        self.kill()
        self._process.close()
        self._report.close()
        if self._said:
            ending, reason = json.loads(self._said)
            return Report(Ending(ending), reason)
        return Report(
            Ending.FAILED, f"its process was ended by signal {-status}" if status < 0 else "its process ended"
        )

    def _listen(self, seconds: float) -> None:
        if self._report.poll(seconds):
            try:
                self._said = self._report.recv_bytes()
            except EOFError:
                # It has closed its end and is about to exit.
                time.sleep(_MOMENT_SECONDS)

    def stop(self) -> None:
        """Ask it to begin nothing new."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started, now."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)


def _run(task: Callable[[], None], reporting: Connection) -> None:
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        killed_with_parent(with_group=True)
        report = _attempt(task)
        reporting.send_bytes(json.dumps([report.ending, report.reason[:_REASON_CHARACTERS]]).encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not multiprocessing's way out, which waits for threads that the job left running.
        os._exit(0)


def _attempt(task: Callable[[], None]) -> Report:
    try:
        task()
    except HandedBack:
        return Report(Ending.HANDED_BACK)
    except UsageError as error:
        return Report(Ending.IMPOSSIBLE, error.message)
    except HostUnfit as error:
        return Report(Ending.UNFIT, error.message)
    except (BrokenRecord, NotFound, Unreachable) as error:
        return Report(Ending.AWAY, error.message)
    except AlphaStralError as error:
        return Report(Ending.FAILED, error.message)
    except Exception as error:
        # The end of this process: whatever it was, the worker must hear of it.
        log.exception("A job failed unexpectedly.")
        unfit = isinstance(error, ImportError) or (isinstance(error, OSError) and error.errno in _NO_ROOM)
        return Report(Ending.UNFIT if unfit else Ending.FAILED, f"{type(error).__name__}: {error}")
    return Report(Ending.DONE)
