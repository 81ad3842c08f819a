"""Reads a dataset's folder and writes its rows in tokens, as the model will be asked them.

The words around prompt and completion come from the same functions that serve the model, so that what is trained on is,
token by token, what is served.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from shared.battle.contract import CONTRACTS
from shared.datasets import DatasetCard, Row
from shared.errors import BrokenRecord, NotFound, UsageError, broken
from shared.language.chat import completion_ids, prompt_ids

IGNORED = -100
"""The label of a token that is read and not learned."""


@dataclass(frozen=True, slots=True)
class Splits:
    """A dataset, read."""

    name: str
    card: DatasetCard
    train: tuple[Row, ...]
    validation: tuple[Row, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over its files, by their own digests."""
        return hashlib.sha256("".join(self.card.files[name] for name in sorted(self.card.files)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Samples in tokens, each with its labels, and how many were too long to be any."""

    input_ids: tuple[tuple[int, ...], ...]
    labels: tuple[tuple[int, ...], ...]
    too_long: int


def read_card(folder: Path) -> DatasetCard:
    """What a dataset says of itself. Raises NotFound and BrokenRecord."""
    path = folder / "card.json"
    try:
        return DatasetCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NotFound(f"there is no dataset in {folder}: {path.name} cannot be read") from error
    except ValidationError as error:
        raise broken(path, error) from error


def read_splits(folder: Path, contract: str) -> Splits:
    """A dataset that was made for `contract` as it is here.

    Raises UsageError for one of another contract, for splits that share a battle, and where one has no rows; NotFound
    and BrokenRecord for files that are not there or not what the card says.
    """
    card = read_card(folder)
    if card.contract != contract:
        raise UsageError(
            f"the dataset {folder} was made for the contract {card.contract}, and {contract} is wanted", field="dataset"
        )
    if card.contract_hash != CONTRACTS[contract].hash:
        raise UsageError(
            f"the dataset {folder} was made for another state of the contract {contract} "
            f"({card.contract_hash[:12]}, here {CONTRACTS[contract].hash[:12]}): build it again",
            field="dataset",
        )
    train, validation = (_rows(folder, split, card) for split in ("train", "validation"))
    for split, rows in (("train", train), ("validation", validation)):
        if not rows:
            raise UsageError(f"the dataset {folder} has no rows to {split} on", field="dataset")
    shared = {row.battle for row in train} & {row.battle for row in validation}
    if shared:
        raise UsageError(
            f"{len(shared)} battles stand in both splits of the dataset {folder}, {min(shared)} among them: what is "
            "learned would be asked again",
            field="dataset",
        )
    return Splits(folder.resolve().name, card, train, validation)


def tokens(rows: Sequence[Row], tokenizer: Any, *, loss: Literal["all", "completion"], max_length: int) -> Tokens:
    """Rows in tokens: the chat up to where the answer begins, then the completion and the token that ends it."""
    found: list[tuple[int, ...]] = []
    labels: list[tuple[int, ...]] = []
    for row in rows:
        prompt, completion = asked(tokenizer, row.prompt), completion_ids(tokenizer, row.completion)
        if len(prompt) + len(completion) > max_length:
            continue
        found.append((*prompt, *completion))
        labels.append((*(prompt if loss == "all" else [IGNORED] * len(prompt)), *completion))
    return Tokens(tuple(found), tuple(labels), len(rows) - len(found))


def asked(tokenizer: Any, prompt: str) -> list[int]:
    """A prompt in tokens, as one message of a user: what the arena sends, and the server makes of it."""
    return prompt_ids(tokenizer, [{"role": "user", "content": prompt}])


def _rows(folder: Path, split: str, card: DatasetCard) -> tuple[Row, ...]:
    path = folder / f"{split}.jsonl"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise NotFound(f"there is no {path}") from error
    if hashlib.sha256(raw).hexdigest() != card.files.get(split):
        raise BrokenRecord(f"{path} is not the file that the dataset's card tells of")
    try:
        return tuple(Row.model_validate_json(line) for line in raw.splitlines() if line.strip())
    except ValidationError as error:
        raise broken(path, error) from error
