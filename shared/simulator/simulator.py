"""The Python end of the simulator host: open battles, send choices, read what happens.

One `Simulator` is one Node.js process (host.js beside this file) that plays many battles at once. When the process dies
or hangs, its open battles fail with SimulatorError and the next battle opened starts a new process.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from shared.battle.protocol import SEATS, Seat
from shared.errors import HostUnfit, InputRefused, InvalidTeam, SimulatorError
from shared.simulator import find_node, find_simulator
from shared.simulator.inputlog import InputLog
from shared.value import ValueModel

log = logging.getLogger(__name__)

HOST = Path(__file__).with_name("host.js")
START_TIMEOUT_SECONDS = 60.0
STEP_TIMEOUT_SECONDS = 60.0
"""A step takes milliseconds; a host silent for this long hangs."""
_KEPT_STDERR_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class SeatSetup:
    """Who sits on a seat, and with which team: a packed one, or one drawn from a seed."""

    name: str
    team: str | None = None
    seed: str | None = None


@dataclass(frozen=True, slots=True)
class BattleEnd:
    """How the simulator says a battle ended. `winner` is the seat's name, empty for a tie."""

    winner: str
    turns: int
    input_log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What the simulator said in one go: new log lines, and what it asks of whom."""

    lines: tuple[str, ...]
    """Log lines with their `|split|` blocks still in; see shared.battle.protocol.seen_by."""
    requests: Mapping[Seat, dict[str, Any]]
    """They come after the lines, whatever the order in which the simulator said them."""
    private: tuple[tuple[Seat, str], ...] = ()
    """Lines for one seat alone."""
    errors: tuple[tuple[Seat, str], ...] = ()
    """Choices that the simulator refused, and why."""
    end: BattleEnd | None = None


class Host(asyncio.SubprocessProtocol):
    """One process. What it says goes to the queue of whom it answers."""

    def __init__(self) -> None:
        self.answers: dict[int, asyncio.Queue[dict[str, Any] | SimulatorError]] = {}
        self.hello: dict[str, Any] = {}
        self.alive = True
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exited = asyncio.Event()
        self._partial = b""
        self._stderr = ""
        self._transport: asyncio.SubprocessTransport

    @classmethod
    async def start(cls, node: Path, build: Path | None) -> "Host":
        command = [str(node), str(HOST)]
        if build is not None:
            command.append(str(build))
        else:
            find_simulator()
        # Nothing of this process's environment is needed there, least of all its secrets.
        environment = {"PATH": os.defpath, "NODE_ENV": "production"}
        try:
            transport, host = await asyncio.get_running_loop().subprocess_exec(cls, *command, env=environment)
        except OSError as error:
            raise HostUnfit(f"{node} does not start: {error.strerror}") from error
        host._transport = transport
        try:
            await asyncio.wait_for(host._ready, START_TIMEOUT_SECONDS)
        except TimeoutError as error:
            host.kill()
            raise HostUnfit(f"the simulator host did not start within {START_TIMEOUT_SECONDS:.0f} s") from error
        except SimulatorError as error:
            if build is not None:
                raise
            raise HostUnfit(f"the simulator does not start here: {error.message}") from error
        return host

    @property
    def pid(self) -> int | None:
        return self._transport.get_pid()

    def send(self, command: Mapping[str, Any]) -> None:
        stdin = self._transport.get_pipe_transport(0)
        if self.alive and isinstance(stdin, asyncio.WriteTransport) and not stdin.is_closing():
            stdin.write(orjson.dumps(command) + b"\n")

    async def answer(self, to: int, timeout_seconds: float) -> dict[str, Any]:
        """The next answer to a battle or question. Raises SimulatorError when the process dies or hangs."""
        try:
            # Not wait_for, which before Python 3.12 makes a task of every wait: there are many, and they are short.
            async with asyncio.timeout(timeout_seconds):
                frame = await self.answers[to].get()
        except TimeoutError as error:
            self.kill()
            raise SimulatorError(f"the simulator said nothing for {timeout_seconds:g} s and was ended") from error
        if isinstance(frame, SimulatorError):
            raise frame
        return frame

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._transport.kill()

    async def close(self) -> None:
        stdin = self._transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()
        try:
            await asyncio.wait_for(self._exited.wait(), 5)
        except TimeoutError:
            self.kill()
            await self._exited.wait()
        self._transport.close()

    # ── what asyncio calls ──────────────────────────────────────────────────────────────────────────

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._stderr = (self._stderr + data.decode(errors="replace"))[-_KEPT_STDERR_CHARACTERS:]
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            frame = orjson.loads(line)
            if "hello" in frame:
                self.hello = frame["hello"]
                self._ready.set_result(None)
            elif (answers := self.answers.get(_answers_to(frame))) is not None:
                answers.put_nowait(frame)

    def process_exited(self) -> None:
        self.alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        # Called when the process has ended and all that it said was read.
        self._transport.close()
        self._exited.set()
        why = self._stderr.strip().splitlines()
        error = SimulatorError(
            f"the simulator host ended with status {self._transport.get_returncode()}" + (f": {why[-1]}" if why else "")
        )
        if not self._ready.done():
            self._ready.set_exception(error)
        for answers in self.answers.values():
            answers.put_nowait(error)


class SimulatedBattle:
    """One battle on the host. Ask `step` for what happens, `choose` for both sides, and again."""

    def __init__(self, host: Host, battle_id: int, step_timeout_seconds: float) -> None:
        self._host = host
        self._id = battle_id
        self._step_timeout_seconds = step_timeout_seconds
        self._ended = False

    async def step(self) -> Step:
        """Wait for the simulator's next answer. Raises SimulatorError when its process dies, hangs or refuses."""
        frame = await self._host.answer(self._id, self._step_timeout_seconds)
        if "broken" in frame:
            self._ended = True
            raise SimulatorError(f"the simulator broke off the battle: {frame['broken']}")
        step = _step(frame)
        self._ended = step.end is not None
        return step

    def choose(self, orders: Mapping[Seat, str]) -> None:
        """Send orders such as `move 1` or `switch 3`, for one side or both."""
        self._host.send({"choose": self._id, **{str(seat): order for seat, order in orders.items()}})

    def close(self) -> None:
        """Forget the battle; one that has not ended is abandoned."""
        self._host.answers.pop(self._id, None)
        if not self._ended:
            self._host.send({"abandon": self._id})


class Simulator:
    """Battles on the official simulator, in a child process that is started when needed and again when it died."""

    def __init__(
        self,
        node: Path | None = None,
        *,
        build: Path | None = None,
        step_timeout_seconds: float = STEP_TIMEOUT_SECONDS,
    ) -> None:
        """`build` is the folder of another build of the simulator than the pinned one."""
        self._node = node
        self._build = build
        self._step_timeout_seconds = step_timeout_seconds
        self._host: Host | None = None
        self._starting = asyncio.Lock()
        self._next_id = 0

    async def __aenter__(self) -> Self:
        await self._running()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the host, if one runs."""
        if self._host is not None:
            await self._host.close()

    @property
    def pid(self) -> int | None:
        """The process id of the host, while one runs."""
        return self._host.pid if self._host is not None and self._host.alive else None

    async def versions(self) -> Mapping[str, str]:
        """Versions of the simulator and of Node.js."""
        hello = (await self._running()).hello
        return {"pokemon-showdown": str(hello["simulator"]), "node": str(hello["node"])}

    async def open(self, format_id: str, dice_seed: str, seats: Mapping[Seat, SeatSetup]) -> SimulatedBattle:
        """Start a battle. Its first step holds both sides' first requests. Raises SimulatorError."""
        host = await self._running()
        battle_id = self._number(host)
        given = {seat: asdict(seats[seat]).items() for seat in SEATS}
        sides: dict[str, Any] = {
            seat: {key: value for key, value in given[seat] if value is not None} for seat in SEATS
        }
        host.send({"start": battle_id, "format": format_id, "seed": dice_seed, **sides})
        return SimulatedBattle(host, battle_id, self._step_timeout_seconds)

    async def validate_team(self, format_id: str, team: str) -> str:
        """The packed form of a team in Showdown's export format.

        Raises InvalidTeam with the simulator's own reasons, and SimulatorError.
        """
        frame = await self._ask("validate", format=format_id, team=team)
        if frame["problems"]:
            raise InvalidTeam(f"this team may not be used in {format_id}:", frame["problems"])
        return str(frame["team"])

    async def run_again(self, start: Mapping[str, Any], inputs: Sequence[Sequence[Any]]) -> tuple[Step, ...]:
        """Run a battle from its input log, one step for each input: see again.js for what they may be.

        Raises InputRefused when the host does not run what is asked for, and SimulatorError.
        """
        answer = await self._ask_in_one_go("again", start=start, inputs=inputs)
        return tuple(
            Step(
                lines=tuple(frame["log"]),
                requests={seat: frame[seat] for seat in SEATS if seat in frame},
                errors=tuple((seat, line) for seat, line in frame["errors"]),
            )
            for frame in answer["frames"]
        )

    async def positions(self, log: InputLog, *, copies: int, dice: str) -> Mapping[str, Any]:
        """What a value model is fitted on: the outcome for seat p1, and the features after each step and of its copies.

        See review.js. Raises InputRefused and SimulatorError.
        """
        return await self._ask_in_one_go("positions", start=log.start, inputs=log.inputs, copies=copies, dice=dice)

    async def review(self, log: InputLog, value: ValueModel, *, copies: int, dice: str) -> Mapping[str, Any]:
        """The value after each step and its luck, with so many copies of each position, their dice from a text.

        See review.js. Raises InputRefused and SimulatorError.
        """
        more = {"start": log.start, "inputs": log.inputs, "copies": copies, "dice": dice}
        return await self._ask_in_one_go("review", value=value.formula, **more)

    async def search(
        self, known: Mapping[str, Any], rows: Sequence[str], value: ValueModel, **how: object
    ) -> Mapping[str, Any]:
        """What own actions are worth against the opponent's, in worlds in keeping with what is known.

        `how` are worlds, dice, copies and text: see search.js. Raises InputRefused and SimulatorError.
        """
        return await self._ask_in_one_go("search", known=known, rows=rows, value=value.formula, **how)

    async def choices(
        self, log: InputLog, value: ValueModel, *, table: int, fresh: int, least: float, dice: str, since: int = 0
    ) -> Mapping[str, Any]:
        """What the other choices of both sides would have been worth from turn `since` on, their dice from a text.

        See choices.js. Raises InputRefused and SimulatorError.
        """
        how = {"table": table, "fresh": fresh, "least": least, "dice": dice, "since": since}
        return await self._ask_in_one_go("choices", start=log.start, inputs=log.inputs, value=value.formula, **how)

    async def _ask_in_one_go(self, command: str, **more: object) -> Mapping[str, Any]:
        answer = await self._ask(command, **more)
        if "refused" in answer:
            raise InputRefused(str(answer["refused"]))
        return answer

    async def _ask(self, command: str, **more: object) -> Mapping[str, Any]:
        """The one answer to a command that opens no battle. Raises SimulatorError."""
        host = await self._running()
        asked = self._number(host)
        host.send({command: asked, **more})
        try:
            return await host.answer(asked, self._step_timeout_seconds)
        finally:
            host.answers.pop(asked, None)

    def _number(self, host: Host) -> int:
        """A new one, and where its answers will be."""
        self._next_id += 1
        host.answers[self._next_id] = asyncio.Queue()
        return self._next_id

    async def _running(self) -> Host:
        async with self._starting:
            if self._host is None or not self._host.alive:
                if self._host is not None:
                    log.warning("The simulator host ended unexpectedly; starting another.")
                self._host = await Host.start(find_node(self._node), self._build)
            return self._host


def _step(frame: Mapping[str, Any]) -> Step:
    end = frame.get("end")
    text = frame["log"]
    return Step(
        lines=tuple(text.split("\n")) if text else (),
        requests={seat: frame[seat] for seat in SEATS if seat in frame},
        private=tuple((seat, line) for seat, line in frame.get("private", ())),
        errors=tuple((seat, line) for seat, line in frame.get("errors", ())),
        end=BattleEnd(str(end["winner"] or ""), int(end["turns"]), tuple(end["inputLog"])) if end else None,
    )


_ANSWERS = ("battle", "again", "validated", "positions", "review", "choices", "search")


def _answers_to(frame: Mapping[str, Any]) -> int:
    return next(int(frame[key]) for key in _ANSWERS if key in frame)
