"""What one side sees of a battle: log lines and requests in, poke-env's Battle and our BattleState out.

poke-env tracks the battle; it needs no client, only lines and requests. Nothing is worked out before
somebody looks, since some policies never do. Three things are not left to poke-env: one's own side, which
the request tells; types, events and moves seen (protocol.py); and names under Illusion (`TrueNames`).
A line that poke-env cannot take in is skipped and remembered: it costs a detail, not the battle.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from poke_env.battle import Battle

from shared.battle.action import Request
from shared.battle.draw_state import draw, fields, foe_side
from shared.battle.pokedex import pokedex
from shared.battle.protocol import SEATS, Line, Seat, TurnTracker, other, renamed, seat_of, seen_by
from shared.battle.state import BattleState, Side
from shared.errors import BattleBroken
from shared.text import one_line

logger = logging.getLogger(__name__)

UNTRACKED_KEPT = 20

_NOT_FOR_POKE_ENV = Battle.MESSAGES_TO_IGNORE | {
    *("", ":", "c:", "t:", "error", "bigerror", "expire", "inactive", "player", "raw", "request", "title"),
    *("showteam", "tempnotify", "tempnotifyoff", "uhtmlchange"),
}
# What poke-env's parsing is known to raise on a line it did not expect.
_POKE_ENV_RAISES = (
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Tracker:
    """One seat's view of one battle. `names` are the players' names in the log, by seat."""

    def __init__(self, generation: int, seat: Seat, names: Mapping[Seat, str]) -> None:
        self.untracked: deque[str] = deque(maxlen=UNTRACKED_KEPT)
        """The latest lines that poke-env could not take in."""
        self._generation = generation
        self._seat: Seat = seat
        self._names = names
        self._inbox: list[str | Request] = []
        self._true_names = TrueNames(seat)
        self._request: Request | None = None
        self._begin()

    def hear(self, lines: Sequence[str]) -> None:
        """Take in log lines, with `|split|` blocks still inside or already resolved. Cheap."""
        self._inbox.extend(lines)

    def request(self, request: Request) -> None:
        """Take in a request. Cheap."""
        self._inbox.append(request)
        self._request = request

    @property
    def battle(self) -> Battle:
        """poke-env's Battle, up to date. May be another object than before: don't keep it."""
        self._catch_up()
        return self._battle

    def state(self) -> BattleState:
        """What this side knows at the latest request. Raises BattleBroken before the first one."""
        self._catch_up()
        if self._request is None:
            raise BattleBroken("a state was asked for before the simulator sent any request")
        return draw(self._generation, self._request, self._battle, self._turns)

    def opponent(self) -> Side:
        """What this side has seen of the other. It needs no request."""
        self._catch_up()
        return foe_side(self._battle, self._turns, pokedex(self._generation))

    def field_effects(self) -> list[str]:
        """Weather, terrains, rooms and gravity."""
        self._catch_up()
        return [*filter(None, [self._turns.weather]), *fields(self._battle)]

    def _begin(self) -> None:
        self._turns = TurnTracker(self._seat, self._generation)
        self._battle = Battle(
            battle_tag="battle",
            username=self._names[self._seat],
            # A logger of its own, outside the tree: poke-env warns of lines that are no concern of ours.
            logger=logging.Logger("poke-env battle", logging.CRITICAL),
            gen=self._generation,
        )
        # Told here rather than read from `|player|` lines, which can't tell players of one name apart.
        self._battle.player_role = self._seat
        self._battle.opponent_username = self._names[other(self._seat)]
        self._battle.players = (self._names[SEATS[0]], self._names[SEATS[1]])

    def _catch_up(self) -> None:
        if not self._inbox:
            return
        inbox, self._inbox = self._inbox, []
        told_to = len(self._true_names.past)
        retell = False
        for heard in self._resolved(inbox):
            if isinstance(heard, list):
                retell |= self._true_names.hear(heard)
            else:
                retell |= self._true_names.request(heard)
        if retell:
            self._begin()
            told_to = 0
        for heard in self._true_names.past[told_to:]:
            if isinstance(heard, list):
                self._see(heard)
            else:
                self._read_request(heard)

    def _resolved(self, inbox: Sequence[str | Request]) -> Sequence[Line | Request]:
        resolved: list[Line | Request] = []
        lines: list[str] = []
        for heard in (*inbox, None):
            if isinstance(heard, str):
                lines.append(heard)
                continue
            resolved.extend(line.split("|") for line in seen_by(self._seat, lines) if line.startswith("|"))
            lines.clear()
            if heard is not None:
                resolved.append(heard)
        return resolved

    def _see(self, line: Line) -> None:
        self._turns.see(line)
        kind = line[1]
        if kind in _NOT_FOR_POKE_ENV:
            return
        try:
            match kind:
                case "win":
                    self._battle.won_by(line[2])
                case "tie":
                    self._battle.tied()  # type: ignore[no-untyped-call]
                case _:
                    self._battle.parse_message(line)
        except _POKE_ENV_RAISES as error:
            self._skip("|".join(line), error)

    def _read_request(self, request: Request) -> None:
        try:
            self._battle.parse_request(dict(request))
        except _POKE_ENV_RAISES as error:
            self._skip(f"|request| of turn {self._turns.turn}", error)

    def _skip(self, what: str, error: Exception) -> None:
        if not self.untracked:
            logger.debug("poke-env could not take in %s: %s", one_line(what), one_line(repr(error)))
        self.untracked.append(what)


class TrueNames:
    """One side's view of a battle, lines and requests in the order heard, corrected for Illusion.

    Illusion makes a Pokémon enter under the name of a team mate, and every line until it breaks bears that name. Those
    lines are rewritten as if it had come as itself: an opponent's once a `|replace|` line breaks the disguise, one's
    own at the next request, which always tells the truth.
    """

    def __init__(self, seat: Seat) -> None:
        self.past: list[Line | Request] = []
        self._seat: Seat = seat
        self._entered: dict[Seat, int] = {}
        """Where in the past the active Pokémon of a seat entered."""
        self._names: dict[str, str] = {}
        """Shown ident → true ident, of those now on the field in a known disguise."""

    def hear(self, line: Line) -> bool:
        """Take in a line, split at `|`. True when the past has changed and must be told again."""
        kind, ident = (line[1], line[2]) if len(line) > 2 else ("", "")
        seat = seat_of(ident)
        if seat is not None and kind in ("switch", "drag"):
            self._names = {shown: true for shown, true in self._names.items() if seat_of(shown) != seat}
            self._entered[seat] = len(self.past)
        elif seat is not None and kind == "replace" and seat in self._entered:
            known = self._entry(seat)[2] == ident
            if not known:
                self._unmask(seat, ident, line[3])
            self._names = {shown: true for shown, true in self._names.items() if true != ident}
            return not known
        self.past.append(renamed(line, self._names) if self._names else line)
        return False

    def request(self, request: Request) -> bool:
        """Take in a request. True when the past has changed and must be told again."""
        disguised = self._disguised(request)
        if disguised is not None:
            shown = self._entry(self._seat)[2]
            true = f"{shown[:3]}{disguised['ident'][2:]}"
            self._unmask(self._seat, true, disguised["details"])
            self._names[shown] = true
        self.past.append(request)
        return disguised is not None

    def _disguised(self, request: Request) -> Mapping[str, Any] | None:
        if self._seat not in self._entered or request.get("teamPreview"):
            return None
        shown_name = self._entry(self._seat)[2][3:]
        active = next((pokemon for pokemon in request["side"]["pokemon"] if pokemon["active"]), None)
        if active is None or "illusion" not in (active.get("ability"), active.get("baseAbility")):
            return None
        return active if active["ident"][2:] != shown_name else None

    def _entry(self, seat: Seat) -> Line:
        entry = self.past[self._entered[seat]]
        assert isinstance(entry, list)
        return entry

    def _unmask(self, seat: Seat, ident: str, details: str) -> None:
        start = self._entered[seat]
        names = {self._entry(seat)[2]: ident}
        for index in range(start, len(self.past)):
            line = self.past[index]
            if isinstance(line, list):
                self.past[index] = renamed(line, names)
        entry = self._entry(seat)
        self.past[start] = [*entry[:3], details, *entry[4:]]
