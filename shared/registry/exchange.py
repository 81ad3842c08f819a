"""Models between the registry and the Hub: a version pushed as a repository, a repository pulled as a version."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from shared.errors import UsageError, first_fault
from shared.hub import Hub
from shared.registry.card import ModelCard
from shared.registry.folders import CARD, is_file_name
from shared.registry.models import Registry
from shared.registry.readme import readme

README = "README.md"
MAX_BYTES = 40_000_000_000
_MAX_JSON_BYTES = 1_000_000


def push(registry: Registry, name: str, version: str, hub: Hub, repo: str, *, private: bool = True) -> str:
    """Send a version to the Hub, with its card as JSON and as a page for people, and say where it is.

    Raises NotFound and BrokenRecord as the registry does, and what `Hub` raises.
    """
    card = registry.card(name, version)
    with TemporaryDirectory(prefix="alphastral-") as folder:
        fetched = registry.fetch(name, version, Path(folder))
        files = {file: fetched / file for file in (*card.files, CARD)}
        page = readme(card, name, version, repo).encode()
        return hub.push(repo, {**files, README: page}, f"{name}@{version}", private=private, replaces=_is_weights)


def pull(
    registry: Registry, repo: str, name: str, hub: Hub, *, revision: str | None = None, max_bytes: int = MAX_BYTES
) -> str:
    """Publish what a repository holds as a new version of `name`, and say which. Safetensors only, and nobody's code.

    A repository without our card gets one that names no contract. Raises UsageError where it holds no such model.
    """
    with TemporaryDirectory(prefix="alphastral-") as folder:
        commit = hub.pull(repo, Path(folder), _is_wanted, max_bytes=max_bytes, revision=revision)
        if not any(map(_is_weights, (path.name for path in Path(folder).iterdir()))):
            raise UsageError(f"{repo} holds no *.safetensors; other weights can run code when they are loaded")
        card = _card(Path(folder), repo)
        if not card.base or card.base.startswith("-"):
            # It stands on engines' command lines, where it would be an option.
            raise UsageError(f"{repo} says that its base is called {card.base!r}, as no model is")
        card = card.model_copy(update={"pulled_from": f"{repo}@{commit}", "files": {}})
        return registry.publish(name, Path(folder), card)


def _is_wanted(name: str) -> bool:
    return is_file_name(name) and name != README


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".safetensors.index.json"))


def _card(folder: Path, repo: str) -> ModelCard:
    """The card that our push left there, or what the model's own configuration tells."""
    if (folder / CARD).exists():
        try:
            return ModelCard.model_validate_json(_bounded(folder / CARD, repo))
        except ValidationError as error:
            why = first_fault(error)[1]
            raise UsageError(f"the {CARD} of {repo} is no card of ours: {why}") from error
    if (folder / "adapter_config.json").exists():
        base = _field(folder / "adapter_config.json", "base_model_name_or_path", repo)
        return ModelCard(base=base or repo, kind="adapter", contract={})
    architecture = _field(folder / "config.json", "model_type", repo)
    return ModelCard(base=repo, kind="merged", contract={}, architecture=architecture)


def _field(path: Path, name: str, repo: str) -> str | None:
    try:
        found = json.loads(_bounded(path, repo)).get(name)
    except (ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"the {path.name} of {repo} is no JSON object") from error
    return found[:200] if isinstance(found, str) else None


def _bounded(path: Path, repo: str) -> bytes:
    if not path.exists():
        raise UsageError(f"{repo} holds no {path.name}")
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise UsageError(f"the {path.name} of {repo} is longer than {_MAX_JSON_BYTES} bytes")
    return path.read_bytes()
