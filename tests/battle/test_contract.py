"""The contracts and their hashes."""

from dataclasses import replace

import pytest

from shared.battle.completion import render
from shared.battle.contract import CONTRACTS, golden_states
from tests.battle.builders import FLASH_CANNON, TO_GYARADOS, a_state

# A new hash means that models trained under the old one are asked in words they have not learned.
HASHES = {
    "v1": "65ad179a89c33d8d3adc738374505b7065a47345124c0038aeac048ca25004c8",
    "v2": "402906b5493bf5f309cf5c48126fde69775f02f3e795a2e17880769b8e61f2cd",
    "v3": "c7e67a235e7692ba4b4b60c8eb8848e1c69f4c28168bfecf23af67566d531014",
}


@pytest.mark.parametrize("version", CONTRACTS)
def test_a_contract_says_what_it_said(version: str) -> None:
    assert CONTRACTS[version].hash == HASHES[version]


def test_one_changed_word_changes_the_hash() -> None:
    v2 = CONTRACTS["v2"]
    changed = replace(v2, prompt=lambda state: v2.prompt(state).replace("Choose:", "Pick:"))

    assert changed.hash != v2.hash


def test_the_golden_states_meet_every_request_and_gimmick() -> None:
    states = golden_states()
    gimmicks = {getattr(action, "gimmick", None) for state in states for action in state.legal}

    assert {state.asked for state in states} == {"move", "switch", "lead"}
    assert gimmicks >= {None, "tera", "dynamax", "zmove", "mega"}
    assert {state.generation for state in states} >= {1, 2, 4, 6, 7, 8, 9}


def test_a_contract_without_words_for_an_action_renders_none() -> None:
    state = a_state()
    v1, v2 = CONTRACTS["v1"], CONTRACTS["v2"]

    assert render(TO_GYARADOS, v2.completions(state)) == "switch Gyarados"
    assert render(TO_GYARADOS, v1.completions(state)) is None
    assert render(FLASH_CANNON, v1.completions(state)) is not None
