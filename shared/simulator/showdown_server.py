"""The official Showdown server as a child process, on loopback: to watch battles in its own page, or to play.

`python -m shared.simulator.showdown_server PORT` runs it as a service of its own. That is for a container: it listens
on every address there, and believes whoever connects. Publish its port on loopback only.
"""

import os
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from shared.errors import AlphaStralError, SimulatorError, Unreachable, UsageError
from shared.process import Child, listen, terminated_as_interrupted
from shared.settings import Settings
from shared.simulator import find_node, find_simulator
from shared.text import configure_logging

Processes = Literal["one", "several"]
SCRIPT = Path(__file__).with_name("showdown_server.js")
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 5.0
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
        self._child: Child

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
        return self._child.pid

    def __enter__(self) -> "ShowdownServer":
        find_simulator()
        node = find_node(self._node)
        try:
            with listen("127.0.0.1", self.port) as probe:
                self.port = probe.getsockname()[1]
        except UsageError as error:
            raise SimulatorError(f"port {self.port} is taken; give another for the Showdown server") from error
        self._folder = tempfile.TemporaryDirectory(prefix="alphastral-showdown-", ignore_cleanup_errors=True)
        arguments = (self._folder.name, str(self.port), self._processes, self._address)
        self._child = Child(
            "the Showdown server",
            [node, *_LINKS_ARE_FILES, SCRIPT, *arguments],
            log=Path(self._folder.name, "output"),
            # Nothing of this process's environment is needed there, least of all its secrets.
            environment={"PATH": os.defpath, "NODE_ENV": "production"},
        )
        try:
            self._child.wait_until(self._greets, START_TIMEOUT_SECONDS)
        except BaseException as error:
            failure = self._failure(f"did not start within {START_TIMEOUT_SECONDS:.0f} s")
            self.__exit__(None, None, None)
            if isinstance(error, Unreachable):
                raise failure from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._child.end(STOP_TIMEOUT_SECONDS)
        self._folder.cleanup()

    def wait(self) -> None:
        """Until interrupted. Raises SimulatorError when it ends by itself."""
        self._child.wait()
        raise self._failure("ended")

    def _failure(self, what: str) -> SimulatorError:
        if (status := self._child.poll()) is not None:
            what = f"ended with status {status}"
        said = " / ".join(self._child.said(5))
        return SimulatorError(f"the Showdown server on port {self.port} {what}" + (f": {said}" if said else ""))

    def _greets(self) -> bool:
        """Whether the server takes a websocket and says its first words: it listens before it can do so."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(_HANDSHAKE.encode())
                said = b""
                while b"|challstr|" not in said and (more := connection.recv(4096)):
                    said += more
        except OSError:
            return False
        return b"|challstr|" in said


def main() -> None:
    """Serve until told to stop."""
    try:
        settings = Settings()
        configure_logging(settings.log_level)
        if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
            raise UsageError("give the port, and nothing else")
        server = ShowdownServer(int(sys.argv[1]), settings.node, address="0.0.0.0")
        with suppress(KeyboardInterrupt), terminated_as_interrupted(), server:
            server.wait()
    except AlphaStralError as error:
        sys.exit(f"error: {error.message}")


if __name__ == "__main__":
    main()
