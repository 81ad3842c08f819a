"""The policy that knows types and nothing else."""

from dataclasses import replace

import pytest

from services.arena.policies.baselines import typed_best
from shared.battle.action import Action, Move, Switch
from shared.battle.state import BattleState, PokemonState, Side
from tests.battle.builders import FLASH_CANNON, GYARADOS, MAGNEZONE, RAGING_BOLT, THUNDERBOLT, TO_GYARADOS, a_state

FERROTHORN = PokemonState("Ferrothorn", level=80, hp_percent=100, types=("Grass", "Steel"))
TO_FERROTHORN = Switch(3, "Ferrothorn")
THUNDER = Move(3, "thunder", "Thunder")
THUNDERBOLT_TERA = Move(2, "thunderbolt", "Thunderbolt", "tera")
EARTHQUAKE = Move(4, "earthquake", "Earthquake")


def against(foe: PokemonState, *legal: Action, **changes: object) -> BattleState:
    return a_state(foe=Side(foe, unseen=5), legal=legal, **changes)


@pytest.mark.parametrize(
    ("state", "chosen"),
    [
        # 80 x 1.5 x 1 = 120 against 90 x 1.5 x 0.5 = 67.5.
        (against(RAGING_BOLT, FLASH_CANNON, THUNDERBOLT, TO_GYARADOS), FLASH_CANNON),
        # Water and Flying: 90 x 1.5 x 4 = 540 against 80 x 1.5 x 0.5 = 60.
        (against(GYARADOS, FLASH_CANNON, THUNDERBOLT, TO_GYARADOS), THUNDERBOLT),
        # 110 x 0.7 = 77 of a hundred, against 90.
        (against(GYARADOS, THUNDER, THUNDERBOLT), THUNDERBOLT),
        # Flying is immune to Ground, whatever the power.
        (against(GYARADOS, EARTHQUAKE, FLASH_CANNON), FLASH_CANNON),
        (against(GYARADOS, THUNDERBOLT_TERA, FLASH_CANNON), FLASH_CANNON),
        # Nothing does any harm, and still it does not switch of its own will.
        (against(GYARADOS, EARTHQUAKE, TO_GYARADOS), EARTHQUAKE),
    ],
)
def test_it_takes_the_move_of_most_expected_power(state: BattleState, chosen: Action) -> None:
    assert typed_best(state) == [chosen]


def test_when_it_must_switch_it_sends_in_who_resists_best() -> None:
    own = Side(replace(MAGNEZONE, hp_percent=0), (GYARADOS, FERROTHORN))
    # Electric hurts Gyarados fourfold, Ferrothorn half.
    state = against(RAGING_BOLT, TO_GYARADOS, TO_FERROTHORN, own=own, asked="switch")

    assert typed_best(state) == [TO_FERROTHORN]


def test_it_leads_with_whom_it_draws() -> None:
    own = Side(None, (MAGNEZONE, GYARADOS))
    lead = (Switch(1, "Magnezone"), Switch(2, "Gyarados"))

    assert typed_best(a_state(own=own, foe=Side(None, unseen=6), legal=lead, asked="lead")) == list(lead)
