"""What one side knows at a request, as the document from which the simulator host completes full positions (worlds.js).

From a state, the request and that side's view of the log alone, so that nothing hidden can be in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.arena.player import View
from shared.battle.causes import called_by
from shared.battle.memory import bare
from shared.battle.pokedex import to_id
from shared.battle.protocol import Line, Seat, name_of, other, read_details, seat_of
from shared.battle.state import PokemonState, Side

_GUARDS = frozenset({"Protect", "Detect", "Endure"})


@dataclass(slots=True)
class _Stay:
    """What a log tells of a Pokémon beyond its state, most of it since it came in."""

    since: int = 0
    """The turn in which it came in."""
    used: list[str] = field(default_factory=list)
    """Ids of the moves that it chose, in order."""
    began: dict[str, int] = field(default_factory=dict)
    """Effect → the turn in which it began."""
    slept: int = 0
    """Moves slept through since it fell asleep."""
    hurt: int = 0
    """Turns' ends at which poison hurt it."""
    guarded: int = -1
    """The turn in which it guarded itself last."""
    varied: bool = False
    """Whether it ever used two moves in one stay, as no holder of a Choice item can."""

    def see(self, line: Line, turn: int) -> None:
        """Take in what happens to it in its place."""
        match line[1]:
            case "cant":
                self.slept += line[3] == "slp"
            case "-status":
                self.slept = 0
            case "-start":
                self.began[to_id(bare(line[3]))] = turn
            case "-damage":
                self.hurt += "[from] psn" in line
            case "-singleturn" if bare(line[3]) in _GUARDS:
                self.guarded = turn


class _Course:
    """A battle so far, read once from its first line."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.pokemon: dict[str, _Stay] = {}
        """By name, in the order in which they came."""
        self.active: dict[Seat, str] = {}
        self.turn = 0
        self.acted: set[Seat] = set()
        """Sides that have had their part of this turn."""
        self.ended = True
        """Whether this turn's end was reached."""
        self.weather_began = 0
        self.wished: dict[Seat, int] = {}
        self.terastallized: set[Seat] = set()
        for line in lines:
            self._read(line)

    def _read(self, line: Line) -> None:
        kind = line[1]
        if kind == "turn":
            self.turn, self.ended = int(line[2]), False
            self.acted.clear()
        elif kind == "upkeep":
            self.ended = True
        elif kind == "-weather" and "[upkeep]" not in line:
            self.weather_began = self.turn
        seat = seat_of(line[2]) if len(line) > 3 else None
        if seat is not None:
            self._read_of(seat, name_of(line[2]), line)

    def _read_of(self, seat: Seat, name: str, line: Line) -> None:
        stay, kind, what = self.pokemon.setdefault(name, _Stay()), line[1], line[3]
        if kind in ("switch", "drag", "move", "cant"):
            self.acted.add(seat)
        if kind in ("switch", "drag"):
            stay.since, stay.used, stay.began, stay.hurt = self.turn, [], {}, 0
        if kind in ("switch", "drag", "replace"):
            self.active[seat] = name
        elif kind == "move" and called_by(line) is None:
            stay.used.append(to_id(what))
            stay.varied |= len(set(stay.used)) > 1
            if what == "Wish":
                self.wished[seat] = self.turn
        elif kind == "-terastallize":
            self.terastallized.add(seat)
        else:
            stay.see(line, self.turn)


def known(view: View) -> dict[str, Any]:
    """The document; see worlds.js for how it is read."""
    state, request = view.state, view.request
    seat: Seat = request["side"]["id"]
    foe_seat = other(seat)
    course = _Course(view.tracker.lines)
    foe_active = course.active.get(foe_seat, "")
    foe_names = [foe_active, *(name for name in course.pokemon if seat_of(name) == foe_seat and name != foe_active)]
    foes = [pokemon for pokemon in (state.foe.active, *state.foe.bench) if pokemon is not None]
    owns = [pokemon for pokemon in (state.own.active, *state.own.bench) if pokemon is not None]
    listed = request["side"]["pokemon"]
    forced = state.asked == "switch"
    has_own, has_foe = (bool(side.active and side.active.hp_percent) for side in (state.own, state.foe))
    return {
        "format": view.tracker.format_id,
        "turn": max(1, state.turn),
        "asked": state.asked,
        # The own Pokémon leaves before the opponent has had its part of the turn.
        "mid_turn": forced and has_own and has_foe and not course.ended and foe_seat not in course.acted,
        "residual": forced and has_own and not course.ended,
        "own": {
            "pokemon": [_own(entry, pokemon, course, request) for entry, pokemon in zip(listed, owns, strict=False)],
            "request": _request(request),
            **_side(state.own, seat, course),
        },
        "foe": {
            "pokemon": [_foe(pokemon, course, name) for name, pokemon in zip(foe_names, foes, strict=False)],
            "unseen": state.foe.unseen,
            **_side(state.foe, foe_seat, course),
        },
        "weather": {"name": state.weather, "began": course.weather_began} if state.weather else None,
        "fields": {to_id(name): began for name, began in state.fields.items()},
    }


def _side(side: Side, seat: Seat, course: _Course) -> dict[str, Any]:
    wished = course.wished.get(seat)
    return {
        "conditions": {to_id(name): number for name, number in side.conditions.items()},
        "wished": wished if wished is not None and wished >= course.turn - course.ended else None,
        "tera_used": seat in course.terastallized,
    }


def _request(request: Mapping[str, Any]) -> dict[str, Any]:
    active = request["active"][0] if request.get("active") else {}
    return {
        "moves": [
            {"id": move.get("id", ""), "disabled": bool(move.get("disabled"))} for move in active.get("moves", ())
        ],
        "trapped": bool(active.get("trapped")),
        "tera": bool(active.get("canTerastallize")),
    }


def _own(
    entry: Mapping[str, Any], pokemon: PokemonState, course: _Course, request: Mapping[str, Any]
) -> dict[str, Any]:
    species, level, _ = read_details(entry["details"])
    gender = next((part for part in entry["details"].split(", ") if part in ("M", "F")), "")
    hp, _, most = str(entry["condition"]).split(" ")[0].partition("/")
    moves = [to_id(move) for move in entry["moves"]]
    pp = {to_id(move.name): move.pp for move in pokemon.moves if move.pp is not None}
    return {
        "name": name_of(entry["ident"])[4:],
        "species": species,
        "forme": pokemon.species if pokemon.species != species else None,
        "gender": gender,
        "level": level,
        "hp": int(hp),
        "max_hp": int(most) if most else None,
        "stats": entry["stats"],
        "moves": moves,
        "pp": pp,
        "base_ability": entry["baseAbility"],
        "tera": entry.get("teraType"),
        **_both(pokemon, course.pokemon.get(entry["ident"], _Stay()), course, active=bool(entry["active"])),
    }


def _foe(pokemon: PokemonState, course: _Course, name: str) -> dict[str, Any]:
    stay = course.pokemon.get(name, _Stay())
    return {
        "species": pokemon.species,
        "forme": None,
        "level": pokemon.level,
        "percent": pokemon.hp_percent,
        "moves": [to_id(move.name) for move in pokemon.moves],
        "tera": pokemon.tera_type,
        "varied": stay.varied,
        **_both(pokemon, stay, course, active=course.active.get(_seat(name)) == name),
    }


def _seat(name: str) -> Seat:
    seat = seat_of(name)
    assert seat is not None
    return seat


def _both(pokemon: PokemonState, stay: _Stay, course: _Course, *, active: bool) -> dict[str, Any]:
    used: Sequence[str] = stay.used if active else ()
    return {
        "active": active,
        "status": pokemon.status,
        "ability": pokemon.ability,
        "item": pokemon.item,
        "terastallized": pokemon.terastallized,
        "copied": pokemon.transformed_into,
        "types": pokemon.types,
        "boosts": dict(pokemon.boosts),
        "effects": pokemon.effects,
        "since": stay.began,
        "used": used,
        "stayed": max(0, course.turn - stay.since),
        "slept": stay.slept,
        "hurt": stay.hurt,
        "guarded": active and stay.guarded == course.turn - 1 >= 0,
    }
