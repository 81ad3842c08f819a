"""Keeps an engine running for what a name in the registry stands for: `python -m services.inference.supervisor NAME`.

It watches the registry's `current`, starts the engine for it, waits for its /health, and starts it anew when another
version is promoted or the engine ends. /status says how it stands. This is the entry point of the inference container.
It needs Python, obstore and pydantic (with pydantic-settings): the rest of its image belongs to the engine.
"""

import argparse
import logging
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from services.inference.engines import (
    COMMANDS,
    IN_A_FOLDER_OF_LINKS,
    Command,
    Place,
    Published,
    choose,
    folder_of_links,
)
from services.inference.status import SupervisorState, SupervisorStatus, shown
from shared.errors import AlphaStralError, BrokenRecord, Conflict, NotFound, Unreachable, UsageError
from shared.process import Child, answers, hang_up_as_terminate, in_url, is_taken
from shared.registry import Registry
from shared.registry.card import CARD
from shared.settings import EngineName, Settings
from shared.store import Store, replace_file
from shared.text import configure_logging, one_line

log = logging.getLogger(__name__)

STAND_IN = ""
"""In the place of a version: what is served until the first promotion."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a supervisor looks, and how long it waits."""

    poll_seconds: float = 1.0
    start_seconds: float = 900.0
    """Until an engine must be healthy; loading a model takes minutes."""
    look_seconds: float = 5.0
    """Between two looks at an engine that is healthy."""
    answer_seconds: float = 10.0
    """For one answer of /health."""
    bad_looks: int = 3
    """So many in a row, and the engine hangs."""
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    """Before another start; doubled each time, and short again after an engine was healthy for as long."""
    grace_seconds: float = 20.0
    """For an engine that is told to end."""
    starts: int = 2
    """So many in vain, and a version is given up."""


@dataclass(slots=True)
class EngineProcess:
    """An engine that was started. It counts as healthy from its first good answer on."""

    version: str
    child: Child
    started_at: float
    """On the supervisor's clock."""
    healthy_since: float | None = None
    looked_at: float = 0.0
    bad_looks: int = 0


@dataclass(eq=False)
class Supervisor:
    """Serves what `name` stands for. `step` looks once and acts; `run` does so until told to stop."""

    registry: Registry
    name: str
    place: Place
    timing: Timing = Timing()
    commands: Mapping[str, Command] = field(default_factory=lambda: COMMANDS)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._engine: EngineProcess | None = None
        self._current: str | None = None
        self._given_up: str | None = None
        """A version that `current` names all the same: the registry could not be written."""
        self._vain_starts: dict[str, int] = {}
        self._pause = self.timing.first_pause_seconds
        self._not_before = 0.0
        self._restarts = 0
        self._failure: str | None = None
        self._unread: str | None = None
        """Why the registry does not say what to serve."""
        self._copies = self.place.folder / "models"
        self._asked_at = "127.0.0.1" if self.place.host in ("0.0.0.0", "") else self.place.host
        """The engine's host: it may listen everywhere."""
        self._healthy_file = self.place.folder / f"{self.name}.healthy"
        self._last_healthy = self._remembered()
        self._state: SupervisorState | None = None
        self._say()

    def status(self) -> SupervisorStatus:
        """The state when it last did something; any thread may ask."""
        return self._status

    def run(self, stopping: threading.Event) -> None:
        """Serve until told to stop, and end the engine then."""
        try:
            while not stopping.is_set():
                self.step()
                stopping.wait(self.timing.poll_seconds)
        finally:
            self._end()

    def step(self) -> None:
        """Look at the registry and at the engine, and do what is to be done now."""
        wanted = self._wanted()
        if self._engine is not None:
            self._look_at(self._engine)
        running = self._engine.version if self._engine else None
        if wanted not in (None, running) and self.clock() >= self._not_before:
            self._start(wanted)
        self._say()

    # ── what is wanted ──────────────────────────────────────────────────────────────────────────────

    def _wanted(self) -> str | None:
        """The version to serve. What runs goes on running while the registry cannot be read or names nothing."""
        standing = self._engine.version if self._engine else self._last_healthy
        try:
            current = self.registry.current(self.name)
        except (AlphaStralError, OSError) as error:
            self._unread = one_line(error)
            return self._otherwise if standing is None and isinstance(error, NotFound) else standing
        self._unread = None
        if current != self._current:
            log.info("%s stands for %s", self.name, current)
            self._current = current
            self._not_before = 0.0
        if current == self._given_up and self._otherwise is not None:
            return self._otherwise
        self._given_up = None
        return current

    @property
    def _otherwise(self) -> str | None:
        """What to serve where the name stands for nothing that can be."""
        return STAND_IN if self._last_healthy is None and self.place.stand_in else self._last_healthy

    # ── the engine ──────────────────────────────────────────────────────────────────────────────────

    def _start(self, version: str) -> None:
        """Fetch a version, end the engine that runs, and start one for it. What cannot be started disturbs nothing."""
        place, model = self.place, self._called(version)
        try:
            published = self._fetched(version)
        except (BrokenRecord, NotFound) as error:
            self._give_up(version, error.message)
            return
        except (Unreachable, OSError) as error:
            self._try_later(f"{model} cannot be fetched: {error}")
            return
        engine = place.engine or choose(published)
        try:
            command = self.commands[engine](model, published, place)
            self._end()
            if is_taken(self._asked_at, place.port):
                self._try_later(f"somebody else listens on port {place.port}")
                return
            folder = None
            if published and engine in IN_A_FOLDER_OF_LINKS:
                folder = folder_of_links(place.folder / "links", model, published.folder)
            child = Child(engine, command, folder=folder, watches_input=False)
        except (UsageError, OSError) as error:
            self._started_in_vain(version, f"{engine} cannot be started for {model}: {error}")
            return
        self._engine = EngineProcess(version, child, self.clock())
        log.info("starting %s for %s: %s", engine, model, shlex.join(command))

    def _fetched(self, version: str) -> Published | None:
        if version == STAND_IN:
            return None
        folder = self.registry.fetch(self.name, version, self._copies)
        return Published(self.registry.card(self.name, version), folder)

    def _called(self, version: str) -> str:
        """What an engine calls a version, or what stands in for one."""
        return f"{self.name}@{version}" if version != STAND_IN else str(self.place.stand_in)

    def _look_at(self, engine: EngineProcess) -> None:
        status, now, timing = engine.child.poll(), self.clock(), self.timing
        if status is not None:
            self._lose(engine, f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}")
        elif engine.healthy_since is None:
            if self._answers():
                self._healthy(engine)
            elif now - engine.started_at > timing.start_seconds:
                self._lose(engine, f"was not healthy after {timing.start_seconds:g} s")
        elif now - engine.looked_at >= timing.look_seconds:
            engine.looked_at = now
            engine.bad_looks = 0 if self._answers() else engine.bad_looks + 1
            if engine.bad_looks >= timing.bad_looks:
                self._lose(engine, "no longer answers /health")

    def _answers(self) -> bool:
        return answers(f"http://{in_url(self._asked_at)}:{self.place.port}/health", self.timing.answer_seconds)

    def _healthy(self, engine: EngineProcess) -> None:
        log.info("%s is served by %s", self._called(engine.version), engine.child.name)
        engine.healthy_since = engine.looked_at = self.clock()
        self._vain_starts.pop(engine.version, None)
        if self._given_up is None:
            self._failure = None
        if engine.version == STAND_IN:
            return
        self._prune({engine.version, self._last_healthy})
        self._last_healthy = engine.version
        try:
            self._healthy_file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._healthy_file, engine.version.encode())
        except OSError as error:
            log.warning("cannot remember that %s was healthy: %s", engine.version, error)

    def _prune(self, keep: Set[str | None]) -> None:
        """Delete the copies of other versions, and what is left of downloads that never ended."""
        for copy in sorted((self._copies / self.name).glob("*")):
            is_copy = (copy / CARD).is_file() or copy.name.startswith(".")
            if is_copy and copy.is_dir() and not copy.is_symlink() and copy.name not in keep:
                shutil.rmtree(copy, ignore_errors=True)

    def _lose(self, engine: EngineProcess, how: str) -> None:
        """End what is left of an engine, and start one again: after a pause, where that does not help."""
        why = f"the engine of {self._called(engine.version)} {how}"
        self._end()
        if engine.healthy_since is None:
            self._started_in_vain(engine.version, why)
            return
        self._restarts += 1
        if self.clock() - engine.healthy_since > self.timing.longest_pause_seconds:
            self._pause = self.timing.first_pause_seconds
        self._try_later(why)

    def _started_in_vain(self, version: str, why: str) -> None:
        self._vain_starts[version] = self._vain_starts.get(version, 0) + 1
        self._try_later(why)
        if self._vain_starts[version] >= self.timing.starts and version not in (self._last_healthy, STAND_IN):
            self._vain_starts.pop(version)
            self._give_up(version, why)

    def _give_up(self, version: str, why: str) -> None:
        """Let the name go back to the last version that became healthy, or at least serve that one."""
        self._fail(f"{self.name}@{version} is given up: {why}")
        goals = [self._last_healthy, None] if self._last_healthy not in (None, version) else [None]
        for goal in goals:
            try:
                back = self.registry.rollback(self.name, leaving=version, to=goal)
            except Conflict as error:
                log.warning("%s", error.message)
            except (AlphaStralError, OSError) as error:
                log.warning("the name cannot go back: %s", error)
            else:
                log.warning("%s goes back to %s", self.name, back)
                self._not_before = 0.0
                return
        self._given_up = version
        self._not_before = max(self._not_before, self.clock() + self.timing.first_pause_seconds)

    def _end(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            self._say()
            engine.child.end(self.timing.grace_seconds)

    # ── what is said ────────────────────────────────────────────────────────────────────────────────

    def _try_later(self, why: str) -> None:
        self._fail(why)
        self._not_before = self.clock() + self._pause
        self._pause = min(self._pause * 2, self.timing.longest_pause_seconds)

    def _fail(self, why: str) -> None:
        if why != self._failure:
            log.warning("%s", one_line(why))
        self._failure = one_line(why)

    def _say(self) -> None:
        """Replace the status by one that is whole, so that no engine is seen with another one's state."""
        engine = self._engine
        idle: SupervisorState = "failing" if self._failure else "waiting"
        state = idle if engine is None else "starting" if engine.healthy_since is None else "serving"
        if state != self._state:
            self._state, self._since = state, datetime.now(UTC)
        self._status = SupervisorStatus(
            model=self.name,
            state=state,
            version=(engine.version or None) if engine else None,
            serves=self._called(engine.version) if engine else None,
            current=self._current,
            last_healthy=self._last_healthy,
            engine=engine.child.name if engine else None,
            pid=engine.child.pid if engine else None,
            restarts=self._restarts,
            failure=self._failure or self._unread,
            since=self._since,
        )

    def _remembered(self) -> str | None:
        with suppress(AlphaStralError, OSError):
            version = self._healthy_file.read_text(encoding="utf-8").strip()
            return version if version in self.registry.versions(self.name) else None
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervise until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="supervisor", description="Keeps an engine running for a published model.")
    parser.add_argument("name", help="a model of the registry, without a version")
    parser.add_argument("--stand-in", help="what to serve until a version is promoted: smollm2, or a model of the Hub")
    parser.add_argument("--engine", choices=get_args(EngineName), default=None, help="whatever the architecture")
    parser.add_argument("--host", default="127.0.0.1", help="where the engine listens")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--status-port", type=int, default=8081, help="where /status is")
    parser.add_argument("--device", default="cuda", help="of the built-in server")
    parser.add_argument("--folder", type=Path, default=Path("var/engine"), help="for copies of a bucket's models")
    given, more = parser.parse_known_args(arguments)
    stopping = threading.Event()
    hang_up_as_terminate()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = Settings()
        configure_logging(settings.log_level)
        engine = given.engine or settings.engine
        more = [*shlex.split(settings.engine_arguments), *more]
        chosen = None if engine == "auto" else engine
        place = Place(given.folder, given.host, given.port, given.device, chosen, given.stand_in, more)
        supervisor = Supervisor(Registry(Store(settings.store)), given.name, place)
        with shown(supervisor.status, given.host, given.status_port):
            supervisor.run(stopping)
    except (AlphaStralError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
