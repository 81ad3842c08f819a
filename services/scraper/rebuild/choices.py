"""What a public log shows of the decisions that were made: who was asked what, where, and what came of it.

A batch of choices begins a block of the log with `|t:|`; what the lines after it show is what was chosen, unless
something came in between. Only what was chosen counts: a called move, a forced turn or a `|drag|` is nobody's choice.
Log lines: SIM-PROTOCOL.md of the pokemon-showdown repository.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shared.battle.causes import called_by
from shared.battle.protocol import SEATS, Line, Seat, seat_of

RequestKind = Literal["lead", "move", "switch", "revive"]


class Unknown(StrEnum):
    """Why a decision is no choice, or why it is not known which."""

    FORCED = "forced"
    """Recharging, locked into a move, or Struggle."""
    LOST_TURN = "lost its turn"
    """`|cant|`, without a move: asleep, frozen, paralyzed, flinching …"""
    FAINTED = "fainted before it acted"
    NEVER_ACTED = "never came to act"
    """It hurt itself in its confusion, or the battle ended first."""
    FORCED_OUT = "forced out before it acted"
    ENCORED = "changed by Encore"
    """The same turn's Encore put another move in the place of the one chosen."""
    ENDED = "battle ended"
    """Before anything came of it."""
    ONLY_ACTION = "only one legal action"
    DISGUISED = "disguise never lifted"
    CONTRADICTED = "not legal by what is known"


@dataclass(frozen=True, slots=True)
class UsedMove:
    """A move that was chosen, by its name in the log."""

    name: str


@dataclass(frozen=True, slots=True)
class SentIn:
    """A Pokémon that was chosen to come in, to lead or to be revived: the line that names it."""

    line: int


@dataclass(frozen=True, slots=True)
class LoggedChoice:
    """One side's answer to one request. What it knew is told by the lines before `at`."""

    at: int
    block: int
    """How many `|t:|` lines stand before it."""
    turn: int
    seat: Seat
    wanted: RequestKind
    shown: UsedMove | SentIn | Unknown
    tera: bool = False


def read_choices(lines: Sequence[Line]) -> list[LoggedChoice]:
    """Every choice of both sides, in the order in which they came to light."""
    reader = _Reader()
    for index, line in enumerate(lines):
        if line[1] in ("teampreview", "t:", "turn", "win", "tie"):
            reader.see(index, line)
        elif len(line) > 2 and (seat := seat_of(line[2])):
            reader.see_side(index, seat, line)
    for seat in SEATS:
        reader.settle(seat, Unknown.ENDED)
    return reader.choices


@dataclass(slots=True)
class _Pending:
    """A turn's request whose answer has not shown yet."""

    at: int
    block: int
    turn: int
    tera: bool = False
    encored: bool = False


class _Reader:
    """Goes through a log once."""

    def __init__(self) -> None:
        self.choices: list[LoggedChoice] = []
        self._turn = 0
        self._commits = 0
        """Batches of choices since the turn began."""
        self._commit_at = 0
        self._block = 0
        self._preview_at: tuple[int, int] | None = None
        self._pending: dict[Seat, _Pending] = {}

    def settle(self, seat: Seat, shown: UsedMove | SentIn | Unknown) -> None:
        """The answer to this turn's request of that seat, if it is still open."""
        pending = self._pending.pop(seat, None)
        if pending is None:
            return
        if pending.encored and isinstance(shown, UsedMove):
            shown = Unknown.ENCORED
        self.choices.append(LoggedChoice(pending.at, pending.block, pending.turn, seat, "move", shown, pending.tera))

    def see(self, index: int, line: Line) -> None:
        """Take in a line of the battle as a whole."""
        match line:
            case [_, "teampreview", *_]:
                self._preview_at = index + 1, self._block
            case [_, "t:", _, *_]:
                self._commits += 1
                self._block += 1
                self._commit_at = index
            case [_, "turn", _, *_]:
                for seat in SEATS:
                    self.settle(seat, Unknown.NEVER_ACTED)
                self._turn, self._commits = self._turn + 1, 0
                self._pending = {seat: _Pending(index + 1, self._block, self._turn) for seat in SEATS}
            case [_, "win", _, *_] | [_, "tie", *_]:
                for seat in SEATS:
                    self.settle(seat, Unknown.NEVER_ACTED if self._commits else Unknown.ENDED)

    def see_side(self, index: int, seat: Seat, line: Line) -> None:
        """Take in a line about a Pokémon of that seat."""
        match line[1]:
            case "switch":
                self._switch(index, seat)
            case "drag":
                self.settle(seat, Unknown.FORCED_OUT)
            case "faint":
                self.settle(seat, Unknown.FAINTED)
            case "move":
                self._move(seat, line)
            case "cant":
                self._cant(seat, line)
            case "-terastallize" | "-start" | "-singleturn" if seat in self._pending:
                self._before_its_move(self._pending[seat], seat, line)
            case "-heal" if any(part.endswith("move: Revival Blessing") for part in line[4:]):
                self._between_turns(index, seat, "revive")

    def _switch(self, index: int, seat: Seat) -> None:
        if not self._turn:
            if self._preview_at is not None:
                self.choices.append(LoggedChoice(*self._preview_at, 0, seat, "lead", SentIn(index)))
        elif self._commits <= 1:
            self.settle(seat, SentIn(index))
        else:
            # What it had chosen for the turn, if that is still open, it was taken from the field before it could do.
            self.settle(seat, Unknown.FORCED_OUT)
            self._between_turns(index, seat, "switch")

    def _move(self, seat: Seat, line: Line) -> None:
        source = called_by(line)
        if source == "lockedmove" or line[3] == "Struggle":
            self.settle(seat, Unknown.FORCED)
        elif source is None:
            self.settle(seat, UsedMove(line[3]))

    def _before_its_move(self, pending: _Pending, seat: Seat, line: Line) -> None:
        name = line[3].removeprefix("move: ") if len(line) > 3 else ""
        if line[1] == "-terastallize":
            pending.tera = True
        elif line[1] == "-start":
            pending.encored |= name == "Encore"
        elif name in ("Focus Punch", "Beak Blast", "Shell Trap"):
            # These show before any move of the turn that they have been chosen.
            self.settle(seat, UsedMove(name))

    def _cant(self, seat: Seat, line: Line) -> None:
        # Where an ability forbids a move, the line names its holder first; that move has its own line before.
        named = line[4] if len(line) > 4 else ""
        if line[3] == "recharge":
            self.settle(seat, Unknown.FORCED)
        elif not (line[3].startswith("ability: ") and len(line) > 4):
            self.settle(seat, UsedMove(named) if named else Unknown.LOST_TURN)

    def _between_turns(self, index: int, seat: Seat, wanted: RequestKind) -> None:
        at, block = self._commit_at, self._block - 1
        self.choices.append(LoggedChoice(at, block, self._turn, seat, wanted, SentIn(index)))
