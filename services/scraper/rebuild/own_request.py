"""One side's own team as a log goes on, and the request that its player saw: rebuilt from the public log.

A real request tells a player its own side. This one says the same as far as the log tells it, sooner or later, so that
states are drawn from it as from a real one. Its order is neutral: after the lead, by name, and moves by id, since the
order in which things show would tell what is chosen next. From there on they change places as the simulator has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.scraper.rebuild.blocked_moves import BlockedMoves
from services.scraper.rebuild.choices import RequestKind
from services.scraper.rebuild.own_team import MAX_MOVES, OwnTeams, TeamMember
from shared.battle.causes import called_by, cause_of, of_whom
from shared.battle.pokedex import Pokedex, to_id
from shared.battle.protocol import Line, Seat, name_of, seat_of

_PP_OF_A_COPY = 5


@dataclass(slots=True)
class _PokemonNow:
    """A Pokémon of the team, now."""

    member: TeamMember
    details: str
    condition: str
    terastallized: str = ""
    used: dict[str, int] = field(default_factory=dict)
    """Move id → PP spent."""
    ate_berry: bool = False


class OwnRequest:
    """A seat's team, line by line. Lines must be under true names, with conditions as its own player sees them."""

    def __init__(self, seat: Seat, known: OwnTeams, dex: Pokedex, preview: Sequence[str], size: int) -> None:
        self._seat = seat
        self._known = known
        self._dex = dex
        self._size = size
        self._team = {
            member.ident: _PokemonNow(member, member.details, _at_first(member))
            for member in _team(known, seat, preview)
        }
        self._order = list(self._team)
        self._active: _PokemonNow | None = None
        self._blocked = BlockedMoves()
        self._copy: _PokemonNow | None = None
        """Whose moves the active Pokémon has, being transformed, with PP of their own."""
        self._foe: TeamMember | None = None
        self._fields: set[str] = set()
        """What lies on the field: `move: Gravity`."""
        self._has_terastallized = False

    def see(self, index: int, line: Line) -> None:
        kind, ident = line[1], line[2] if len(line) > 2 else ""
        seat = seat_of(ident)
        if kind == "-enditem":
            self._see_eaten(line)
        if seat is None:
            if kind in ("-fieldstart", "-fieldend"):
                (self._fields.add if kind == "-fieldstart" else self._fields.discard)(ident)
        elif seat != self._seat:
            if kind in ("switch", "drag"):
                self._foe = self._known.teams[seat].get(name_of(ident))
                self._blocked.foe_left()
        elif (pokemon := self._team.get(name_of(ident))) is not None:
            if kind in ("switch", "drag"):
                self._enter(index, pokemon, line)
            elif len(line) > 3:
                self._see_own(pokemon, line)
            elif kind == "faint":
                pokemon.condition, pokemon.terastallized = "0 fnt", ""
                pokemon.details = pokemon.details.partition(", tera:")[0]

    def request(self, wanted: RequestKind, at: int) -> dict[str, Any]:
        """What the player was sent, of what the log tells, before the line at `at`."""
        side = {
            "name": self._seat,
            "id": self._seat,
            "pokemon": [self._listed(self._team[ident], wanted, at) for ident in self._order],
        }
        if wanted == "lead":
            return {"teamPreview": True, "side": side}
        if wanted == "move":
            return {"active": [self._asked(at)], "side": side}
        return {"forceSwitch": [True], "side": side}

    def moves_are_sure(self, at: int) -> bool:
        """Whether it is wholly known which moves the active Pokémon could choose."""
        pokemon = self._active
        if pokemon is None:
            return False
        member, moves = pokemon.member, (self._copy or pokemon).member.moves
        may_choose = [self._blocked.encore] if self._blocked.encore else moves
        unknown = self._item(pokemon, at) is None
        if unknown and (member.items or not member.chose_status) and any(map(self._dex.is_status, may_choose)):
            # It may be an Assault Vest.
            return False
        if self._blocked.encore:
            return True
        if unknown and self._blocked.first_move and member.may_be_choice_locked(at):
            return False
        return self._choice_locked(pokemon, at) or len(moves) >= MAX_MOVES

    def slot_of(self, ident: str) -> int | None:
        """Where that Pokémon stands in the request, from 1."""
        return self._order.index(ident) + 1 if ident in self._team else None

    def team_is_sure(self) -> bool:
        """Whether everyone on the team is known."""
        return len(self._order) >= self._size

    def trapped(self, at: int) -> bool:
        """Whether the active Pokémon may not be switched out."""
        pokemon = self._active
        return pokemon is not None and self._blocked.trapped(self._types(pokemon), self._item(pokemon, at))

    # ── what was seen ───────────────────────────────────────────────────────────────────────────────────

    def _enter(self, index: int, pokemon: _PokemonNow, line: Line) -> None:
        left = self._active
        if left is not None and left is not pokemon:
            # What changes as it leaves (Regenerator, Natural Cure) its player knows; the log tells when it is back.
            back = next((condition for entered, condition in left.member.entries if entered > index), None)
            if back is not None and not left.condition.endswith("fnt"):
                left.condition = back
        position = self._order.index(pokemon.member.ident)
        if left is None:
            self._order.insert(0, self._order.pop(position))
        else:
            self._order[0], self._order[position] = self._order[position], self._order[0]
        self._active = pokemon
        pokemon.details, pokemon.condition = line[3], line[4] if len(line) > 4 else pokemon.condition
        self._blocked = BlockedMoves()
        self._copy = None

    def _see_eaten(self, line: Line) -> None:
        # Bug Bite and Pluck feed the one that uses them.
        stolen = cause_of(line) == "stealeat"
        eater = self._team.get(name_of(of_whom(line) if stolen else line[2]))
        if eater is not None:
            eater.ate_berry |= stolen or "[eat]" in line

    def _see_own(self, pokemon: _PokemonNow, line: Line) -> None:
        kind = line[1]
        if pokemon is self._active:
            self._blocked.see(line, item_works=self._item_works(pokemon))
        match kind:
            case "-damage" | "-heal" | "-sethp":
                pokemon.condition = line[3]
            case "-status":
                pokemon.condition = f"{pokemon.condition.split(' ')[0]} {line[3]}"
            case "-curestatus":
                pokemon.condition = pokemon.condition.split(" ")[0]
            case "detailschange":
                pokemon.details = line[3]
            case "-terastallize":
                pokemon.terastallized, self._has_terastallized = line[3], True
                if ", tera:" not in pokemon.details:
                    pokemon.details += f", tera:{line[3]}"
            case "-transform":
                self._copy = _PokemonNow(self._foe, "", "") if self._foe is not None else None
            case "move":
                self._spend(pokemon, line)

    def _spend(self, pokemon: _PokemonNow, line: Line) -> None:
        if called_by(line) is not None:
            return
        used = (self._copy or pokemon).used
        move = to_id(line[3])
        pressed = self._foe is not None and self._foe.ability == "pressure" and self._dex.is_pressed(move)
        used[move] = used.get(move, 0) + (2 if pressed else 1)

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────────

    def _listed(self, pokemon: _PokemonNow, wanted: RequestKind, at: int) -> Mapping[str, Any]:
        member = pokemon.member
        active = pokemon is self._active and wanted != "lead"
        return {
            "ident": member.ident,
            "details": pokemon.details,
            "condition": pokemon.condition,
            "active": active,
            "stats": {},
            "moves": (self._copy.member if active and self._copy is not None else member).moves,
            "baseAbility": member.ability,
            "item": member.item(at),
            "reviving": active and wanted == "revive",
            "teraType": member.tera_type or pokemon.terastallized,
            "terastallized": pokemon.terastallized,
        }

    def _asked(self, at: int) -> Mapping[str, Any]:
        pokemon = self._active
        if pokemon is None:
            return {"moves": []}
        item, locked = self._item(pokemon, at), self._choice_locked(pokemon, at)
        listed = []
        shown = self._copy or pokemon
        for move in shown.member.moves:
            facts = self._dex.move(move)
            most = _most_pp(facts.pp if facts is not None else 5, copied=shown is self._copy)
            spent = shown.used.get(move, 0)
            blocked = self._blocked.blocks(
                move,
                self._dex,
                item=item,
                gravity="move: Gravity" in self._fields,
                choice_locked=locked,
                ate_berry=pokemon.ate_berry,
            )
            listed.append(
                {
                    "move": facts.name if facts is not None else move,
                    "id": move,
                    "pp": max(0, most - spent),
                    "maxpp": most,
                    "disabled": blocked or spent >= most,
                }
            )
        if self.moves_are_sure(at) and all(move["disabled"] for move in listed):
            listed = [{"move": "Struggle", "id": "struggle"}]
        asked: dict[str, Any] = {"moves": listed}
        if self.trapped(at):
            asked["trapped"] = True
        if not self._has_terastallized:
            asked["canTerastallize"] = pokemon.member.tera_type or "?"
        return asked

    def _choice_locked(self, pokemon: _PokemonNow, at: int) -> bool:
        member = pokemon.member
        return bool(self._item(pokemon, at) and member.may_be_choice_locked(at) and self._blocked.first_move)

    def _item_works(self, pokemon: _PokemonNow) -> bool:
        return "move: Magic Room" not in self._fields and pokemon.member.ability != "klutz"

    def _item(self, pokemon: _PokemonNow, at: int) -> str | None:
        """What it holds, empty while that does nothing."""
        return pokemon.member.item(at) if self._item_works(pokemon) else ""

    def _types(self, pokemon: _PokemonNow) -> Sequence[str]:
        return (pokemon.terastallized,) if pokemon.terastallized else self._dex.types(pokemon.details.split(",")[0])


def _at_first(member: TeamMember) -> str:
    return member.entries[0][1] if member.entries else "100/100"


def _most_pp(pp: int, *, copied: bool) -> int:
    # Fully trained, three fifths more; a copied move has 5, or 1 where the original has no more.
    if copied:
        return min(pp, _PP_OF_A_COPY)
    return pp if pp == 1 else pp * 8 // 5


def _team(known: OwnTeams, seat: Seat, preview: Sequence[str]) -> list[TeamMember]:
    """Those met, by name; or all that team preview showed, in its order, which everybody saw."""
    met = sorted(known.teams[seat].values(), key=lambda member: member.ident)
    if not preview:
        return met
    team: list[TeamMember] = []
    for details in preview:
        species = details.split(",")[0].removesuffix("-*")
        family = species.split("-")[0]
        came = next((member for member in met if member not in team and member.species.split("-")[0] == family), None)
        team.append(came or TeamMember(f"{seat}: {species}", details.replace("-*", "")))
    return team + [member for member in met if member not in team]
