"""`alphastral skew`: the prompts of training beside those of battles, for real runs."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.cli.judge import measured
from services.arena.play import play
from services.reporter.run import assemble
from services.scraper.skew import Skew, causes_of
from shared.battle.contract import golden_states
from shared.battle.state import BattleState, Side
from shared.errors import UsageError
from shared.records import BattleRecord, MatchupRequest, Run, read_run

OLD_RUN = Path(__file__).parents[1] / "services" / "old_run.json"


def played(**request: object) -> Run:
    asked = MatchupRequest.model_validate({"p1": "heuristic", "p2": "random", "battles": 4, "seed": 11, **request})
    records: list[BattleRecord] = []
    asyncio.run(play(asked, range(asked.battles), matchup_id="m", worker="test", on_record=records.append))
    return assemble(asked, records, matchup_id="m", created_at="2026-01-02T03:04:05+00:00")


@pytest.fixture(scope="module", params=["gen9randombattle", "gen9ou"])
def skew(request: pytest.FixtureRequest) -> Skew:
    return asyncio.run(measured(played(format=request.param)))


def test_prompts_from_the_input_log_are_those_that_were_served(skew: Skew) -> None:
    for grade in skew.exact.values():
        assert grade.compared > 100
        assert grade.identical == grade.compared


def test_v1_from_the_public_log_is_what_was_served(skew: Skew) -> None:
    assert skew.rebuilt["v1"].compared > 100
    assert skew.rebuilt["v1"].share >= 0.98


def test_v2_from_the_public_log_differs_by_what_it_cannot_hold_alone(skew: Skew) -> None:
    assert skew.rebuilt["v2"].compared > 100
    assert skew.rebuilt["v2"].unexplained == []
    assert skew.holds


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(played(battles=2).model_dump_json())

    result = CliRunner().invoke(app, ["skew", str(file)])

    assert result.exit_code == 0, result.output
    assert "v1, from the input log" in result.output


def test_a_run_of_the_original_project_has_nothing_to_measure() -> None:
    with pytest.raises(UsageError, match="runs of ours alone"):
        asyncio.run(measured(read_run(OLD_RUN)))


def a_state() -> BattleState:
    return next(state for state in golden_states() if state.own.active and state.foe.active and state.own.bench)


def test_an_item_of_ones_own_explains_a_difference() -> None:
    served = a_state()
    assert served.own.active is not None
    rebuilt = replace(served, own=replace(served.own, active=replace(served.own.active, item=None)))

    assert causes_of(rebuilt, served, complete=True) == (("own item that never shows",), True)


def with_active(state: BattleState, side: str, **facts: Any) -> BattleState:
    """The state with these facts of one side's active Pokémon."""
    whose: Side = getattr(state, side)
    assert whose.active is not None
    changed: Any = {side: replace(whose, active=replace(whose.active, **facts))}
    return replace(state, **changed)


def test_a_forme_that_an_ability_alone_tells_is_hidden_where_the_ability_is() -> None:
    rebuilt = with_active(a_state(), "own", species="Greninja", ability=None)
    served = with_active(a_state(), "own", species="Greninja-Bond", ability="battlebond")

    causes, is_all = causes_of(rebuilt, served, complete=True)

    assert is_all and "own forme that an ability alone tells" in causes


MISTAKES: Mapping[str, Callable[[BattleState], BattleState]] = {
    "turn": lambda state: replace(state, turn=state.turn + 1),
    "weather": lambda state: replace(state, weather="DeltaStream"),
    "moves seen": lambda state: replace(state, foe_moves_seen=("Splash",)),
    "the opponent's HP": lambda state: with_active(state, "foe", hp_percent=1),
    "the opponent's item": lambda state: with_active(state, "foe", item="ironball"),
    "own boosts": lambda state: with_active(state, "own", boosts={"atk": 6}),
    "own HP": lambda state: with_active(state, "own", hp_percent=1),
    "legal actions": lambda state: replace(state, legal=state.legal[:1]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_nothing_hidden_explains_a_public_fact_that_is_wrong(mistake: str) -> None:
    served = a_state()

    _, is_all = causes_of(MISTAKES[mistake](served), served, complete=True)

    assert not is_all
