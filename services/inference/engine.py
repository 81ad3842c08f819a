"""Runs the model: one thread that scores and generates for all who ask, as many at once as fit.

    submit ──► inbox ──► a batch of finite sets, one forward            ──► tokens to whoever asked, in his event loop
                    └──► rows of free generation, one token a round     ──►

The two take turns, so that neither waits for the other's end. What a forward raises fails the requests in it and nobody
else. Places are bounded: `submit` raises Overloaded beyond them, and what is given up frees its place at once.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from services.inference.decoding import Decoding, DecodingRow, Finished, Token, Work
from services.inference.finite_set import choose
from shared.language.load import Loaded
from shared.language.scoring import FiniteSet, score_tokens

log = logging.getLogger(__name__)


class Overloaded(Exception):
    """All places are taken."""


class GenerationFailed(Exception):
    """The model failed at this request, or ended while it was worked on."""


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
    """A request at the engine: its tokens across threads, its times, and the way to give it up.

    The engine's thread calls `tell` and `fail`, the event loop that it was made in everything else.
    """

    def __init__(self, work: Work, on_close: Callable[["Ticket"], None]) -> None:
        self.work = work
        self.given_up = False
        """Whether nobody waits for it any more: the engine drops it before its next forward."""
        self.asked_at = self.began_at = self.ended_at = time.perf_counter()
        self._on_close = on_close
        self._events: asyncio.Queue[tuple[Token, Finished | None] | GenerationFailed] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    @property
    def queue_seconds(self) -> float:
        """Until the model turned to it."""
        return self.began_at - self.asked_at

    @property
    def inference_seconds(self) -> float:
        """From then to the last token."""
        return self.ended_at - self.began_at

    def tell(self, token: Token, finished: Finished | None) -> None:
        """Pass a token on, the last one with what came of the request."""
        self.ended_at = time.perf_counter()
        self._pass_on((token, finished))

    def fail(self, why: str) -> None:
        """Let those who wait know that nothing more comes."""
        self._pass_on(GenerationFailed(why))

    def _pass_on(self, event: tuple[Token, Finished | None] | GenerationFailed) -> None:
        if not self.given_up:
            try:
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)
            except RuntimeError:  # Its loop is closed: nobody is left to read it.
                self.given_up = True

    async def tokens(self) -> AsyncGenerator[tuple[Token, Finished | None], None]:
        """Every token, the last one with what came of the request. Raises GenerationFailed."""
        try:
            finished = None
            while finished is None:
                event = await self._events.get()
                if isinstance(event, GenerationFailed):
                    raise event
                yield event
                _, finished = event
        finally:
            self.close()

    async def answer(self) -> tuple[list[Token], Finished]:
        """All tokens, and what came of the request. Raises GenerationFailed."""
        events = [event async for event in self.tokens()]
        finished = events[-1][1]
        assert finished is not None
        return [token for token, _ in events], finished

    def close(self) -> None:
        """Free its place; where the answer is not complete, nothing more is done for it."""
        if not self.given_up:
            self.given_up = True
            self._on_close(self)


class Engine:
    """The model's thread. `submit` is for one event loop; `start` comes first, `stop` last."""

    def __init__(
        self,
        loaded: Loaded,
        limits: Limits | None = None,
        *,
        on_death: Callable[[], None] = lambda: None,
        on_batch: Callable[[str, int], None] = lambda kind, rows: None,
    ) -> None:
        """`on_death` is called in the thread, when it ends without being told to; `on_batch` at each forward."""
        self.loaded = loaded
        self.limits = limits or Limits()
        self.is_well = True
        """Whether its latest forward gave what it should."""
        self._on_death = on_death
        self._on_batch = on_batch
        self._open: set[Ticket] = set()
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._to_score: list[Ticket] = []
        self._to_generate: list[Ticket] = []
        self._decodings: dict[str | None, Decoding[Ticket]] = {}
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._ended.is_set()

    @property
    def in_flight(self) -> int:
        """Requests that wait or are worked on."""
        return len(self._open)

    @property
    def waiting(self) -> int:
        """Requests that the model has not turned to."""
        return self._inbox.qsize() + len(self._to_score) + len(self._to_generate)

    def start(self) -> None:
        self._thread.start()

    def halt(self) -> None:
        """Have the thread end after the forward that it is in; what is left fails."""
        self._stopping.set()
        self._inbox.put(None)

    def stop(self) -> None:
        self.halt()
        self._thread.join()

    def submit(self, work: Work) -> Ticket:
        """Take work in. Raises Overloaded where all places are taken, GenerationFailed after the engine's end."""
        if not self.is_alive or self._stopping.is_set():
            raise GenerationFailed("the engine has ended")
        if self.in_flight >= self.limits.concurrent_requests:
            raise Overloaded
        ticket = Ticket(work, self._open.discard)
        self._open.add(ticket)
        self._inbox.put(ticket)
        if self._ended.is_set():
            # The thread may have failed all that was open just before.
            ticket.close()
            raise GenerationFailed("the engine has ended")
        return ticket

    # ── the thread ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._take_in()
                self._score_some()
                self._generate_some()
        except BaseException:
            log.exception("The engine's thread ended.")
        finally:
            self._ended.set()
            for ticket in list(self._open):
                ticket.fail("the engine ended")
            if not self._stopping.is_set():
                self._on_death()

    def _take_in(self) -> None:
        """Take in what has come; wait for it where there is nothing else to do."""
        idle = not (self._to_score or self._to_generate or self._decodings)
        while True:
            try:
                ticket = self._inbox.get(block=idle)
            except queue.Empty:
                break
            idle = False
            if ticket is not None:
                (self._to_score if ticket.work.members else self._to_generate).append(ticket)
        self._to_score = [ticket for ticket in self._to_score if not ticket.given_up]
        self._to_generate = [ticket for ticket in self._to_generate if not ticket.given_up]

    def _score_some(self) -> None:
        batch = _take(self._to_score, self.limits.batch_tokens, self.limits.batch_rows)
        if not batch:
            return
        with self._forward("score", batch):
            works = [ticket.work for ticket in batch]
            sets = [FiniteSet(work.prompt, tuple(member.ids for member in work.members)) for work in works]
            for ticket, scores in zip(batch, score_tokens(self.loaded.model, sets), strict=True):
                said, finished = choose(ticket.work, scores, self.loaded.tokenizer)
                for token in said[:-1]:
                    ticket.tell(token, None)
                ticket.tell(said[-1], finished)

    def _generate_some(self) -> None:
        self._drop_rows()
        free = self.limits.batch_rows - sum(len(decoding.rows) for decoding in self._decodings.values())
        joining = _take(self._to_generate, self.limits.batch_tokens, free)
        if joining:
            with self._forward("prefill", joining):
                decoding = self._decodings.setdefault(joining[0].work.adapter, Decoding(self.loaded))
                for row, token in decoding.admit([DecodingRow(ticket.work, ticket) for ticket in joining]):
                    row.owner.tell(token, row.finished)
            self._drop_rows()
        for decoding in list(self._decodings.values()):
            with self._forward("decode", [row.owner for row in decoding.rows]):
                for row, token in decoding.step():
                    row.owner.tell(token, row.finished)

    def _drop_rows(self) -> None:
        """Drop the rows that have finished, or that nobody waits for any more."""
        for adapter, decoding in list(self._decodings.items()):
            decoding.keep(lambda row: row.finished is None and not row.owner.given_up)
            if not decoding.rows:
                del self._decodings[adapter]

    @contextmanager
    def _forward(self, kind: str, tickets: Sequence[Ticket]) -> Iterator[None]:
        """One forward by the adapter that these requests want: what it raises fails them, and nobody else."""
        adapter = tickets[0].work.adapter
        if kind != "decode":
            for ticket in tickets:
                ticket.began_at = time.perf_counter()
        self._on_batch(kind, len(tickets))
        try:
            self.loaded.use_adapter(adapter)
            yield
        except Exception as error:
            log.exception("A forward of %d requests failed.", len(tickets))
            self.is_well = False
            if kind == "decode":
                # The cache that these rows share may be of any shape now.
                del self._decodings[adapter]
            for ticket in tickets:
                ticket.fail(f"{type(error).__name__}: {error}")
        else:
            self.is_well = True


def _take(waiting: list[Ticket], most_tokens: int, most_rows: int) -> list[Ticket]:
    """Take out of those who wait, in their order, what goes into one forward: of one adapter, the first one's."""
    batch: list[Ticket] = []
    longest = 0
    for ticket in list(waiting):
        if len(batch) >= most_rows:
            break
        if batch and ticket.work.adapter != batch[0].work.adapter:
            continue
        length = len(ticket.work.prompt) + sum(len(member.ids) - 1 for member in ticket.work.members)
        longest = max(longest, length)
        if batch and longest * (len(batch) + 1) > most_tokens:
            break
        batch.append(ticket)
        waiting.remove(ticket)
    return batch
