"""What a published model says of itself: `card.json`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import ConfigDict, Field, FiniteFloat, JsonValue

from shared.document import Strict

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
