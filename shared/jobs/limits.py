"""How many requests may be in flight at an endpoint, whoever sends them: the protocol, and the limits of one process.

`shared.jobs.shared_limits` keeps a limit across workers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Limiter(Protocol):
    """Gives out places at endpoints. Belongs to one event loop."""

    def place(self, endpoint: str, most: int) -> AbstractAsyncContextManager[None]:
        """Waits until fewer than `most` requests are in flight at `endpoint`, and holds a place while inside."""
        ...

    async def aclose(self) -> None:
        """Give back what is still held."""
        ...


@dataclass(slots=True)
class Line:
    """The places of one endpoint in this process, and who waits for one, in order."""

    places: int
    taken: int = 0
    waiting: "deque[asyncio.Future[None]]" = field(default_factory=deque)

    @property
    def wanted(self) -> int:
        """As many places as would make nobody wait."""
        return self.taken + len(self.waiting)

    async def turn(self) -> None:
        """Wait for a place, and take it."""
        if self.taken < self.places and not self.waiting:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place came in the moment of giving up.
                self.give_back()
            elif turn in self.waiting:
                self.waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """A place is free again."""
        self.taken -= 1
        self.serve()

    def serve(self) -> None:
        """Let in as many as there are places."""
        while self.waiting and self.taken < self.places:
            turn = self.waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)


class LocalLimiter:
    """The limits of one process, for the command line."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    @asynccontextmanager
    async def place(self, endpoint: str, most: int) -> AsyncIterator[None]:
        """See Limiter."""
        line = self._lines.setdefault(endpoint, Line(most))
        await line.turn()
        try:
            yield
        finally:
            line.give_back()

    async def aclose(self) -> None:
        """Nothing is held anywhere else."""
