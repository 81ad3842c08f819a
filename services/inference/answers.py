"""What goes back, in the shapes that TGI 3 documents, with one field more: `candidates`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.inference.decoding import Token
from services.inference.engine import Candidate, Finished, Work

Json = dict[str, Any]

FINGERPRINT = "alphastral-inference"
_CHAT_REASONS = {"eos_token": "stop", "stop_sequence": "stop_sequence", "length": "length"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """What every piece of one chat answer repeats."""

    id: str
    model: str
    created: int


def error(message: str, kind: str) -> Json:
    """The body of every error."""
    return {"error": message, "error_type": kind}


def event(body: Json | str) -> bytes:
    """One server-sent event. In ASCII alone: clients differ in what else they take for the end of a line."""
    return f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode()


def token(said: Token) -> Json:
    """A token of /generate."""
    return {"id": said.id, "text": said.text, "logprob": said.logprob, "special": said.special}


def candidates(scored: Sequence[Candidate]) -> Json:
    """Every member of a finite set with its score; nothing where there was no set."""
    if not scored:
        return {}
    return {"candidates": [{"text": each.text, "logprob": each.logprob, "tokens": each.tokens} for each in scored]}


def generated(text: str, work: Work, said: Sequence[Token], finished: Finished, *, details: bool) -> Json:
    """The answer of /generate."""
    whole: Json = {"generated_text": text, **candidates(finished.candidates)}
    if details:
        whole["details"] = {
            "finish_reason": finished.reason,
            "generated_tokens": finished.generated,
            "seed": work.sampling.seed,
            "prefill": [],
            "tokens": [token(each) for each in said],
        }
        if work.top_n:
            whole["details"]["top_tokens"] = [[token(top) for top in each.top] for each in said]
    return whole


def stream_token(index: int, said: Token, work: Work) -> Json:
    """One event of /generate_stream."""
    piece: Json = {"index": index, "token": token(said), "generated_text": None, "details": None}
    if work.top_n:
        piece["top_tokens"] = [token(top) for top in said.top]
    return piece


def stream_end(piece: Json, text: str, work: Work, finished: Finished, *, details: bool) -> Json:
    """The last event: the one of the last token, with the whole text."""
    end = {**piece, "generated_text": text, **candidates(finished.candidates)}
    if details:
        end["details"] = {
            "finish_reason": finished.reason,
            "generated_tokens": finished.generated,
            "seed": work.sampling.seed,
            "input_length": len(work.prompt),
        }
    return end


def usage(work: Work, finished: Finished) -> Json:
    """Tokens in and out."""
    return {
        "prompt_tokens": len(work.prompt),
        "completion_tokens": finished.generated,
        "total_tokens": len(work.prompt) + finished.generated,
    }


def completion(chat: Conversation, work: Work, said: Sequence[Token], finished: Finished, *, logprobs: bool) -> Json:
    """The answer of /v1/chat/completions."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": finished.text},
        "logprobs": _logprobs(said) if logprobs else None,
        "finish_reason": _CHAT_REASONS[finished.reason],
        **candidates(finished.candidates),
    }
    return {**_envelope(chat, "chat.completion"), "choices": [choice], "usage": usage(work, finished)}


def chunk(chat: Conversation, said: Token, finished: Finished | None, *, logprobs: bool) -> Json:
    """One event of a streamed chat; the last token's says why it ended."""
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": said.text},
        "logprobs": _logprobs([said]) if logprobs else None,
        "finish_reason": _CHAT_REASONS[finished.reason] if finished else None,
        **(candidates(finished.candidates) if finished else {}),
    }
    return {**_envelope(chat, "chat.completion.chunk"), "choices": [choice], "usage": None}


def usage_chunk(chat: Conversation, work: Work, finished: Finished) -> Json:
    """The event behind the last token's, where it was asked for."""
    return {**_envelope(chat, "chat.completion.chunk"), "choices": [], "usage": usage(work, finished)}


def _envelope(chat: Conversation, kind: str) -> Json:
    return {
        "id": chat.id,
        "object": kind,
        "created": chat.created,
        "model": chat.model,
        "system_fingerprint": FINGERPRINT,
    }


def _logprobs(said: Sequence[Token]) -> Json:
    return {
        "content": [
            {
                "token": each.text,
                "logprob": each.logprob,
                "top_logprobs": [{"token": top.text, "logprob": top.logprob} for top in each.top],
            }
            for each in said
        ]
    }
