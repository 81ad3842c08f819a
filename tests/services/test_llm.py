"""A language model as a policy: what it is told, what becomes of its answers, and what is written down."""

import asyncio
from random import Random

import pytest

from services.arena.backends import Form, ListedModel, Reply, ScoredAnswer
from services.arena.budget import Price
from services.arena.policies import Exchanges
from shared.battle.action import Forfeit, Switch
from shared.battle.contract import CONTRACTS, golden_states
from shared.battle.decision import Decision, Outcome, Reason
from shared.battle.state import BattleState
from shared.errors import UsageError
from tests.services.scripted import Scripted, first_legal, language_model, said

STATE = golden_states()[0]
FORCED_SWITCH = golden_states()[1]
ONE_ACTION = BattleState(**{**{name: getattr(STATE, name) for name in STATE.__slots__}, "legal": STATE.legal[:1]})
MOVE = "move Moonblast"


async def decided(
    backend: Scripted, options: str = "", state: BattleState = STATE, conversation: Exchanges | None = None
) -> Decision:
    model = language_model(f"tgi:m{options}", backend)
    return await model.decide_in(state, conversation or Exchanges(), lambda state: Random(1).choice(state.legal))


async def test_a_legal_answer_is_the_decision_and_its_account_is_kept() -> None:
    candidates = (ScoredAnswer(MOVE, -0.1), ScoredAnswer("move Rest", -2.5))
    backend = Scripted([said(MOVE, candidates=candidates, retries=2, waited_ms=310.0)])
    decision = await decided(backend)

    assert decision.outcome is Outcome.CHOSEN
    assert decision.action == CONTRACTS["v2"].completions(STATE)[MOVE]
    (asked,) = decision.asked
    assert (asked.prompt, asked.answer, asked.reason) == (CONTRACTS["v2"].prompt(STATE), MOVE, None)
    assert (asked.tokens_in, asked.tokens_out, asked.model) == (100, 10, "scripted-1")
    assert (asked.first_token_ms, asked.last_token_ms, asked.waited_ms, asked.retries) == (None, 25.0, 310.0, 2)
    assert dict(asked.probabilities or {}) == pytest.approx({MOVE: 0.905, "move Rest": 0.082}, abs=1e-3)
    assert (asked.constraint, asked.cost_usd) == ("regex", None)


async def test_a_refused_answer_is_asked_again_with_the_reason_and_both_asks_are_kept() -> None:
    backend = Scripted([said("I would go for Moonblast!"), said(MOVE)])
    decision = await decided(backend)

    assert (decision.outcome, decision.reason) == (Outcome.CHOSEN_AFTER_SECOND_ASK, Reason.UNPARSABLE)
    assert [asked.reason for asked in decision.asked] == [Reason.UNPARSABLE, None]
    assert "Your last answer was unparsable: I would go for Moonblast!" in decision.asked[1].prompt


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (said("Moonblast is best here"), Reason.UNPARSABLE),
        (said('Sure! {"action": "move Moonblast"}'), Reason.UNPARSABLE),
        (said("move Hyper Beam"), Reason.ILLEGAL),
        (said(""), Reason.EMPTY),
        (said("move Moon", problem=Reason.TRUNCATED), Reason.TRUNCATED),
        (said("", problem=Reason.TIMED_OUT), Reason.TIMED_OUT),
        (said("I can't help with fights", problem=Reason.REFUSED), Reason.REFUSED),
    ],
)
async def test_what_stays_unusable_is_substituted_under_its_own_class(reply: Reply, reason: Reason) -> None:
    decision = await decided(Scripted([reply]), "?asks=3")

    assert (decision.outcome, decision.reason) == (Outcome.SUBSTITUTED, reason)
    assert [asked.reason for asked in decision.asked] == [reason] * 3
    assert decision.action in STATE.legal


async def test_one_legal_action_asks_nobody() -> None:
    backend = Scripted(first_legal)
    decision = await decided(backend, state=ONE_ACTION)

    assert (decision.outcome, decision.asked, backend.questions) == (Outcome.ONLY_ACTION, (), [])


async def test_a_forced_switch_under_v1_asks_nobody_and_is_a_substitution_of_its_own_class() -> None:
    backend = Scripted(first_legal)
    decision = await decided(backend, "?contract=v1", FORCED_SWITCH)

    assert (decision.outcome, decision.reason) == (Outcome.SUBSTITUTED, Reason.INEXPRESSIBLE)
    assert isinstance(decision.action, Switch)
    assert backend.questions == []


async def test_a_model_that_was_trained_on_a_contract_is_asked_by_it_to_the_letter() -> None:
    backend = Scripted(first_legal)
    await decided(backend, "?contract=v1&temperature=0.5&seed=3&timeout=7")

    (question,) = backend.questions
    assert question.messages == (("user", CONTRACTS["v1"].prompt(STATE)),)
    assert question.completions == tuple(CONTRACTS["v1"].completions(STATE))
    assert (question.temperature, question.seed, question.timeout_seconds) == (0.5, 3, 7.0)


async def test_any_other_model_is_told_the_task_and_the_legal_actions_once() -> None:
    backend = Scripted([said("?"), said(MOVE)], form=Form.JSON_SCHEMA)
    model = language_model("mistral:m", backend)
    await model.decide_in(STATE, Exchanges(), lambda state: state.legal[0])

    first, second = (question.messages[-1][1] for question in backend.questions)
    assert first.startswith("You are playing") and first.count("switch Hippowdon") == 2  # in the prompt, in the list
    assert second.startswith("You are playing") and second.count("switch Hippowdon") == 2


async def test_without_a_constraint_any_text_will_do_and_the_parser_is_as_strict() -> None:
    backend = Scripted([said(f"I choose {MOVE}"), said(MOVE)])
    decision = await decided(backend, "?constrain=no")

    assert [(question.completions, question.regex) for question in backend.questions] == [((), None)] * 2
    assert [asked.reason for asked in decision.asked] == [Reason.UNPARSABLE, None]
    assert {asked.constraint for asked in decision.asked} == {"none"}


async def test_a_reason_is_asked_for_and_kept() -> None:
    backend = Scripted([said(MOVE, raw="REASON: it is weak to it\nACTION: " + MOVE, reasoning="it is weak to it")])
    decision = await decided(backend, "?reasoning=yes")

    assert decision.reasoning == "it is weak to it"
    assert backend.questions[0].reasoning and backend.questions[0].max_tokens == 400
    assert "REASON:" in backend.questions[0].messages[-1][1]
    assert decision.asked[0].answer.startswith("REASON: it is weak")


async def test_as_much_history_is_sent_along_as_was_asked_for() -> None:
    backend, conversation = Scripted(first_legal), Exchanges()
    for _ in range(4):
        decision = await decided(backend, "?history=2", conversation=conversation)

    assert [len(question.messages) for question in backend.questions] == [1, 3, 5, 5]
    assert [role for role, _ in backend.questions[-1].messages] == ["user", "assistant", "user", "assistant", "user"]
    assert backend.questions[-1].messages[1][1] == "move Body Press"
    assert decision.history_messages == 4


async def test_history_holds_no_answer_that_was_not_played() -> None:
    conversation = Exchanges()
    await decided(Scripted([said("nonsense")]), conversation=conversation)

    assert conversation.latest(5) == ()


async def test_forfeit_is_a_substitute() -> None:
    model = language_model("tgi:m?substitute=forfeit", Scripted([said("nonsense")]))
    decision = await model.decide_in(STATE, Exchanges(), lambda state: Forfeit())

    assert (decision.action, decision.outcome) == (Forfeit(), Outcome.SUBSTITUTED)


async def test_hostile_text_is_bounded_and_can_be_stored() -> None:
    hostile = "<script>\ud800\x00[bold]" + "x" * 100_000
    decision = await decided(Scripted([said(hostile, reasoning=hostile, model=hostile, detail=hostile)]))

    asked = decision.asked[0]
    assert asked.reason is Reason.UNPARSABLE
    for text in (asked.answer, decision.reasoning or "", asked.model or "", asked.detail):
        assert text.encode() and text.startswith("<script>") and len(text) <= 8_000
    assert len(decision.asked[1].prompt) < 4_000


async def test_a_model_trained_for_another_contract_is_refused_with_both_names() -> None:
    served = [ListedModel("m", {"v1": "a" * 64})]
    model = language_model("tgi:m?contract=v2", Scripted(first_legal, served=served))

    with pytest.raises(UsageError, match=r"m was trained for the contract v1 \(a+…\), and is asked by v2"):
        await model.prepare()


@pytest.mark.parametrize(
    ("served", "card"),
    [
        ([ListedModel("m", {"v2": CONTRACTS["v2"].hash})], "checked"),
        ([ListedModel("m")], "assumed"),
        ([ListedModel("other", {"v1": "a" * 64})], "assumed"),
        ([], "assumed"),
    ],
)
async def test_a_contract_is_assumed_where_a_server_shows_no_card(served: list[ListedModel], card: str) -> None:
    model = language_model("tgi:m", Scripted(first_legal, served=served))
    await model.prepare()

    assert model.card == card
    assert model.contract == {"v2": CONTRACTS["v2"].hash}


async def test_a_cost_is_kept_with_each_ask() -> None:
    model = language_model("tgi:m", Scripted(first_legal), Price(tokens_in=1000, tokens_out=0))
    decision = await model.decide_in(STATE, Exchanges(), lambda state: state.legal[0])

    assert decision.asked[0].cost_usd == pytest.approx(0.1)


async def test_who_waits_for_a_version_can_be_stopped() -> None:
    backend = Scripted(first_legal, served=[ListedModel("m@1")])
    model = language_model("tgi:m@2", backend)
    looks = iter([False, True])
    await asyncio.wait_for(model.prepare(lambda: next(looks)), 10)

    assert model.card == "assumed" and backend.questions == []
