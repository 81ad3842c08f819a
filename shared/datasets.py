"""Datasets as they lie in a folder or in the store: what the scraper writes and the trainer reads.

    NAME/train.jsonl, NAME/validation.jsonl   one `Row` a line
    NAME/card.json                            a `DatasetCard`
    NAME/README.md                            the same for people, and for the Hugging Face Hub
    NAME/dropped.jsonl                        each replay that was left out, and why
    NAME/battles.jsonl.gz                     the logs of the battles, so that its rows can be made again and compared

Split by battle: no battle has rows on both sides.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import fmean
from typing import Literal, NamedTuple

from pydantic import Field

from shared.battle.protocol import Seat
from shared.document import Strict

BATTLES = "battles.jsonl.gz"
ActionKind = Literal["move", "tera", "voluntary switch", "forced switch"]


ADVISED = ("teacher", "probabilities", "values", "played")
"""Fields of a row that are written only where a teacher advised."""


class Row(Strict):
    """One sample, and where it comes from."""

    prompt: str
    completion: str
    legal: tuple[str, ...]
    """The completions of all legal actions, as the contract writes them; `completion` is one of them."""
    complete: bool = True
    """Whether `legal` is known to be all of them: from a public log alone it may not be."""
    kind: ActionKind
    """Of `completion`."""
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

    @property
    def advice(self) -> "RowAdvice | None":
        """What a teacher's advice comes to; None without one. `completion` and `played` are to be among `legal`."""
        if self.teacher is None:
            return None
        label, played = (self.legal.index(each) for each in (self.completion, self.played or self.completion))
        return RowAdvice(self.probabilities[label], label == played, max(self.values) - self.values[played])


class RowAdvice(NamedTuple):
    """How sure a teacher is at a decision, and what it thinks of what was played."""

    probability: float
    """Of the action that it would take most often."""
    was_played: bool
    """Whether that was played."""
    loss: float
    """How much less likely the side wins after what was played than after the action of most value."""


class AdviceFigures(Strict):
    """A teacher's advice over many rows. Means, each from 0 to 1."""

    rows: int
    """That hold advice."""
    probability: float
    """Of the action that the teacher would take most often."""
    was_played: float
    """How often that was played."""
    loss: float
    """By how much what was played lowered the chance of winning."""

    @classmethod
    def of(cls, rows: Iterable[RowAdvice]) -> "AdviceFigures | None":
        """None of none."""
        told = list(rows)
        if not told:
            return None
        probability, was_played, loss = (round(fmean(numbers), 6) for numbers in zip(*told, strict=True))
        return cls(rows=len(told), probability=probability, was_played=was_played, loss=loss)

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows hold a teacher's advice. On average it would take the label {self.probability:.1%} of "
            f"the time. In {self.was_played:.1%} of the rows the label was played; what was played lowered the chance "
            f"of winning by {self.loss:.3f}."
        )


class Dropped(Strict):
    """What was left out, by reason."""

    replays: Mapping[str, int] = Field(default_factory=dict)
    decisions: Mapping[str, int] = Field(default_factory=dict)


class DatasetCard(Strict):
    """What a dataset says of itself."""

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
    """What is counted (`format`, `rating`, `source`, `exact`, `complete`, `kind`, maybe `teacher`) → value → rows."""
    advice: AdviceFigures | None = Field(default=None, exclude_if=lambda advice: advice is None)
    """None where no row holds any."""
    dropped: Dropped
    rebuilt_because: Mapping[str, int] = Field(default_factory=dict)
    """Why battles that could have been run again were rebuilt all the same → battles."""
    command: str
    created_at: datetime
    software: Mapping[str, str]
