"""What the log of a whole battle tells of each side's own team: what its player knew long before it showed.

A player knows its own moves, items, abilities and bench from the start; the public log tells them bit by bit. Used for
a side's own prompts alone. Nothing is guessed: what never shows stays unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.scraper.rebuild.public_log import GENERATION, Stint, under_true_names, unmask
from shared.battle.causes import called_by, cause_of, named_sources
from shared.battle.pokedex import pokedex, to_id
from shared.battle.protocol import SEATS, Line, Seat, hp_percent, name_of, other, read_details, seat_of

MAX_MOVES = 4
_CHOICE_ITEMS = frozenset({"choiceband", "choicescarf", "choicespecs"})
# Held by whoever has that forme, as everybody knows.
_ITEM_OF_FORME: Mapping[str, str] = {
    "Dialga-Origin": "adamantcrystal",
    "Giratina-Origin": "griseouscore",
    "Ogerpon-Cornerstone": "cornerstonemask",
    "Ogerpon-Hearthflame": "hearthflamemask",
    "Ogerpon-Wellspring": "wellspringmask",
    "Palkia-Origin": "lustrousglobe",
    "Zacian-Crowned": "rustedsword",
    "Zamazenta-Crowned": "rustedshield",
}


@dataclass(slots=True)
class TeamMember:
    """One Pokémon of a team, as all of the battle shows it."""

    ident: str
    """Without position: `p1: Sparky`."""
    details: str
    """When it first came in."""
    moves: list[str] = field(default_factory=list)
    """Ids of its own moves, sorted: their order must not tell which is used first."""
    ability: str = ""
    """Id of the ability that it began with; empty while unknown."""
    tera_type: str | None = None
    entries: list[tuple[int, str]] = field(default_factory=list)
    """Line and condition of each time it came in."""
    items: list[tuple[int, str | None, str | None]] = field(default_factory=list)
    """Line, what it held until then and what from then on; None is unknown, empty is nothing."""
    condition: str = ""
    """As the log last told it."""
    is_two: bool = False
    """Whether it shows more moves than one Pokémon has, or comes back in another condition than it left in."""
    free: bool = False
    """Whether it once used two different moves without a switch, as no Pokémon with a choice item could."""
    chose_status: bool = False
    """Whether it once chose a status move, as no Pokémon with an Assault Vest could."""

    @property
    def species(self) -> str:
        """The species it came in as."""
        return read_details(self.details)[0]

    def item(self, at: int) -> str | None:
        """What it holds at that line: an id, empty for nothing, None where the log never tells."""
        held: str | None = None
        for line, before, after in self.items:
            if line >= at:
                return before if held is None else held
            held = after
        return held

    def may_be_choice_locked(self, at: int) -> bool:
        """Whether nothing tells that it holds no choice item at that line."""
        item = self.item(at)
        if item is not None:
            return item in _CHOICE_ITEMS
        return bool(self.items) or not self.free


Team = Mapping[str, TeamMember]
"""By ident, without position."""


@dataclass(frozen=True, slots=True)
class OwnTeams:
    """The log under true names, and both teams."""

    lines: Sequence[Line]
    teams: Mapping[Seat, Team]
    doubtful: Sequence[Stint]
    """Those in a disguise that nothing lifts: it is not known who they were."""

    def is_doubtful(self, at: int, seat: Seat) -> bool:
        """Whether it is unknown who stood on the field for that seat at that line."""
        return any(stint.seat == seat and stint.start < at <= stint.end for stint in self.doubtful)

    def may_be_another(self, entry: int) -> bool:
        """Whether it is unknown who came in by that line."""
        return any(stint.start == entry for stint in self.doubtful)


def learn(lines: Sequence[Line]) -> OwnTeams:
    """Everything that the whole log tells of both teams."""
    stints, doubtful = unmask(lines)
    true_lines = under_true_names(lines, stints)
    teams = _read_teams(true_lines, doubtful)
    two = {name for team in teams.values() for name, member in team.items() if member.is_two}
    if two:
        # Someone in a disguise that nothing lifts came under that name, too.
        doubtful = [*doubtful, *(stint for stint in stints if name_of(stint.true) in two)]
        teams = _read_teams(true_lines, doubtful)
    for stint in doubtful:
        if any(line[1] == "faint" and line[2] == stint.shown for line in lines[stint.start : stint.end]):
            # From then on it is unknown, too, who else is left.
            stint.end = len(lines)
    return OwnTeams(true_lines, teams, doubtful)


def _read_teams(lines: Sequence[Line], doubtful: Sequence[Stint]) -> Mapping[Seat, dict[str, TeamMember]]:
    teams: dict[Seat, dict[str, TeamMember]] = {"p1": {}, "p2": {}}
    reader = _TeamReader(teams)
    disguised = {(index, stint.seat) for stint in doubtful for index in range(stint.start, stint.end)}
    for index, line in enumerate(lines):
        if len(line) > 3 or line[1] in ("faint", "-fieldend", "turn"):
            reader.see(index, line, disguised=(index, seat_of(line[2])) in disguised)
    for seat in SEATS:
        for member in teams[seat].values():
            member.moves.sort()
            if (item := _ITEM_OF_FORME.get(member.species)) is not None:
                member.items.append((len(lines), item, item))
            member.items.sort(key=lambda event: event[0])
    return teams


class _TeamReader:
    """Learns from a log under true names, line by line."""

    def __init__(self, teams: Mapping[Seat, dict[str, TeamMember]]) -> None:
        self._teams = teams
        self._active: dict[Seat, TeamMember] = {}
        self._copies: dict[Seat, TeamMember | None] = {"p1": None, "p2": None}
        """Whose moves a transformed Pokémon uses."""
        self._used: dict[Seat, set[str]] = {"p1": set(), "p2": set()}
        """Moves chosen since the active Pokémon came in or its item changed."""
        self._magic_room = self._room_this_turn = False
        """Whether it works now, and whether it did at any time of this turn: when a move was chosen, or was used."""
        self._swap_at = 0
        """Where two Pokémon last exchanged their items."""

    def see(self, index: int, line: Line, *, disguised: bool) -> None:
        """Take in a line. Of one in a disguise, only that it came."""
        kind, ident = line[1], line[2]
        seat = seat_of(ident)
        if seat is None:
            # The field's lines begin with what happened, and may name who did it.
            if ident == "move: Magic Room":
                self._magic_room = kind == "-fieldstart"
            self._room_this_turn = self._magic_room or (self._room_this_turn and kind != "turn")
            self._sources(index, line)
            return
        if kind in ("switch", "drag"):
            self._enter(index, seat, line)
        member = self._teams[seat].get(name_of(ident))
        if member is None or disguised:
            return
        if kind == "faint":
            member.condition = "0 fnt"
            return
        if kind in ("-damage", "-heal", "-sethp"):
            member.condition = line[3]
        self._sources(index, line)
        self._about(index, seat, member, line)

    def _about(self, index: int, seat: Seat, member: TeamMember, line: Line) -> None:
        match line[1], line[3]:
            case "move", _:
                self._move(seat, member, line)
            case "cant", why if len(line) > 4 and not why.startswith("ability: "):
                self._learn_move(seat, member, line[4])
            case "-terastallize", type_name:
                member.tera_type = type_name
            case "-transform", into:
                copied = seat_of(into)
                self._copies[seat] = self._active.get(copied) if copied else None
            case (("-item" | "-enditem"), _):
                self._item(index, seat, member, line)
            case "-ability", name if not member.ability and self._copies[seat] is None:
                traced = "Trace" in cause_of(line)
                member.ability = "trace" if traced else to_id(name)
            case "-activate", ("move: Trick" | "move: Switcheroo"):
                self._swap_at = index
            case "-activate", "move: Poltergeist" if len(line) > 4:
                self._holds(index, member, line[4])

    def _enter(self, index: int, seat: Seat, line: Line) -> None:
        name = name_of(line[2])
        member = self._teams[seat].setdefault(name, TeamMember(name, line[3]))
        member.is_two |= bool(member.entries) and not _comes_back(member.condition, line[4])
        member.entries.append((index, line[4]))
        member.condition = line[4]
        self._active[seat] = member
        self._copies[seat] = None
        self._used[seat] = set()

    def _move(self, seat: Seat, member: TeamMember, line: Line) -> None:
        source = called_by(line)
        if line[3] == "Struggle" or source not in (None, "lockedmove", "move: Sleep Talk", "Sleep Talk"):
            return
        self._learn_move(seat, member, line[3])
        if source is None and not self._room_this_turn:
            used = self._used[seat]
            used.add(line[3])
            if not member.items:
                member.free |= len(used) > 1
                member.chose_status |= pokedex(GENERATION).is_status(line[3])

    def _learn_move(self, seat: Seat, member: TeamMember, name: str) -> None:
        owner = self._copies[seat] or member
        move = to_id(name)
        if move and move not in owner.moves:
            owner.is_two |= len(owner.moves) >= MAX_MOVES
            if len(owner.moves) < MAX_MOVES:
                owner.moves.append(move)

    def _item(self, index: int, seat: Seat, member: TeamMember, line: Line) -> None:
        item = to_id(line[3])
        source = cause_of(line)
        if line[1] == "-enditem":
            member.items.append((index, item, ""))
            self._used[seat] = set()
        elif source in ("move: Trick", "move: Switcheroo"):
            # Each holds from now on what the other held before.
            giver = self._active.get(other(seat))
            member.items.append((index, None, item))
            if giver is not None:
                giver.items.append((self._swap_at, item, None))
            self._used[seat] = set()
        elif not source or "Frisk" in source:
            self._holds(index, member, line[3])
        else:
            member.items.append((index, None, item))

    def _holds(self, index: int, member: TeamMember, item: str) -> None:
        # A berry that was eaten is named once more by what it does.
        if member.items and to_id(item) in member.items[-1][1:]:
            return
        member.items.append((index, to_id(item), to_id(item)))

    def _sources(self, index: int, line: Line) -> None:
        """`[from] item: Leftovers` and `[from] ability: Static`, with whose they are."""
        for what, name, ident in named_sources(line):
            whose = seat_of(ident)
            owner = self._teams[whose].get(name_of(ident)) if whose else None
            if owner is None:
                continue
            if what == "item" and line[1] not in ("-item", "-enditem"):
                self._holds(index, owner, name)
            elif what == "ability" and not owner.ability and line[1] not in ("-ability", "move", "cant"):
                # That of a transformed Pokémon is another's.
                owner.ability = "" if whose and self._copies[whose] else to_id(name)


def _comes_back(left: str, back: str) -> bool:
    """Whether one that left in that condition can come back in this one: as it was, or healed by Regenerator."""
    before, after = hp_percent(left), hp_percent(back)
    regenerated = min(100, before + 33)
    return abs(after - before) <= 1 or (before > 0 and abs(after - regenerated) <= 1)
