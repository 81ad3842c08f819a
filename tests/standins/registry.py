"""What a trainer leaves in the store: by hand, or a folder to be published."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from shared.battle.contract import CONTRACTS
from shared.registry import ModelCard

OWN = {"v2": CONTRACTS["v2"].hash}


def publish(store: Path, name: str, version: str, contract: Mapping[str, str] = OWN) -> None:
    folder = store / "models" / name / "versions" / version
    folder.mkdir(parents=True)
    card = ModelCard(base="smollm2", kind="merged", contract=contract)
    (folder / "card.json").write_text(card.model_dump_json())


def promote(store: Path, name: str, version: str) -> None:
    (store / "models" / name / "current").write_text(f"{version}\n")


def card(second: int = 0, **changes: object) -> ModelCard:
    """A card of a moment of its own."""
    made = datetime(2026, 11, 22, 12, 0, second, tzinfo=UTC)
    fields = dict(base="smollm2", kind="merged", contract=OWN, architecture="llama", created_at=made)
    return ModelCard.model_validate(fields | changes)


def trained(folder: Path, weights: bytes = b"\x00\x00\x80?", **more: bytes) -> Path:
    """A folder as a trainer saves it: one number as weights. `more` is files, a dot written as two underscores."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "config.json": b'{"model_type": "llama"}',
        "tokenizer_config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": safetensors(weights),
        **{name.replace("__", "."): content for name, content in more.items()},
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def safetensors(weights: bytes) -> bytes:
    """A file of float32 numbers, in the format's own layout."""
    shape = [len(weights) // 4]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, len(weights)]}}).encode()
    return len(header).to_bytes(8, "little") + header + weights
