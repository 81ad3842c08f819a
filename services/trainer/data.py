"""Reads a dataset's folder and writes its rows in tokens, as the model will be asked them.

The words around prompt and completion come from the same functions that serve the model, so that what is trained on is,
token by token, what is served.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared.battle.contract import CONTRACTS
from shared.datasets import DatasetCard, Row
from shared.document import parsed
from shared.errors import BrokenRecord, NotFound, UsageError
from shared.language.chat import completion_ids, completions_ids, prompt_ids
from shared.language.scoring import FiniteSet, tree_of

IGNORED = -100
"""The label of a token that is read and not learned."""
LEAST_WEIGHT, MOST_WEIGHT = 0.1, 4.0
"""Of a decision, where the average is 1: a won battle still teaches something, and no single decision everything."""


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

    @property
    def columns(self) -> dict[str, list[Any]]:
        """As trl takes samples that are in tokens already."""
        return {"input_ids": list(map(list, self.input_ids)), "labels": list(map(list, self.labels))}


@dataclass(frozen=True, slots=True)
class LegalSets:
    """Decisions in tokens: each a prompt with all legal completions, and how the teacher would choose among them."""

    sets: tuple[FiniteSet, ...]
    targets: tuple[tuple[float, ...], ...]
    """The teacher's distribution over each set; where there was none, all of it on the label."""
    weights: tuple[float, ...]
    """How much each counts; 1 on average."""
    too_long: int

    @property
    def input_ids(self) -> tuple[tuple[int, ...], ...]:
        """What a model reads of each: the prompt, then the completions as a tree."""
        return tuple((*each.prompt, *tree_of(each.members).tokens) for each in self.sets)

    @property
    def columns(self) -> dict[str, list[Any]]:
        """As a dataset has them. `input_ids` are there for their lengths."""
        return {
            "input_ids": list(map(list, self.input_ids)),
            "prompt": [list(each.prompt) for each in self.sets],
            "members": [list(map(list, each.members)) for each in self.sets],
            "target": list(map(list, self.targets)),
            "weight": list(self.weights),
        }


def read_card(folder: Path) -> DatasetCard:
    """What a dataset says of itself. Raises NotFound and BrokenRecord."""
    path = folder / "card.json"
    try:
        return parsed(DatasetCard, path.read_bytes(), path)
    except OSError as error:
        raise NotFound(f"there is no dataset in {folder}: {path.name} cannot be read") from error


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


def legal_sets(rows: Sequence[Row], tokenizer: Any, *, weight: Literal["none", "cost"], max_length: int) -> LegalSets:
    """The rows with a choice, in tokens. Too long is one whose prompt and tree of completions are."""
    chosen = [row for row in rows if len(row.legal) > 1]
    sets = [
        FiniteSet(tuple(asked(tokenizer, row.prompt)), tuple(map(tuple, completions_ids(tokenizer, row.legal))))
        for row in chosen
    ]
    kept = [
        (row, each)
        for row, each in zip(chosen, sets, strict=True)
        if len(each.prompt) + len(tree_of(each.members).tokens) <= max_length
    ]
    return LegalSets(
        sets=tuple(each for _, each in kept),
        targets=tuple(_target(row) for row, _ in kept),
        weights=_weights([row for row, _ in kept]) if weight == "cost" else (1.0,) * len(kept),
        too_long=len(chosen) - len(kept),
    )


def _target(row: Row) -> tuple[float, ...]:
    if not row.probabilities:
        return tuple(float(completion == row.completion) for completion in row.legal)
    total = sum(row.probabilities)
    return tuple(probability / total for probability in row.probabilities)


def _weights(rows: Sequence[Row]) -> tuple[float, ...]:
    """What a wrong choice costs at each row against the average, within bounds; the average where nobody valued it."""
    costs = [max(row.values) - sum(row.values) / len(row.values) if row.values else None for row in rows]
    known = [cost for cost in costs if cost is not None]
    average = sum(known) / len(known) if known else 0.0
    if not average:
        return (1.0,) * len(rows)
    bounded = [1.0 if cost is None else min(max(cost / average, LEAST_WEIGHT), MOST_WEIGHT) for cost in costs]
    scale = len(bounded) / sum(bounded)
    return tuple(scale * each for each in bounded)


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
    return tuple(parsed(Row, line, path) for line in raw.splitlines() if line.strip())
