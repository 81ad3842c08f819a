"""The simulator's child process: commands in, frames out, one JSON document a line (host.js beside this file)."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from shared.errors import SimulatorError
from shared.simulator.node import find_simulator

HOST = Path(__file__).with_name("host.js")
START_TIMEOUT_SECONDS = 60.0
_KEPT_STDERR_CHARACTERS = 2_000


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
        transport, host = await asyncio.get_running_loop().subprocess_exec(cls, *command, env=environment)
        host._transport = transport
        try:
            await asyncio.wait_for(host._ready, START_TIMEOUT_SECONDS)
        except TimeoutError as error:
            host.kill()
            raise SimulatorError(f"the simulator host did not start within {START_TIMEOUT_SECONDS:.0f} s") from error
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


def _answers_to(frame: Mapping[str, Any]) -> int:
    return next(int(frame[key]) for key in ("battle", "again", "validated") if key in frame)
