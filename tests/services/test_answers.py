"""Answers of servers that are not as the API has them: what each is read as, and that none of them ever raises more."""

import asyncio
import json
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from services.arena.backends import Form, Question, Reply
from services.arena.backends.answers import read_answer, take_out
from services.arena.backends.transport import Declined, Garbled
from shared.battle.decision import Reason
from shared.errors import Unreachable
from tests.services.test_backends import PERMITTED, asking, question
from tests.standins.http import Send
from tests.standins.models import MISTRAL, OPENAI, TGI, Api, Asked, StandIn

ACTION = PERMITTED[0]
SAID = json.dumps({"action": ACTION})
ASKED = question(form=Form.JSON_SCHEMA)


def chat(
    content: Any = SAID, finish: Any = "stop", usage: Any = None, model: Any = "m", **message: Any
) -> dict[str, Any]:
    """A chat completion, every part of it replaceable."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    told = {"prompt_tokens": 5, "completion_tokens": 3} if usage is None else usage
    return {"id": "a", "object": "chat.completion", "model": model, "choices": [choice], "usage": told}


def read(document: Any, asked: Question = ASKED) -> Reply:
    return read_answer(document if isinstance(document, bytes) else json.dumps(document).encode(), asked)


def events(*pieces: Any, done: bool = True) -> bytes:
    lines = [piece if isinstance(piece, str) else f"data: {json.dumps(piece)}" for piece in pieces]
    return "\n\n".join([*lines, *(["data: [DONE]"] if done else []), ""]).encode()


def piece(finish: Any = None, **delta: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "model": "m", "choices": [{"delta": delta, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


@pytest.mark.parametrize(
    ("tokens", "read_as"),
    [
        (3, 3),
        (3.0, 3),
        (0, 0),
        (3.3, None),
        (-1, None),
        (True, None),
        ("3", None),
        (None, None),
        ([3], None),
        (float("nan"), None),
        (float("inf"), None),
        (10**40, None),
        (10**12, None),
    ],
)
def test_a_number_of_tokens_that_is_none_is_unknown(tokens: Any, read_as: int | None) -> None:
    reply = read(chat(usage={"prompt_tokens": tokens, "completion_tokens": tokens}))

    assert (reply.tokens_in, reply.tokens_out) == (read_as, read_as)
    assert (reply.text, reply.problem) == (ACTION, None)


@pytest.mark.parametrize("usage", [None, [], "many", 7, {"prompt_tokens": {}}])
def test_a_usage_that_is_none_costs_no_answer(usage: Any) -> None:
    document = chat()
    document["usage"] = usage

    assert (read(document).text, read(document).tokens_in) == (ACTION, None)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": SAID}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": SAID}],
        [{"type": "output_text", "text": SAID[:5]}, {"type": "output_text", "text": SAID[5:]}],
        [SAID],
        [{"text": SAID}],
        {"type": "text", "text": SAID},
        {"action": ACTION},
        f"<think>\nhm\n</think>\n\n{SAID}",
        f"<think></think>{SAID}",
        f"hm\n</think>\n{SAID}",
        f"<THINKING>a </think> b</THINKING>{SAID}",
        f"\n {SAID} \n",
    ],
)
def test_a_good_answer_is_found_in_every_form_that_it_comes_in(content: Any) -> None:
    reply = read(chat(content))

    assert (reply.text, reply.problem) == (ACTION, None)


def test_an_answer_behind_a_closed_block_of_thoughts_is_recorded_as_such() -> None:
    reply = read(chat(f"<think>\nIt is weak to it.\n</think>\n\n{SAID}"))

    assert (reply.text, reply.reasoning) == (ACTION, "It is weak to it.")
    assert reply.detail == "the answer stood behind a block of thoughts"
    assert take_out(reply.raw, ASKED) == (reply.text, reply.reasoning), "a recorded run is read alike"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "thinking"])
def test_thoughts_that_come_apart_are_kept_with_the_answer(field: str) -> None:
    reply = read(chat(SAID, **{field: "It is weak to it."}))

    assert (reply.text, reply.reasoning, reply.detail) == (ACTION, "It is weak to it.", "")
    assert take_out(reply.raw, ASKED) == (reply.text, reply.reasoning)


@pytest.mark.parametrize("content", ["", None, [], " \n"])
@pytest.mark.parametrize(("said", "text"), [(SAID, ACTION), ("I choose it.", "I choose it.")])
def test_what_stands_in_the_reasoning_alone_is_read_and_told(content: Any, said: str, text: str) -> None:
    reply = read(chat(content, reasoning_content=said))

    assert (reply.text, reply.problem, reply.raw) == (text, None, said)
    assert reply.detail == "the content is empty, and this stood in the reasoning"


@pytest.mark.parametrize(
    ("document", "problem", "detail"),
    [
        (chat(""), Reason.EMPTY, "the content is empty"),
        (chat(None), Reason.EMPTY, "the content is empty"),
        (chat(None, tool_calls=[{"function": {"name": "f"}}]), Reason.EMPTY, "it called a tool that nobody offered"),
        (chat() | {"choices": []}, Reason.EMPTY, "its answer has no choices"),
        (chat() | {"choices": [None, 3]}, Reason.EMPTY, "its answer has no choices"),
        (chat() | {"choices": [{}]}, Reason.EMPTY, "its answer has no choices"),
        (chat(finish="length"), Reason.TRUNCATED, "finish_reason length"),
        (chat(finish="MAX_TOKENS"), Reason.TRUNCATED, "finish_reason MAX_TOKENS"),
        (
            chat("", finish="length", reasoning="hm"),
            Reason.TRUNCATED,
            "finish_reason length: the thoughts took all of it",
        ),
        (chat(finish="content_filter"), Reason.REFUSED, "finish_reason content_filter"),
        (chat("", refusal="I can't."), Reason.REFUSED, "I can't."),
        (chat("", refusal=[{"text": "I can't."}]), Reason.REFUSED, "I can't."),
        (chat(finish=7, model=["m"]), None, ""),
        (chat(finish={"a": 1}, model=None), None, ""),
        (chat(finish=None), None, ""),
        (chat("<think>\nI had it once"), None, "a block of thoughts was begun and not ended"),
        (chat("<think>hm</think>"), None, "the answer stood behind a block of thoughts"),
        ({"choices": [{"text": SAID}]}, None, ""),
        ({"choices": [{"delta": {"content": SAID}}]}, None, ""),
        ({"choices": [{"message": SAID}], "error": None}, None, ""),
    ],
)
def test_every_answer_is_told_as_it_is(document: Any, problem: Reason | None, detail: str) -> None:
    reply = read(document)

    assert (reply.problem, reply.detail) == (problem, detail)


@pytest.mark.parametrize(
    ("body", "text", "problem", "tokens"),
    [
        (events(piece(content=SAID)), ACTION, None, None),
        (events(piece(content=SAID), USAGE), ACTION, None, 2),
        (events(USAGE, piece(content=SAID[:4]), piece(content=SAID[4:]), piece("stop")), ACTION, None, 2),
        (
            events(": still there", piece(role="assistant"), piece(content=SAID), {"usage": USAGE["usage"]}),
            ACTION,
            None,
            2,
        ),
        (events(piece(content=[{"type": "text", "text": SAID}]), piece("stop"), done=False), ACTION, None, None),
        (events(piece(reasoning_content="h"), piece(reasoning_content="m"), piece(content=SAID)), ACTION, None, None),
        (events(piece(content=SAID[:4]), done=False), SAID[:4], Reason.TRUNCATED, None),
        (events(piece(content=SAID[:4]), piece("length")), SAID[:4], Reason.TRUNCATED, None),
        (events(), "", Reason.EMPTY, None),
        (events(7, [], {"choices": 5}, piece(content=SAID)), ACTION, None, None),
        (events(piece(content=SAID)).replace(b"\n", b"\r\n"), ACTION, None, None),
        (b"\xef\xbb\xbf" + json.dumps(chat()).encode(), ACTION, None, 3),
    ],
)
def test_a_stream_that_nobody_asked_for_is_read_too(
    body: bytes, text: str, problem: Reason | None, tokens: int | None
) -> None:
    reply = read(body)

    assert (reply.text, reply.problem, reply.tokens_out) == (text, problem, tokens)


@pytest.mark.parametrize(
    ("document", "raised", "words"),
    [
        ({"error": {"message": "the quota is used up", "code": 402}}, Unreachable, "HTTP 402: the quota is used up"),
        ({"error": {"message": "no such model", "code": "404"}}, Unreachable, "HTTP 404: no such model"),
        ({"error": {"message": "not now", "code": 502}}, Garbled, "it says that it failed: HTTP 502: not now"),
        ({"error": {"message": "too long", "code": "context_length"}}, Declined, "too long"),
        ({"error": "overloaded"}, Declined, "overloaded"),
        ({"error": ["a", {"b": 1}]}, Declined, "a"),
        ({"object": "error", "message": "no such thing", "code": 400}, Declined, "HTTP 400: no such thing"),
        ({"detail": "Not authenticated"}, Declined, "Not authenticated"),
        ({"error": {"message": {"deep": 1}}, "choices": []}, Declined, "deep"),
        (events({"error": {"message": "out of memory", "code": 500}}), Garbled, "out of memory"),
        (b"", Garbled, "no JSON"),
        (b"<html>It works!</html>", Garbled, "no JSON: <html>"),
        (b"[" * 100_000, Garbled, "no JSON"),
        (b"[]", Garbled, "no chat completion"),
        (b"{}", Garbled, "no chat completion"),
        (b'{"choices": {"0": 1}}', Garbled, "no chat completion"),
        (b"\xff\xfe\x00", Garbled, "no JSON"),
    ],
)
def test_what_is_no_answer_is_told_in_the_servers_words(document: Any, raised: type[Exception], words: str) -> None:
    with pytest.raises(raised) as told:
        read(document)

    assert words in str(told.value)


@pytest.mark.parametrize(
    "candidates",
    [5, [7], [{"text": "pass"}], [{"text": "pass", "logprob": float("nan")}], [{"text": 1, "logprob": 0}], [None]],
)
def test_scores_that_are_none_are_left_out_and_cost_no_answer(candidates: Any) -> None:
    document = chat()
    document["choices"][0]["candidates"] = candidates

    assert (read(document).candidates, read(document).text) == ((), ACTION)


# ── a fuzzer ────────────────────────────────────────────────────────────────────────────────────────

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3.3, 1e308, float("nan"), float("inf"), 10**60, "", "\ud800", "\x00", "9" * 30),
    *([], {}, [[]], [None], {"type": "text"}, [{"type": "text", "text": None}], {"message": {}}, [{"index": []}]),
    *("<think>", "</think>", "<think>a</think>", SAID, [SAID], {"action": ACTION}, "REASON: a\nACTION: pass"),
    {"error": {"code": "nan", "message": []}},
)


def fuzzed(dice: Random) -> bytes:
    """An answer with one to four of its parts replaced, left out, or cut off; now and then a stream of it."""
    document: Any = chat(dice.choice([SAID, [{"type": "text", "text": SAID}], f"<think>a</think>{SAID}"]))
    document["choices"][0]["candidates"] = [{"text": text, "logprob": -1.0, "tokens": 2} for text in PERMITTED]
    for _ in range(dice.randint(1, 4)):
        place: Any = document
        while True:
            keys = (
                list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
            )
            if not keys:
                break
            key = dice.choice(keys)
            if isinstance(place[key], dict | list) and place[key] and dice.random() < 0.7:
                place = place[key]
                continue
            if isinstance(place, dict) and dice.random() < 0.2:
                del place[key]
            else:
                place[key] = deepcopy(dice.choice(STRANGE))
            break
    if dice.random() < 0.1:
        document["error"] = deepcopy(dice.choice(STRANGE))
    text = json.dumps(document).encode()
    if dice.random() < 0.2:
        text = b"data: " + text.replace(b'"message"', b'"delta"') + dice.choice([b"\n\n", b"\n\ndata: [DONE]\n\n", b""])
    if dice.random() < 0.1:
        text = text[: dice.randrange(len(text))] + dice.choice([b"", b"\xff", b"}"])
    return text


@pytest.mark.parametrize("form", Form)
def test_nothing_that_a_server_sends_is_more_than_a_reply_or_a_fault_of_the_servers(form: Form) -> None:
    dice = Random(f"{form}")
    replies: list[Reply] = []
    faults: list[str] = []
    for number in range(2_000):
        try:
            replies.append(read_answer(fuzzed(dice), question(form=form, reasoning=number % 2 == 0)))
        except (Garbled, Declined, Unreachable) as fault:
            faults.append(str(fault))

    assert len(replies) > 1_000 and all(faults)
    for reply in replies:
        assert all(tokens is None or 0 <= tokens <= 10**9 for tokens in (reply.tokens_in, reply.tokens_out))
        assert reply.problem is not Reason.EMPTY or reply.detail
        assert f"{reply.text}{reply.raw}{reply.detail}{reply.model}{reply.reasoning}".encode()
    assert sum(reply.problem is None and reply.text == ACTION for reply in replies) > 400, "good ones are still read"


@pytest.mark.parametrize(("api", "kind"), [(TGI, "tgi"), (OPENAI, "openai"), (MISTRAL, "mistral"), (TGI, "hf")])
async def test_no_library_stumbles_over_what_a_server_sends(api: Api, kind: str) -> None:
    dice = Random(19)

    async def anything(model: StandIn, asked: Asked) -> Send:
        return Send(fuzzed(dice))

    async with asking(StandIn(api, [anything]), kind) as backend:
        asked = [backend.ask(question(timeout_seconds=60.0)) for _ in range(100)]
        came = await asyncio.gather(*asked, return_exceptions=True)

    assert {type(each) for each in came} <= {Reply, Unreachable}
    assert sum(isinstance(each, Reply) and each.problem is None for each in came) > 50


def test_reading_takes_time_in_proportion_to_what_is_sent() -> None:
    """Much space, many closings, many pieces: each once more than a loop over the text."""
    for content in (" " * 200_000, "</think>" * 20_000, "<think>" * 20_000, "\n" * 200_000 + "REASON:"):
        read(chat(content), replace(ASKED, reasoning=True))
    read(events(*(piece(content="a") for _ in range(20_000))))
