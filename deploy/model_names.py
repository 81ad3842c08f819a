"""What the command line calls a model, and where it lies: in the registry, in a folder, in a package, or on the Hub."""

import json
from pathlib import Path

from services.inference.requests import ServedModel
from shared.errors import NotFound, UsageError
from shared.language.load import SMOLLM2, adapter_base
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store


def resolve(name: str, settings: Settings, into: Path) -> ServedModel:
    """The model of that name. A bucket's version is copied below `into`. Raises UsageError, NotFound, BrokenRecord."""
    registry = Registry(Store(settings.store))
    model, _, version = name.partition("@")
    try:
        version = version or registry.current(model)
        card = registry.card(model, version)
    except NotFound:
        return _elsewhere(name)
    folder = registry.fetch(model, version, into)
    shown = card.model_dump(mode="json", exclude={"files"}, exclude_none=True)
    if card.kind == "adapter":
        return ServedModel(f"{model}@{version}", card.base, folder, shown)
    return ServedModel(f"{model}@{version}", str(folder), None, shown)


def _elsewhere(name: str) -> ServedModel:
    if name == SMOLLM2:
        return ServedModel(name, SMOLLM2)
    folder = Path(name)
    if folder.is_dir():
        base = adapter_base(folder)
        written = folder / "card.json"
        card = json.loads(written.read_text(encoding="utf-8")) if written.exists() else None
        called = folder.resolve().name
        return ServedModel(called, str(folder) if base is None else base, None if base is None else folder, card)
    if "@" not in name and name.count("/") == 1 and not name.startswith((".", "/")):
        return ServedModel(name, name)
    raise UsageError(f"{name!r} is no model of the registry, no folder, and no model's name on the Hub")
