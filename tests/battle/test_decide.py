"""How a decision comes about: asked, asked again, substituted, and told as it was."""

from collections.abc import Iterable

from shared.battle.action import Action
from shared.battle.contract import CONTRACTS
from shared.battle.decision import Answer, Ask, Decision, Outcome, Reason, decide
from shared.battle.state import BattleState
from tests.battle.builders import FLASH_CANNON, THUNDERBOLT, TO_GYARADOS, a_state


class Model:
    """Gives the answers it was made with, and remembers what it was asked."""

    def __init__(self, *answers: Answer | str) -> None:
        self.asked: list[Ask] = []
        self._answers: Iterable[Answer | str] = iter(answers)

    async def __call__(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        answer = next(iter(self._answers))
        return Answer(answer) if isinstance(answer, str) else answer


def last_legal(state: BattleState) -> Action:
    return state.legal[-1]


async def decided(model: Model, state: BattleState, version: str = "v2") -> Decision:
    return await decide(state, model, CONTRACTS[version], substitute=last_legal)


async def test_a_usable_answer_is_chosen() -> None:
    model = Model(Answer("move Thunderbolt", reasoning="It hits."))

    assert await decided(model, a_state()) == Decision(THUNDERBOLT, Outcome.CHOSEN, reasoning="It hits.")
    assert model.asked[0].prompt == CONTRACTS["v2"].prompt(a_state())
    assert model.asked[0].completions == ("move Flash Cannon", "move Thunderbolt", "switch Gyarados")
    assert model.asked[0].regex == "(move Flash Cannon|move Thunderbolt|switch Gyarados)"


async def test_one_legal_action_asks_nobody() -> None:
    model = Model()

    assert await decided(model, a_state(legal=(THUNDERBOLT,))) == Decision(THUNDERBOLT, Outcome.ONLY_ACTION)
    assert model.asked == []


async def test_a_refused_answer_is_asked_for_again_with_the_reason() -> None:
    model = Model("move Explosion", "move Flash Cannon")

    assert await decided(model, a_state()) == Decision(FLASH_CANNON, Outcome.CHOSEN_AFTER_SECOND_ASK, Reason.ILLEGAL)
    assert model.asked[1].prompt.startswith(model.asked[0].prompt + "\nYour last answer was illegal: move Explosion\n")
    assert model.asked[1].regex == model.asked[0].regex


async def test_after_two_refused_answers_the_substitute_plays_and_the_decision_says_so() -> None:
    model = Model(Answer("", Reason.TIMED_OUT), "no idea")

    assert await decided(model, a_state()) == Decision(TO_GYARADOS, Outcome.SUBSTITUTED, Reason.UNPARSABLE)
    assert len(model.asked) == 2


async def test_an_answer_that_was_cut_off_is_not_read_as_a_shorter_one() -> None:
    cut = Answer("move Thunderbolt", Reason.TRUNCATED)

    assert (await decided(Model(cut, cut), a_state())).reason is Reason.TRUNCATED


async def test_a_request_that_the_contract_cannot_express_is_not_the_models_fault() -> None:
    model = Model()
    forced = a_state(asked="switch", legal=(TO_GYARADOS, TO_GYARADOS))

    assert await decided(model, forced, "v1") == Decision(TO_GYARADOS, Outcome.SUBSTITUTED, Reason.INEXPRESSIBLE)
    assert model.asked == []
