"""The work horse: a forked process that runs one job, so that a job can be ended whatever it is doing.

A fork, because what a job needs takes a second to import and the worker has imported it already. Two pipes tie the
two together: the horse's report ends when the horse does, and its leash ends when the worker does, by kill -9 too.
"""

import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from shared.errors import AlphaStralError, UsageError

log = logging.getLogger(__name__)

_REASON_CHARACTERS = 500
"""So that a report is one write to a pipe, whole or not there."""
_MOMENT_SECONDS = 0.005


class HandedBack(Exception):
    """Raised by a task that stopped because its worker was told to: what is left is for another worker."""


class Ending(StrEnum):
    """How a job's attempt ended."""

    DONE = "done"
    HANDED_BACK = "handed back"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"
    """Failed, and no other attempt can do better."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the horse says last, or what is said of it when it could not."""

    ending: Ending
    reason: str = ""


class Horse:
    """A running horse, as its worker sees it."""

    def __init__(self, task: Callable[[], None]) -> None:
        report_end, report_start = os.pipe()
        leash_end, leash_start = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(report_end)
            os.close(leash_start)
            _run(task, report_start, leash_end)
        os.close(report_start)
        os.close(leash_end)
        # Also done by the horse; whoever comes first, its group exists before anybody kills it.
        with suppress(OSError):
            os.setpgid(self.pid, self.pid)
        self._report_end, self._leash_start = report_end, leash_start
        self._said = b""

    def wait(self, seconds: float) -> Report | None:
        """Its report once it has ended; None when it still runs after `seconds`."""
        self._listen(seconds)
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            return None
        self._listen(0)
        # What it started and left behind, a Node.js process above all, ends with it.
        self.kill()
        os.close(self._report_end)
        os.close(self._leash_start)
        if self._said:
            ending, reason = json.loads(self._said)
            return Report(Ending(ending), reason)
        number = -os.waitstatus_to_exitcode(status)
        return Report(Ending.FAILED, f"its process was ended by signal {number}" if number > 0 else "its process ended")

    def _listen(self, seconds: float) -> None:
        if select.select([self._report_end], [], [], seconds)[0]:
            said = os.read(self._report_end, 65_536)
            self._said += said
            if not said:
                # It has closed its end and is about to exit.
                time.sleep(_MOMENT_SECONDS)

    def stop(self) -> None:
        """Ask it to begin nothing new."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started, now."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _run(task: Callable[[], None], report_start: int, leash_end: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_worker, args=(leash_end,), daemon=True).start()
        report = _attempt(task)
        os.write(report_start, json.dumps([report.ending, report.reason[:_REASON_CHARACTERS]]).encode())
    finally:
        sys.stderr.flush()
        os._exit(0)


def _attempt(task: Callable[[], None]) -> Report:
    try:
        task()
    except HandedBack:
        return Report(Ending.HANDED_BACK)
    except UsageError as error:
        return Report(Ending.IMPOSSIBLE, error.message)
    except AlphaStralError as error:
        return Report(Ending.FAILED, error.message)
    except Exception as error:
        # The end of this process: whatever it was, the worker must hear of it.
        log.exception("A job failed unexpectedly.")
        return Report(Ending.FAILED, f"{type(error).__name__}: {error}")
    return Report(Ending.DONE)


def _end_with_worker(leash_end: int) -> None:
    os.read(leash_end, 1)
    os.killpg(0, signal.SIGKILL)
