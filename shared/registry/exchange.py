"""Models between the registry and the Hub: a version pushed as a repository with a page, a repository pulled."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import ModelCardData
from pydantic import ValidationError

from shared.document import parse_json
from shared.errors import UsageError, first_fault
from shared.hub import Hub
from shared.registry.card import CARD, ModelCard, is_file_name
from shared.registry.models import Registry

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
        found = parse_json(_bounded(path, repo)).get(name)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"the {path.name} of {repo} is no JSON object") from error
    return found[:200] if isinstance(found, str) else None


def _bounded(path: Path, repo: str) -> bytes:
    if not path.exists():
        raise UsageError(f"{repo} holds no {path.name}")
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise UsageError(f"the {path.name} of {repo} is longer than {_MAX_JSON_BYTES} bytes")
    return path.read_bytes()


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def readme(card: ModelCard, name: str, version: str, repo: str) -> str:
    """Markdown, with the metadata that the Hub reads at its head."""
    return "\n".join([*_head(card, name), *_body(card, name, version, repo), ""])


def _head(card: ModelCard, name: str) -> Iterator[str]:
    data = ModelCardData(
        # Names of a few letters that stand for no repository would be refused.
        base_model=card.base if "/" in card.base else None,
        license=card.license,
        library_name="peft" if card.kind == "adapter" else "transformers",
        pipeline_tag="text-generation",
        model_name=name,
        tags=["pokemon-showdown", "alphastral"],
    )
    yield from ("---", data.to_yaml(), "---", "")


def _body(card: ModelCard, name: str, version: str, repo: str) -> Iterator[str]:
    what = "LoRA weights over" if card.kind == "adapter" else "A model tuned from"
    contracts = ", ".join(f"{contract} ({digest[:12]})" for contract, digest in card.contract.items())
    yield from (f"# {name}", "", f"{what} {_code(card.base)} that chooses moves in Pokémon Showdown battles.", "")
    yield from (
        "It reads one prompt that tells the state of a battle and all legal actions, and answers with one of them.",
        f"Both are worded by alphaStral's prompt contract: {contracts or 'none, it was trained for no contract'}.",
        "Asked in other words it may answer anything.",
        "",
        "## Let it play",
        "",
        "```",
        f"alphastral models pull {repo} {name}",
        f"alphastral models promote {name}@VERSION",
        f"alphastral serve {name}",
        f"alphastral battle --p1 tgi:{name} --p2 max-damage --n 20",
        "```",
        "",
    )
    if card.metrics:
        yield from ("## How good it is", "", *_table(card.metrics, "figure"), "")
    yield from ("## How it was made", "", *_table(_made(card, f"{name}@{version}"), ""), "")
    if card.recipe and card.recipe.values:
        yield from (f"Recipe {_code(card.recipe.name)}:", "", *_table(card.recipe.values, "value"), "")
    if card.dataset:
        rows = ", ".join(f"{count:,} rows {split}" for split, count in card.dataset.rows.items())
        yield from (f"Dataset {_code(card.dataset.name)}: {rows}; SHA-256 {_code(card.dataset.hash)}.", "")
        if any(card.dataset.left_out.values()):
            left_out = ", ".join(f"{count:,} of {split}" for split, count in card.dataset.left_out.items())
            yield from (f"Left out, because they are longer than the recipe's `max_length`: {left_out}.", "")
        for counted, values in card.dataset.counts.items():
            yield from (f"Rows by {_plain(counted)}:", "", *_table(values, "rows"), "")
    if card.software:
        yield from (
            "Software: " + ", ".join(f"{_plain(one)} {_plain(at)}" for one, at in card.software.items()) + ".",
            "",
        )


def _made(card: ModelCard, version: str) -> dict[str, object]:
    made = {
        "version": version,
        "base": card.base,
        "parameters": card.parameters,
        "of these trained": card.trained_parameters,
        "made": card.created_at.isoformat(timespec="seconds"),
    }
    return {line: value for line, value in made.items() if value is not None}


def _table(values: Mapping[str, object], heading: str) -> Iterator[str]:
    yield from (f"| | {heading} |", "|---|---|")
    for name, value in values.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        yield f"| {_plain(name)} | {_plain(shown)} |"


def _plain(text: object) -> str:
    """Text that is no markup, on one line."""
    flat = " ".join(str(text).split())[:500]
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>|#!" else letter for letter in flat)


def _code(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").split())[:500] + "`"
