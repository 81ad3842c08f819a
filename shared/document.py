"""What is stored, asked for or answered, as models: never changed once made, and read whole or not at all."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import BrokenRecord, first_fault

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """What is unknown is passed over: files of others and of later versions may tell more."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Strict(Frozen):
    """What is unknown is refused: who wrote it meant something by it."""

    model_config = ConfigDict(extra="forbid")


class Finite(Strict):
    """And every number is one."""

    model_config = ConfigDict(allow_inf_nan=False)


def parsed(model: type[M], raw: bytes, path: object) -> M:
    """The document of ours that lies at `path`. Raises BrokenRecord."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise broken(path, error) from error


def broken(path: object, error: ValidationError) -> BrokenRecord:
    """What to raise where the stored file at `path` does not hold what it should."""
    return BrokenRecord(f"{path} is broken: {first_fault(error)[1]}")
