"""The contracts: versioned pairs of prompt and completion, spoken alike in training and in battle.

A contract's hash is taken over what it renders for the committed golden states, so that reformatting code
changes nothing and changing a word does. It stands on every dataset, adapter card and run.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from shared.battle.completion import Completions, completions_v1, completions_v2
from shared.battle.prompt_v1 import prompt_v1
from shared.battle.prompt_v2 import prompt_v2
from shared.battle.prompt_v3 import prompt_v3
from shared.battle.state import BattleState

_GOLDEN_STATES = Path(__file__).parent / "data" / "golden_states.json"


@dataclass(frozen=True, slots=True)
class Contract:
    """How a state is told, and how actions are written and read."""

    version: str
    prompt: Callable[[BattleState], str]
    completions: Callable[[BattleState], Completions]
    """The completions of a state's legal actions; those it cannot express are left out."""

    @property
    def hash(self) -> str:
        """SHA-256 over all prompts and completions of the golden states, as hexadecimal digits."""
        return _hash(self)


CONTRACTS: Mapping[str, Contract] = {
    contract.version: contract
    for contract in (
        Contract("v1", prompt_v1, completions_v1),
        Contract("v2", prompt_v2, completions_v2),
        Contract("v3", prompt_v3, completions_v2),
    )
}


@cache
def golden_states() -> tuple[BattleState, ...]:
    """The committed states: every kind of request, from generation 1 to 9."""
    return TypeAdapter(tuple[BattleState, ...]).validate_json(_GOLDEN_STATES.read_bytes())


@cache
def _hash(contract: Contract) -> str:
    rendered = [[contract.prompt(state), *contract.completions(state)] for state in golden_states()]
    return hashlib.sha256(json.dumps(rendered).encode()).hexdigest()
