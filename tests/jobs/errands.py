"""Jobs that behave badly in every way, and a worker for them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from shared.errors import HostUnfit, Unreachable, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.queue import Queues, connect
from shared.jobs.routes import Payload, Route
from shared.jobs.worker import Worker
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging

Kind = Literal[
    "note",
    "fail",
    "impossible",
    "polite",
    "stubborn",
    "deaf",
    "parent",
    "orphan",
    "suicide",
    "away",
    "unfit",
    "tick",
]
SICK = "ERRANDS_ON_A_SICK_HOST"


class Errand(Payload):
    """One job of these tests."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    kind: Kind = "note"
    timeout_seconds: float = 60


ROUTES: Mapping[str, Route] = {
    "errand": Route(
        "errand",
        Errand,
        "errand-{name}",
        tasks="tests.jobs.errands",
        queue="errands",
        timeout_seconds=lambda errand: errand.timeout_seconds,
        retries=1,
    )
}


def errand(errand: Errand, context: Context) -> None:
    write(context, f"{errand.name} begins in {os.getpid()}")
    KINDS[errand.kind](errand, context)
    write(context, f"{errand.name} ends")


def give_up_errand(errand: Errand, context: Context, reason: str) -> None:
    if errand.name == "unspeakable" and not (Path(context.store.url) / "speakable").exists():
        raise RuntimeError("this cannot be recorded either")
    write(context, f"{errand.name} given up: {reason}")


def fail(errand: Errand, context: Context) -> None:
    raise RuntimeError("it cannot be done")


def impossible(errand: Errand, context: Context) -> None:
    raise UsageError("nobody could do it")


def polite(errand: Errand, context: Context) -> None:
    """Hands itself back when told to stop."""
    while not context.stopping():
        time.sleep(0.02)
    raise HandedBack


def stubborn(errand: Errand, context: Context) -> None:
    """Stops for nobody."""
    time.sleep(600)


def deaf(errand: Errand, context: Context) -> None:
    """An event loop under a broad except: an exception raised in it would be lost."""

    async def battle() -> None:
        while True:
            try:
                await asyncio.sleep(0.01)
            except Exception:  # noqa: BLE001 - what RQ's own time limit is lost in
                continue

    asyncio.run(battle())


def parent(errand: Errand, context: Context) -> None:
    """Has a child that ends for nothing but a kill or the end of its input, as the simulator's host does."""
    waits = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE) as child:
        write(context, f"{errand.name} has child {child.pid}")
        child.wait()


def orphan(errand: Errand, context: Context) -> None:
    """Ends before a process that it forked, which holds copies of all its pipes."""
    if (child := os.fork()) == 0:
        time.sleep(600)
    write(context, f"{errand.name} has child {child}")


def suicide(errand: Errand, context: Context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def away(errand: Errand, context: Context) -> None:
    """Wants a store that is there."""
    if not (Path(context.store.url) / "back").exists():
        raise Unreachable("the store is away")


def unfit(errand: Errand, context: Context) -> None:
    if SICK in os.environ:
        raise HostUnfit("this host has no arms")


def tick(errand: Errand, context: Context) -> None:
    """Says all the time that it is at work, whether or not its worker is."""
    while not (Path(context.store.url) / "enough").exists():
        write(context, f"{errand.name} ticks in {os.getpid()}")
        time.sleep(0.02)


KINDS: Mapping[Kind, Callable[[Errand, Context], None]] = {
    "note": lambda errand, context: None,
    "fail": fail,
    "impossible": impossible,
    "polite": polite,
    "stubborn": stubborn,
    "deaf": deaf,
    "parent": parent,
    "orphan": orphan,
    "suicide": suicide,
    "away": away,
    "unfit": unfit,
    "tick": tick,
}


def write(context: Context, line: str) -> None:
    with (Path(context.store.url) / "journal").open("a") as journal:
        journal.write(f"{line}\n")


def restore(store: Store, queues: Queues) -> int:
    """What has to be done stands in the file `todo`, a name a line."""
    todo = Path(store.url) / "todo"
    return queues.restore(Errand(name=name) for name in (todo.read_text().split() if todo.exists() else ()))


def work(url: str, folder: str, grace_seconds: float, environment: Mapping[str, str]) -> None:
    """What a worker's process does."""
    # Nothing catches its output: that belongs to the process that it was forked from.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    os.environ.update(environment)
    configure_logging("INFO")
    settings = Settings(store=folder, worker_grace_seconds=grace_seconds)
    Worker("errands", connect(url), settings, ROUTES, restore).run()
