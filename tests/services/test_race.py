"""The policy that reckons who knocks out whom first."""

from dataclasses import replace
from typing import Any

import pytest

from services.arena.play import play
from services.arena.policies.race import worths
from shared.battle.action import Action, Move, Switch
from shared.battle.decision import Outcome
from shared.battle.state import BattleState, KnownMove, PokemonState, Side
from shared.policies import FORMATS
from shared.records import BattleRecord, MatchupRequest
from tests.battle.builders import FLASH_CANNON, MAGNEZONE, THUNDERBOLT, a_state

GYARADOS = PokemonState("Gyarados", level=80, hp_percent=100, types=("Water", "Flying"))
GARCHOMP = PokemonState(
    "Garchomp", level=75, hp_percent=100, types=("Dragon", "Ground"), moves=(KnownMove("Earthquake"),)
)
CORVIKNIGHT = PokemonState(
    "Corviknight", level=80, hp_percent=100, types=("Flying", "Steel"), moves=(KnownMove("Brave Bird", 24, 24),)
)
TO_CORVIKNIGHT = Switch(2, "Corviknight")
FLASH_CANNON_TERA = replace(FLASH_CANNON, gimmick="tera")
RECOVER, QUICK_ATTACK = Move(1, "recover", "Recover"), Move(2, "quickattack", "Quick Attack")


def best(state: BattleState) -> Action:
    worth = worths(state)
    return state.legal[worth.index(max(worth))]


def against(foe: PokemonState, *legal: Action, own: Side | None = None, **changes: Any) -> BattleState:
    return a_state(foe=Side(foe, unseen=5), legal=legal, own=own or Side(MAGNEZONE, (CORVIKNIGHT,)), **changes)


def test_it_takes_what_knocks_out() -> None:
    assert best(against(GYARADOS, FLASH_CANNON, THUNDERBOLT, TO_CORVIKNIGHT)) == THUNDERBOLT


def test_it_leaves_a_race_that_is_lost_for_one_that_is_won() -> None:
    # Earthquake takes all of a Magnezone, which is slower, and nothing of a Corviknight.
    assert best(against(GARCHOMP, FLASH_CANNON, THUNDERBOLT, TO_CORVIKNIGHT)) == TO_CORVIKNIGHT


def test_it_stays_where_nobody_on_the_bench_does_better() -> None:
    weak = replace(CORVIKNIGHT, hp_percent=4, moves=())

    assert best(against(GYARADOS, FLASH_CANNON, TO_CORVIKNIGHT, own=Side(MAGNEZONE, (weak,)))) == FLASH_CANNON


def test_it_terastallizes_where_that_turns_the_race_and_not_where_it_is_won_anyway() -> None:
    # As a Water type, Magnezone takes half of what it does now from Earthquake, and a quarter of it before.
    lost = against(replace(GARCHOMP, hp_percent=45), FLASH_CANNON, FLASH_CANNON_TERA, own=Side(MAGNEZONE))
    won = against(replace(GYARADOS, hp_percent=20), FLASH_CANNON, FLASH_CANNON_TERA, own=Side(MAGNEZONE))

    assert best(lost) == FLASH_CANNON_TERA
    assert best(won) == FLASH_CANNON


def test_it_strikes_first_where_it_would_faint_before_its_turn() -> None:
    dying = replace(
        MAGNEZONE, hp_percent=3, moves=(KnownMove("Quick Attack", 24, 24), KnownMove("Thunderbolt", 24, 24))
    )
    foe = replace(GARCHOMP, species="Weavile", types=("Dark", "Ice"), hp_percent=3)

    assert best(against(foe, QUICK_ATTACK, replace(THUNDERBOLT, slot=1), own=Side(dying))) == QUICK_ATTACK


def test_it_heals_where_that_outlasts_the_opponent() -> None:
    weak = PokemonState(
        "Chansey", level=80, hp_percent=45, types=("Normal",), moves=(KnownMove("Seismic Toss", 24, 24),)
    )
    foe = replace(CORVIKNIGHT, moves=tuple(KnownMove(name) for name in ("Peck", "Roost", "Defog", "Growl")))
    toss = Move(2, "seismictoss", "Seismic Toss")

    assert best(against(foe, RECOVER, toss, own=Side(replace(weak, hp_percent=8)))) == RECOVER
    assert best(against(foe, RECOVER, toss, own=Side(replace(weak, hp_percent=100)))) == toss


@pytest.mark.parametrize("format_name", sorted(name for name in FORMATS if name.endswith("randombattle")))
async def test_it_plays_every_generation_without_a_substitute(format_name: str) -> None:
    records: list[BattleRecord] = []
    request = MatchupRequest(p1="race", p2="heuristic", battles=1, format=format_name, seed=4)
    await play(request, range(1), matchup_id="race", worker="test", on_record=records.append)

    outcomes = {decision.outcome for record in records for decision in record.decisions if decision.policy == "p1"}
    assert outcomes <= {Outcome.CHOSEN, Outcome.ONLY_ACTION}
    assert [record.broken for record in records] == [None]


async def test_it_beats_the_heuristic() -> None:
    records: list[BattleRecord] = []
    request = MatchupRequest(p1="race", p2="heuristic", battles=10, seed=77)
    await play(request, range(10), matchup_id="race", worker="test", on_record=records.append)

    assert sum(record.winner == "p1" for record in records) >= 7
