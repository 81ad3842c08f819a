"""Matchups of models behind stand-in servers, over real sockets: whatever a server does, battles end and tell of it."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

import tests.standins.models as standins
from services.arena.budget import MatchupBudget
from services.arena.play import play
from services.arena.policies.language_model import connector
from services.reporter.report import render
from services.reporter.run import assemble
from shared.battle.decision import AskRecord, Outcome, Reason
from shared.errors import UsageError
from shared.jobs.limits import LocalLimiter
from shared.records import BattleRecord, DecisionRecord, MatchupRequest, Run
from shared.settings import Settings
from tests.standins.http import Send
from tests.standins.models import MISTRAL, OPENAI, TGI, Api, Asked, StandIn

APIS = pytest.mark.parametrize("api", [TGI, OPENAI, MISTRAL], ids=lambda api: api.name)
ASKED = (Outcome.CHOSEN, Outcome.CHOSEN_AFTER_SECOND_ASK, Outcome.SUBSTITUTED)


async def plays_on(model: StandIn, asked: Asked) -> Send:
    """The first permitted answer, which attacks where that is possible: battles are shorter than at random."""
    return model.says(model.wrapped(asked.permitted[0] if asked.permitted else "move Tackle"))


def policy(model: StandIn, options: str = "") -> str:
    named = {
        "tgi": f"tgi:stand-in@{model.server.url}",
        "openai": f"openai:stand-in@{model.server.url}/v1",
        "mistral": "mistral:ministral-3b-latest",
    }
    return named[model.api.name] + options


async def played(
    model: StandIn,
    options: str = "",
    *,
    against: str = "random",
    battles: int = 2,
    budget: MatchupBudget | None = None,
    prices_file: Path | None = None,
    patience_seconds: float = 20.0,
    **asked: object,
) -> list[BattleRecord]:
    records: list[BattleRecord] = []
    async with model.server:
        settings = Settings(
            mistral_url=model.server.url,
            mistral_api_key="key of mistral",
            server_patience_seconds=patience_seconds,
            prices_file=prices_file,
            _env_file=None,
        )
        request = MatchupRequest.model_validate(
            {"p1": policy(model, options), "p2": against, "battles": battles, "seed": 5, "concurrency": 2, **asked}
        )
        await play(
            request,
            range(battles),
            matchup_id="m",
            worker="test",
            on_record=records.append,
            connect=connector(settings, LocalLimiter()),
            budget=budget,
        )
    return sorted(records, key=lambda record: record.index)


def of_p1(records: list[BattleRecord]) -> list[DecisionRecord]:
    return [decision for record in records for decision in record.decisions if decision.policy == "p1"]


def outcomes(records: list[BattleRecord]) -> Counter[tuple[Outcome, Reason | None]]:
    """How p1's decisions came about, those apart where it was not asked."""
    return Counter(
        (decision.outcome, decision.reason)
        for decision in of_p1(records)
        if decision.outcome is not Outcome.ONLY_ACTION
    )


def run_of(records: list[BattleRecord], **asked: object) -> Run:
    request = MatchupRequest.model_validate({"p1": "tgi:m@http://127.0.0.1:1", "p2": "random", "battles": 9, **asked})
    return assemble(request, records, matchup_id="m", created_at="2026-01-02T03:04:05+00:00")


@APIS
async def test_what_a_model_does_wrong_is_substituted_in_its_own_class_and_nothing_else_is(api: Api) -> None:
    wrong = {
        standins.garbage: Reason.UNPARSABLE,
        standins.prose: Reason.UNPARSABLE,
        standins.illegal: Reason.ILLEGAL,
        standins.truncated: Reason.TRUNCATED,
        standins.empty: Reason.EMPTY,
        standins.unprocessable: Reason.REFUSED,
    }
    records = await played(StandIn(api, [*wrong, plays_on]), "?asks=1")

    assert [record.broken for record in records] == [None, None]
    assert all(record.winner for record in records)
    counted = outcomes(records)
    assert counted.pop((Outcome.CHOSEN, None)) > 10
    assert counted == Counter((Outcome.SUBSTITUTED, reason) for reason in wrong.values())


@APIS
async def test_an_answer_that_never_comes_is_a_substitution_of_its_own_and_the_other_battle_plays_on(api: Api) -> None:
    # Patient enough that a busy machine times out nothing else.
    model = StandIn(api, [standins.silent, plays_on])
    records = await played(model, "?asks=1&timeout=5")

    assert [record.broken for record in records] == [None, None]
    counted = outcomes(records)
    assert counted.pop((Outcome.CHOSEN, None)) > 10
    assert set(counted) == {(Outcome.SUBSTITUTED, Reason.TIMED_OUT)}
    assert 1 <= model.abandoned <= counted.total()


@APIS
async def test_what_a_server_does_wrong_for_a_while_is_waited_out_and_nothing_is_substituted(api: Api) -> None:
    passing = [standins.rate_limited, standins.failing, standins.reset, standins.no_chat_at_all]
    records = await played(StandIn(api, [standins.slow, plays_on, *passing, plays_on]))

    assert [record.broken for record in records] == [None, None]
    assert set(outcomes(records)) == {(Outcome.CHOSEN, None)}
    assert sum(asked.retries for decision in of_p1(records) for asked in decision.asked) == len(passing)


@APIS
async def test_a_server_that_restarts_in_mid_battle_is_waited_for(api: Api) -> None:
    records = await played(StandIn(api, [plays_on] * 9 + [standins.restarting, plays_on]))

    assert [record.broken for record in records] == [None, None]
    assert set(outcomes(records)) == {(Outcome.CHOSEN, None)}


@APIS
async def test_a_second_ask_with_the_reason_mends_an_answer_and_both_are_recorded(api: Api) -> None:
    model = StandIn(api, [standins.illegal, plays_on])
    records = await played(model, battles=1)

    (again,) = (decision for decision in of_p1(records) if decision.outcome is Outcome.CHOSEN_AFTER_SECOND_ASK)
    assert again.reason is Reason.ILLEGAL
    assert [asked.reason for asked in again.asked] == [Reason.ILLEGAL, None]
    assert "Your last answer was illegal" in model.asked[1].body["messages"][-1]["content"]
    assert set(outcomes(records)) == {(Outcome.CHOSEN, None), (Outcome.CHOSEN_AFTER_SECOND_ASK, Reason.ILLEGAL)}


async def test_v1_is_spoken_as_the_published_model_speaks_it_and_what_it_cannot_say_is_counted_apart() -> None:
    model = StandIn(TGI, [plays_on])
    records = await played(model, "?contract=v1", against="heuristic", battles=4)

    moves = {decision.action for decision in of_p1(records) if decision.outcome is Outcome.CHOSEN}
    assert any(set(move) & set("-'’ ") for move in moves)
    assert all(asked.answer.endswith((", physical)", ", special)", ", status)")) for asked in asks(records))
    counted = outcomes(records)
    assert set(counted) == {(Outcome.CHOSEN, None), (Outcome.SUBSTITUTED, Reason.INEXPRESSIBLE)}
    forced = [decision for decision in of_p1(records) if decision.outcome is Outcome.SUBSTITUTED]
    assert {decision.action_type for decision in forced} == {"switch"}
    assert all(not decision.asked for decision in forced)

    run = run_of(records)
    assert run.summary.p1_substitutions == len(forced)
    assert run.summary.p1_substitutions_by_reason == {Reason.INEXPRESSIBLE: len(forced)}
    assert "not the model" in render(run)


async def test_the_substitute_may_forfeit_and_the_battle_is_lost_and_says_so() -> None:
    records = await played(StandIn(TGI, [plays_on, plays_on, standins.garbage]), "?asks=1&substitute=forfeit")

    assert [record.winner for record in records] == ["p2", "p2"]
    assert [record.forfeited for record in records] == ["p1", "p1"]
    assert all(record.broken is None and record.turns <= 5 for record in records)
    last = [of_p1([record])[-1] for record in records]
    assert {(decision.action_type, decision.order, decision.outcome) for decision in last} == {
        ("forfeit", "forfeit", Outcome.SUBSTITUTED)
    }
    assert all(record.input_log[-1] == f">forcelose {record.p1_seat}" for record in records)
    run = run_of(records)
    assert (run.summary.p1_forfeits, run.summary.p2_forfeits) == (2, 0)
    assert "gave up 2 battles" in render(run)


async def test_max_damage_may_be_the_substitute() -> None:
    records = await played(StandIn(TGI, [standins.garbage]), "?asks=1&substitute=max-damage", battles=2)

    assert set(outcomes(records)) == {(Outcome.SUBSTITUTED, Reason.UNPARSABLE)}
    assert [record.winner for record in records] == ["p1", "p1"]


async def test_history_is_of_the_same_battle_and_survives_the_interleaving_of_others() -> None:
    model = StandIn(TGI, [plays_on])
    records = await played(model, "?history=1", battles=2)

    for record in records:
        asked = [decision for decision in of_p1([record]) if decision.asked]
        assert [decision.history_msgs for decision in asked[:3]] == [0, 2, 2]
        for before, after in pairwise(asked):
            sent = [
                each.body["messages"]
                for each in model.asked
                if each.body["messages"][-1]["content"] == after.asked[0].prompt
            ]
            assert any(messages[0]["content"] == before.asked[0].prompt for messages in sent)


async def test_a_server_that_goes_away_for_good_breaks_its_battles_with_the_reason() -> None:
    async def goes(model: StandIn, asked: Asked) -> Send:
        await model.server.stop()
        return await standins.silent(model, asked)

    records = await played(StandIn(TGI, [plays_on, goes]), patience_seconds=0.3)

    assert [record.winner for record in records] == [None, None]
    assert all(
        "Unreachable" in (record.broken or "") and "does not answer" in (record.broken or "") for record in records
    )


async def test_a_budget_in_money_ends_a_matchup_cleanly_with_what_it_has(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('["tgi:stand-in"]\nin = 100.0\nout = 0.0\n')  # a cent a question
    budget = MatchupBudget(max_cost_usd=1.0)
    records = await played(StandIn(TGI, [plays_on]), battles=20, budget=budget, prices_file=prices)

    spent = sum(asked.cost_usd or 0 for asked in asks(records))
    assert 0.5 < spent < 1.3
    assert 1 <= len(records) < 20
    assert all(record.winner for record in records)
    assert "the budget of 1 USD does not reach for another battle" in (budget.stopped or "")
    run = run_of(records)
    assert run.summary.p1_asking is not None and run.summary.p1_asking.cost_usd == pytest.approx(spent)


async def test_a_budget_in_money_is_refused_where_no_price_is_known() -> None:
    with pytest.raises(UsageError, match="no price is known for 'openai:stand-in"):
        await played(StandIn(OPENAI, [plays_on]), max_cost_usd=1.0)


async def test_a_budget_in_tokens_holds_without_any_price() -> None:
    budget = MatchupBudget(max_tokens=5_000)
    records = await played(StandIn(TGI, [plays_on]), battles=20, budget=budget)

    assert 1 <= len(records) < 20
    assert "tokens are spent" in (budget.stopped or "")
    assert run_of(records).summary.p1_asking is not None


async def test_hostile_text_from_a_model_is_text_in_records_and_report() -> None:
    hostile = "<script>alert(1)</script>\ud800\x1b[31m{{7*7}}"

    async def attacks(model: StandIn, asked: Asked) -> Send:
        answer = {"reason": hostile, "action": asked.permitted[0]}
        return model.says(json.dumps(answer))

    records = await played(StandIn(OPENAI, [attacks]), "?reasoning=yes", battles=1)

    said = [decision.reasoning for decision in of_p1(records) if decision.reasoning]
    assert said and all("<script>" in text for text in said)
    page = render(run_of(records))
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert "\x1b" not in page and BattleRecord.model_validate_json(records[0].model_dump_json()) == records[0]


async def test_no_key_reaches_a_record() -> None:
    records = await played(StandIn(MISTRAL, [plays_on]), battles=1)

    assert "key of mistral" not in records[0].model_dump_json()


def asks(records: list[BattleRecord]) -> list[AskRecord]:
    return [asked for decision in of_p1(records) for asked in decision.asked]
