"""What one side sees of a battle: log lines and requests in, our BattleState out, and for baselines poke-env's Battle.

Nothing is worked out before somebody looks, since some policies never do. A state is drawn from the request, which
tells one's own side, from what is remembered of the log (memory.py), and from types, events and moves seen
(protocol.py), under true names (`TrueNames`). Nothing in it comes from poke-env, whose Battle is another's view:
docs/prompts.md lists where it says what is not so.
A line that cannot be taken in is skipped and remembered: it costs a detail, not the battle.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared.battle.action import Request
from shared.battle.draw_state import draw, foe_side
from shared.battle.follow import follow
from shared.battle.memory import Memory
from shared.battle.pokedex import to_id
from shared.battle.protocol import SEATS, Line, Seat, TurnTracker, other, read_details, renamed, seat_of, seen_by
from shared.battle.state import BattleState, Side
from shared.errors import BattleBroken
from shared.text import one_line

if TYPE_CHECKING:
    from poke_env.battle import Battle

logger = logging.getLogger(__name__)

UNTRACKED_KEPT = 20

# Lines of the server or the page, which tell nothing of the battle.
_NO_NEWS = frozenset(
    {
        *("", ":", "J", "L", "askreg", "badge", "bigerror", "c", "c:", "chat", "debug", "deinit", "error", "expire"),
        *("hidelines", "html", "inactive", "inactiveoff", "init", "j", "join", "l", "leave", "n", "name", "player"),
        *("raw", "request", "sentchoice", "showteam", "split", "t:", "tempnotify", "tempnotifyoff", "title", "uhtml"),
        "uhtmlchange",
    }
)
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
        """The latest lines that could not be taken in."""
        self._generation = generation
        self._seat: Seat = seat
        self._names = names
        self._inbox: list[str | Request] = []
        self._true_names = TrueNames(seat)
        self._request: Request | None = None
        self._battle: Battle | None = None
        self._parsed = 0
        """How much of the past is told to poke-env."""
        self._begin()

    def hear(self, lines: Sequence[str]) -> None:
        """Take in log lines, with `|split|` blocks still inside or already resolved. Cheap."""
        self._inbox.extend(lines)

    def request(self, request: Request) -> None:
        """Take in a request. Cheap."""
        self._inbox.append(request)
        self._request = request

    @property
    def battle(self) -> "Battle":
        """poke-env's Battle, up to date. May be another object than before: don't keep it."""
        self._catch_up()
        if self._battle is None:
            self._battle = self._new_battle()
        for heard in self._true_names.past[self._parsed :]:
            self._parse(self._battle, heard)
        self._parsed = len(self._true_names.past)
        return self._battle

    def state(self) -> BattleState:
        """What this side knows at the latest request. Raises BattleBroken before the first one."""
        self._remember()
        if self._request is None:
            raise BattleBroken("a state was asked for before the simulator sent any request")
        return draw(self._request, self._memory, self._turns)

    def opponent(self) -> Side:
        """What this side has seen of the other. It needs no request."""
        self._remember()
        return foe_side(self._memory, self._turns)

    @property
    def lines(self) -> list[Line]:
        """The log so far as this side sees it, under true names, each line split at `|`."""
        self._catch_up()
        return [heard for heard in self._true_names.past if isinstance(heard, list)]

    @property
    def format_id(self) -> str:
        """Of the format whose name the log tells; empty before it does."""
        self._remember()
        return to_id(self._memory.tier)

    def field_effects(self) -> list[str]:
        """Weather, terrains, rooms and gravity."""
        self._remember()
        return [*filter(None, [self._turns.weather]), *self._memory.fields]

    def _begin(self) -> None:
        self._turns = TurnTracker(self._seat, self._generation)
        self._memory = Memory(self._seat, self._generation)
        self._seen = 0
        """How much of the past is told to those two."""
        self._battle, self._parsed = None, 0

    def _catch_up(self) -> None:
        """Bring the past up to date, which may change what was told before."""
        if not self._inbox:
            return
        inbox, self._inbox = self._inbox, []
        retell = False
        for heard in self._resolved(inbox):
            if isinstance(heard, list):
                retell |= self._true_names.hear(heard)
            else:
                retell |= self._true_names.request(heard)
        if retell:
            self._begin()

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

    def _remember(self) -> None:
        self._catch_up()
        for heard in self._true_names.past[self._seen :]:
            if not isinstance(heard, list):
                self._memory.request(heard)
                continue
            self._turns.see(heard)
            try:
                if not follow(self._memory, heard) and heard[1] not in _NO_NEWS:
                    self._skip("|".join(heard), "its kind is unknown")
            except (LookupError, ValueError) as error:
                self._skip("|".join(heard), repr(error))
        self._seen = len(self._true_names.past)

    def _new_battle(self) -> "Battle":
        from poke_env.battle import Battle

        battle = Battle(
            battle_tag="battle",
            username=self._names[self._seat],
            # A logger of its own, outside the tree: poke-env warns of lines that are no concern of ours.
            logger=logging.Logger("poke-env battle", logging.CRITICAL),
            gen=self._generation,
        )
        # Told here rather than read from `|player|` lines, which can't tell players of one name apart.
        battle.player_role = self._seat
        battle.opponent_username = self._names[other(self._seat)]
        battle.players = (self._names[SEATS[0]], self._names[SEATS[1]])
        return battle

    def _parse(self, battle: "Battle", heard: Line | Request) -> None:
        try:
            if not isinstance(heard, list):
                battle.parse_request(dict(heard))
            elif heard[1] == "win":
                battle.won_by(heard[2])
            elif heard[1] == "tie":
                battle.tied()  # type: ignore[no-untyped-call]
            elif heard[1] not in _NO_NEWS:
                battle.parse_message(heard)
        except _POKE_ENV_RAISES as error:
            self._skip("|".join(heard) if isinstance(heard, list) else "|request|", repr(error))

    def _skip(self, what: str, why: str) -> None:
        if not self.untracked:
            logger.debug("A line could not be taken in: %s: %s", one_line(what), one_line(why))
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
        tera_type = read_details(entry[3])[2]
        if tera_type is not None and read_details(details)[2] is None:
            details = f"{details}, tera:{tera_type}"
        self.past[start] = [*entry[:3], details, *entry[4:]]
