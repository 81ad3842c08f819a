"""Runs the model: one thread that scores and generates for all who ask, as many at once as fit.

    submit ──► inbox ──► a batch of finite sets, one forward            ──► events to whoever asked, in his event loop
                    └──► rows of free generation, one token a round     ──►

The two take turns, so that neither waits for the other's end. What a forward raises fails the requests in it and nobody
else. Places are bounded: `submit` raises Overloaded beyond them, and whoever goes away gives his place back at once.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers.decoders import DecodeStream

from services.inference.decoding import Chooser, Decoding, Row, Sampling, Token, finite
from shared.language.load import Loaded
from shared.language.scoring import FiniteSet, score_tokens


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


def choose(ticket: Ticket, scores: Sequence[Sequence[float]], loaded: Loaded) -> None:
    """Choose a member by the scores of all, and tell it as if it had been generated.

    Raises FloatingPointError where a score is no finite number: it would pass for certainty.
    """
    work = ticket.work
    candidates = [
        Candidate(member.text, min(0.0, finite(sum(tokens))), len(member.ids))
        for member, tokens in zip(work.members, scores, strict=True)
    ]
    chosen = Chooser(work.sampling).choose(torch.tensor([each.logprob for each in candidates], dtype=torch.float64))
    ids = work.members[chosen].ids[: work.max_new_tokens]
    cut = len(ids) < len(work.members[chosen].ids)
    said = _told(work.members[chosen], ids, scores[chosen], loaded)
    for token in said:
        ticket.tell(token)
    text = "".join(token.text for token in said) if cut else work.members[chosen].text
    ticket.end(text, "length" if cut else "eos_token", len(ids), candidates)


def _told(member: Member, ids: Sequence[int], logprobs: Sequence[float], loaded: Loaded) -> list[Token]:
    stream = DecodeStream(skip_special_tokens=True)
    whole = len(ids) == len(member.ids)
    # What the template puts before every answer is no part of it.
    lead = member.lead
    said = []
    for place, (token, logprob) in enumerate(zip(ids, logprobs, strict=False)):
        is_end = whole and place == len(ids) - 1
        text = "" if is_end else stream.step(loaded.tokenizer.backend_tokenizer, token) or ""
        while lead and text.startswith(lead[0]):
            lead, text = lead[1:], text[1:]
        said.append(Token(token, text, logprob, is_end))
    return said


log = logging.getLogger(__name__)


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
        self.in_flight = 0
        self.is_well = True
        """Whether its latest forward gave what it should."""
        self._on_death = on_death
        self._on_batch = on_batch
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._to_score: list[Ticket] = []
        self._to_generate: list[Ticket] = []
        self._decodings: dict[str | None, Decoding] = {}
        self._rows: dict[Row, Ticket] = {}
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread works on what comes."""
        return self._thread.is_alive() and not self._ended.is_set()

    @property
    def waiting(self) -> int:
        """Requests that the model has not turned to."""
        return self._inbox.qsize() + len(self._to_score) + len(self._to_generate)

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._rows or self.waiting)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def halt(self) -> None:
        """Have the thread end after the forward that it is in; what is left fails."""
        self._stopping.set()
        self._inbox.put(None)

    def stop(self) -> None:
        """Halt, and wait for it."""
        self.halt()
        self._thread.join()

    def submit(self, work: Work) -> Ticket:
        """Take work in. Raises Overloaded where all places are taken, GenerationFailed after the engine's end."""
        if not self.is_alive or self._stopping.is_set():
            raise GenerationFailed("the engine has ended")
        if self.in_flight >= self.limits.concurrent_requests:
            raise Overloaded
        self.in_flight += 1
        ticket = Ticket(work, self._release)
        self._inbox.put(ticket)
        if self._ended.is_set():
            # It may have looked into the inbox for the last time just before.
            ticket.close()
            raise GenerationFailed("the engine has ended")
        return ticket

    def _release(self) -> None:
        self.in_flight -= 1

    # ── the thread ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look()
                self._score_some()
                self._generate_some()
        except BaseException:
            log.exception("The engine's thread ended.")
        finally:
            self._ended.set()
            self._fail_all("the engine ended")
            if not self._stopping.is_set():
                self._on_death()

    def _look(self) -> None:
        """Take in what has come; wait for it where there is nothing else to do."""
        idle = not (self._to_score or self._to_generate or self._rows)
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

        def forward() -> None:
            self.loaded.use_adapter(batch[0].work.adapter)
            sets = [
                FiniteSet(ticket.work.prompt, tuple(member.ids for member in ticket.work.members)) for ticket in batch
            ]
            for ticket, scores in zip(batch, score_tokens(self.loaded.model, sets), strict=True):
                choose(ticket, scores, self.loaded)

        self._guarded("score", batch, forward)

    def _generate_some(self) -> None:
        free = self.limits.batch_rows - len(self._rows)
        joining = _take(self._to_generate, self.limits.batch_tokens, free) if free > 0 else []
        if joining:
            self._guarded("prefill", joining, lambda: self._admit(joining))
        for adapter, decoding in list(self._decodings.items()):
            for row in decoding.rows:
                if self._rows[row].given_up:
                    row.finish = "abandoned"
            self._leave(decoding)
            if decoding.rows:
                tickets = [self._rows[row] for row in decoding.rows]
                self._guarded("decode", tickets, lambda: self._step(adapter, decoding))  # noqa: B023
            if not decoding.rows:
                del self._decodings[adapter]

    def _admit(self, joining: Sequence[Ticket]) -> None:
        adapter = joining[0].work.adapter
        self.loaded.use_adapter(adapter)
        rows = [
            Row(work.prompt, work.sampling, work.max_new_tokens, work.stop, work.top_n)
            for work in (ticket.work for ticket in joining)
        ]
        decoding = self._decodings.setdefault(
            adapter, Decoding(self.loaded.model, self.loaded.tokenizer, self.loaded.end_ids)
        )
        self._rows.update(zip(rows, joining, strict=True))
        self._tell(decoding.admit(rows))
        self._leave(decoding)

    def _step(self, adapter: str | None, decoding: Decoding) -> None:
        self.loaded.use_adapter(adapter)
        self._tell(decoding.step())
        self._leave(decoding)

    def _tell(self, said: Iterable[tuple[Row, Token]]) -> None:
        for row, token in said:
            ticket = self._rows[row]
            ticket.tell(token)
            if row.finish is not None:
                ticket.end(row.text, row.finish, row.generated)

    def _leave(self, decoding: Decoding) -> None:
        for row in decoding.rows:
            if row.finish is not None:
                del self._rows[row]
        decoding.leave()

    def _guarded(self, kind: str, tickets: Sequence[Ticket], forward: Callable[[], None]) -> None:
        now = time.perf_counter()
        if kind != "decode":
            for ticket in tickets:
                ticket.began_at = now
        self._on_batch(kind, len(tickets))
        try:
            forward()
        except Exception as error:
            log.exception("A forward of %d requests failed.", len(tickets))
            self.is_well = False
            self._fail(tickets, f"{type(error).__name__}: {error}")
        except BaseException:
            self._fail(tickets, "the engine ended")
            raise
        else:
            self.is_well = True

    def _fail(self, tickets: Sequence[Ticket], why: str) -> None:
        concerned = set(tickets)
        # The cache of rows whose forward failed may be of any shape now: all that share it go, and are told.
        for adapter, decoding in list(self._decodings.items()):
            sharing = {self._rows[row] for row in decoding.rows if row in self._rows}
            if concerned & sharing:
                concerned |= sharing
                del self._decodings[adapter]
        for ticket in concerned:
            ticket.tell(GenerationFailed(why))
        self._rows = {row: ticket for row, ticket in self._rows.items() if ticket not in concerned}

    def _fail_all(self, why: str) -> None:
        left = [*self._to_score, *self._to_generate, *self._rows.values()]
        while True:
            try:
                ticket = self._inbox.get_nowait()
            except queue.Empty:
                break
            if ticket is not None:
                left.append(ticket)
        for ticket in left:
            ticket.tell(GenerationFailed(why))
        self._to_score, self._to_generate, self._rows, self._decodings = [], [], {}, {}


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
