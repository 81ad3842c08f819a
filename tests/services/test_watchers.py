"""What watchers cost the API: one who reads nothing is owed nothing but a place, however much there is to tell."""

import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from services.reporter.live import Shows
from shared.battle.decision import AskRecord
from shared.jobs.live import Told
from shared.records import MatchupRequest
from tests.services.made import move

TOLD, CHARACTERS = 40, 90_000
LONG = AskRecord(prompt="", answer="", probabilities={f"move {number:05}": 0.1 for number in range(CHARACTERS // 16)})
DECISIONS = [move("p1", 1).model_copy(update={"asked": (LONG,)})]
ASKS = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
BOUND_BYTES = 1_000_000
"""In which are uvicorn's buffer of 64 KiB a connection, and what is being sent; what is told takes 3.6 MB."""


class Telling:
    """Tells of battle after battle in the place of the last, the next one once the reader has the last one."""

    def __init__(self) -> None:
        self.heard, self.over = asyncio.Semaphore(0), asyncio.Event()

    def wants(self, battles: set[int], *, again: bool = False) -> None: ...

    async def aclose(self) -> None: ...

    async def told(self) -> AsyncIterator[Told]:
        for number in range(TOLD):
            yield Told(worker="one", battle=0, log=["|turn|1"], log_to=1, decisions=DECISIONS)
            await self.heard.acquire()
            if number == 0:
                tracemalloc.start()
        self.over.set()


async def test_a_watcher_who_reads_nothing_costs_bounded_memory() -> None:
    telling = Telling()
    shows = Shows(lambda _: cast("Any", telling))

    async def events(_: Request) -> StreamingResponse:
        return StreamingResponse(shows.events("m", MatchupRequest(p1="random", p2="random"), [0]))

    app = Starlette(routes=[Route("/", events)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # What the kernel keeps is not seen here.
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        port = listening.getsockname()[1]
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(ASKS)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(ASKS)

        async def reads() -> int:
            came = 0
            while line := await reader.readline():
                came += len(line)
                if line.startswith(b"event: film"):
                    telling.heard.release()
            return came

        reading = asyncio.create_task(reads())
        await telling.over.wait()
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        deaf.close()
        writer.close()
        server.should_exit = True
        await serving
        assert await reading > TOLD * CHARACTERS
        assert grown < BOUND_BYTES, grown
