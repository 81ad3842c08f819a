"""What is asked of a stranger's log before anything else reads it, and the few facts that are told from its text.

What will not do is refused with one of a fixed list of reasons, so that they can be counted.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.battle.pokedex import to_id
from shared.text import one_line

MAX_LINES = 100_000
MAX_LINE_CHARACTERS = 100_000
"""Some lines hold a page's worth of HTML."""
MAX_ID_CHARACTERS = 100


class Unfit(StrEnum):
    """Why a file, or a battle in it, cannot be used."""

    UNREADABLE = "the disk does not give it"
    BROKEN_GZIP = "broken or cut-off gzip"
    TOO_LARGE = "too large"
    NOT_TEXT = "not UTF-8 text"
    NOT_JSON = "broken or cut-off JSON"
    NEITHER = "neither a replay nor a run"
    NO_LOG = "no log in it"
    PAGE_WITHOUT_LOG = "a page without a battle log"
    TOO_MANY_LINES = "too many lines"
    LONG_LINE = "a line that is too long"
    BROKEN_RUN = "a run that cannot be read"
    BROKEN_BATTLE = "a battle of our own that broke"


@dataclass(frozen=True, slots=True)
class Unusable:
    """What was found in place of a battle."""

    name: str
    reason: str


class UnfitBattle(Exception):
    """Raised where a battle is read, and turned into Unusable where the file is."""

    def __init__(self, reason: Unfit) -> None:
        super().__init__(reason)
        self.reason = reason


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a log. Raises UnfitBattle where there are too many, or too long ones."""
    if text.count("\n") >= MAX_LINES:
        raise UnfitBattle(Unfit.TOO_MANY_LINES)
    return checked(tuple(line.rstrip("\r") for line in text.rstrip("\r\n").split("\n")))


def checked(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The lines themselves. Raises UnfitBattle where there are too many, or too long ones."""
    if len(lines) > MAX_LINES:
        raise UnfitBattle(Unfit.TOO_MANY_LINES)
    if any(len(line) > MAX_LINE_CHARACTERS for line in lines):
        raise UnfitBattle(Unfit.LONG_LINE)
    return lines


def format_of(lines: tuple[str, ...]) -> str:
    """From the line `|tier|[Gen 9] Random Battle`; `?` where there is none."""
    tier = next((line[6:] for line in lines if line.startswith("|tier|")), "")
    return to_id(tier)[:60] or "?"


def id_of(given: object) -> str:
    """What a battle calls itself, on one line; empty where it does not."""
    return one_line(given, MAX_ID_CHARACTERS).strip() if isinstance(given, str) else ""


def whole(given: object, below: int) -> int | None:
    """A number that may stand there; None for anything else."""
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < below else None
