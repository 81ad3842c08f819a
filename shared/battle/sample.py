"""One training sample: what a model is shown, and what it should have answered."""

from dataclasses import dataclass

from shared.battle.action import Action
from shared.battle.completion import render
from shared.battle.contract import Contract
from shared.battle.state import BattleState


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and its completion, in one contract's words."""

    prompt: str
    completion: str


def sample(state: BattleState, action: Action, contract: Contract) -> Sample | None:
    """The sample of `action`, chosen in `state`; None when the contract cannot express it."""
    completion = render(action, contract.completions(state))
    return None if completion is None else Sample(contract.prompt(state), completion)
