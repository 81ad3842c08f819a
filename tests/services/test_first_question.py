"""The first question to a model: what is wrong with it is one sentence before the first battle, and none is played."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tests.standins.models as standins
from services.arena.matchups import Progress
from services.arena.play import play
from services.arena.policies.language_model import connector
from services.arena.policies.probe import ODD
from services.arena.tasks import play_shard
from shared.battle.decision import Outcome, Reason
from shared.errors import NotServed, UsageError
from shared.jobs import Context
from shared.jobs.limits import LocalLimiter
from shared.matchups import Matchups
from shared.policies import parse_policy
from shared.records import BattleRecord, MatchupRequest
from shared.settings import Settings
from shared.store import Store
from tests.services.test_model_matchups import asks, outcomes, plays_on, policy
from tests.standins.http import Received, Send
from tests.standins.models import MISTRAL, OPENAI, TGI, Api, Asked, Manner, StandIn

APIS = pytest.mark.parametrize("api", [TGI, OPENAI, MISTRAL], ids=lambda api: api.name)


async def played(model: StandIn, options: str = "", **settings: Any) -> tuple[list[BattleRecord], list[str]]:
    """The records of two battles against `random`, and what was told."""
    records: list[BattleRecord] = []
    told: list[str] = []
    async with model.server:
        mistral = {"mistral_url": model.server.url, "mistral_api_key": "s3cret"} if model.api is MISTRAL else {}
        given: dict[str, Any] = {"_env_file": None} | mistral | settings
        await play(
            MatchupRequest(p1=policy(model, options), p2="random", battles=2, seed=5, concurrency=2),
            range(2),
            matchup_id="m",
            worker="test",
            on_record=records.append,
            connect=connector(Settings(**given), LocalLimiter()),
            tell=told.append,
        )
    return records, told


def says(status: int, body: object) -> Manner:
    async def answer(model: StandIn, asked: Asked) -> Send:
        return Send(body, status=status)

    return answer


async def refused(model: StandIn, options: str = "", **settings: Any) -> str:
    """Why nothing is played; it is said soon, and no battle began."""
    began = time.monotonic()
    with pytest.raises(NotServed) as told:
        await played(model, options, **settings)
    assert time.monotonic() - began < 10
    assert "\n" not in told.value.message and told.value.field == "p1"
    return told.value.message


@APIS
@pytest.mark.parametrize("status", [400, 404])
async def test_a_model_that_is_not_served_is_told_with_those_that_are(api: Api, status: int) -> None:
    manner = says(status, {"error": {"message": "unknown model"}})
    told = await refused(StandIn(api, [manner], keeps=False, models=({"id": "small"}, {"id": "large"})))

    assert f"HTTP {status}: " in told and "unknown model" in told
    assert told.endswith("; it serves small, large")


@APIS
async def test_a_key_that_is_refused_is_told_by_its_variable(api: Api) -> None:
    told = await refused(StandIn(api, [says(401, {})], keeps=False), openai_api_key="s3cret", hf_token="s3cret")

    if api is MISTRAL:
        assert "the key is refused (HTTP 401); see to MISTRAL_API_KEY" in told
    else:
        assert "wants a key (HTTP 401), and none was sent" in told and "ALPHASTRAL_ENDPOINTS_FILE" in told


@pytest.mark.parametrize("where", ["openai:m@{}/v1", "tgi:{}"])
async def test_an_address_where_nobody_is_is_told_at_once(where: str) -> None:
    async with StandIn(TGI).server as gone:
        url = gone.url
    began = time.monotonic()
    with pytest.raises(NotServed, match=rf"nobody answers at {url}.*: is the server running, and the address right\?"):
        await play(
            MatchupRequest(p1=where.format(url), p2="random", battles=2),
            range(2),
            matchup_id="m",
            worker="test",
            on_record=lambda record: None,
            connect=connector(Settings(_env_file=None), LocalLimiter()),
        )
    assert time.monotonic() - began < 10


async def test_an_address_of_something_else_is_told_at_once() -> None:
    model = StandIn(OPENAI)
    model.server.respond = no_such_route
    told = await refused(model)

    assert "HTTP 404" in told and "is the address right? It ends in /v1 as a rule" in told


async def no_such_route(request: Received) -> Send:
    return Send({"detail": "Not Found"}, status=404)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"error": {"message": "the quota is used up", "code": 402}}, 200, "the quota is used up"),
        ({"error": "something odd"}, 200, "something odd"),
        (b"<html>It works!</html>", 200, "<html>It works!"),
        ({"error": "CUDA error"}, 500, "HTTP 500: "),
        ({"error": {"code": "insufficient_quota"}}, 429, "insufficient_quota"),
    ],
)
async def test_what_the_server_says_is_repeated_and_not_waited_out(body: Any, status: int, words: str) -> None:
    assert words in await refused(StandIn(OPENAI, [says(status, body)], keeps=False))


async def test_a_server_that_takes_too_long_is_told_so() -> None:
    assert "no answer within 0.3 s" in await refused(StandIn(OPENAI, [standins.silent], keeps=False), "?timeout=0.3")


def test_no_key_for_an_api_that_always_wants_one_names_the_variable() -> None:
    for name, variable in (("openai:gpt", "OPENAI_API_KEY"), ("mistral:m", "MISTRAL_API_KEY"), ("hf:a/b", "HF_TOKEN")):
        none = Settings(openai_api_key=None, mistral_api_key=None, hf_token=None, _env_file=None)
        with pytest.raises(UsageError, match=f"set {variable}"):
            connector(none, LocalLimiter())(parse_policy(name))


# ── whether the constraint is kept ──────────────────────────────────────────────────────────────────


def plain(answer: Callable[[Asked], str]) -> Manner:
    async def say(model: StandIn, asked: Asked) -> Send:
        return model.says(answer(asked))

    return say


def first_listed(asked: Asked) -> str:
    """What a good model answers that is told the legal actions and held to nothing."""
    prompt = asked.body["messages"][-1]["content"]
    return re.split("The legal actions:|one of these and nothing else:", prompt)[-1].strip().splitlines()[0]


async def refuses_schemas(model: StandIn, asked: Asked) -> Send:
    if "response_format" in asked.body:
        return Send({"error": {"message": "response_format is not supported"}}, status=422)
    return model.says(first_listed(asked))


async def fails_at_schemas(model: StandIn, asked: Asked) -> Send:
    if "response_format" in asked.body:
        return Send({"error": "Internal Server Error"}, status=500)
    return model.says(first_listed(asked))


@APIS
@pytest.mark.parametrize(
    ("manner", "why"),
    [
        (refuses_schemas, "HTTP 422: "),
        (fails_at_schemas, "HTTP 500: "),
        (plain(first_listed), "it answered '"),
    ],
    ids=["refused", "failing", "ignored"],
)
async def test_a_constraint_that_is_not_kept_is_left_out_and_that_is_said_and_recorded(
    api: Api, manner: Manner, why: str
) -> None:
    records, told = await played(StandIn(api, [manner], keeps=False), "?instructions=yes")

    assert [record.broken for record in records] == [None, None]
    assert set(outcomes(records)) == {(Outcome.CHOSEN, None)}
    assert {asked.constraint for asked in asks(records)} == {"none"}
    assert "does not hold it to the legal actions" in told[0] and why in told[0] and "it is asked without" in told[0]


@APIS
async def test_a_constraint_that_is_kept_stays_and_what_will_be_taken_is_estimated(api: Api) -> None:
    model = StandIn(api, [plays_on])
    records, told = await played(model)

    assert {asked.constraint for asked in asks(records)} == {"regex" if api is TGI else "json_schema"}
    assert all(ODD not in asked.permitted for asked in model.asked)
    assert "it answered in " in told[0]
    assert "2 battles take some 50 questions, 5,350 tokens, " in told[0] and "where 2 are answered at once" in told[0]


async def test_an_answer_that_is_cut_off_is_told_with_what_to_do() -> None:
    async def thinks(model: StandIn, asked: Asked) -> Send:
        return model.says("", finish="length", reasoning_content="hm")

    records, told = await played(StandIn(OPENAI, [thinks], keeps=False), "?asks=1")

    assert "its first answer was truncated" in told[0] and "?max-tokens=" in told[0]
    assert set(outcomes(records)) == {(Outcome.SUBSTITUTED, Reason.TRUNCATED)}


# ── a server that declines after that ───────────────────────────────────────────────────────────────


@APIS
@pytest.mark.parametrize(
    ("manner", "words"),
    [
        (says(400, {"error": {"message": "the prompt is too long"}}), "the prompt is too long"),
        (says(200, {"error": "not today"}), "not today"),
    ],
)
async def test_when_all_first_asks_are_declined_alike_the_matchup_ends_with_the_servers_words(
    api: Api, manner: Manner, words: str
) -> None:
    model = StandIn(api, [manner])
    with pytest.raises(NotServed, match=f"answered none of its first 8 questions.*{words}"):
        await played(model)

    assert len(model.asked) <= 8 + 1, "those of the other battle that were on their way"


async def test_a_server_that_declines_now_and_then_ends_nothing() -> None:
    declines = says(400, {"error": "no"})
    records, _ = await played(StandIn(OPENAI, [*[declines] * 7, plays_on, *[declines] * 9, plays_on]))

    assert [record.broken for record in records] == [None, None]
    assert {asked.detail for asked in asks(records) if asked.reason} == {"HTTP 400: no"}


# ── over the queue ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        (says(404, {"error": "no such model"}), "no such model"),
        (says(401, {}), "wants a key"),
        (None, "nobody answers at"),
    ],
    ids=["model", "key", "address"],
)
async def test_a_worker_fails_the_matchup_as_a_whole(tmp_path: Path, manner: Manner | None, words: str) -> None:
    model = StandIn(TGI, [manner or plays_on], keeps=False)
    await model.server.start()
    endpoints = tmp_path / "endpoints.toml"
    endpoints.write_text(f'[small]\nurl = "{model.server.url}"\n')
    if manner is None:
        await model.server.stop()
    store = Store(str(tmp_path / "store"))
    matchups = Matchups(store)
    matchups.create("m", MatchupRequest(p1="tgi:small", p2="random", battles=16))
    settings = Settings(store=store.url, endpoints_file=endpoints, redis_url=None, _env_file=None)
    shard = Progress.of(store, "m").shard(range(2))
    began = time.monotonic()
    context = Context(settings, store, lambda payload: True, lambda: False, "w")
    await asyncio.to_thread(play_shard, shard, context)
    await model.server.stop()

    assert time.monotonic() - began < 10
    assert matchups.recorded("m") == frozenset()
    assert len(matchups.failures("m")) == 8 and Progress.of(store, "m").settled
    assert {words in sentence for sentence in matchups.failures("m").values()} == {True}
