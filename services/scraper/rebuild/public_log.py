"""A public log before it is told: its battle lines, who plays what, and under whose name.

A log is a stranger's text: bounded in lines, in their length and in turns, and read only where it is a battle of a
format that is played here. Lines that are no part of the battle (chat, clocks, pages) are left aside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.scraper.replay import Unfit, UnfitBattle
from shared.battle.protocol import SEATS, Line, Seat, renamed, seat_of

GENERATION = 9
MAX_TURNS = 1_000
"""Where the simulator itself ends a battle."""
MAX_TEAM = 24
MAX_DISGUISES = 40
"""Each costs another look at the battle from its beginning; a battle has a few."""
MAX_ENTRIES_A_TURN = 8
MAX_MOVES = 300
"""Different ones in one battle; Metronome calls many."""
MAX_LINES = 60_000
MAX_LINE_CHARACTERS = 2_000
TIERS: Mapping[str, str] = {"[Gen 9] Random Battle": "gen9randombattle", "[Gen 9] OU": "gen9ou"}
"""The formats that are read, by what a log calls them."""

_FIELDS: Mapping[str, int] = {
    **dict.fromkeys(("start", "teampreview", "tie", "upkeep"), 2),
    **dict.fromkeys(("faint", "gametype", "gen", "player", "t:", "tier", "turn", "win"), 3),
    **dict.fromkeys(("-fieldend", "-fieldstart", "-mustrecharge", "-weather"), 3),
    **dict.fromkeys(("cant", "detailschange", "move", "poke", "replace", "teamsize"), 4),
    **dict.fromkeys(
        ("-ability", "-activate", "-curestatus", "-damage", "-end", "-enditem", "-formechange", "-heal"), 4
    ),
    **dict.fromkeys(
        ("-item", "-sethp", "-sideend", "-sidestart", "-start", "-status", "-terastallize", "-transform"), 4
    ),
    **dict.fromkeys(("drag", "switch", "-boost", "-setboost", "-unboost"), 5),
}
"""Lines of a battle, beside others that begin with `-`, and how many fields they have at least."""
_CONDITION_AT: Mapping[str, int] = {"switch": 4, "drag": 4, "replace": 4, "-damage": 3, "-heal": 3, "-sethp": 3}


@dataclass(slots=True)
class Header:
    """What a log says of the battle as a whole."""

    names: dict[Seat, str] = field(default_factory=dict)
    sizes: dict[Seat, int] = field(default_factory=dict)
    preview: Mapping[Seat, list[str]] = field(default_factory=lambda: {"p1": [], "p2": []})
    picked: int | None = None
    """How many of those at team preview are taken along, where it is not all."""
    winner: Seat | None = None
    turns: int = 0
    tier: str = ""
    game_type: str = ""
    started: bool = False
    has_blocks: bool = False
    entries: int = 0
    disguises: int = 0
    met: set[str] = field(default_factory=set)
    """Everyone's name, with position."""
    moves: set[str] = field(default_factory=set)
    called: dict[str, Seat] = field(default_factory=dict)
    """Every name that a player bore."""

    @classmethod
    def read(cls, lines: Sequence[Line]) -> "Header":
        """Raises UnfitBattle."""
        header = cls()
        for line in lines:
            if len(line) > 2:
                header._see(line)
        header._check()
        return header

    def size(self, seat: Seat) -> int:
        """How many Pokémon a side plays with."""
        return self.picked or self.sizes.get(seat, 6)

    def _see_side(self, seat: Seat, line: Line) -> None:
        match line:
            case [_, "player", _, str() as name, *_] if name:
                self.names.setdefault(seat, name)
                self.called[name] = seat
            case [_, "teamsize", _, number, *_]:
                self.sizes[seat] = _number(number)
            case [_, "poke", _, details, *_] if not self.started:
                self.preview[seat].append(details)

    def _see(self, line: Line) -> None:
        match line:
            case [_, "player" | "teamsize" | "poke", ident, *_] if seat := seat_of(ident):
                self._see_side(seat, line)
            case [_, "teampreview", number, *_]:
                self.picked = _number(number) if number else None
            case [_, "tier", tier, *_]:
                self.tier = tier
            case [_, "gametype", game_type, *_]:
                self.game_type = game_type
            case [_, "t:", *_]:
                self.has_blocks |= self.turns > 0
            case [_, "move", _, name, *_]:
                self.moves.add(name)
            case [_, "turn", *_]:
                self._turn(line)
            case [_, "win", name, *_]:
                self.winner = self.called.get(name)
            case [_, ("switch" | "drag" | "replace") as kind, ident, *_]:
                self.met.add(ident)
                self.disguises += kind == "replace"
                self.entries += kind != "replace"

    def _turn(self, line: Line) -> None:
        number = _number(line[2])
        # Turns come one by one; MAX_TURNS is checked as they do, so that no log can make work without end.
        if number != self.turns + 1 or number > MAX_TURNS:
            raise UnfitBattle(Unfit.MALFORMED if number <= MAX_TURNS else Unfit.TOO_LONG)
        self.turns, self.started = number, True

    def _check(self) -> None:
        if not self.turns or set(self.names) != set(SEATS):
            raise UnfitBattle(Unfit.NO_BATTLE)
        if self.tier not in TIERS or self.game_type != "singles":
            raise UnfitBattle(Unfit.OTHER_FORMAT)
        if self.moves and not self.has_blocks:
            raise UnfitBattle(Unfit.NO_BLOCKS)
        if self._is_beyond_measure():
            raise UnfitBattle(Unfit.MALFORMED)

    def _is_beyond_measure(self) -> bool:
        # What no battle has, and what would make the work grow with the square of the log's length.
        teams = (*self.sizes.values(), *map(len, self.preview.values()))
        return (
            max(teams, default=0) > MAX_TEAM
            or len(self.met) > 2 * MAX_TEAM
            or len(self.moves) > MAX_MOVES
            or self.disguises > MAX_DISGUISES
            or self.entries > MAX_ENTRIES_A_TURN * (self.turns + 1)
        )


def battle_lines(log: Sequence[str]) -> list[Line]:
    """The lines that belong to the battle, split at `|`. Raises UnfitBattle."""
    if len(log) > MAX_LINES:
        raise UnfitBattle(Unfit.TOO_LONG)
    lines: list[Line] = []
    for line in log:
        if not line.startswith("|") or len(line) > MAX_LINE_CHARACTERS:
            continue
        fields = line.split("|")
        least = _FIELDS.get(fields[1])
        if least is not None or fields[1][:1] == "-":
            if len(fields) < (least or 2):
                raise UnfitBattle(Unfit.MALFORMED)
            lines.append(fields)
        elif line.startswith("||>>> ") or "<strong>/editbattle</strong>" in line:
            raise UnfitBattle(Unfit.TAMPERED)
    return lines


def in_percent(line: Line) -> Line:
    """The line as the opponent sees it: HP in percent, as the rule HP Percentage Mod has it."""
    position = _CONDITION_AT.get(line[1])
    if position is None or len(line) <= position:
        return line
    amount, space, status = line[position].partition(" ")
    current, slash, maximum = amount.partition("/")
    if not slash or maximum == "100" or not current.isdecimal() or not maximum.isdecimal():
        return line
    percent = -(-100 * int(current) // max(int(maximum), 1))
    if percent == 100 and int(current) < int(maximum):
        percent = 99
    return [*line[:position], f"{percent}/100{space}{status}", *line[position + 1 :]]


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 7:
        raise UnfitBattle(Unfit.MALFORMED)
    return int(text)


# ── under true names ────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Stint:
    """A Pokémon's stay on the field."""

    start: int
    end: int
    seat: Seat
    shown: str
    """With position: `p1a: Sparky`."""
    true: str
    details: str
    maximum: str
    """Maximum HP as the log says it when it came in."""
    struck: bool = False
    """Whether an opponent's move hurt it, which lifts any disguise."""


def unmask(lines: Sequence[Line]) -> tuple[list[Stint], list[Stint]]:
    """Everyone's stays on the field under true names, and those of them of whom only the disguise is known.

    A disguise is known by the `|replace|` that lifts it later, or by a maximum HP that is another's.
    """
    stints = _stints(lines)
    return stints, [*_who_they_are(stints), *_unproven(lines, stints)]


def _stints(lines: Sequence[Line]) -> list[Stint]:
    stints: list[Stint] = []
    current: dict[Seat, Stint] = {}
    mover: Seat | None = None
    for index, line in enumerate(lines):
        kind = line[1] if len(line) > 3 else ""
        if kind == "move":
            mover = seat_of(line[2])
        elif kind == "-damage" and (hurt := seat_of(line[2])) in current and mover not in (None, hurt):
            current[hurt].struck |= not any(part.startswith("[from]") for part in line[4:])
        if kind not in ("switch", "drag", "replace"):
            continue
        seat = seat_of(line[2])
        if seat is None:
            continue
        if kind == "replace":
            if seat in current:
                current[seat].true, current[seat].details = line[2], line[3]
            continue
        if seat in current:
            current[seat].end = index
        maximum = line[4].partition("/")[2].partition(" ")[0] if len(line) > 4 else ""
        current[seat] = Stint(index, len(lines), seat, line[2], line[2], line[3], maximum)
        stints.append(current[seat])
    return stints


def _who_they_are(stints: Sequence[Stint]) -> list[Stint]:
    """Name those whose maximum HP shows who they are; return those who may be another than they seem."""
    doubtful: list[Stint] = []
    for seat in SEATS:
        own = [stint for stint in stints if stint.seat == seat]
        illusionists = {
            stint.maximum: stint for stint in own if _is_known_illusionist(stint) and stint.maximum != "100"
        }
        by_name: dict[str, dict[str, list[Stint]]] = {}
        for stint in own:
            if stint.true == stint.shown and not _is_known_illusionist(stint):
                by_name.setdefault(stint.shown, {}).setdefault(stint.maximum, []).append(stint)
        for by_maximum in by_name.values():
            known = [maximum for maximum in by_maximum if maximum in illusionists]
            if len(by_maximum) == 2 and len(known) == 1:
                for stint in by_maximum[known[0]]:
                    stint.true, stint.details = illusionists[known[0]].true, illusionists[known[0]].details
            elif len(by_maximum) > 1 or known:
                doubtful.extend(stint for under_it in by_maximum.values() for stint in under_it)
    return doubtful


def _unproven(lines: Sequence[Line], stints: Sequence[Stint]) -> list[Stint]:
    """Where HP is in percent and a side is known to have Illusion: its stays under names that nothing shows to be true.

    Each of them may have been a disguise.
    """
    shown = {seat_of(line[2]) for line in lines if line[1] == "poke" and line[3].startswith(_ILLUSIONISTS)}
    sides = {seat for seat in SEATS if all(stint.maximum in ("100", "") for stint in stints if stint.seat == seat)}
    suspected = sides & (shown | {stint.seat for stint in stints if _is_known_illusionist(stint)})
    return [
        stint for stint in stints if stint.seat in suspected and not stint.struck and not _is_known_illusionist(stint)
    ]


_ILLUSIONISTS = ("Zoroark", "Zorua")


def _is_known_illusionist(stint: Stint) -> bool:
    return stint.true != stint.shown or stint.details.startswith(_ILLUSIONISTS)


def under_true_names(lines: Sequence[Line], stints: Sequence[Stint]) -> Sequence[Line]:
    """The log as if everyone had come as itself."""
    masked = [stint for stint in stints if stint.true != stint.shown]
    if not masked:
        return lines
    told = list(lines)
    for stint in masked:
        for index in range(stint.start, stint.end):
            told[index] = renamed(told[index], {stint.shown: stint.true})
        entry = told[stint.start]
        told[stint.start] = [*entry[:3], stint.details, *entry[4:]]
    return told
