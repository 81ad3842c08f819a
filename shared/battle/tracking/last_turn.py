"""The last turn's events, the opponent's moves so far, and what else a log tells once: team sizes, preview, weather."""

from collections.abc import Sequence
from dataclasses import replace

from shared.battle.protocol import Seat, other
from shared.battle.state import Event, Happening, Who
from shared.battle.tracking.in_sight import FieldTracker, seat_of

MOVES_KEPT = 4


class TurnTracker:
    """Follows one side's view of a log, line by line."""

    def __init__(self, seat: Seat, field: FieldTracker) -> None:
        self.turn = 0
        self.weather: str | None = None
        """As the log names it: RainDance."""
        self.team_size: dict[Seat, int] = {}
        self.preview: dict[Seat, list[str]] = {"p1": [], "p2": []}
        """Details of the Pokémon shown at team preview."""
        self._seat = seat
        self._field = field
        self._this_turn: list[Event] = []
        self._turn_before: list[Event] = []
        self._moves: dict[Seat, list[str]] = {"p1": [], "p2": []}
        self._hp_percent: dict[str, int] = {}

    @property
    def last_turn(self) -> tuple[Event, ...]:
        """In the middle of a turn that turn so far, otherwise the one before."""
        return tuple(self._this_turn or self._turn_before)

    @property
    def foe_moves(self) -> tuple[str, ...]:
        """The opponent's last four distinct moves, in order of first use."""
        return tuple(self._moves[other(self._seat)][-MOVES_KEPT:])

    def see(self, fields: Sequence[str]) -> None:
        """Take in one line, split at `|`, after the FieldTracker has seen it."""
        if len(fields) < 3:
            return
        kind, subject = fields[1], fields[2]
        seat = seat_of(subject)
        if kind == "teamsize" and seat is not None:
            self.team_size[seat] = int(fields[3])
        elif kind == "poke" and seat is not None:
            self.preview[seat].append(fields[3])
        elif seat is not None:
            self._see_pokemon(kind, subject, seat, fields[3:])
        elif kind == "turn":
            self._turn_before, self._this_turn = self._this_turn if self.turn else [], []
            self.turn = int(subject)
        elif kind == "-weather":
            self.weather = None if subject == "none" else subject

    def _see_pokemon(self, kind: str, subject: str, seat: Seat, rest: Sequence[str]) -> None:
        match kind, *rest:
            case (("switch" | "drag"), _, condition, *_):
                self._add(seat, "switch", "dragged" if kind == "drag" else "")
                self._hp_percent[subject] = hp_percent(condition)
            case "move", name, *_:
                self._add(seat, "move", name)
                if name not in self._moves[seat]:
                    self._moves[seat].append(name)
            case "cant", reason, *_:
                self._add(seat, "cant", reason)
            case "-terastallize", type_name, *_:
                self._add(seat, "tera", type_name)
            case "faint", *_:
                self._add(seat, "faint")
            case (("-damage" | "-heal" | "-sethp"), condition, *sources):
                lost = self._hp_percent.get(subject, 100) - hp_percent(condition)
                self._hp_percent[subject] = hp_percent(condition)
                if kind == "-damage" and not any(source.startswith("[from]") for source in sources):
                    self._credit(seat, lost)

    def _add(self, seat: Seat, what: Happening, detail: str = "") -> None:
        shown = self._field.active.get(seat)
        who: Who = "own" if seat == self._seat else "foe"
        self._this_turn.append(Event(who, what, shown.species if shown else "?", detail))

    def _credit(self, victim: Seat, percent: int) -> None:
        # A move's own damage follows its line; crashes and recoil name their source and come with `[from]`.
        last = self._this_turn[-1] if self._this_turn else None
        if last is not None and last.what == "move" and (last.who == "own") == (victim != self._seat):
            self._this_turn[-1] = replace(last, damage_percent=(last.damage_percent or 0) + max(0, percent))


def hp_percent(condition: str) -> int:
    """Remaining HP of a condition (`201/264 par`, `0 fnt`) in percent, rounded up: 0 only when fainted."""
    amount = condition.split(" ", 1)[0]
    current, _, maximum = amount.partition("/")
    if not current.isdigit() or not maximum.isdigit() or int(maximum) == 0:
        return 0
    return -(-100 * int(current) // int(maximum))
