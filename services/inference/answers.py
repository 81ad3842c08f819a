"""What goes back, in the shapes that TGI 3 documents, with one field more: `candidates`.

TextAnswer and ChatAnswer have a request's answer in both forms: `whole`, and token by token (`events`).
"""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.inference.decoding import Finished, Token, Work
from services.inference.requests import ChatRequest, GenerateRequest

Json = dict[str, Any]

FINGERPRINT = "alphastral-inference"
_CHAT_REASONS = {"eos_token": "stop", "stop_sequence": "stop_sequence", "length": "length"}


def error(message: str, kind: str) -> Json:
    """The body of every error."""
    return {"error": message, "error_type": kind}


def event(body: Json | str) -> bytes:
    """One server-sent event. In ASCII alone: clients differ in what else they take for the end of a line."""
    return f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode()


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """Of /generate and /generate_stream."""

    request: GenerateRequest
    work: Work

    @property
    def characters(self) -> int:
        """How many were asked with."""
        return len(self.request.inputs)

    def whole(self, said: Sequence[Token], finished: Finished) -> Json:
        """The answer in one piece."""
        more: Json = {"prefill": [], "tokens": [_token(each) for each in said]}
        if self.work.top_n:
            more["top_tokens"] = [[_token(top) for top in each.top] for each in said]
        return self._end(finished, more)

    def events(self, index: int, token: Token, finished: Finished | None) -> Iterator[Json | str]:
        """What a stream says at a token; the last one comes with the whole text."""
        piece: Json = {"index": index, "token": _token(token), "generated_text": None, "details": None}
        if self.work.top_n:
            piece["top_tokens"] = [_token(top) for top in token.top]
        yield piece if finished is None else {**piece, **self._end(finished, {"input_length": len(self.work.prompt)})}

    def _end(self, finished: Finished, more: Json) -> Json:
        asked = self.request
        text = f"{asked.inputs}{finished.text}" if asked.parameters.return_full_text else finished.text
        end: Json = {"generated_text": text, **_candidates(finished)}
        if asked.parameters.details:
            end["details"] = {
                "finish_reason": finished.reason,
                "generated_tokens": finished.generated,
                "seed": self.work.sampling.seed,
                **more,
            }
        return end


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """Of /v1/chat/completions."""

    request: ChatRequest
    work: Work
    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def characters(self) -> int:
        """How many were asked with."""
        return sum(len(str(message.content)) for message in self.request.messages)

    def whole(self, said: Sequence[Token], finished: Finished) -> Json:
        """The answer in one piece."""
        choice = self._choice("message", finished.text, said, finished)
        return self._envelope("chat.completion", [choice], self._usage(finished))

    def events(self, index: int, token: Token, finished: Finished | None) -> Iterator[Json | str]:
        """What a stream says at a token; the last one's says why it ended."""
        yield self._envelope("chat.completion.chunk", [self._choice("delta", token.text, [token], finished)], None)
        if finished is not None:
            if self.request.stream_options and self.request.stream_options.include_usage:
                yield self._envelope("chat.completion.chunk", [], self._usage(finished))
            yield "[DONE]"

    def _choice(self, part: str, text: str, said: Sequence[Token], finished: Finished | None) -> Json:
        return {
            "index": 0,
            part: {"role": "assistant", "content": text},
            "logprobs": _logprobs(said) if self.request.logprobs else None,
            "finish_reason": _CHAT_REASONS[finished.reason] if finished else None,
            **(_candidates(finished) if finished else {}),
        }

    def _usage(self, finished: Finished) -> Json:
        return {
            "prompt_tokens": len(self.work.prompt),
            "completion_tokens": finished.generated,
            "total_tokens": len(self.work.prompt) + finished.generated,
        }

    def _envelope(self, kind: str, choices: list[Json], usage: Json | None) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
            "usage": usage,
        }


def _token(said: Token) -> Json:
    return {"id": said.id, "text": said.text, "logprob": said.logprob, "special": said.special}


def _candidates(finished: Finished) -> Json:
    """Every member of a finite set with its score; nothing where there was no set."""
    scored = [{"text": each.text, "logprob": each.logprob, "tokens": each.tokens} for each in finished.candidates]
    return {"candidates": scored} if scored else {}


def _logprobs(said: Sequence[Token]) -> Json:
    def plain(token: Token) -> Json:
        return {"token": token.text, "logprob": token.logprob}

    return {"content": [{**plain(each), "top_logprobs": [plain(top) for top in each.top]} for each in said]}
