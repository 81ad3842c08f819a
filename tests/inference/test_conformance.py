"""Every answer is one that TGI's own document describes, whatever is asked.

The document, tgi.openapi.json, is an extract of TGI's (its source and licence stand in it): the routes that this
server has. `DOCUMENTED_ELSEWHERE` is what it leaves out, and `_without_stream` what it has no words for.
"""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.inference.conftest import Running

DOCUMENT = json.loads((Path(__file__).parent / "tgi.openapi.json").read_text(encoding="utf-8"))

DOCUMENTED_ELSEWHERE = {404: "a version that is not served", 413: "a body over two megabytes", 422: "a bad request"}
"""Status → when it comes, on any route, in the body of TGI's errors. TGI answers 422 on /tokenize, too."""


def document() -> dict[str, Any]:
    """TGI's document as OpenAPI 3.0 has it, with what it leaves out."""
    whole: dict[str, Any] = json.loads(json.dumps(DOCUMENT))
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    for methods in whole["paths"].values():
        for operation in methods.values():
            for status, when in DOCUMENTED_ELSEWHERE.items():
                # A stream that is refused before it begins is refused in JSON, as TGI does whatever its document says.
                operation["responses"][str(status)] = {"description": when, "content": body}
    _mended(whole)
    return whole


def _mended(node: Any) -> None:
    """A number as exclusiveMinimum is OpenAPI 3.1's; 3.0 has a flag beside the minimum."""
    if isinstance(node, dict):
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(node.get(exclusive), (int, float)) and not isinstance(node.get(exclusive), bool):
                node[bound], node[exclusive] = node[exclusive], True
        for child in node.values():
            _mended(child)
    elif isinstance(node, list):
        for child in node:
            _mended(child)


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
SCHEMA = schemathesis.openapi.from_dict(document())


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_is_answered_within_the_document(case: schemathesis.Case[Any], tiny_server: Running) -> None:
    _keep_short(case.body)
    _without_stream(case.body)
    if case.path != "/generate_stream":
        case.call_and_validate(base_url=tiny_server.url, checks=[*CHECKS, response_schema_conformance])
        return
    # The schema is that of an event's data, and no check of schemathesis takes it so.
    answer = case.call_and_validate(base_url=tiny_server.url, checks=CHECKS)
    if answer.status_code == 200:
        assert_events(answer.text, "StreamResponse")


def _without_stream(body: Any) -> None:
    """The document knows no answer in events but /generate_stream's; the others' stand in tests of their own below."""
    if isinstance(body, dict) and body.get("stream") is True:
        body["stream"] = False


def _keep_short(body: Any) -> None:
    """The tests' model takes few tokens; what is asked for stays what it is."""
    if isinstance(body, dict):
        parameters = body.get("parameters")
        for asked in (body, parameters):
            if isinstance(asked, dict):
                for name in ("max_tokens", "max_new_tokens"):
                    if isinstance(asked.get(name), int):
                        asked[name] = min(asked[name], 6)
        if isinstance(parameters, dict):
            parameters.setdefault("max_new_tokens", 6)
        elif "messages" in body:
            body.setdefault("max_tokens", 6)


def validator(name: str) -> Draft202012Validator:
    """Checks a value against a schema of the document."""
    components = json.loads(json.dumps(DOCUMENT["components"]))
    _nullable(components)
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


def _nullable(node: Any) -> None:
    """OpenAPI 3.0's `nullable` is no word of JSON Schema's."""
    if isinstance(node, dict):
        for child in list(node.values()):
            _nullable(child)
        if node.pop("nullable", False):
            plain = dict(node)
            node.clear()
            node["anyOf"] = [plain, {"type": "null"}]
    elif isinstance(node, list):
        for child in node:
            _nullable(child)


CHAT = {"messages": [{"role": "user", "content": "Gen 9"}], "max_tokens": 5}
TEXT = {"inputs": "Gen 9", "parameters": {"max_new_tokens": 5, "details": True, "top_n_tokens": 2}}
FINITE = {"type": "regex", "value": "(a|b)"}


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/generate", TEXT, "GenerateResponse"),
        ("/generate", {**TEXT, "parameters": {"grammar": FINITE, "details": True}}, "GenerateResponse"),
        ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2}, "ChatCompletion"),
        ("/v1/chat/completions", {**CHAT, "response_format": FINITE}, "ChatCompletion"),
        ("/tokenize", {"inputs": "Gen 9 漢"}, "TokenizeResponse"),
        ("/chat_tokenize", CHAT, "ChatTokenizeResponse"),
        ("/generate", {}, "ErrorResponse"),
    ],
)
def test_an_answer_has_its_documented_shape(tiny_server: Running, path: str, body: Any, name: str) -> None:
    answer = httpx2.post(f"{tiny_server.url}{path}", json=body, timeout=30)

    assert list(validator(name).iter_errors(answer.json())) == []


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/generate_stream", TEXT, "StreamResponse"),
        ("/", {**TEXT, "stream": True}, "StreamResponse"),
        ("/v1/chat/completions", {**CHAT, "stream": True, "logprobs": True}, "ChatCompletionChunk"),
        (
            "/v1/chat/completions",
            {**CHAT, "stream": True, "stream_options": {"include_usage": True}, "response_format": FINITE},
            "ChatCompletionChunk",
        ),
    ],
)
def test_every_event_of_a_stream_has_its_documented_shape(
    tiny_server: Running, path: str, body: Any, name: str
) -> None:
    answer = httpx2.post(f"{tiny_server.url}{path}", json=body, timeout=30)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert_events(answer.text, name)


def assert_events(streamed: str, name: str) -> None:
    events = [line.removeprefix("data: ") for line in streamed.split("\n") if line]
    check = validator(name)

    assert events
    for event in events:
        assert event == "[DONE]" or list(check.iter_errors(json.loads(event))) == []


@pytest.mark.parametrize(("path", "name"), [("/info", "Info"), ("/v1/models", "ModelInfo")])
def test_what_is_told_about_the_server_has_its_documented_shape(tiny_server: Running, path: str, name: str) -> None:
    answer = httpx2.get(f"{tiny_server.url}{path}")

    assert list(validator(name).iter_errors(answer.json())) == []
