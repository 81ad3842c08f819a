"""How models are asked, over real sockets: what comes back of every manner of server, and what a server sees of us."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.arena.backends import Backend, Question
from services.arena.backends.chat import make_backend
from services.arena.backends.transport import MAX_ANSWER_BYTES
from shared.battle.completion import regex
from shared.battle.decision import Reason
from shared.errors import Unreachable, UsageError
from shared.jobs.limits import LocalLimiter
from shared.policies import parse_policy
from shared.settings import Settings
from tests.standins import models as standins
from tests.standins.http import Received, Send, Server
from tests.standins.models import MISTRAL, OPENAI, TGI, Api, Asked, Manner, StandIn

PERMITTED = ("move Sunny Day", "move U-turn tera", "switch Mr. Mime", "move 10,000,000 Volt Thunderbolt", "pass")
SECRET = "sk-very-secret-0123456789"


def question(**more: object) -> Question:
    made = Question(
        messages=(("user", "Turn 3. What do you do?"),),
        completions=PERMITTED,
        regex=regex(dict.fromkeys(PERMITTED)),  # type: ignore[arg-type]
        timeout_seconds=5.0,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def settings(url: str, **more: object) -> Settings:
    values = {"mistral_url": url, "hf_url": url, "openai_url": f"{url}/v1", "server_patience_seconds": 5.0} | more
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


POLICY = {"tgi": "tgi:{url}", "openai": "openai:qwen@{url}/v1", "mistral": "mistral:ministral", "hf": "hf:org/name"}


@asynccontextmanager
async def asking(model: StandIn, kind: str | None = None, **more: object) -> AsyncIterator[Backend]:
    """A backend that asks a stand-in of its own."""
    async with model.server:
        url = model.server.url
        spec = parse_policy(POLICY[kind or model.api.name].format(url=url))
        backend = make_backend(spec, settings(url, **more), LocalLimiter())
        try:
            yield backend
        finally:
            await backend.aclose()


async def nobody_is_left_at(model: StandIn) -> None:
    """Wait until the server has noticed who went away."""
    deadline = asyncio.get_running_loop().time() + 10
    while model.in_flight:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


every_api = pytest.mark.parametrize("api", [TGI, OPENAI, MISTRAL], ids=lambda api: api.name)


@every_api
async def test_a_correct_answer_comes_with_its_account(api: Api) -> None:
    model = StandIn(api)
    async with asking(model) as backend:
        reply = await backend.ask(question())

    assert (reply.text, reply.problem) == (PERMITTED[1], None)
    assert reply.raw == model.wrapped(PERMITTED[1])
    assert (reply.tokens_in, reply.tokens_out, reply.retries, reply.model) == (100, 7, 0, "stand-in-1")
    assert reply.last_token_ms is not None
    assert reply.last_token_ms > 0


@every_api
async def test_only_what_is_permitted_is_possible_under_the_constraint(api: Api) -> None:
    model = StandIn(api)
    async with asking(model) as backend:
        await backend.ask(question())

    assert model.asked[0].permitted == PERMITTED


@every_api
@pytest.mark.parametrize(
    ("manner", "problem", "text"),
    [
        (standins.garbage, None, "�� <|im_start|> qwertz 🙃 ]]}"),
        (standins.illegal, None, "move Sketchiest Move Ever"),
        (standins.truncated, Reason.TRUNCATED, None),
        (standins.empty, Reason.EMPTY, ""),
        (standins.unprocessable, Reason.REFUSED, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_bad_answer_is_told_as_it_is(
    api: Api, manner: Manner, problem: Reason | None, text: str | None
) -> None:
    async with asking(StandIn(api, [manner])) as backend:
        reply = await backend.ask(question())

    assert reply.problem is problem
    assert text is None or reply.text == text
    assert reply.retries == 0


@every_api
async def test_prose_around_an_answer_is_not_searched(api: Api) -> None:
    async with asking(StandIn(api, [standins.prose])) as backend:
        reply = await backend.ask(question())

    assert reply.text == reply.raw
    assert reply.text.startswith("Sure!")


@every_api
@pytest.mark.parametrize(
    ("manner", "retries"),
    [
        (standins.slow, 0),
        (standins.failing, 1),
        (standins.reset, 1),
        (standins.no_chat_at_all, 1),
        (standins.rate_limited, 1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_passing_failure_is_waited_out(api: Api, manner: Manner, retries: int) -> None:
    model = StandIn(api, [manner, standins.correct])
    async with asking(model) as backend:
        reply = await backend.ask(question())

    assert reply.problem is None
    assert reply.text in PERMITTED
    assert reply.retries == retries
    assert len(model.asked) == retries + 1


@every_api
async def test_a_restarting_server_is_waited_for(api: Api) -> None:
    model = StandIn(api, [standins.restarting, standins.correct])
    async with asking(model) as backend:
        replies = await asyncio.gather(*(backend.ask(question()) for _ in range(6)))

    assert {reply.problem for reply in replies} == {None}
    assert {reply.text for reply in replies} <= set(PERMITTED)
    assert max(reply.retries for reply in replies) >= 1
    assert max(reply.waited_ms for reply in replies) >= 400


@every_api
async def test_an_answer_that_never_comes_is_abandoned_and_told(api: Api) -> None:
    async def silent_to_one(model: StandIn, asked: standins.Asked) -> Send:
        return await (standins.silent if "riddle" in str(asked.body) else standins.correct)(model, asked)

    model = StandIn(api, [silent_to_one])
    async with asking(model) as backend:
        # What a library does before its first request, and connecting, take no time of the riddle's.
        await backend.ask(question())
        riddle = question(messages=(("user", "riddle"),), timeout_seconds=1.0)
        late, prompt = await asyncio.gather(backend.ask(riddle), backend.ask(question()))
        await nobody_is_left_at(model)

    assert (late.problem, late.text, late.retries) == (Reason.TIMED_OUT, "", 0)
    assert prompt.problem is None
    assert (model.abandoned, model.in_flight) == (1, 0)


@every_api
async def test_retry_after_holds_for_every_question_to_that_server(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model = StandIn(api, [standins.rate_limited, standins.correct])
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asking(model) as backend:
        first = asyncio.ensure_future(backend.ask(question()))
        while "is busy (HTTP 429" not in caplog.text:
            assert loop.time() < began + 20
            await asyncio.sleep(0.01)
        second = await backend.ask(question())
        elapsed = loop.time() - began
        await first

    assert second.retries == 0
    assert elapsed > 0.9
    assert len(model.asked) == 3


@every_api
async def test_a_server_that_stays_away_breaks_the_battle_and_is_not_played_around(api: Api) -> None:
    model = StandIn(api, [standins.failing])
    async with asking(model, server_patience_seconds=0.5) as backend:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:\d+ does not answer: HTTP 500.*CUDA error"):
            await backend.ask(question())
        asked = len(model.asked)
        with pytest.raises(Unreachable):
            await backend.ask(question())

    assert asked > 1
    assert len(model.asked) == asked + 1, "once given up, it is tried once more and not waited for again"


async def test_a_question_that_alone_makes_the_server_fail_is_refused() -> None:
    async def fails_at_one(model: StandIn, asked: standins.Asked) -> Send:
        return await (standins.failing if "poison" in str(asked.body) else standins.correct)(model, asked)

    async with asking(StandIn(TGI, [fails_at_one]), server_patience_seconds=60.0) as backend:
        poisoned = asyncio.ensure_future(backend.ask(question(messages=(("user", "poison"),))))
        while not poisoned.done():
            assert (await backend.ask(question())).problem is None
            await asyncio.sleep(0.02)

    assert poisoned.result().problem is Reason.REFUSED
    assert "HTTP 500" in poisoned.result().detail


@pytest.mark.parametrize("status", [401, 403, 404, 307])
@every_api
async def test_what_no_waiting_mends_is_said_at_once(api: Api, status: int) -> None:
    async def refuse(model: StandIn, asked: standins.Asked) -> Send:
        return Send({"error": "no"}, status=status, headers={"location": "http://127.0.0.1:9/v1/chat/completions"})

    model = StandIn(api, [refuse])
    async with asking(model) as backend:
        with pytest.raises(Unreachable, match="cannot be asked"):
            await backend.ask(question())

    assert len(model.asked) == 1


@every_api
async def test_connections_are_kept_and_places_are_limited(api: Api) -> None:
    model = StandIn(api, [standins.together(4)], service_seconds=0.02)
    async with asking(model, max_in_flight=4) as backend:
        replies = await asyncio.gather(*(backend.ask(question()) for _ in range(24)))

    assert len(replies) == 24
    assert model.most_in_flight == 4
    assert model.server.opened == 4


@pytest.mark.parametrize(
    ("kind", "said", "text", "reasoning"),
    [
        ("tgi", "REASON: it is sunny\nACTION: pass", "pass", "it is sunny"),
        ("tgi", "REASON: a\nACTION: pass\nACTION: move U-turn", None, None),
        ("tgi", "ACTION: pass", None, None),
        ("openai", '{"reason": "it is sunny", "action": "pass"}', "pass", "it is sunny"),
        ("openai", '{"action": "pass"}', "pass", None),
        ("openai", '{"reason": "a", "action": "pass", "action": "move U-turn"}', None, None),
        ("openai", '[{"reason": "a", "action": "pass"}]', None, None),
        ("hf", "Reason: it is sunny\nAction: pass\n", "pass", "it is sunny"),
    ],
)
async def test_a_reason_is_told_apart_from_the_action_or_not_at_all(
    kind: str, said: str, text: str | None, reasoning: str | None
) -> None:
    async def says(model: StandIn, asked: standins.Asked) -> Send:
        return model.says(said)

    async with asking(StandIn(TGI, [says]), kind) as backend:
        reply = await backend.ask(question(reasoning=True))

    assert (reply.text, reply.reasoning) == (said if text is None else text, reasoning)
    assert reply.raw == said


async def test_the_built_in_servers_probabilities_come_along() -> None:
    async def with_candidates(model: StandIn, asked: standins.Asked) -> Send:
        answer = model.says("pass")
        answer.body["choices"][0]["candidates"] = [
            {"text": "pass", "logprob": -0.1, "tokens": 2},
            {"text": "move U-turn tera", "logprob": -2.4, "tokens": 5},
        ]
        return answer

    async with asking(StandIn(TGI, [with_candidates])) as backend:
        reply = await backend.ask(question())

    assert [(each.text, each.logprob, each.tokens) for each in reply.candidates] == [
        ("pass", -0.1, 2),
        ("move U-turn tera", -2.4, 5),
    ]


async def test_a_refusal_by_the_model_is_no_answer() -> None:
    async def refuses(model: StandIn, asked: standins.Asked) -> Send:
        return model.says("", refusal="I can't help with violence.")

    async with asking(StandIn(OPENAI, [refuses])) as backend:
        reply = await backend.ask(question())

    assert (reply.problem, reply.detail) == (Reason.REFUSED, "I can't help with violence.")


async def test_what_a_server_serves_comes_with_its_card() -> None:
    served = ({"id": "mine@3", "object": "model", "card": {"contract": {"v2": "ab12"}}}, {"id": "other"})
    model = StandIn(TGI, models=served)
    async with asking(model) as backend:
        models = await backend.models()
        longer = make_backend(parse_policy(f"tgi:{model.server.url}/v1"), settings(model.server.url), LocalLimiter())
        assert await longer.models() == models
        assert (await longer.ask(question())).problem is None
        await longer.aclose()

    assert [(model.id, model.contract) for model in models] == [("mine@3", {"v2": "ab12"}), ("other", None)]


# Keys


@pytest.mark.parametrize("kind", ["mistral", "openai", "hf", "tgi"])
async def test_a_key_goes_to_its_own_host(kind: str) -> None:
    model = StandIn(TGI)
    keys = {"mistral_api_key": SECRET, "openai_api_key": SECRET, "hf_token": SECRET}
    async with asking(model, kind, **keys) as backend:
        await backend.ask(question())

    assert model.asked[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("kind", ["openai", "tgi"])
async def test_a_key_goes_to_no_other_host(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Where the libraries themselves would look for one.
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(variable, SECRET)
    model = StandIn(TGI)
    async with asking(
        model,
        kind,
        mistral_url="https://api.mistral.ai",
        openai_url="https://api.openai.com/v1",
        hf_url="https://router.huggingface.co",
        openai_api_key=SECRET,
        hf_token=SECRET,
        mistral_api_key=SECRET,
    ) as backend:
        await backend.ask(question())

    assert "authorization" not in model.asked[0].headers
    assert SECRET not in str(model.asked)


@every_api
async def test_a_redirect_is_not_followed(api: Api) -> None:
    reached: list[Received] = []

    async def note(request: Received) -> Send:
        reached.append(request)
        return Send({})

    async with Server(note) as thief:

        async def redirect(model: StandIn, asked: standins.Asked) -> Send:
            return Send(status=307, headers={"location": f"{thief.url}/v1/chat/completions"})

        keys = {"mistral_api_key": SECRET, "openai_api_key": SECRET, "hf_token": SECRET}
        async with asking(StandIn(api, [redirect]), **keys) as backend:
            with pytest.raises(Unreachable, match="redirects"):
                await backend.ask(question())

    assert reached == []


@every_api
@pytest.mark.parametrize("status", [200, 401, 422, 500])
async def test_no_message_and_no_log_holds_a_key(api: Api, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where the server repeats it."""

    async def echo(model: StandIn, asked: standins.Asked) -> Send:
        if status == 200:
            return model.says(model.wrapped("pass"))
        return Send({"error": f"the key {asked.headers['authorization']} will not do"}, status=status)

    shown: list[object] = []
    keys = {"mistral_api_key": SECRET, "openai_api_key": SECRET, "hf_token": SECRET}
    with caplog.at_level(logging.DEBUG):
        async with asking(StandIn(api, [echo]), server_patience_seconds=0.3, **keys) as backend:
            try:
                shown.append(await backend.ask(question()))
            except Unreachable as error:
                shown.append((error, repr(error.__cause__), error.message))
            shown.append(repr(backend) + repr(vars(backend)))

    assert SECRET not in str(shown)
    assert SECRET not in caplog.text


def endpoints_file(folder: Path, text: str) -> Settings:
    path = folder / "endpoints.toml"
    path.write_text(text, encoding="utf-8")
    return Settings(_env_file=None, endpoints_file=path)


def test_an_operator_names_endpoints(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n", encoding="utf-8")
    named = endpoints_file(
        tmp_path,
        f'[smol]\nurl = "http://gpu1:8080/"\nmax_in_flight = 64\nkey_file = "{tmp_path}/key"\n'
        '["mine@3"]\nurl = "https://gpu2/tgi"\n',
    )

    smol = named.endpoint("smol@7")
    assert (smol.url, smol.name, smol.max_in_flight) == ("http://gpu1:8080", "gpu1:8080", 64)
    assert smol.key is not None
    assert smol.key.get_secret_value() == SECRET
    assert (named.endpoint("mine@3").url, named.endpoint("mine@3").name) == ("https://gpu2/tgi", "gpu2")
    assert named.endpoint("http://gpu1:8080").key == smol.key, "the key is the server's, whatever it is called"
    assert named.endpoint("http://gpu1:8081").key is None
    assert named.endpoint("https://gpu1:8080").key is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no endpoint is called 'nobody'"),
        ("[smol", "cannot be read"),
        ('[smol]\nurl = "ftp://x"', "smol.url"),
        (f'[smol]\nurl = "http://x"\nkay = "{SECRET}"', "smol.kay"),
        (f'[smol]\nurl = "http://me:{SECRET}@x"', "smol.url"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_told_without_its_secrets(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as told:
        endpoints_file(tmp_path, text).endpoint("nobody")

    assert message in str(told.value)
    assert SECRET not in str(told.value)


def test_a_variable_set_to_nothing_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    made = Settings(_env_file=None)

    assert made.endpoint("https://api.mistral.ai").key is None
    assert made.endpoint("https://router.huggingface.co").key is not None
    assert SECRET not in repr(made)


# ── answers without end ─────────────────────────────────────────────────────────────────────────────


async def without_end(model: StandIn, asked: Asked) -> Send:
    return Send((b"data: " + b"x" * (1 << 20),) * 10_000)


async def unpacks_without_end(model: StandIn, asked: Asked) -> Send:
    return Send(gzip.compress(bytes(MAX_ANSWER_BYTES + 1)), headers={"content-encoding": "gzip"})


async def without_end_as_an_error(model: StandIn, asked: Asked) -> Send:
    return Send((b"x" * (1 << 20),) * 10_000, status=400)


async def packed_as_nobody_asked(model: StandIn, asked: Asked) -> Send:
    return Send(b"x", headers={"content-encoding": "br"})


@pytest.mark.parametrize("manner", [without_end, unpacks_without_end, without_end_as_an_error, packed_as_nobody_asked])
@every_api
async def test_an_answer_without_end_is_left_at_its_bound(api: Api, manner: Manner) -> None:
    model = StandIn(api, manners=[manner])
    async with asking(model) as backend:
        reply = await backend.ask(question(timeout_seconds=60.0))

    assert (reply.text, reply.problem, reply.retries) == ("", Reason.REFUSED, 0)
    assert "longer than 8,388,608 bytes" in reply.detail or "packed as br" in reply.detail


async def test_an_answer_that_was_packed_on_the_way_is_read() -> None:
    async def packed(model: StandIn, asked: Asked) -> Send:
        answer = await standins.correct(model, asked)
        return Send(gzip.compress(json.dumps(answer.body).encode()), headers={"content-encoding": "gzip"})

    model = StandIn(OPENAI, manners=[packed])
    async with asking(model) as backend:
        assert (await backend.ask(question())).problem is None
