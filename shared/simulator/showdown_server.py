"""The official Showdown server as a child process, on loopback: to watch battles in its own page, or to play."""

import asyncio
import os
import socket
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

from shared.errors import SimulatorError
from shared.simulator.node import find_node, find_simulator

Processes = Literal["one", "several"]
SCRIPT = Path(__file__).with_name("showdown_server.js")
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 5.0
_KEPT_OUTPUT_CHARACTERS = 2_000
_LINKS_ARE_FILES = ("--preserve-symlinks", "--preserve-symlinks-main")
_HANDSHAKE = (
    "GET /showdown/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YWxwaGFTdHJhbCBoYW5kcw==\r\n\r\n"
)


class ShowdownServer:
    """Runs while the context is open. It ends with the process that started it, however that ends."""

    def __init__(
        self,
        port: int | None = None,
        node: Path | None = None,
        *,
        processes: Processes = "one",
        address: str = "127.0.0.1",
    ) -> None:
        """Port: a free one when not given. `several` processes is how the server comes; one is lighter.

        It believes whoever connects: an address beyond loopback is for a network that only our containers are on.
        """
        self.port = port or 0
        self._node = node
        self._processes = processes
        self._address = address
        self._folder: tempfile.TemporaryDirectory[str]
        self._output = ""
        self._process: Process
        self._reading: asyncio.Task[None]

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def page(self) -> str:
        """What a person opens to watch or to play. It loads Showdown's client from the internet."""
        return f"http://localhost:{self.port}"

    @property
    def pid(self) -> int:
        """The server's main process, or its only one."""
        return self._process.pid

    async def __aenter__(self) -> "ShowdownServer":
        find_simulator()
        node = find_node(self._node)
        self.port = _free_port(self.port)
        self._folder = tempfile.TemporaryDirectory(prefix="alphastral-showdown-", ignore_cleanup_errors=True)
        command = (node, *_LINKS_ARE_FILES, SCRIPT, self._folder.name, str(self.port), self._processes, self._address)
        # Nothing of this process's environment is needed there, least of all its secrets.
        environment = {"PATH": os.defpath, "NODE_ENV": "production"}
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=environment
        )
        self._reading = asyncio.create_task(self._read())
        try:
            await self._answering()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def ended(self) -> SimulatorError:
        """Wait until it ends by itself, and say how it did."""
        return self._failure(f"ended with status {await self._process.wait()}")

    async def _stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._reading
        self._folder.cleanup()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(4096):
            self._output = (self._output + chunk.decode(errors="replace"))[-_KEPT_OUTPUT_CHARACTERS:]

    async def _answering(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                while not await _greets(self.port):
                    if self._reading.done():
                        raise self._failure(f"ended with status {await self._process.wait()}")
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise self._failure(f"did not start within {START_TIMEOUT_SECONDS:.0f} s") from error

    def _failure(self, what: str) -> SimulatorError:
        said = " / ".join(self._output.strip().splitlines()[-5:])
        return SimulatorError(f"the Showdown server on port {self.port} {what}" + (f": {said}" if said else ""))


def _free_port(wanted: int) -> int:
    """The wanted port, or any free one for 0. Raises SimulatorError when something else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise SimulatorError(f"port {wanted} is taken; give another for the Showdown server") from error
        return int(probe.getsockname()[1])


async def _greets(port: int) -> bool:
    """Whether the server takes a websocket and says its first words: it listens before it can do so."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(_HANDSHAKE.encode())
        await reader.readuntil(b"|challstr|")
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()
    return True
