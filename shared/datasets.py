"""Datasets as they lie in a folder or in the store: what the scraper writes and the trainer reads.

    NAME/train.jsonl, NAME/validation.jsonl   one `Row` a line
    NAME/card.json                            a `DatasetCard`
    NAME/README.md                            the same for people, and for the Hugging Face Hub
    NAME/dropped.jsonl                        each replay that was left out, and why

Split by battle: no battle has rows on both sides.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.battle.protocol import Seat

ActionKind = Literal["move", "tera", "voluntary switch", "forced switch"]


ADVISED = ("teacher", "probabilities", "values", "played")
"""Fields of a row that are written only where a teacher advised."""


class Row(BaseModel):
    """One sample, and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt: str
    completion: str
    legal: tuple[str, ...]
    """The completions of all legal actions, as the contract writes them; `completion` is one of them."""
    complete: bool = True
    """Whether `legal` is known to be all of them: from a public log alone it may not be."""
    kind: ActionKind
    battle: str
    turn: int
    side: Seat
    rating: int | None
    source: str
    """`replay` or `run`, and what battles of that source are called: `run:heuristic`."""
    exact: bool
    """Whether the side's knowledge was seen, by running the battle again, or rebuilt from the public log alone."""
    contract: str
    teacher: str | None = Field(default=None, exclude_if=lambda teacher: teacher is None)
    """The policy that advised when the battle was played: `completion` is what it would take most often."""
    probabilities: tuple[float, ...] = Field(default=(), exclude_if=lambda numbers: not numbers)
    """How often it would take each of `legal`, in their order; they sum to 1. Empty without a teacher."""
    values: tuple[float, ...] = Field(default=(), exclude_if=lambda numbers: not numbers)
    """How likely the side wins after each of `legal`, as the teacher sees it."""
    played: str | None = Field(default=None, exclude_if=lambda played: played is None)
    """With a teacher: what was played, one of `legal`."""


class Dropped(BaseModel):
    """What was left out, by reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    replays: Mapping[str, int] = Field(default_factory=dict)
    decisions: Mapping[str, int] = Field(default_factory=dict)


class DatasetCard(BaseModel):
    """What a dataset says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    contract: str
    contract_hash: str
    pokedex_hash: str
    rows: Mapping[str, int]
    """Split → rows: `train`, `validation`."""
    battles: Mapping[str, int]
    """Split → battles."""
    files: Mapping[str, str]
    """Split → SHA-256 of its file."""
    counts: Mapping[str, Mapping[str, int]]
    """What is counted (`format`, `rating`, `source`, `exact`, `complete`, `kind`) → value → rows."""
    dropped: Dropped
    rebuilt_because: Mapping[str, int] = Field(default_factory=dict)
    """Why battles that could have been run again were rebuilt all the same → battles."""
    command: str
    created_at: datetime
    software: Mapping[str, str]
