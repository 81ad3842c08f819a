"""Documents: ours as models, never changed once made; and what strangers wrote, packed, JSON or TOML, within bounds.

A file of a few kilobytes can unpack to gigabytes, and one of nothing but brackets can exhaust a parser's stack or hold
a processor for minutes. Whatever this project did not write itself in this very place is read through here. All that is
wrong with a stranger's document is raised as ValueError, with a sentence.
"""

import gzip
import json
import re
import tomllib
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

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


# ── what strangers wrote ─────────────────────────────────────────────────────────────────────────────

MAX_TOML_BYTES = 1 << 20
MAX_NESTED = 16
"""Brackets of TOML that stand in each other, and dots of a key. No file of ours has more than four."""
MAX_DIGITS = 50
"""The longest number that we write is a policy's seed, of 39 digits; with hundreds, arithmetic overflows somewhere."""
PACKED_RATIO = 200
"""A run of ours packs to a twelfth, and one of a model that says one word for ever to a thirtieth. What unpacks to more
than this was made to."""
_PIECE_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
# Each string is taken whole, closed or not, so that what it holds counts for nothing and no part is looked at twice.
_TOML_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*(?:""")?|\'\'\'(?:[^\']|\'(?!\'\'))*(?:\'\'\')?'
    r'|"(?:[^"\\\n]|\\.)*"?|\'[^\'\n]*\'?|#[^\n]*|[\[{]|[\]}]|\.|[,=\n]',
    re.DOTALL,
)


def unpacked(raw: bytes, most_bytes: int) -> bytes:
    """What a file holds, gzipped or not."""
    if raw[:2] == _GZIP:
        most = min(most_bytes, (1 << 20) + PACKED_RATIO * len(raw))
        try:
            with gzip.GzipFile(fileobj=BytesIO(raw)) as packed:
                raw = _begin_of(cast("BinaryIO", packed), most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"it cannot be unpacked: {error}") from error
    else:
        most = most_bytes
    if len(raw) > most:
        raise ValueError(f"it is larger than the {most:,} bytes that such a file may have")
    return raw


def read_file(path: Path, most_bytes: int) -> bytes:
    """A file, unpacked. Raises OSError, too."""
    with path.open("rb") as file:
        return unpacked(_begin_of(file, most_bytes + 1), most_bytes)


def parse_json(raw: bytes | str) -> Any:
    """A JSON document."""
    try:
        return json.loads(raw, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML document."""
    if len(text) > MAX_TOML_BYTES:
        raise ValueError(f"it is larger than {MAX_TOML_BYTES:,} characters")
    depth = parts = 0
    for token in _TOML_TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth, parts = depth + 1, 0
            case "]" | "}":
                depth, parts = max(0, depth - 1), 0
            case ".":
                parts += 1
            case "," | "=" | "\n":
                parts = 0
        if max(depth, parts) > MAX_NESTED:
            # Python's parser goes down one call a bracket, and through all parts of a key for each of them.
            raise ValueError("it is nested too deeply")
    return tomllib.loads(text)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises OSError, too."""
    return parse_toml(read_file(path, MAX_TOML_BYTES).decode())


def retry_after_seconds(given: str | None) -> float | None:
    """The header Retry-After as RFC 9110 has it: seconds, or a date. None where it is neither."""
    try:
        seconds = float(given or "nan")
        return max(0.0, seconds) if isfinite(seconds) else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(given or "")
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _begin_of(file: BinaryIO, most_bytes: int) -> bytes:
    read = bytearray()
    # Piece by piece: room for all that may come would be taken at once.
    while len(read) < most_bytes and (piece := file.read(min(_PIECE_BYTES, most_bytes - len(read)))):
        read += piece
    return bytes(read)


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)
