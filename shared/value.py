"""A value model: how likely p1 wins from a position. Fitted by the trainer, worked out by the Node host (value.js).

It is plain JSON: which features it knows (position.js), how they are weighed, and a card that says what it was fitted
on and how good it is. Those that come with the package lie in `values`, one for a format.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

from pydantic import Field, model_validator

from shared.document import Finite, parsed
from shared.errors import NotFound

SHIPPED = Path(__file__).with_name("values")
MOST_FEATURES = 500
MOST_UNITS = 200
Numbers = tuple[float, ...]


class HiddenUnit(Finite):
    """Adds out · tanh(own · x1 + other · x2 + bias) to the logit, and takes off the same with the sides exchanged."""

    own: Numbers
    other: Numbers
    bias: float
    out: float


class CalibrationBin(Finite):
    """Positions of held-out battles that were given about the same chance."""

    said: float
    """Mean value of these positions, from 0 to 1."""
    happened: float
    """The share of them that p1 won, a draw as a half."""
    positions: int


class ValueCard(Finite):
    """What a value model was fitted on, and how good it is on battles that it never saw."""

    battles: int
    held_out_battles: int
    positions: int
    policies: tuple[str, ...]
    """`typed vs heuristic: 400`, with the battles of each."""
    versions: tuple[str, ...]
    """Of the simulator."""
    log_loss: float
    """Natural, a position of a held-out battle; a coin has 0.693."""
    variance_left: float
    """Of a held-out battle's outcome with all luck taken out, the first position's included, as a share of 1/4."""
    copies: int
    """Of each position, with other dice, while it was fitted."""
    calibration: tuple[CalibrationBin, ...]


class ValueModel(Finite):
    """Weights of the features of both sides; see value.js for the formula."""

    format: str = Field(pattern=r"^[a-z0-9]{1,60}$")
    features: tuple[str, ...] = Field(max_length=MOST_FEATURES)
    scales: Numbers
    """What each feature is divided by; above 0."""
    weights: Numbers
    hidden: tuple[HiddenUnit, ...] = Field(default=(), max_length=MOST_UNITS)
    card: ValueCard

    @model_validator(mode="after")
    def _every_feature_is_weighed(self) -> "ValueModel":
        of_units = (numbers for unit in self.hidden for numbers in (unit.own, unit.other))
        lengths = {len(numbers) for numbers in (self.scales, self.weights, *of_units)}
        if lengths != {len(self.features)} or min(self.scales, default=1) <= 0:
            raise ValueError("each feature needs one scale above 0 and one weight everywhere")
        return self

    @property
    def formula(self) -> dict[str, object]:
        """All that a position's value follows from."""
        return self.model_dump(mode="json", exclude={"card"})

    @property
    def hash(self) -> str:
        """Of the formula: two models with the same hash value every position alike."""
        text = json.dumps(self.formula, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_value(path: Path) -> ValueModel:
    """A value model from its file. Raises NotFound and BrokenRecord."""
    try:
        return parsed(ValueModel, path.read_bytes(), path)
    except OSError as error:
        raise NotFound(f"cannot read the value model {path}: {error.strerror}") from error


@cache
def shipped_value(format: str) -> ValueModel | None:
    """The one that comes with the package for this format; None where there is none."""
    path = SHIPPED / f"{format}.json"
    return read_value(path) if path.is_file() else None
