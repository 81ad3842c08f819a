"""That what goes out is what each API says it takes: TGI's published OpenAPI description, the SDKs' own models."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mistralai.client.models import ChatCompletionRequest
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from services.arena.backends import Question
from tests.services.test_backends import asking, question
from tests.standins.models import MISTRAL, OPENAI, TGI, Api, StandIn

TGI_SCHEMAS = Path(__file__).parents[1] / "standins" / "tgi-chat.openapi.json"

QUESTIONS = {
    "constrained": question(),
    "free": question(completions=(), regex=None),
    "warm and seeded": question(temperature=0.7, seed=7, max_tokens=200),
    "with a reason": question(reasoning=True),
    "with history": question(messages=(("user", "Turn 1."), ("assistant", "pass"), ("user", "Turn 2."))),
}
every_question = pytest.mark.parametrize("asked", QUESTIONS.values(), ids=QUESTIONS)


async def sent(api: Api, asked: Question, kind: str | None = None) -> Any:
    model = StandIn(api)
    async with asking(model, kind) as backend:
        await backend.ask(asked)
    return model.asked[0].body


def tgi_schema(name: str) -> Draft202012Validator:
    """OpenAPI 3.0 says `nullable` where JSON Schema has a type of null."""

    def translated(schema: Any) -> Any:
        if isinstance(schema, list):
            return [translated(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        kept = {
            key: translated(value) for key, value in schema.items() if key not in ("nullable", "default", "example")
        }
        return {"anyOf": [kept, {"type": "null"}]} if schema.get("nullable") is True else kept

    document = json.loads(TGI_SCHEMAS.read_text(encoding="utf-8"))
    return Draft202012Validator({**translated(document), "$ref": f"#/components/schemas/{name}"})


@every_question
async def test_tgi_is_asked_by_its_published_description(asked: Question) -> None:
    body = await sent(TGI, asked)
    known = json.loads(TGI_SCHEMAS.read_text(encoding="utf-8"))["components"]["schemas"]["ChatRequest"]["properties"]

    assert list(tgi_schema("ChatRequest").iter_errors(body)) == []
    assert body.keys() <= known.keys()
    assert body["temperature"] == asked.temperature, "left out, it would mean sampling"
    assert [(each["role"], each["content"]) for each in body["messages"]] == list(asked.messages)
    assert body.get("response_format", {}).get("type") == ("regex" if asked.completions else None)


def test_the_description_is_not_taken_for_granted() -> None:
    errors = tgi_schema("ChatRequest").iter_errors({"messages": [], "response_format": {"type": "regex"}, "seed": -1})

    assert len(list(errors)) == 2


async def test_the_stand_in_answers_by_tgis_description() -> None:
    model = StandIn(TGI)

    assert list(tgi_schema("ChatCompletion").iter_errors(model.says("pass").body)) == []


@every_question
async def test_mistral_is_asked_by_its_sdks_models(asked: Question) -> None:
    body = await sent(MISTRAL, asked)
    read = ChatCompletionRequest.model_validate(body)

    assert body.keys() <= ChatCompletionRequest.model_fields.keys()
    assert read.random_seed == asked.seed or asked.seed is None
    assert (read.response_format is None) == (not asked.completions)
    if read.response_format:
        assert read.response_format.type == "json_schema"


@every_question
async def test_openai_is_asked_by_its_sdks_types(asked: Question) -> None:
    body = await sent(OPENAI, asked)
    TypeAdapter(CompletionCreateParamsNonStreaming).validate_python(body)

    assert body.keys() <= CompletionCreateParamsNonStreaming.__annotations__.keys() | {
        "model",
        "messages",
        "max_tokens",
        "temperature",
        "seed",
        "response_format",
    }
    assert body["max_tokens"] == asked.max_tokens


async def test_the_stand_in_answers_as_the_sdk_reads() -> None:
    ChatCompletion.model_validate(StandIn(OPENAI).says("pass").body)


@pytest.mark.parametrize("api", [OPENAI, MISTRAL], ids=lambda api: api.name)
@pytest.mark.parametrize("reasoning", [False, True])
async def test_a_schema_is_as_strict_as_the_apis_demand(api: Api, reasoning: bool) -> None:
    body = await sent(api, question(reasoning=reasoning))
    schema = body["response_format"]["json_schema"]["schema"]

    Draft202012Validator.check_schema(schema)
    assert schema["required"] == (["reason", "action"] if reasoning else ["action"])
    assert list(schema["properties"]) == schema["required"]
    assert schema["additionalProperties"] is False
    assert body["response_format"]["json_schema"]["strict"] is True


async def test_hugging_faces_providers_are_asked_for_the_model_in_plain_text() -> None:
    body = await sent(TGI, question(), "hf")

    assert body["model"] == "org/name"
    assert "response_format" not in body
    assert list(tgi_schema("ChatRequest").iter_errors(body)) == []
