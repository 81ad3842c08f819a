"""Text for people: how every process logs, foreign text made safe to show, and figures as words."""

import logging
import unicodedata
from collections.abc import Mapping
from math import floor, log10

from shared.errors import UsageError

# Overrides of the writing direction can make a name read as something else, and its neighbours too.
_DIRECTION_OVERRIDES = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NO_BREAK_SPACE = "\u00a0"


def configure_logging(level: str) -> None:
    """Send this process's log to standard error from `level` on. Raises UsageError for an unknown one."""
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise UsageError(f"unknown log level {level!r}; the levels are DEBUG, INFO, WARNING, ERROR", field="log-level")
    level = level.upper()
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S", force=True
    )
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "asyncio", "websockets"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # It warns of every effect of a battle that it does not know.
    logging.getLogger("poke-env").setLevel(logging.ERROR)


def one_line(text: object, limit: int = 300) -> str:
    """Foreign text made safe for a log: no line breaks or control characters, at most `limit` characters."""
    plain = str(text)
    if plain.isprintable() and len(plain) <= limit:
        return plain
    shown = "".join(character if character.isprintable() else " " for character in plain[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def percent(share: float, decimals: int = 0) -> str:
    """`0.953` → `95 %`. Only a share of exactly 0 or 1 reads as 0 % or 100 %."""
    text = f"{share * 100:.{decimals}f}"
    if share > 0 and float(text) == 0:
        text = f"<{10**-decimals:.{decimals}f}"
    elif share < 1 and float(text) == 100:
        text = f">{100 - 10**-decimals:.{decimals}f}"
    return f"{text}{_NO_BREAK_SPACE}%"


def percent_range(low: float, high: float, decimals: int = 0) -> str:
    """`42 % to 67 %`."""
    return f"{percent(low, decimals)} to {percent(high, decimals)}"


def together(text: str) -> str:
    """Kept on one line in a narrow column."""
    return text.replace(" ", _NO_BREAK_SPACE)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 battle`, `1,000 battles`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def milliseconds(value: float) -> str:
    """Three digits, whatever the size: `0.012 ms`, `4.56 ms`, `3.2 s`."""
    if value >= 1000:
        return f"{value / 1000:,.1f}{_NO_BREAK_SPACE}s"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{decimals}f}{_NO_BREAK_SPACE}ms"


def usd(dollars: float) -> str:
    """`$12.34`; of small sums two digits that say something: `$0.00042`."""
    if dollars >= 1 or dollars == 0:
        return f"${dollars:,.2f}"
    decimals = min(8, max(2, 1 - floor(log10(dollars))))
    return f"${dollars:.{decimals}f}"


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f}{_NO_BREAK_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def pace(battles: int, seconds: float) -> str:
    """`6.2 battles a second`, or in a longer time where that would be next to none."""
    unit, length = next(
        (each for each in (("a second", 1), ("a minute", 60)) if battles * each[1] >= seconds), ("an hour", 3600)
    )
    return f"{battles * length / seconds:,.1f} battles {unit}"


def several(values: Mapping[str, str]) -> str:
    """`a 1, b 2`."""
    return ", ".join(f"{name}{_NO_BREAK_SPACE}{value}" for name, value in values.items())


def as_name(text: str, limit: int) -> str:
    """Foreign text as a name: on one line, at most `limit` characters, and never nothing."""
    return " ".join(one_line(text, limit).split()) or "(no name)"


def shown(text: str) -> str:
    """Foreign text as it can stand on a page: control characters and direction overrides become visible."""
    return "".join("\ufffd" if _invisible(character) else character for character in text)


def _invisible(character: str) -> bool:
    if character in "\n\t":
        return False
    return character in _DIRECTION_OVERRIDES or unicodedata.category(character) in ("Cc", "Cs")
