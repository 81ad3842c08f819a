"""Samples: what is learned is the completion, what is trained on is what is served, and what cannot be is refused."""

from pathlib import Path

import pytest

from services.trainer.data import IGNORED, read_splits, tokens
from shared.errors import BrokenRecord, NotFound, UsageError
from tests.language.tiny import tiny_tokenizer
from tests.trainer.learned import dataset, rows, write


def test_only_the_completion_and_its_end_are_learned() -> None:
    tokenizer, own = tiny_tokenizer(), rows("train", 8)

    made = tokens(own, tokenizer, loss="completion", max_length=2000)

    learned = [[label for label in labels if label != IGNORED] for labels in made.labels]
    assert [tokenizer.decode(labels) for labels in learned] == [f"{row.completion}<|im_end|>" for row in own]


def test_the_original_learned_the_whole_chat() -> None:
    made = tokens(rows("train", 4), tiny_tokenizer(), loss="all", max_length=2000)

    assert made.labels == made.input_ids


def test_what_is_too_long_is_left_out_and_counted_and_never_cut() -> None:
    own = rows("train", 8)
    whole = tokens(own, tiny_tokenizer(), loss="completion", max_length=2000)
    limit = sorted(map(len, whole.input_ids))[3]

    made = tokens(own, tiny_tokenizer(), loss="completion", max_length=limit)

    assert set(made.input_ids) <= set(whole.input_ids)
    assert made.too_long == len(own) - len(made.input_ids) > 0


def test_a_dataset_of_another_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="made for the contract v2, and v1 is wanted"):
        read_splits(dataset(tmp_path), "v1")


def test_a_dataset_of_another_state_of_the_contract_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train": rows("train", 2), "validation": rows("held", 2)}, contract_hash="0" * 64)

    with pytest.raises(UsageError, match="build it again"):
        read_splits(folder, "v2")


def test_splits_that_share_a_battle_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train": rows("same", 3), "validation": rows("same", 2)})

    with pytest.raises(UsageError, match="2 battles stand in both splits"):
        read_splits(folder, "v2")


def test_a_file_that_was_changed_is_noticed(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    (folder / "train.jsonl").write_text((folder / "validation.jsonl").read_text())

    with pytest.raises(BrokenRecord, match="not the file"):
        read_splits(folder, "v2")


def test_a_folder_without_a_dataset_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no dataset"):
        read_splits(tmp_path, "v2")
