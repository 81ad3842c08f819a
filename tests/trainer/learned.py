"""A dataset small enough to be made in a test, with the contract's own words, and a recipe for a tiny model."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from services.trainer.recipes import Recipe
from shared.battle.contract import CONTRACTS, golden_states
from shared.datasets import DatasetCard, Dropped, Row

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def rows(split: str, count: int) -> list[Row]:
    """Rows of the golden states, their prompts cut short, each of a battle of its own."""
    contract = CONTRACTS["v2"]
    states = [state for state in golden_states() if len(contract.completions(state)) > 1]
    made = []
    for number in range(count):
        state = states[number % len(states)]
        legal = tuple(contract.completions(state))
        made.append(
            Row(
                prompt=contract.prompt(state)[:200],
                completion=legal[0],
                legal=legal,
                kind="move" if legal[0].startswith("move") else "forced switch",
                battle=f"{split}-{number}",
                turn=state.turn,
                side="p1",
                rating=None,
                source="run:heuristic",
                exact=True,
                contract="v2",
            )
        )
    return made


def write(folder: Path, splits: dict[str, list[Row]], **changes: object) -> Path:
    """A dataset's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for split, own in splits.items():
        raw = "".join(row.model_dump_json() + "\n" for row in own).encode()
        (folder / f"{split}.jsonl").write_bytes(raw)
        digests[split] = hashlib.sha256(raw).hexdigest()
    card = DatasetCard(
        contract="v2",
        contract_hash=CONTRACTS["v2"].hash,
        pokedex_hash="0" * 64,
        rows={split: len(own) for split, own in splits.items()},
        battles={split: len({row.battle for row in own}) for split, own in splits.items()},
        files=digests,
        counts={},
        dropped=Dropped(),
        command="test",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        software={},
    )
    (folder / "card.json").write_text(card.model_copy(update=changes).model_dump_json())
    return folder


def dataset(folder: Path, *, train: int = 24, validation: int = 6) -> Path:
    """A dataset that is as it should be."""
    return write(folder, {"train": rows("train", train), "validation": rows("validation", validation)})


def as_toml(recipe: Recipe) -> str:
    """A recipe as a file has it."""
    values = recipe.model_dump(mode="json", exclude_none=True, exclude={"name"})
    adapter = values.pop("lora")
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([*lines, "[lora]", *(f"{key} = {json.dumps(value)}" for key, value in adapter.items())])


def recipe(base: Path, **changes: object) -> Recipe:
    """Trains the tiny model in a second or two. Its tokenizer writes nearly a token a letter."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base": str(base),
            "contract": "v2",
            "device": "cpu",
            "loss": "completion",
            "lora": {"r": 4, "alpha": 4, "targets": LAYERS},
            "max_steps": 4,
            "learning_rate": 1e-2,
            "warmup_steps": 1,
            "batch_size": 2,
            "optimizer": "adamw_torch",
            "evaluate_every": 2,
            "save_every": 2,
            "scored_decisions": 4,
            "max_length": 600,
            "group_by_length": True,
            **changes,
        }
    )
