"""An input log, read as the hostile text that it is: what of it may be run again, rebuilt from checked fields.

Only `>start`, `>player`, choices and an end by decree are taken; `>version` says with which simulator, and `>chat` is
left out. The simulator's stream knows more, `>eval` among it: any other line, and any field of another form, makes the
whole input log one that is not run. The Node host (shared/simulator/again.js) keeps to the same list by itself.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
        take = _TAKES.get(word)
        if take is None:
            raise NotRun("a line of another kind")
        take(read, word, rest)
    if read.start is None or [seat for kind, seat, *_ in read.inputs[:2] if kind == "player"] != ["p1", "p2"]:
        raise NotRun("no start and two players to begin with")
    return InputLog(tuple(read.commits), read.start, tuple(read.inputs))


@dataclass(slots=True)
class _Read:
    start: Mapping[str, Any] | None = None
    commits: list[str] = field(default_factory=list)
    inputs: list[tuple[Any, ...]] = field(default_factory=list)

    def version(self, _: str, rest: str) -> None:
        if _COMMIT.fullmatch(rest) is None:
            raise NotRun("a version that is no commit")
        self.commits.append(rest)

    def begin(self, _: str, rest: str) -> None:
        if self.start is not None:
            raise NotRun("a second start")
        self.start = _fields(_Start, rest)

    def player(self, _: str, rest: str) -> None:
        seat, _, text = rest.partition(" ")
        if seat not in ("p1", "p2"):
            raise NotRun("a third player")
        fields = _fields(_Player, text)
        # A player who leaves is told without a name; the simulator makes nothing of it.
        if fields["name"]:
            self.inputs.append(("player", seat, fields))

    def choose(self, word: str, rest: str) -> None:
        if rest == "undo":
            self.inputs.append(("undo", word[1:]))
        elif _CHOICE.fullmatch(rest) is not None:
            self.inputs.append(("choose", word[1:], rest))
        else:
            raise NotRun("a choice of another form")

    def decree(self, word: str, rest: str) -> None:
        if word == ">forcetie" or (word == ">forcewin" and not rest):
            self.inputs.append(("forcetie", ""))
        elif rest in ("p1", "p2"):
            self.inputs.append((word[1:], rest))
        else:
            raise NotRun("an end for nobody")

    def leave_out(self, _: str, __: str) -> None:
        """What was said beside the battle."""


_TAKES: Mapping[str, Callable[[_Read, str, str], None]] = {
    ">version": _Read.version,
    ">version-origin": _Read.version,
    ">start": _Read.begin,
    ">player": _Read.player,
    ">p1": _Read.choose,
    ">p2": _Read.choose,
    ">forcewin": _Read.decree,
    ">forcelose": _Read.decree,
    ">forcetie": _Read.decree,
    ">chat": _Read.leave_out,
}


def _fields(model: type[BaseModel], text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
        return model.model_validate(_with_tuples(document)).model_dump(mode="json", exclude_none=True)
    except (ValueError, RecursionError, ValidationError) as error:
        raise NotRun("a field of another form") from error


def _with_tuples(document: Any) -> Any:
    if isinstance(document, dict) and isinstance(document.get("seed"), list):
        return {**document, "seed": tuple(document["seed"])}
    return document
