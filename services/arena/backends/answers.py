"""What a chat API sent back, read: every field is a stranger's, and may be missing, of another type, or absurd.

    reply = read_answer(body, question)

The body is one JSON document, or a stream of events whether one was asked for or not. Read is what can be understood; a
field that cannot be is unknown, and never an error. `take_out` finds the answer in what was said, and is used again
where a recorded run is played anew.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

from services.arena.backends import ListedModel, Question, Reply, ScoredAnswer
from services.arena.backends.transport import Declined, Garbled, answered_with, words_of
from shared.battle.decision import Reason
from shared.text import one_line

MOST_TOKENS = 10**9
"""Whoever tells more than this tells nonsense."""
MOST_CANDIDATES = 1_000
MOST_THOUGHT_CHARACTERS = 6_000
"""Of what a server gives apart from the answer; the answer is not to be cut off behind it."""
_TRUNCATED = frozenset({"length", "model_length", "max_tokens"})
_REFUSED = frozenset({"content_filter", "error"})
_SPOKEN = frozenset({None, "text", "output_text"})
"""Types of parts that are said aloud; the others are thoughts, pictures, calls."""
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_BEGIN_OF_THOUGHT = re.compile(r"<think(?:ing)?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found of the first choice."""

    content: str = ""
    thought: str = ""
    """Where it stands in a field or a part of its own."""
    finish: str = ""
    refusal: str = ""
    called: bool = False
    """Whether a tool was called, which nobody had offered."""
    candidates: Any = None
    whole: bool = True
    """False for a stream that ended without saying so."""


def read_answer(body: bytes, question: Question) -> Reply:
    """What the model did, good or bad.

    Raises what an HTTP status would raise for an error that came in an answer, and Garbled for what is no answer.
    """
    document, whole = _document(body)
    _raise_error(document)
    choices = document.get("choices")
    if not isinstance(choices, list):
        raise Garbled(f"its answer is no chat completion: {_start_of(body)}")
    choice = next((each for each in choices if isinstance(each, dict)), None)
    answer = replace(_answer(choice), whole=whole) if choice else _Answer()
    problem, detail = _problem(answer, "the content is empty" if choice else "its answer has no choices")
    raw = answer.content
    if not raw.strip() and answer.thought:
        raw = answer.thought
        if problem is Reason.EMPTY:
            problem, detail = None, "the content is empty, and this stood in the reasoning"
    elif answer.thought:
        raw = f"<think>\n{answer.thought[:MOST_THOUGHT_CHARACTERS]}\n</think>\n\n{raw}"
    text, reasoning = take_out(raw, question)
    if problem is Reason.TRUNCATED and not answer.content.strip():
        text = ""
    if problem is None and _END_OF_THOUGHT.search(answer.content):
        detail = "the answer stood behind a block of thoughts"
    elif problem is None and _BEGIN_OF_THOUGHT.match(answer.content.lstrip()):
        detail = "a block of thoughts was begun and not ended"
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    model = document.get("model")
    return Reply(
        text,
        problem,
        reasoning,
        raw=raw,
        detail=detail,
        tokens_in=_tokens(usage.get("prompt_tokens")),
        tokens_out=_tokens(usage.get("completion_tokens")),
        candidates=_candidates(answer.candidates, question),
        model=_whole(model) if isinstance(model, str) and model else None,
    )


def read_listing(body: bytes) -> list[ListedModel]:
    """The models in a server's list. Raises Garbled where it is none."""
    document = _json(body.decode("utf-8-sig", "replace"))
    lines = document.get("data") if isinstance(document, dict) else document
    if not isinstance(lines, list):
        raise Garbled("its answer is no list of models")
    return [_listed(line) for line in lines if isinstance(line, dict) and isinstance(line.get("id"), str)]


def _listed(line: Mapping[str, Any]) -> ListedModel:
    """A line of the list. Only the built-in server shows a card."""
    card = line.get("card")
    contract = card.get("contract") if isinstance(card, dict) else None
    if not isinstance(contract, dict) or not all(isinstance(each, str) for each in contract.values()):
        contract = None
    return ListedModel(_whole(line["id"])[:500], contract)


def take_out(said: str, question: Question) -> tuple[str, str | None]:
    """The answer and the reason in what was said.

    An answer behind a closed block of thoughts is the answer. Taken apart are the JSON object and the two lines that
    are asked for; what has not exactly that form is left as it is. Nothing is searched for in prose.
    """
    thought: str | None = None
    if ends := list(_END_OF_THOUGHT.finditer(said)):
        # A template may have begun the block already, so that only its end is the model's.
        thought = _BEGIN_OF_THOUGHT.sub("", said[: ends[-1].start()].lstrip(), count=1).strip() or None
        said = said[ends[-1].end() :].strip()
    if taken := _from_json(said, question):
        return taken[0], taken[1] or thought
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    if question.reasoning and [line[:7].upper() for line in lines] == ["REASON:", "ACTION:"]:
        return lines[1][7:].strip(), lines[0][7:].strip() or thought
    return said, thought


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


# ── the document ────────────────────────────────────────────────────────────────────────────────────


def _document(body: bytes) -> tuple[Mapping[str, Any], bool]:
    """The answer as one document, and whether it is whole. Raises Garbled."""
    text = body.decode("utf-8-sig", "replace")
    if re.match(r"\s*(data|event|id|retry)?:", text):
        return _joined(text)
    document = _json(text)
    if not isinstance(document, dict):
        raise Garbled(f"its answer is no chat completion: {_start_of(body)}")
    return document, True


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError):
        raise Garbled(f"its answer is no JSON: {one_line(text.strip(), 100) or '(nothing)'}") from None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < 20 else inf


def _joined(text: str) -> tuple[Mapping[str, Any], bool]:
    """A stream of events as the one document that it would have been; whether it ended of itself."""
    joined: dict[str, Any] = {"choices": []}
    choice: dict[str, Any] = {}
    said: dict[str, list[Any]] = {}
    whole = False
    for event in _events(text):
        if event == "[DONE]":
            whole = True
            break
        piece = _json(event)
        if not isinstance(piece, dict):
            continue
        _raise_error(piece)
        joined |= {name: piece[name] for name in ("model", "usage") if piece.get(name) is not None}
        choices = piece.get("choices")
        for each in choices if isinstance(choices, list) else ():
            # A stream of several choices tells them apart by their index; one was asked for.
            if isinstance(each, dict) and each.get("index") in (None, 0):
                choice |= {name: each[name] for name in ("finish_reason", "candidates") if each.get(name) is not None}
                delta = each.get("delta", each.get("message"))
                for name, value in delta.items() if isinstance(delta, dict) else ():
                    said.setdefault(name, []).append(value)
    if choice or said:
        joined["choices"] = [choice | {"message": {name: _put_together(parts) for name, parts in said.items()}}]
    return joined, whole or bool(choice.get("finish_reason"))


def _put_together(parts: Sequence[Any]) -> Any:
    known = [part for part in parts if part is not None]
    if all(isinstance(part, str) for part in known):
        return "".join(known)
    return [each for part in known for each in (part if isinstance(part, list) else [part])]


def _events(text: str) -> Iterator[str]:
    """The data of each event. https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream"""
    data: list[str] = []
    for line in (*re.split(r"\r\n|\n|\r", text), ""):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data).strip()
            data = []


def _raise_error(document: Mapping[str, Any]) -> None:
    """Raise where a document is an error, though it came with the status of success.

    It comes as `{"error": {"message": …, "code": …}}`, `{"error": "…"}`, or `{"object": "error", "message": …}`.
    """
    error = document.get("error")
    if not error and (document.get("object") == "error" or document.get("choices") is None):
        error = document if "message" in document or "detail" in document else None
    if not error:
        return
    fields = error if isinstance(error, dict) else {}
    words = words_of(json.dumps({"error": error}))
    for code in (fields.get("code"), fields.get("status"), document.get("code"), document.get("status_code")):
        if isinstance(code, str) and code.isascii() and code.isdigit():
            code = int(code[:4])
        if isinstance(code, int) and 400 <= code < 600:
            fault = answered_with(code, {}, words)
            raise fault if code < 500 else Garbled(f"it says that it failed: {fault}")
    raise Declined(words)


def _start_of(body: bytes) -> str:
    return one_line(body[:200].decode("utf-8", "replace").strip(), 100) or "(nothing)"


# ── a choice ────────────────────────────────────────────────────────────────────────────────────────


def _answer(choice: Mapping[str, Any]) -> _Answer:
    message = choice.get("message", choice.get("delta"))
    if not isinstance(message, dict):
        message = {"content": message if isinstance(message, str) else choice.get("text")}
    content, thought = _spoken(message.get("content"))
    apart = (_all_text(message.get(name)) for name in _THOUGHTS)
    finish, refusal = choice.get("finish_reason"), message.get("refusal")
    return _Answer(
        content=content,
        thought=thought or next((each for each in apart if each.strip()), ""),
        finish=_whole(finish)[:100] if isinstance(finish, str) else "",
        refusal=(_all_text(refusal) or "refused") if refusal else "",
        called=bool(message.get("tool_calls") or message.get("function_call")),
        candidates=choice.get("candidates"),
    )


def _spoken(content: Any) -> tuple[str, str]:
    """What is said aloud in a content, and what is thought in it."""
    if isinstance(content, str):
        return _whole(content), ""
    if content is None:
        return "", ""
    if isinstance(content, dict) and not {"type", "text"} & content.keys():
        # The answer itself, which somebody has parsed already.
        return _whole(json.dumps(content, ensure_ascii=False)), ""
    said, thought = "", ""
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict):
            said += _whole(part) if isinstance(part, str) else json.dumps(part)
        elif kind is None or (isinstance(kind, str) and kind in _SPOKEN):
            said += _all_text(part.get("text"))
        else:
            thought += _all_text(part)
    return said, thought


def _all_text(value: Any, depth: int = 4) -> str:
    """The text in a value: its own, or that of its parts."""
    if isinstance(value, str):
        return _whole(value)
    if depth and isinstance(value, list):
        return "".join(_all_text(each, depth - 1) for each in value)
    if depth and isinstance(value, dict):
        inner = (value.get(name) for name in ("text", "content", "thinking", "reasoning", "summary", "refusal"))
        return next((text for each in inner if (text := _all_text(each, depth - 1))), "")
    return ""


def _problem(answer: _Answer, nothing: str) -> tuple[Reason | None, str]:
    finish = answer.finish.lower()
    if answer.refusal or finish in _REFUSED:
        return Reason.REFUSED, answer.refusal or f"finish_reason {answer.finish}"
    if finish in _TRUNCATED:
        thinking = ": the thoughts took all of it" if answer.thought and not answer.content.strip() else ""
        return Reason.TRUNCATED, f"finish_reason {answer.finish}{thinking}"
    if not answer.whole:
        return Reason.TRUNCATED, "the stream broke off"
    if answer.content.strip():
        return None, ""
    return Reason.EMPTY, "it called a tool that nobody offered" if answer.called else nothing


def _tokens(value: Any) -> int | None:
    """A number of tokens. What is negative, fractional, not finite or absurd is none, and so unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return int(value) if 0 <= value <= MOST_TOKENS and value == int(value) else None


def _candidates(found: Any, question: Question) -> tuple[ScoredAnswer, ...]:
    """All permitted answers with their scores, or none: a part of them would be no distribution."""
    if not isinstance(found, list) or len(found) > MOST_CANDIDATES:
        return ()
    read: list[ScoredAnswer] = []
    for each in found:
        text, logprob = (each.get("text"), each.get("logprob")) if isinstance(each, dict) else (None, None)
        # A number that is not equal to itself is none.
        if not isinstance(text, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
            return ()
        if logprob != logprob or logprob == inf:
            return ()
        read.append(ScoredAnswer(take_out(_whole(text), question)[0], float(logprob), _tokens(each.get("tokens"))))
    return tuple(read)


def _whole(text: str) -> str:
    """Text in which the halves of a character, which UTF-8 lacks, are question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
