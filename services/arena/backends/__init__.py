"""How a model is asked: one Question over the network, one Reply, whatever the API behind it.

    backend = make_backend(parse_policy("tgi:http://127.0.0.1:8080"), settings, limiter)
    reply = await backend.ask(Question((("user", "… What move do you use?"),), ("move Surf", "move Toxic")))

A reply says what the model did, good or bad. What is not the model's doing (a server that is away for longer
than anybody wants to wait, a refused key) is no reply: it raises Unreachable, and the battle is broken rather
than played by a substitute. `chat` has the APIs, `transport` the way to them, `answers` reads what
comes back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from shared.battle.decision import Answer

Role = Literal["system", "user", "assistant"]


class Form(StrEnum):
    """How a backend holds a model to the permitted answers, and so in what form the answer comes."""

    REGEX = "regex"
    """A regular expression; the answer is the completion itself."""
    JSON_SCHEMA = "json_schema"
    """A JSON schema with an enum; the answer is an object, which the backend takes apart."""
    TEXT = "text"
    """Not at all: the prompt says what is permitted, and the parser is strict."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked, and how."""

    messages: tuple[tuple[Role, str], ...]
    """(role, content), the last one the user's."""
    completions: tuple[str, ...] = ()
    """The only permitted answers; none: any text will do."""
    regex: str | None = None
    """Matches the completions and nothing else: `shared.battle.completion.regex`."""
    form: Form | None = None
    """How its answer is constrained, where it has completions; None: as well as its backend can."""
    reasoning: bool = False
    """Ask for a short reason before the answer: `REASON: …` and `ACTION: …` on two lines, or a field of the JSON."""
    temperature: float = 0.0
    seed: int | None = None
    max_tokens: int = 64
    timeout_seconds: float = 60.0
    """For one request, from its first byte out to its last byte in. Waiting for a free place is not counted."""


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """A permitted answer and how probable the model found it."""

    text: str
    logprob: float
    """Natural logarithm of the probability of the whole answer, its end included."""
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reply(Answer):
    """What came back. Unknown is None, never zero.

    `text` is taken out of its JSON or its `ACTION:` line where it came in one; else it is all that was said. `problem`
    is TRUNCATED, EMPTY, TIMED_OUT or REFUSED, or UNPARSABLE for what is no answer of such an API; None for an answer
    that can be read, sensible or not.
    """

    raw: str = ""
    """All that the model said, as it came; thoughts that came apart stand before it in a block."""
    detail: str = ""
    """What stands behind a problem, or where the answer stood if that was not its place; in one line, safe to show."""
    tokens_in: int | None = None
    tokens_out: int | None = None
    last_token_ms: float | None = None
    """From the last attempt's first byte out to its last byte in."""
    waited_ms: float = 0.0
    """For a free place, for Retry-After and for a server to come back: no time of the model's."""
    retries: int = 0
    """Requests sent before the last one, none of which was answered."""
    candidates: tuple[ScoredAnswer, ...] = ()
    """Every permitted answer with its probability, where the server gives them."""
    model: str | None = None
    """As the server names it."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A line of a server's list of models."""

    id: str
    contract: Mapping[str, str] | None = None
    """Contract version → hash from the model's card; None where the server shows no card."""


class Backend(Protocol):
    """One model at one endpoint. Any number of questions may be asked at once, in one event loop."""

    @property
    def endpoint(self) -> str:
        """Host and port, which is what limits and logs go by. Holds no secret."""
        ...

    model: str
    """The model as the server is asked for it."""

    @property
    def form(self) -> Form:
        """How its API can hold a model to the permitted answers, at best."""
        ...

    async def ask(self, question: Question, *, tries: int | None = None) -> Reply:
        """Ask, and wait out a busy or restarting server, or for as many `tries`. Raises Unreachable when that takes
        too long, the endpoint refuses the key, or it has no such model.
        """
        ...

    async def models(self) -> tuple[ListedModel, ...]:
        """What the server says it serves. Raises Unreachable when it does not say."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
