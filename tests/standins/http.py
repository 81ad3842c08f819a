"""A small HTTP/1.1 server on real sockets whose answers can be as wrong as a test needs them."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

STREAM_SECONDS = 0.02
"""Between two pieces of a stream."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Send:
    """An answer. `body` is JSON, or bytes as they are, or several of them, to be sent apart."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Reset(Exception):
    """Raised by what answers: the connection is reset."""


Respond = Callable[[Received], Awaitable[Send]]


class Server:
    """Answers at one port while it is up; the port stays its own from one `start` to the next."""

    def __init__(self, respond: Respond, port: int = 0) -> None:
        self.port = port
        self.respond = respond
        self.connections: set[Connection] = set()
        self.opened = 0
        """Connections since it was made."""
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As when the process is killed: the port closes and every connection breaks."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.reset()

    async def __aenter__(self) -> "Server":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class Connection(asyncio.Protocol):
    """One client's connection: one request after the other. What it asked for is abandoned when it leaves."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._heard = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        self._server.opened += 1

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, end, rest = self._heard.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(rest) < int(headers.get("content-length", 0)):
            return
        self._heard = b""
        method, path, _ = first.split(" ")
        self._answering = asyncio.ensure_future(self._answer(Received(method, path, headers, rest)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._answering is not None:
            self._answering.cancel()

    def reset(self) -> None:
        connection = self._transport.get_extra_info("socket")
        if connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _answer(self, request: Received) -> None:
        try:
            answer = await self._server.respond(request)
        except Reset:
            self.reset()
            return
        if isinstance(answer.body, tuple):
            await self._stream(answer)
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._transport.write(f"HTTP/1.1 {answer.status} As it is\r\n{head}\r\n".encode("latin-1") + body)

    async def _stream(self, answer: Send) -> None:
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._transport.write(f"HTTP/1.1 {answer.status} As it is\r\n{head}\r\n".encode("latin-1"))
        for piece in (*answer.body, b""):
            self._transport.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await asyncio.sleep(STREAM_SECONDS)
