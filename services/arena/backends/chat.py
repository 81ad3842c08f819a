"""The part of asking that is the same for every chat API: constraint out, answer in, and what may be wrong with it."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from services.arena.backends.base import Candidate, Form, Question, Reply, ServedModel
from services.arena.backends.faults import Failing
from services.arena.backends.transport import Transport
from shared.battle.outcome import Reason

REASON_CHARACTERS = 300
_TRUNCATED = frozenset({"length", "model_length", "max_tokens"})
_REFUSED = frozenset({"content_filter", "error"})
_TWO_LINES = re.compile(r"\s*REASON:(?P<reason>[^\n]*)\n\s*ACTION:(?P<action>[^\n]*)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said, out of the API's envelope."""

    text: str
    finish: str | None
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None
    refusal: str | None = None
    candidates: tuple[Candidate, ...] = ()
    first_token_ms: float | None = None


class Heard:
    """What is heard of a streamed answer so far."""

    def __init__(self) -> None:
        self.finish: str | None = None
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.model: str | None = None
        self.refusal: str | None = None
        self.candidates: tuple[Candidate, ...] = ()
        self._parts: list[str] = []
        self._first_token_ms: float | None = None
        self._began = perf_counter()

    def add(self, text: str) -> None:
        """The next piece of the answer."""
        if text and self._first_token_ms is None:
            self._first_token_ms = 1000 * (perf_counter() - self._began)
        self._parts.append(text)

    def said(self) -> Said:
        """The whole answer. Raises Failing when the stream broke off before its end was said."""
        if self.finish is None:
            raise Failing("its answer is no stream of a chat completion, or broke off")
        return Said(
            "".join(self._parts),
            self.finish,
            self.tokens_in,
            self.tokens_out,
            self.model,
            self.refusal,
            self.candidates,
            self._first_token_ms,
        )


class Chat(ABC):
    """A model behind a chat API. What differs between APIs is `_send` and `models`."""

    form: Form

    def __init__(self, model: str, transport: Transport) -> None:
        self.model = model
        self._transport = transport

    @property
    def endpoint(self) -> str:
        """See Backend."""
        return self._transport.endpoint.name

    def constraint(self, question: Question) -> Mapping[str, Any] | None:
        """See Backend."""
        if not question.completions or self.form is Form.TEXT:
            return None
        return regex_constraint(question) if self.form is Form.REGEX else schema_constraint(question)

    async def ask(self, question: Question) -> Reply:
        """See Backend."""
        delivery = await self._transport.deliver(lambda: self._send(question), question.timeout_seconds)
        said = delivery.value
        if said is None:
            return Reply(
                "",
                problem=delivery.problem,
                detail=delivery.detail,
                waited_ms=delivery.waited_ms,
                retries=delivery.retries,
            )
        text, reasoning = take_out(said.text, self.form, question)
        problem, detail = _problem(said)
        return Reply(
            text,
            raw=said.text,
            problem=problem,
            detail=self._transport.shown(detail),
            reasoning=reasoning,
            tokens_in=said.tokens_in,
            tokens_out=said.tokens_out,
            first_token_ms=said.first_token_ms,
            last_token_ms=delivery.last_attempt_ms,
            waited_ms=delivery.waited_ms,
            retries=delivery.retries,
            candidates=said.candidates,
            model=said.model,
        )

    @abstractmethod
    async def _send(self, question: Question) -> Said:
        """One request. Raises what `faults` draws."""

    @abstractmethod
    async def models(self) -> tuple[ServedModel, ...]:
        """See Backend."""

    async def aclose(self) -> None:
        """See Backend."""
        await self._transport.aclose()


def regex_constraint(question: Question) -> Mapping[str, Any]:
    """`response_format` as TGI understands it."""
    expression = question.regex or ""
    if question.reasoning:
        expression = f"REASON: [^\\n]{{1,{REASON_CHARACTERS}}}\\nACTION: {expression}"
    return {"type": "regex", "value": expression}


def schema_constraint(question: Question) -> Mapping[str, Any]:
    """`response_format` as OpenAI and Mistral understand it. The reason comes first: the action follows from it."""
    properties: dict[str, Any] = {"action": {"type": "string", "enum": list(question.completions)}}
    if question.reasoning:
        properties = {"reason": {"type": "string"}, **properties}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "decision", "schema": schema, "strict": True}}


def take_out(said: str, form: Form, question: Question) -> tuple[str, str | None]:
    """The answer and the reason in what was said. What has not exactly the form asked for is left as it is."""
    if form is Form.JSON_SCHEMA and question.completions:
        return _from_json(said, question) or (said, None)
    if question.reasoning and (lines := _TWO_LINES.fullmatch(said)):
        return lines["action"].strip(), lines["reason"].strip() or None
    return said, None


def _from_json(said: str, question: Question) -> tuple[str, str | None] | None:
    try:
        found = json.loads(said, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"action": str(action), "reason": str(reason)} if question.reasoning and len(found) == 2:
            return action, reason.strip() or None
        case {"action": str(action)} if len(found) == 1:
            return action, None
        case _:
            return None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _problem(said: Said) -> tuple[Reason | None, str]:
    if said.refusal is not None or said.finish in _REFUSED:
        return Reason.REFUSED, said.refusal or f"finish_reason {said.finish}"
    if said.finish in _TRUNCATED:
        return Reason.TRUNCATED, f"finish_reason {said.finish}"
    if not said.text.strip():
        return Reason.EMPTY, ""
    return None, ""
