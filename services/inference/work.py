"""What the engine is asked, what it tells, and the ticket that ties the two together across threads."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from services.inference.decoding import Token
from services.inference.sampling import Sampling


class Overloaded(Exception):
    """All places are taken."""


class GenerationFailed(Exception):
    """The model failed at this request, or ended while it was worked on."""


@dataclass(frozen=True, slots=True)
class Member:
    """A permitted answer."""

    text: str
    ids: tuple[int, ...]
    """With the token that ends it."""
    lead: str = ""
    """What the template has before every answer: in the tokens, and no part of the text."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked of the model."""

    prompt: tuple[int, ...]
    adapter: str | None = None
    """None: the base."""
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    top_n: int = 0
    members: tuple[Member, ...] = ()
    """The only permitted answers; none: whatever the model says."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A permitted answer, scored."""

    text: str
    logprob: float
    """Of the whole answer, its end included."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of an answer."""

    text: str
    reason: str
    """TGI's words: length, eos_token, stop_sequence."""
    generated: int
    candidates: tuple[Candidate, ...]
    queue_seconds: float
    """Until the model turned to it."""
    inference_seconds: float


Event = Token | Finished | GenerationFailed


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken at once."""

    concurrent_requests: int = 128
    """Waiting and worked on, together; more are refused."""
    batch_rows: int = 32
    """Generated for at once."""
    batch_tokens: int = 4096
    """In one forward of prompts, padding included. On two cores sixteen prompts of 200 tokens gain most by then."""


class Ticket:
    """A request at the engine: its events, and the way to give it up."""

    def __init__(self, work: Work, release: Callable[[], None]) -> None:
        self.work = work
        self.given_up = False
        self.asked_at = time.perf_counter()
        self.began_at = self.asked_at
        self._release = release
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def tell(self, event: Event) -> None:
        """From the engine's thread: the next event."""
        if not self.given_up:
            try:
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)
            except RuntimeError:
                # Its loop is closed: nobody is left to hear of it.
                self.given_up = True

    def end(self, text: str, reason: str, generated: int, candidates: Sequence[Candidate] = ()) -> None:
        """From the engine's thread: the last event."""
        now = time.perf_counter()
        self.tell(
            Finished(text, reason, generated, tuple(candidates), self.began_at - self.asked_at, now - self.began_at)
        )

    async def events(self) -> AsyncGenerator[Token | Finished, None]:
        """Every token, and at last what came of it. Raises GenerationFailed."""
        try:
            while True:
                event = await self._events.get()
                if isinstance(event, GenerationFailed):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Give the place back; work that nobody waits for any more is dropped at the engine's next look."""
        if not self.given_up:
            self.given_up = True
            self._release()
