"""What tokens cost. An unknown price is None, never zero."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.errors import UsageError, first_fault

_OURS = Path(__file__).with_name("prices.toml")
_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    tokens_in: _Dollars = Field(alias="in")
    tokens_out: _Dollars = Field(alias="out")

    def cost(self, tokens_in: int | None, tokens_out: int | None) -> float | None:
        """In US dollars; None where a number of tokens is unknown."""
        if tokens_in is None or tokens_out is None:
            return None
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


_TABLE = TypeAdapter(dict[str, Price])


@dataclass(frozen=True, slots=True)
class Prices:
    """The price table: `kind:model` → price."""

    table: Mapping[str, Price]

    @classmethod
    def load(cls, override: Path | None = None) -> "Prices":
        """Our table, with the entries of `override` in place of ours or beside them. Raises UsageError."""
        return cls(_read(_OURS) | (_read(override) if override else {}))

    def of(self, kind: str, model: str) -> Price | None:
        """The price of a model; None where it is unknown."""
        return self.table.get(f"{kind}:{model}")


def _read(path: Path) -> dict[str, Price]:
    try:
        return _TABLE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        where, why = first_fault(error)
        raise UsageError(f"the price table {path}: {where}: {why}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"the price table {path} cannot be read: {error}") from error
