"""An input log, read as the hostile text that it is: what of it may be run again, rebuilt from checked fields.

Only `>start`, `>player`, choices and an end by decree are taken; `>version` says with which simulator, and `>chat` is
left out. The simulator's stream knows more, `>eval` among it: any other line, and any field of another form, makes the
whole input log one that is not run. The Node host (shared/simulator/again.js) keeps to the same list by itself.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from shared.document import parse_json

MAX_LINES = 20_000
MAX_LINE_CHARACTERS = 25_000

_PLAIN = r"^[^\x00-\x1f\x7f|]*$"
_Seed = (
    Annotated[str, Field(pattern=r"^(?:(?:sodium|gen5),[0-9a-f]{1,64}|\d{1,5}(?:,\d{1,5}){3})$")]
    | Annotated[tuple[Annotated[int, Field(ge=0, lt=2**16)], ...], Field(min_length=4, max_length=4)]
)
_CHOICE = re.compile(r"(?:move|switch|team|pass|default)(?: [A-Za-z0-9 ,'+-]{1,100})?")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class NotRun(ValueError):
    """An input log that holds what is not passed on to a simulator."""


class _Start(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    formatid: str = Field(pattern=r"^[a-z0-9]{1,60}$")
    seed: _Seed
    rated: Annotated[str, Field(max_length=100, pattern=_PLAIN)] | bool | None = None


class _Player(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(max_length=40, pattern=_PLAIN)
    avatar: Annotated[str, Field(max_length=60, pattern=_PLAIN)] | None = None
    rating: Annotated[str, Field(max_length=20, pattern=_PLAIN)] | int | float | None = None
    seed: _Seed | None = None
    team: Annotated[str, Field(max_length=20_000, pattern=r"^[^\r\n]*$")] | None = None


@dataclass(frozen=True, slots=True)
class InputLog:
    """A battle's inputs, checked."""

    commits: tuple[str, ...]
    """The simulator it was played on, and the commit that one came from; empty where none is named."""
    start: Mapping[str, Any]
    inputs: tuple[tuple[Any, ...], ...]
    """As shared/simulator/again.js takes them: `("choose", "p1", "move 1")`."""

    @property
    def format(self) -> str:
        """The format's id."""
        return str(self.start["formatid"])


def parse_inputlog(lines: Sequence[str]) -> InputLog:
    """Read an input log. Raises NotRun."""
    if len(lines) > MAX_LINES:
        raise NotRun("too many lines")
    read = _Read()
    for line in lines:
        if not line:
            continue
        if len(line) > MAX_LINE_CHARACTERS:
            raise NotRun("a line that is too long")
        word, _, rest = line.partition(" ")
        read.take(word, rest)
    if read.start is None or [seat for kind, seat, *_ in read.inputs[:2] if kind == "player"] != ["p1", "p2"]:
        raise NotRun("no start and two players to begin with")
    return InputLog(tuple(read.commits), read.start, tuple(read.inputs))


@dataclass(slots=True)
class _Read:
    start: Mapping[str, Any] | None = None
    commits: list[str] = field(default_factory=list)
    inputs: list[tuple[Any, ...]] = field(default_factory=list)

    def take(self, word: str, rest: str) -> None:
        match word:
            case ">version" | ">version-origin":
                if _COMMIT.fullmatch(rest) is None:
                    raise NotRun("a version that is no commit")
                self.commits.append(rest)
            case ">start" if self.start is not None:
                raise NotRun("a second start")
            case ">start":
                self.start = _fields(_Start, rest)
            case ">player":
                self._player(rest)
            case ">p1" | ">p2":
                self._choose(word[1:], rest)
            case ">forcewin" | ">forcelose" | ">forcetie":
                self._decree(word, rest)
            case ">chat":
                pass
            case _:
                raise NotRun("a line of another kind")

    def _player(self, rest: str) -> None:
        seat, _, text = rest.partition(" ")
        if seat not in ("p1", "p2"):
            raise NotRun("a third player")
        fields = _fields(_Player, text)
        # A player who leaves is told without a name; the simulator makes nothing of it.
        if fields["name"]:
            self.inputs.append(("player", seat, fields))

    def _choose(self, seat: str, choice: str) -> None:
        if choice == "undo":
            self.inputs.append(("undo", seat))
        elif _CHOICE.fullmatch(choice) is not None:
            self.inputs.append(("choose", seat, choice))
        else:
            raise NotRun("a choice of another form")

    def _decree(self, word: str, seat: str) -> None:
        if word == ">forcetie" or (word == ">forcewin" and not seat):
            self.inputs.append(("forcetie", ""))
        elif seat in ("p1", "p2"):
            self.inputs.append((word[1:], seat))
        else:
            raise NotRun("an end for nobody")


def _fields(model: type[BaseModel], text: str) -> Mapping[str, Any]:
    try:
        document = parse_json(text)
        if isinstance(document, dict) and isinstance(document.get("seed"), list):
            document["seed"] = tuple(document["seed"])
        return model.model_validate(document).model_dump(mode="json", exclude_none=True)
    except ValueError as error:
        raise NotRun("a field of another form") from error
