"""`alphastral try`: one question, and everything about it."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import tests.standins.models as standins
from deploy.cli.trying import try_once
from shared.battle.contract import CONTRACTS, golden_states
from shared.battle.decision import Outcome
from shared.battle.state import BattleState
from shared.errors import BrokenRecord, UsageError
from shared.settings import Settings
from tests.standins.http import Send
from tests.standins.models import MISTRAL, OPENAI, TGI, Asked, Manner, StandIn

FORCED_SWITCH = golden_states()[1]


async def tried(model: StandIn, options: str = "", state: Path | None = None) -> tuple[bool, str]:
    told: list[str] = []
    async with model.server:
        policy = {
            "tgi": f"tgi:{model.server.url}",
            "openai": f"openai:m@{model.server.url}/v1",
            "mistral": "mistral:ministral-3b-latest",
        }[model.api.name]
        settings = Settings(mistral_url=model.server.url, mistral_api_key="s3cret", _env_file=None)
        decision = await try_once(policy + options, state, settings, told.append)
    return decision.outcome is not Outcome.SUBSTITUTED, "\n".join(told)


async def test_a_model_of_mistral_is_tried_in_one_call() -> None:
    chosen, told = await tried(StandIn(MISTRAL))

    assert chosen
    assert "mistral, ministral-3b-latest at 127.0.0.1" in told
    assert CONTRACTS["v2"].prompt(golden_states()[0]).splitlines()[1] in told
    for expected in (
        "json_schema",
        '"action": "',
        "100 tokens in, 7 out",
        "cost $",
        "answered by stand-in-1",
        "(chosen)",
    ):
        assert expected in told
    assert "s3cret" not in told


async def test_an_answer_that_cannot_be_used_is_shown_with_the_reason_and_what_a_battle_would_do() -> None:
    chosen, told = await tried(StandIn(TGI, [standins.prose]), "?substitute=max-damage")

    assert not chosen
    assert told.count("Good luck!") == 3  # twice answered, once held against it
    assert "unparsable" in told and "the substitute (max-damage) would play" in told
    assert "cost $0.00" in told  # On this very machine it costs nothing.


@pytest.mark.parametrize(("least", "shown"), [(-40.0, "73.1%  move Body Press"), (-5000.0, "  tiny  move Body Press")])
async def test_probabilities_are_told_of_the_legal_actions_together(least: float, shown: str) -> None:
    """A whole answer of a model that was not trained for it is next to impossible, each of them alike."""

    async def with_candidates(model: StandIn, asked: Asked) -> Send:
        answer = model.says(asked.permitted[0])
        scores = [least, least - 1.0, *(least - 100.0 for _ in asked.permitted[2:])]
        answer.body["choices"][0]["candidates"] = [
            {"text": text, "logprob": logprob} for text, logprob in zip(asked.permitted, scores, strict=True)
        ]
        return answer

    _, told = await tried(StandIn(TGI, [with_candidates]))

    assert shown in told


async def test_a_policy_that_says_it_wants_no_stream_is_asked_as_any_other() -> None:
    chosen, told = await tried(StandIn(OPENAI), "?stream=no")

    assert chosen and "(chosen)" in told


async def test_a_state_from_a_file_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(TypeAdapter(BattleState).dump_json(FORCED_SWITCH))
    chosen, told = await tried(StandIn(TGI), state=path)
    assert chosen and "switch" in told

    chosen, told = await tried(StandIn(TGI), "?contract=v1", path)
    assert not chosen and "inexpressible_in_contract" in told


async def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"turn": 1}), encoding="utf-8")

    with pytest.raises(BrokenRecord, match="is not a battle state"):
        await tried(StandIn(TGI), state=path)
    with pytest.raises(UsageError, match="cannot read"):
        await tried(StandIn(TGI), state=tmp_path / "none.json")


async def test_a_policy_without_a_model_has_nothing_to_try() -> None:
    with pytest.raises(UsageError, match="asks no model"):
        await try_once("random", None, Settings(_env_file=None), print)


@pytest.mark.parametrize(("policy", "variable"), [("mistral:m", "MISTRAL_API_KEY"), ("hf:a/b", "HF_TOKEN")])
async def test_without_its_key_a_model_is_not_asked_and_the_variable_is_named(policy: str, variable: str) -> None:
    settings = Settings(mistral_api_key=None, hf_token=None, _env_file=None)

    with pytest.raises(UsageError, match=f"set {variable}"):
        await try_once(policy, None, settings, print)


async def says_to_a_terminal(model: StandIn, asked: Asked) -> Send:
    return model.says("\x1b]0;title\x07[bold red]move[/] \x1b[2J")


@pytest.mark.parametrize("manner", [says_to_a_terminal])
async def test_what_a_model_says_moves_no_terminal(manner: Manner) -> None:
    _, told = await tried(StandIn(OPENAI, [manner]))

    assert "\x1b" not in told and "\x07" not in told
    assert "\\[bold red]move\\[/]" in told
