"""What a player can do at a request: the legal actions and the text that orders each of them.

Showdown sends a `|request|` with the moves and team of one side. `legal_actions` reads it and nothing
else, so that every policy, prompt and check sees the same list; `order` gives the text to send back.
Request and choice formats: SIM-PROTOCOL.md of the pokemon-showdown repository.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Gimmick = Literal["tera", "mega", "megax", "megay", "ultra", "zmove", "dynamax"]
Request = Mapping[str, Any]

_GIMMICK_FIELDS: tuple[tuple[str, Gimmick], ...] = (
    ("canTerastallize", "tera"),
    ("canMegaEvo", "mega"),
    ("canMegaEvoX", "megax"),
    ("canMegaEvoY", "megay"),
    ("canUltraBurst", "ultra"),
    ("canDynamax", "dynamax"),
)
_ORDER_WORDS: Mapping[Gimmick | None, str] = {"tera": "terastallize"}
_GIMMICK_OF_WORD: Mapping[str, str] = {"terastallize": "tera"}


@dataclass(frozen=True, slots=True)
class Move:
    """Use the move in `slot` (1-based, as the request lists it), with a gimmick or without."""

    slot: int
    id: str
    name: str
    gimmick: Gimmick | None = None

    @property
    def told_power(self) -> int | None:
        """The power that the request tells behind the name (`Return 102`, `Hidden Power Fire 70`)."""
        _, _, number = self.name.rpartition(" ")
        return int(number) if number.isdecimal() and len(number) < 4 else None


@dataclass(frozen=True, slots=True)
class Switch:
    """Send in the Pokémon in `slot` (1-based, as the request lists it). At team preview: lead with it."""

    slot: int
    name: str


@dataclass(frozen=True, slots=True)
class Pass:
    """Do nothing, where a request leaves nothing to do."""


@dataclass(frozen=True, slots=True)
class Forfeit:
    """Give the battle up. Never among the legal actions: only a policy that may forfeit comes to it."""


Action = Move | Switch | Pass


def needs_answer(request: Request) -> bool:
    """Whether Showdown waits for this side."""
    return not request.get("wait", False)


def legal_actions(request: Request) -> tuple[Action, ...]:
    """Every action that `request` permits: moves as listed, gimmicks after their move, then switches.

    Never empty: a request that leaves nothing to do gives `(Pass(),)`. Singles only.
    """
    if not needs_answer(request):
        return (Pass(),)
    team: Sequence[Mapping[str, Any]] = request["side"]["pokemon"]
    if request.get("teamPreview"):
        return tuple(Switch(slot, species(pokemon)) for slot, pokemon in enumerate(team, 1))
    if any(request.get("forceSwitch", ())):
        return _switches(team) or (Pass(),)
    active = request["active"][0]
    switches = () if active.get("trapped") else _switches(team)
    return (*_moves(active), *switches) or (Pass(),)


FORFEIT = "forfeit"
"""The order of a Forfeit. No choice, so battlefields look out for it."""


def order(action: Action | Forfeit, request: Request) -> str:
    """The choice string for `action`, as the simulator's `>p1 …` and the server's `/choose …` take it."""
    match action:
        case Move(slot=slot, gimmick=gimmick):
            return f"move {slot} {_ORDER_WORDS.get(gimmick, gimmick)}" if gimmick else f"move {slot}"
        case Switch(slot=slot):
            return f"team {slot}" if request.get("teamPreview") else f"switch {slot}"
        case Pass():
            return "pass"
        case Forfeit():
            return FORFEIT


def meant(choice: str, legal: Sequence[Action]) -> Action | None:
    """Which of the legal actions a choice means, as players and input logs write it; None when it is none of them.

    Moves are named by id or slot (`move scaleshot terastallize`, `move 1`), Pokémon by slot (`switch 3`, `team 312`).
    """
    word, _, rest = choice.partition(" ")
    if word == "pass":
        return next((action for action in legal if isinstance(action, Pass)), None)
    if word == "move":
        name, _, gimmick_word = rest.partition(" ")
        gimmick = _GIMMICK_OF_WORD.get(gimmick_word, gimmick_word) or None
        return next(
            (a for a in legal if isinstance(a, Move) and a.gimmick == gimmick and name in (a.id, str(a.slot))), None
        )
    # At team preview all are named in order, with commas where there are more than nine.
    slot = rest.split(",")[0].strip() if "," in rest else rest[:1] if word == "team" else rest
    return next((action for action in legal if isinstance(action, Switch) and str(action.slot) == slot), None)


def species(pokemon: Mapping[str, Any]) -> str:
    """The species' display name from a request's `details` (`Rotom-Wash, L83, shiny` → `Rotom-Wash`)."""
    return str(pokemon["details"]).split(",", 1)[0]


def _moves(active: Mapping[str, Any]) -> tuple[Move, ...]:
    # While dynamaxed there is no `canDynamax`, and `maxMoves` says which moves are disabled.
    listed: Sequence[Mapping[str, Any]] = active["moves"]
    max_moves = active.get("maxMoves", {}).get("maxMoves")
    dynamaxed = max_moves is not None and not active.get("canDynamax")
    z_moves = active.get("canZMove") or ()
    gimmicks = [gimmick for field, gimmick in _GIMMICK_FIELDS if active.get(field)]
    moves: list[Move] = []
    for index, listed_move in enumerate(listed):
        slot, move_id, name = index + 1, str(listed_move.get("id", "")), str(listed_move["move"])
        usable = not (max_moves[index] if dynamaxed else listed_move).get("disabled")
        if usable:
            moves.append(Move(slot, move_id, name))
        for gimmick in gimmicks:
            # A max move is disabled for reasons of its own, and may be chosen where the move itself may not.
            of_max = gimmick == "dynamax" and max_moves is not None
            if (not max_moves[index].get("disabled")) if of_max else usable:
                moves.append(Move(slot, move_id, name, gimmick))
        if index < len(z_moves) and z_moves[index]:
            moves.append(Move(slot, move_id, name, "zmove"))
    return tuple(moves)


def _switches(team: Sequence[Mapping[str, Any]]) -> tuple[Switch, ...]:
    # Revival Blessing asks for a switch to a fainted Pokémon; every other switch is to a healthy one.
    reviving = any(pokemon.get("reviving") for pokemon in team)
    return tuple(
        Switch(slot, species(pokemon))
        for slot, pokemon in enumerate(team, 1)
        if not pokemon["active"] and str(pokemon["condition"]).endswith(" fnt") == reviving
    )
