"""A value model from battles to its file, its card, and what is shown of it."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from services.arena.play import play
from services.reporter.run import assemble
from services.trainer.value import Branched, branched, fit
from shared.errors import BrokenRecord, UsageError
from shared.records import BattleRecord, MatchupRequest, Run
from shared.value import read_value, shipped_value

BATTLES = 20


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short battles: one side hits, the other does anything."""
    request = MatchupRequest(p1="max-damage", p2="random", battles=BATTLES, seed=3, pairs=False)
    records: list[BattleRecord] = []
    asyncio.run(play(request, range(BATTLES), matchup_id="value", worker="w", on_record=records.append))
    run = assemble(request, records, matchup_id="value", created_at="2026-11-28T00:00:00+00:00")
    path = tmp_path_factory.mktemp("value") / "run.json"
    path.write_text(run.model_dump_json())
    return path


@pytest.fixture(scope="module")
def positions(run_file: Path) -> tuple[Run, tuple[str, ...], list[Branched]]:
    return branched(run_file, copies=1)


def test_a_battle_has_a_first_position_and_for_each_step_one_reached_and_its_copies(
    positions: tuple[Run, tuple[str, ...], list[Branched]],
) -> None:
    _, features, battles = positions

    assert len(battles) == BATTLES
    for battle in battles:
        assert battle.copies[0] == 0
        a_step = [1.0, -1.0] if battle.held_out else [1.0]
        assert battle.copies[1:].tolist() == a_step * (len(battle.copies[1:]) // len(a_step))
        assert battle.sides.shape == (len(battle.copies), 2, len(features))
        assert battle.ended[-len(a_step)] == battle.outcome
    assert [battle.held_out for battle in battles] == [False] * 16 + [True] * 4


def test_the_same_battles_and_seed_give_the_same_model_and_it_tells_who_wins(
    positions: tuple[Run, tuple[str, ...], list[Branched]],
) -> None:
    features = positions[1]
    model, again = fit([positions], hidden=2), fit([positions], hidden=2)

    assert (model, model.hash) == (again, again.hash)
    assert model.hash != fit([positions], hidden=2, seed=1).hash
    assert model.card.battles + model.card.held_out_battles == BATTLES
    assert model.weights[features.index("hp")] > 0
    assert model.card.policies == (f"max-damage vs random: {BATTLES}",)


def test_too_few_battles_are_refused(positions: tuple[Run, tuple[str, ...], list[Branched]]) -> None:
    run, features, battles = positions

    with pytest.raises(UsageError, match="5 of these battles"):
        fit([(run, features, battles[:5])])


def test_the_command_line_writes_a_model_and_shows_it(run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "value.json"

    trained = CliRunner().invoke(app, ["value", "train", str(run_file), "--out", str(out), "--copies", "1"])
    shown = CliRunner().invoke(app, ["value", "show", str(out)])

    assert (trained.exit_code, shown.exit_code) == (0, 0), trained.output + shown.output
    assert f"Value model {read_value(out).hash} of gen9randombattle" in shown.output
    assert f"max-damage vs random: {BATTLES}" in shown.output
    assert CliRunner().invoke(app, ["value", "show", "gen0nothing"]).exit_code != 0


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    model = shipped_value("gen9randombattle")
    assert model is not None
    document = json.loads(model.model_dump_json())
    (broken := tmp_path / "broken.json").write_text(json.dumps(document | {"weights": document["weights"][1:]}))

    with pytest.raises(BrokenRecord, match="one weight"):
        read_value(broken)


def test_the_model_that_comes_with_the_package_says_how_good_it_is() -> None:
    model = shipped_value("gen9randombattle")
    assert model is not None

    assert model.card.battles >= 2000
    assert model.card.log_loss < 0.5
    assert model.card.variance_left < 0.85
    assert all(abs(each.said - each.happened) < 0.1 for each in model.card.calibration if each.positions > 300)
