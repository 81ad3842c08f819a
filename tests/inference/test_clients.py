"""The clients that people use work against the built-in server as they are."""

import json
from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError, ValidationError
from openai import OpenAI

from services.arena.backends import Question
from services.arena.backends.chat import make_backend
from shared.jobs.limits import LocalLimiter
from shared.language.chat import completions_ids, prompt_ids
from shared.policies import parse_policy
from shared.settings import Settings
from tests.inference.conftest import Running, Start
from tests.language.tiny import WITH_SPACES, score_plainly, tiny, tiny_tokenizer

CHAT: Any = [{"role": "user", "content": "Gen 9 turn 3"}]
TEXTS = ["move Psychic", "move Psychic Noise", "switch Mr. Mime"]
REGEX: Any = {"type": "regex", "value": r"(move Psychic|move Psychic Noise|switch Mr\. Mime)"}


def test_text_is_generated_with_and_without_details_and_streamed(tiny_server: Running) -> None:
    client = InferenceClient(tiny_server.url)
    text = client.text_generation("move", max_new_tokens=6)
    detailed = client.text_generation("move", max_new_tokens=6, details=True)
    pieces = list(client.text_generation("move", max_new_tokens=6, stream=True))
    events = list(client.text_generation("move", max_new_tokens=6, stream=True, details=True))

    assert detailed.generated_text == text == "".join(pieces) == events[-1].generated_text
    assert detailed.details is not None
    assert detailed.details.generated_tokens == len(detailed.details.tokens) == len(events)
    assert events[-1].details is not None
    assert events[-1].details.finish_reason == detailed.details.finish_reason
    assert client.text_generation("move", max_new_tokens=6, return_full_text=True) == f"move{text}"


async def test_the_async_client_chats_whole_and_streamed(tiny_server: Running) -> None:
    client = AsyncInferenceClient(tiny_server.url)
    whole = await client.chat_completion(CHAT, response_format=REGEX, temperature=0)
    free = await client.chat_completion(CHAT, max_tokens=6, temperature=0)
    streaming = await client.chat_completion(CHAT, max_tokens=6, temperature=0, stream=True)
    pieces = [choice.delta.content or "" async for chunk in streaming for choice in chunk.choices]

    assert whole.choices[0].message.content in TEXTS
    assert "".join(pieces) == free.choices[0].message.content


def test_a_finite_set_is_answered_with_all_its_scores(tiny_server: Running) -> None:
    loaded = tiny_server.engine.loaded
    answer = InferenceClient(tiny_server.url).chat_completion(CHAT, response_format=REGEX, temperature=0)
    [choice] = answer.choices
    scores = {each["text"]: each["logprob"] for each in choice["candidates"]}
    prompt = prompt_ids(loaded.tokenizer, CHAT)
    plain = [score_plainly(loaded.model, prompt, ids) for ids in completions_ids(loaded.tokenizer, TEXTS)]

    assert list(scores) == TEXTS
    assert list(scores.values()) == pytest.approx(plain, abs=1e-4)
    assert choice.message.content == max(scores, key=scores.__getitem__)
    assert choice.finish_reason == "stop"


def test_a_finite_set_is_answered_alike_by_both_routes_and_in_a_stream(tiny_server: Running) -> None:
    client = InferenceClient(tiny_server.url)
    prompt = tiny_server.engine.loaded.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    whole = client.chat_completion(CHAT, response_format=REGEX, temperature=0).choices[0]
    raw = client.text_generation(prompt, grammar=REGEX, details=True)
    *_, last = chunks = list(client.chat_completion(CHAT, response_format=REGEX, temperature=0, stream=True))

    assert raw.generated_text == whole.message.content
    assert raw["candidates"] == whole["candidates"] == last.choices[0]["candidates"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content
    assert last.choices[0].finish_reason == "stop"


def test_a_template_with_a_space_before_the_answer_has_none_in_the_stream(start: Start) -> None:
    loaded = tiny()
    server = start(replace(loaded, tokenizer=tiny_tokenizer(WITH_SPACES)))
    client = InferenceClient(server.url)
    whole = client.chat_completion(CHAT, response_format=REGEX, temperature=0).choices[0].message.content
    chunks = client.chat_completion(CHAT, response_format=REGEX, temperature=0, stream=True)

    assert whole in TEXTS
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole


def test_a_sample_of_a_finite_set_follows_its_seed(tiny_server: Running) -> None:
    client = InferenceClient(tiny_server.url)

    def draw(seed: int) -> str | None:
        answer = client.chat_completion(CHAT, response_format=REGEX, temperature=2.0, seed=seed)
        return answer.choices[0].message.content

    drawn = [draw(seed) for seed in range(12)]
    assert drawn == [draw(seed) for seed in range(12)]
    assert set(drawn) <= set(TEXTS)
    assert len(set(drawn)) > 1


def test_openais_client_chats_whole_and_streamed(tiny_server: Running) -> None:
    client = OpenAI(base_url=f"{tiny_server.url}/v1", api_key="none")
    whole = client.chat.completions.create(
        model="tiny", messages=CHAT, max_tokens=6, temperature=0, logprobs=True, top_logprobs=2
    )
    chunks = list(
        client.chat.completions.create(
            model="tiny",
            messages=CHAT,
            max_completion_tokens=6,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    streamed = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)

    assert whole.model == "tiny@1"
    assert whole.choices[0].message.content == streamed
    assert whole.usage == chunks[-1].usage
    assert whole.choices[0].logprobs is not None
    assert all(len(each.top_logprobs) == 2 for each in whole.choices[0].logprobs.content or ())
    assert [model.id for model in client.models.list()] == ["tiny@1"]


def test_what_is_not_supported_is_said(tiny_server: Running) -> None:
    client: Any = InferenceClient(tiny_server.url)

    with pytest.raises(ValidationError, match="only an alternation of literal texts"):
        client.text_generation("move", grammar={"type": "regex", "value": "move [a-z]+"})
    with pytest.raises(HfHubHTTPError, match="422"):
        client.chat_completion(CHAT, response_format={"type": "json_object"})


async def test_the_arenas_policy_for_any_openai_server_is_held_to_the_legal_actions(tiny_server: Running) -> None:
    asked = Question((("user", "Gen 9 turn 3"),), tuple(TEXTS), timeout_seconds=30)
    backend = make_backend(parse_policy(f"openai:tiny@{tiny_server.url}/v1"), Settings(_env_file=None), LocalLimiter())
    reply = await backend.ask(asked)
    await backend.aclose()

    assert (reply.problem, reply.model) == (None, "tiny@1")
    assert reply.text in TEXTS and reply.raw == json.dumps({"action": reply.text})
    assert [candidate.text for candidate in reply.candidates] == TEXTS
