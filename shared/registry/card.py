"""What a published model says of itself (`card.json`), what its folder must hold, and how a damaged one is noticed.

Nobody's code, no pickles.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, FiniteFloat, JsonValue

from shared.document import Strict, parse_json
from shared.errors import BrokenRecord, NotFound, UsageError
from shared.store import Store

Digest = str
"""SHA-256 in 64 hexadecimal digits."""


class RecipeUsed(Strict):
    """How it was trained."""

    name: str
    values: Mapping[str, JsonValue] = Field(default_factory=dict)
    """All values that the training ran with, those given on the command line included."""


class DatasetUsed(Strict):
    """What it was trained on."""

    name: str
    hash: Digest
    rows: Mapping[str, int]
    """Split → rows: `train`, `validation`."""
    counts: Mapping[str, Mapping[str, int]] = Field(default_factory=dict)
    """What is counted (`format`, `source`, `kind`) → value → rows."""
    left_out: Mapping[str, int] = Field(default_factory=dict)
    """Split → rows that were not read: they are longer than the recipe's max_length."""


class PublishedFile(Strict):
    """One file of a version."""

    bytes: int
    sha256: Digest


class ModelCard(Strict):
    """What a published model says of itself. Only `base`, `kind` and `contract` are always there."""

    # Earlier cards have a `parent`, which nothing wrote.
    model_config = ConfigDict(extra="ignore")

    base: str
    """What was tuned: a model's name on the Hub, or `smollm2`."""
    kind: Literal["merged", "adapter"]
    """Whole weights, or LoRA weights to be laid over `base`."""
    contract: Mapping[str, str]
    """Contract version → its hash, of what it was trained for. Empty for a model that was trained for none."""
    architecture: str | None = None
    """`model_type` of the base's configuration, such as `llama`: it decides which engine serves the model."""
    recipe: RecipeUsed | None = None
    dataset: DatasetUsed | None = None
    metrics: Mapping[str, FiniteFloat] = Field(default_factory=dict)
    parameters: int | None = None
    trained_parameters: int | None = None
    license: str | None = None
    pulled_from: str | None = None
    """The repository on the Hub that it came from, and its commit: REPO@COMMIT."""
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    software: Mapping[str, str] = Field(default_factory=dict)
    """Package → version that it was made with."""
    files: Mapping[str, PublishedFile] = Field(default_factory=dict)
    """Every file of the folder but the card; written by `Registry.publish`."""


CARD = "card.json"
MAX_FILES = 1000
SUFFIXES = (".safetensors", ".json", ".jsonl", ".jinja", ".txt", ".md", ".model", ".toml")
"""Weights, configuration, tokenizer, prose. Pickles (.bin, .pt) and code run when they are loaded: never."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_MAX_HEADER_BYTES = 100_000_000


def is_file_name(name: str) -> bool:
    """Whether a file of a published folder may be called so; there are no folders inside it."""
    return _NAME.fullmatch(name) is not None and name.endswith(SUFFIXES)


def inspect(folder: Path, card: ModelCard) -> dict[str, PublishedFile]:
    """Every file of a folder that is to be published, but for a card. Raises UsageError where one may not be."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    paths = [path for path in sorted(folder.iterdir()) if path.name != CARD and not path.name.startswith(".")]
    for path in paths:
        if not is_file_name(path.name) or not path.is_file():
            raise UsageError(f"{path.name} cannot be published: only files named *{', *'.join(SUFFIXES)}")
    if len(paths) > MAX_FILES:
        raise UsageError(f"{folder} holds more than {MAX_FILES} files")
    names = {path.name for path in paths}
    wanted = {"merged": "config.json", "adapter": "adapter_config.json"}[card.kind]
    for name in (wanted, "tokenizer_config.json"):
        if name not in names:
            raise UsageError(f"{folder} holds no {name}, so it is no {card.kind} model with its tokenizer")
    weights = [path for path in paths if path.suffix == ".safetensors"]
    if not weights:
        raise UsageError(f"{folder} holds no weights: *.safetensors")
    for path in weights:
        _check_weights(path)
    return {path.name: _published(path) for path in paths}


def check(card: ModelCard, store: Store, folder: str, where: str) -> None:
    """Compare every file in a folder with its digest on the card.

    Raises BrokenRecord for the first that differs or is gone, and Unreachable where one cannot be read now.
    """
    for name, published in card.files.items():
        if not is_file_name(name):
            raise BrokenRecord(f"{where} is broken: its card names a file that none may be called")
        digest = hashlib.sha256()
        try:
            for piece in store.pieces(f"{folder}/{name}", f"{where} is broken: {name} is gone"):
                digest.update(piece)
        except NotFound as error:
            raise BrokenRecord(error.message) from error
        if digest.hexdigest() != published.sha256:
            raise BrokenRecord(f"{where} is broken: {name} is not what was published")


def _published(path: Path) -> PublishedFile:
    with path.open("rb") as file:
        return PublishedFile(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _check_weights(path: Path) -> None:
    """Whether a safetensors file is as long as its header says. https://huggingface.co/docs/safetensors"""
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if header_bytes > _MAX_HEADER_BYTES:
                raise UsageError(f"{path.name} is no safetensors file")
            header = parse_json(file.read(header_bytes))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        bytes_in_all = 8 + header_bytes + max(ends, default=0)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UsageError(f"{path.name} is no safetensors file: {error}") from error
    if path.stat().st_size != bytes_in_all:
        raise UsageError(f"{path.name} is cut off: its tensors do not fit its length")
