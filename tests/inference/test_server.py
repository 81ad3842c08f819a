"""The HTTP API: errors as TGI words them, limits, headers, streams that break off, and clients that disconnect."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.inference.requests import ServedModel, UnknownModel, meant
from shared.language.load import Loaded
from tests.inference.conftest import CARD, Running, Start
from tests.inference.test_engine import gate, until
from tests.language.tiny import tiny, tiny_tokenizer

CHAT = {"messages": [{"role": "user", "content": "Gen 9"}], "temperature": 0}
MEMBERS = {"type": "regex", "value": "(move Psychic|switch Rotom-Wash)"}


def post(server: Running, path: str, body: Any) -> httpx2.Response:
    return httpx2.post(f"{server.url}{path}", json=body, timeout=30)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/generate", {"inputs": ""}, "`inputs` cannot be empty"),
        ("/generate", {}, "inputs: Field required"),
        ("/generate", {"inputs": 3}, "inputs: Input should be a valid string"),
        ("/generate", {"inputs": "x", "parameters": {"max_new_tokens": 0}}, "`max_new_tokens` must be strictly"),
        ("/generate", {"inputs": "x", "parameters": {"max_new_tokens": 5000}}, "`inputs` tokens + `max_new_tokens`"),
        ("/generate", {"inputs": "x " * 600}, "`inputs` must have less than 512 tokens"),
        ("/generate", {"inputs": "x", "parameters": {"temperature": 0}}, "`temperature` must be strictly positive"),
        ("/generate", {"inputs": "x", "parameters": {"top_p": 1.5}}, "`top_p` must be > 0.0"),
        ("/generate", {"inputs": "x", "parameters": {"stop": list("abcde")}}, "`stop` supports up to 4"),
        ("/generate", {"inputs": "x", "parameters": {"top_n_tokens": 6}}, "`top_n_tokens` must be"),
        ("/generate", {"inputs": "x", "parameters": {"truncate": 0}}, "`truncate` must be"),
        ("/generate", {"inputs": "x", "parameters": {"best_of": 2}}, "`best_of` is not supported"),
        ("/generate", {"inputs": "x", "parameters": {"watermark": True}}, "`watermark` is not supported"),
        ("/generate_stream", {"inputs": "x", "parameters": {"frequency_penalty": 0.5}}, "`frequency_penalty`"),
        ("/v1/chat/completions", {**CHAT, "n": 2}, "`n` is not supported"),
        ("/v1/chat/completions", {**CHAT, "tools": [{"type": "function"}]}, "`tools` are not supported"),
        ("/v1/chat/completions", {**CHAT, "messages": []}, "`messages` cannot be empty"),
        ("/v1/chat/completions", {"messages": [{"role": "u" * 200_001, "content": ""}]}, "200000 characters were"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": ""}] * 10_000}, "200000 characters were"),
        ("/v1/chat/completions", {**CHAT, "response_format": {"type": "xml"}}, "only `regex` and `json_schema` are"),
        ("/v1/chat/completions", {**CHAT, "response_format": {"type": "json_object"}}, "has to list its texts"),
        (
            "/v1/chat/completions",
            {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
            "has to list its texts",
        ),
        (
            "/v1/chat/completions",
            {**CHAT, "response_format": {"type": "regex", "value": r"REASON: [^\n]{1,300}\nACTION: (a|b)"}},
            "only an alternation of literal texts is supported",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "only text is supported",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_in_tgis_words(
    tiny_server: Running, path: str, body: Any, says: str
) -> None:
    answer = post(tiny_server, path, body)

    assert answer.status_code == 422
    assert answer.json().keys() == {"error", "error_type"}
    assert answer.json()["error_type"] == "validation"
    assert answer.json()["error"].startswith("Input validation error: ")
    assert says in answer.json()["error"]
    assert tiny_server.engine.in_flight == 0


def test_routes_that_tgi_has_and_this_server_has_not_answer_404_in_its_body(tiny_server: Running) -> None:
    for path in ("/v1/completions", "/invocations", "/nowhere"):
        answer = post(tiny_server, path, {})
        assert (answer.status_code, answer.json()) == (404, {"error": "Not Found", "error_type": "not_found"})


def test_a_body_that_is_too_long_is_not_read_to_its_end(tiny_server: Running) -> None:
    assert post(tiny_server, "/generate", {"inputs": "x" * 3_000_000}).status_code == 413


def test_a_chat_needs_a_template(start: Start) -> None:
    loaded = tiny()
    bare = Loaded(loaded.model, tiny_tokenizer(None), {}, loaded.end_ids, "cpu", "float32")
    answer = post(start(bare), "/v1/chat/completions", CHAT)

    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "Input validation error: Template error: this model has no chat template",
    )


def test_an_answer_tells_its_times_and_counts_in_headers(tiny_server: Running) -> None:
    answer = post(tiny_server, "/generate", {"inputs": "Gen 9", "parameters": {"max_new_tokens": 4, "details": True}})

    assert int(answer.headers["x-generated-tokens"]) == answer.json()["details"]["generated_tokens"]
    assert int(answer.headers["x-prompt-tokens"]) == len(tiny_server.engine.loaded.tokenizer("Gen 9")["input_ids"])
    assert answer.headers["x-compute-characters"] == "5"
    assert int(answer.headers["x-total-time"]) >= int(answer.headers["x-inference-time"])


def test_the_contract_stands_where_the_arena_looks_for_it(tiny_server: Running) -> None:
    [line] = httpx2.get(f"{tiny_server.url}/v1/models").json()["data"]

    assert (line["id"], line["card"]) == ("tiny@1", CARD)


def test_metrics_count_what_was_done(start: Start) -> None:
    server = start()
    post(server, "/v1/chat/completions", {**CHAT, "response_format": MEMBERS})
    post(server, "/generate", {"inputs": ""})
    told = httpx2.get(f"{server.url}/metrics").text.splitlines()

    assert 'tgi_request_success_total{method="chat"} 1.0' in told
    assert 'tgi_request_failure_total{err="validation"} 1.0' in told
    assert 'tgi_batch_inference_count_total{method="score"} 1.0' in told
    assert "tgi_in_flight_requests 0.0" in told


async def test_more_than_fit_are_refused_with_429_and_a_client_that_disconnects_frees_its_place(
    start: Start, hooked: Loaded
) -> None:
    server = start(hooked, concurrent_requests=1)
    gate(hooked).open.clear()
    body = {**CHAT, "response_format": MEMBERS}
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await until(lambda: server.engine.in_flight == 1)
        for path in ("/v1/chat/completions", "/generate_stream"):
            refused = await client.post(path, json={**body, "inputs": "x"})
            assert (refused.status_code, refused.json()) == (
                429,
                {"error": "Model is overloaded", "error_type": "overloaded"},
            )
        asking.cancel()
        await until(lambda: server.engine.in_flight == 0)
        gate(hooked).open.set()

        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200


async def test_a_stream_whose_client_disconnected_is_dropped(start: Start, endless: Loaded) -> None:
    server = start(endless)
    held = gate(endless)
    held.holds_from = 4
    held.open.clear()
    body = json.dumps({"inputs": "x", "parameters": {"max_new_tokens": 400}}).encode()
    head = f"POST /generate_stream HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
    url = httpx2.URL(server.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode() + body)
    await reader.readuntil(b"data:")
    await until(lambda: held.forwards == 4)
    writer.close()
    await until(lambda: server.engine.in_flight == 0)
    held.open.set()
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        for _ in range(2):
            await client.post("/v1/chat/completions", json={**CHAT, "response_format": MEMBERS})

    # One was under way; the others are those of the later requests.
    assert held.forwards == 4 + 2


async def test_a_request_whose_forward_fails_gets_tgis_424_and_the_next_is_served(start: Start, hooked: Loaded) -> None:
    server = start(hooked)
    gate(hooked).raises = RuntimeError("out of memory")
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        whole = await client.post("/v1/chat/completions", json={**CHAT, "response_format": MEMBERS})
        sick = await client.get("/health")
        gate(hooked).raises = None
        well = await client.get("/health")
        after = await client.post("/v1/chat/completions", json={**CHAT, "response_format": MEMBERS})

    assert whole.status_code == 424
    assert whole.json() == {
        "error": "Request failed during generation: RuntimeError: out of memory",
        "error_type": "generation",
    }
    assert (sick.status_code, sick.json()["error_type"]) == (503, "healthcheck")
    assert (well.status_code, after.status_code) == (200, 200)


@pytest.mark.parametrize("path", ["/generate_stream", "/v1/chat/completions"])
async def test_a_stream_whose_forward_fails_ends_with_tgis_error(start: Start, endless: Loaded, path: str) -> None:
    server = start(endless)
    gate(endless).raises, gate(endless).raises_from = RuntimeError("the device went away"), 3
    body = {**CHAT, "inputs": "x", "stream": True, "max_tokens": 400, "parameters": {"max_new_tokens": 400}}
    lines: list[str] = []
    async with (
        httpx2.AsyncClient(base_url=server.url, timeout=30) as client,
        client.stream("POST", path, json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            lines += [line] if line else []
    last = json.loads(lines[-1].removeprefix("data: "))

    assert len(lines) == 3
    assert last["error_type"] == "generation"
    assert "the device went away" in last["error"]


async def test_an_engine_that_is_killed_while_serving_fails_what_is_in_flight(start: Start, hooked: Loaded) -> None:
    server = start(hooked)
    gate(hooked).open.clear()
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        asking = [
            asyncio.create_task(client.post("/v1/chat/completions", json={**CHAT, **more}))
            for more in ({"response_format": MEMBERS}, {"max_tokens": 5}, {"response_format": MEMBERS})
        ]
        await until(lambda: server.engine.in_flight == 3)
        gate(hooked).raises = SystemExit()
        gate(hooked).open.set()
        answers = await asyncio.gather(*asking)
        health = await client.get("/health")

    assert [answer.status_code for answer in answers] == [424, 424, 424]
    assert {answer.json()["error_type"] for answer in answers} == {"generation"}
    assert health.status_code == 503


ONE = (ServedModel("smol@2", "smol"),)
TWO = tuple(ServedModel(name, "base", Path(name)) for name in ("smol@1", "other@1"))


@pytest.mark.parametrize(
    ("served", "name", "found"),
    [
        (ONE, "smol@2", "smol@2"),
        (ONE, "smol", "smol@2"),
        (ONE, None, "smol@2"),
        (ONE, "tgi", "smol@2"),
        (ONE, "dummy", "smol@2"),
        (ONE, "anything", None),
        (ONE, "smol@1", None),
        (TWO, "other", "other@1"),
        (TWO, None, "smol@1"),
        (TWO, "tgi", None),
        (TWO, "anything", None),
        (TWO, "other@2", None),
    ],
)
def test_a_version_is_answered_by_itself_or_not_at_all(
    served: tuple[ServedModel, ...], name: str | None, found: str | None
) -> None:
    if found is None:
        with pytest.raises(UnknownModel):
            meant(served, name)
    else:
        assert meant(served, name).name == found


@pytest.mark.parametrize("name", ["tiny@2", "gpt-4o"])
def test_an_unknown_model_is_404_with_those_that_are_known(tiny_server: Running, name: str) -> None:
    answer = post(tiny_server, "/v1/chat/completions", {**CHAT, "model": name})

    assert (answer.status_code, answer.json()["error_type"]) == (404, "not_found")
    assert "tiny@1" in answer.json()["error"]
