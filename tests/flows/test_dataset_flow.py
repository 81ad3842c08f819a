"""From battles played for data to a dataset on disk, through the command line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.datasets import DatasetCard, Row
from shared.records import read_run
from tests.flows.conftest import alphastral as in_this_process
from tests.standins.hub import hub


def alphastral(*arguments: object, folder: Path, status: int = 0, settings: Mapping[str, str] | None = None) -> str:
    """Run the command in `folder`; what it said on standard output, or on standard error where it failed."""
    done = in_this_process(*arguments, folder=folder, ALPHASTRAL_STORE=str(folder / "store"), **(settings or {}))
    assert done.status == status, done.stderr
    return done.stderr if status else done.stdout


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("played")
    alphastral("selfplay", "--p1", "heuristic", "--p2", "max-damage", "--n", 6, "--out", "battles", folder=folder)
    return folder / "battles"


@pytest.fixture(scope="module")
def built(played: Path) -> Path:
    alphastral("dataset", "build", "battles", "--out", "dataset", "--val-fraction", 0.2, folder=played.parent)
    return played.parent / "dataset"


def rows(dataset: Path, split: str) -> list[Row]:
    return [Row.model_validate_json(line) for line in (dataset / f"{split}.jsonl").read_text().splitlines()]


def test_battles_for_data_are_run_files_without_pairs(played: Path) -> None:
    run = read_run(played / "00000.json.gz")

    assert [battle.pair for battle in run.battles] == [None] * 6
    assert all(battle.input_log and battle.public_log for battle in run.battles)


def test_asked_for_again_nothing_is_played_and_nothing_else_is_mixed_in(played: Path) -> None:
    before = (played / "00000.json.gz").read_bytes()

    again = alphastral("selfplay", "--p2", "max-damage", "--n", 6, "--out", played, folder=played.parent)
    refused = alphastral("selfplay", "--n", 7, "--out", played, folder=played.parent, status=2)

    assert "6 battles" in again
    assert (played / "00000.json.gz").read_bytes() == before
    assert "asked for otherwise" in refused


def test_our_own_battles_become_exact_rows(built: Path, played: Path) -> None:
    card = DatasetCard.model_validate_json((built / "card.json").read_text())
    train, validation = rows(built, "train"), rows(built, "validation")

    assert card.rows == {"train": len(train), "validation": len(validation)}
    assert all(row.exact and row.complete and row.completion in row.legal for row in train + validation)
    assert {row.source for row in train} == {"run:heuristic", "run:max-damage"}
    assert {row.battle for row in train}.isdisjoint(row.battle for row in validation)
    assert len({row.battle for row in train + validation}) == 6


def test_the_labels_are_what_the_policies_chose(built: Path, played: Path) -> None:
    chosen: dict[tuple[str, int, str], list[str]] = {}
    run = read_run(played / "00000.json.gz")
    for decision in run.turn_stats:
        seat = "p1" if decision.policy == "p1" else "p2"
        chosen.setdefault((decision.battle_tag, decision.turn, seat), []).append(decision.action or "")

    for row in rows(built, "train"):
        name = row.completion.removesuffix(" tera").partition(" ")[2].partition(" #")[0]
        assert name in chosen[row.battle, row.turn, row.side]


def test_the_same_battles_give_the_same_dataset(built: Path, played: Path, tmp_path: Path) -> None:
    alphastral("dataset", "build", played, "--out", "again", "--val-fraction", 0.2, folder=tmp_path)

    def lasting(folder: Path) -> dict[str, Any]:
        card: dict[str, Any] = json.loads((folder / "card.json").read_text())
        return {key: value for key, value in card.items() if key not in ("command", "created_at")}

    assert lasting(tmp_path / "again") == lasting(built)
    assert (tmp_path / "again" / "train.jsonl").read_bytes() == (built / "train.jsonl").read_bytes()


def test_nothing_but_a_dataset_is_replaced(played: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    said = alphastral("dataset", "build", played, "--out", tmp_path, folder=played.parent, status=2)

    assert "holds something else" in said
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_dataset_is_pushed_to_the_hub_with_its_card(played: Path, tmp_path: Path) -> None:
    with hub("hf_secret") as there:
        settings = {"ALPHASTRAL_HUB_URL": there.url, "ALPHASTRAL_HF_TOKEN": "hf_secret"}
        asked = ("dataset", "build", played, "--out", "pushed", "--push", "me/battles")
        said = alphastral(*asked, folder=tmp_path, settings=settings)

    repository = there.repos["datasets", "me/battles"]
    assert "me/battles" in said
    assert repository.private
    assert {"README.md", "card.json", "train.jsonl", "validation.jsonl"} <= set(repository.files)
    assert repository.files["train.jsonl"] == (tmp_path / "pushed" / "train.jsonl").read_bytes()


def test_without_a_key_nothing_is_built_to_be_pushed(played: Path, tmp_path: Path) -> None:
    said = alphastral("dataset", "build", played, "--out", "x", "--push", "me/x", folder=tmp_path, status=2)

    assert "HF_TOKEN" in said
    assert not (tmp_path / "x").exists()
