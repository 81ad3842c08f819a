"""What a trainer leaves in the store, written by hand."""

import json
from collections.abc import Mapping
from pathlib import Path

from shared.battle.contract import CONTRACTS

OWN = {"v2": CONTRACTS["v2"].hash}


def publish(store: Path, name: str, version: str, contract: Mapping[str, str] = OWN) -> None:
    folder = store / "models" / name / "versions" / version
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"base": "smollm2", "contract": contract}))


def promote(store: Path, name: str, version: str) -> None:
    (store / "models" / name / "current").write_text(f"{version}\n")
