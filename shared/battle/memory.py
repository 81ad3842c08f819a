"""What a side remembers of a battle: every Pokémon, both sides of the field, and the field itself.

`follow` (follow.py) keeps it up to date, line by line. Species, formes and types in sight stand in
`shared.battle.protocol`.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from shared.battle.action import Request
from shared.battle.pokedex import Pokedex, pokedex, to_id
from shared.battle.protocol import Seat, hp_percent, name_of, other, seat_of, status_of

_UNTIL_THE_NEXT_MOVE = ("destiny bond", "glaive rush", "grudge", "must recharge", "rage")
_ENDED_IN_GENERATION_1 = {
    **dict.fromkeys(("par", "confusion"), ("preparing", "bide")),
    **dict.fromkeys(("recharge", "flinch"), ("must recharge",)),
}
"""By why a turn was lost."""
_AS_ONE = {"asone": "", "unnerve": "", "chillingneigh": "asoneglastrier", "grimneigh": "asonespectrier"}
"""By what As One is shown → which of the two it then is."""
_CRITICAL = ("dragon cheer", "focus energy", "g max chi strike", "laser focus")


@dataclass(slots=True)
class Remembered:
    """A Pokémon. `ability`, `item` are None while unknown; `item` is empty when it holds none."""

    hp_percent: int = 100
    status: str | None = None
    item: str | None = None
    ability: str | None = None
    own_ability: str | None = None
    """To which it goes back as it leaves."""
    has_other_ability: bool = False
    """Whether it has another's ability now, known or not."""
    moves: list[str] = field(default_factory=list)
    """Ids of its own."""
    copied: list[str] | None = None
    """Ids of those it has instead until it leaves (Transform, Mimic)."""
    is_transformed: bool = False
    called: str = ""
    """Its latest move, where another move called it: before generation 3, going on with it is not told apart."""
    pp: dict[str, list[int]] = field(default_factory=dict)
    """Of one's own: what is left of a move's PP, and the most."""
    is_locked: bool = False
    """Of one's own: whether its latest request left it no choice, so that it goes on with what it paid for."""
    boosts: dict[str, int] = field(default_factory=dict)
    acted: bool = False
    """Whether it has had its part of this turn."""
    effects: dict[str, str | int | None] = field(default_factory=dict)
    """In words → who caused it where it ends with them, how many turns' ends it still lasts, or None."""

    def now_has(self, ability: str) -> None:
        """It is seen to have this ability."""
        if (self.ability or "").startswith("asone"):
            ability = _AS_ONE.get(ability, ability) or self.ability or ""
        self.ability = ability
        if not self.has_other_ability:
            self.own_ability = ability

    def is_given(self, ability: str | None) -> None:
        """Something changes its ability until it leaves."""
        self.ability, self.has_other_ability = ability, True

    def leave(self) -> None:
        """It leaves the field, or faints."""
        self.boosts, self.effects, self.copied, self.is_transformed = {}, {}, None, False
        self.called, self.acted = "", True
        self.ability, self.has_other_ability = self.own_ability, False

    def use_turn(self) -> None:
        """It moves, or tries to: what lasts until then is over."""
        self.acted = True
        for effect in [each for each in self.effects if each in _UNTIL_THE_NEXT_MOVE or each.startswith("preparing")]:
            del self.effects[effect]

    def lose_turn(self, why: str, generation: int) -> None:
        """It tries to move and cannot. In generation 1 that ends little and puts off the rest."""
        if generation > 1:
            self.use_turn()
        elif (ended := _ENDED_IN_GENERATION_1.get(why)) is not None:
            self.effects = {effect: left for effect, left in self.effects.items() if not effect.startswith(ended)}

    def end_turn(self, generation: int) -> None:
        """A turn ends that it was on the field for."""
        if not self.acted and generation > 3:
            # Held by Sky Drop, it lost its turn without a line. Before generation 4, that it does not act may mean
            # that another fainted first.
            self.use_turn()
        self.effects = {
            effect: left - 1 if isinstance(left, int) else left for effect, left in self.effects.items() if left != 1
        }

    def replace_move(self, old: str, new: str) -> None:
        """It has one move in another's place until it leaves."""
        self.copied = [new if move == old else move for move in (self.moves if self.copied is None else self.copied)]

    def copy_boosts(self, source: "Remembered", generation: int) -> None:
        """Take on another's, and since generation 6 what makes critical hits, without a line where that is lost."""
        self.boosts = dict(source.boosts)
        for effect in _CRITICAL if generation >= 6 else ():
            self.effects.pop(effect, None)
            if effect in source.effects:
                self.effects[effect] = None

    def health(self, condition: str) -> None:
        """Take on the HP and the status of a condition (`201/264 par`)."""
        self.hp_percent, self.status = hp_percent(condition), status_of(condition)

    def boost(self, stat: str, stages: int) -> None:
        """Set a stat's stages, within the game's bounds."""
        self.boosts[stat] = max(-6, min(6, stages))


class Memory:
    """What one side knows from its view of a log and from the requests of `seat`."""

    def __init__(self, seat: Seat, generation: int) -> None:
        self.pokemon: dict[str, Remembered] = {}
        """By name without position: `p1: Sparky`."""
        self.conditions: dict[Seat, dict[str, int]] = {"p1": {}, "p2": {}}
        """Side condition → layers of spikes, or the turn it began."""
        self.fields: dict[str, int] = {}
        """Terrains, rooms, gravity and the like → the turn each began."""
        self.active: dict[Seat, str] = {}
        self.tier = ""
        self._seat: Seat = seat
        self.generation = generation
        self.dex: Pokedex = pokedex(generation)
        self.turn = 0
        self.fields_left: dict[str, int] = {}
        """How many turns' ends those last that have no line for their own."""

    def request(self, request: Request) -> None:
        """Take in a request: one's own moves, item and ability, and the PP of moves that are listed."""
        for pokemon in request["side"]["pokemon"]:
            known = self.of(pokemon["ident"])
            if pokemon["item"] != known.item:
                self.stick(known, pokemon["item"], pokemon["ident"])
            known.own_ability, known.item = pokemon["baseAbility"], pokemon["item"]
            if not known.has_other_ability:
                known.ability = known.own_ability
            if not (pokemon["active"] and known.copied is not None):
                known.moves = [own_move(move) for move in pokemon["moves"]]
        listed = list(request["active"][0]["moves"]) if request.get("active") else []
        active = self.pokemon.get(self.active.get(self._seat, ""))
        if active is not None:
            for move in () if active.is_transformed else listed:
                if "pp" in move and own_move(move["id"]) in active.moves:
                    active.pp[own_move(move["id"])] = [move["pp"], move["maxpp"]]
            active.is_locked = bool(listed) and "pp" not in listed[0]
            if listed and listed[0]["id"] != "recharge":
                # In generation 1, a flinch that comes too late to show ends it.
                active.effects.pop("must recharge", None)

    def of(self, ident: str) -> Remembered:
        """The Pokémon of that name. Raises ValueError for a name of nobody's."""
        name = name_of(ident)
        if seat_of(name) is None:
            raise ValueError(f"{ident!r} is no Pokémon's name")
        return self.pokemon.setdefault(name, Remembered())

    def facing(self, ident: str) -> Remembered | None:
        """The active Pokémon on the other side of the field."""
        seat = seat_of(ident)
        return self.pokemon.get(self.active.get(other(seat), "")) if seat else None

    def works(self, pokemon: Remembered, ability: str) -> bool:
        """Whether that Pokémon on the field is known to have this ability, and nothing suppresses it."""
        if pokemon.ability != ability or "gastro acid" in pokemon.effects:
            return False
        others = (self.pokemon[name] for name in self.active.values())
        return pokemon.item == "abilityshield" or not any(
            each.ability == "neutralizinggas" and each.hp_percent and "gastro acid" not in each.effects
            for each in others
        )

    def end_what_came_from(self, name: str, heir: str | None = None) -> None:
        """End what lasted only as long as that Pokémon was there; or now lasts as long as its heir is."""
        for pokemon in self.pokemon.values():
            for effect in [effect for effect, source in pokemon.effects.items() if source == name]:
                if heir is None:
                    del pokemon.effects[effect]
                else:
                    pokemon.effects[effect] = heir

    def learn(self, pokemon: Remembered, name: str) -> None:
        """It is seen to have this move."""
        move, known = own_move(to_id(name)), pokemon.moves if pokemon.copied is None else pokemon.copied
        if self.dex.move(name) is not None and move not in ("struggle", "recharge") and move not in known:
            known.append(move)

    def stick(self, pokemon: Remembered, item: str, ident: str) -> None:
        """A Sticky Barb goes over to whoever touches its holder, without a line."""
        facing = self.facing(ident)
        if item == "stickybarb" != pokemon.item and facing is not None and facing.item == item:
            pokemon.item, facing.item = item, ""


@lru_cache(4096)
def own_move(move: str) -> str:
    """A request's id of a move without its type and power: `hiddenpowerfire60`, `return102`."""
    return next((each for each in ("hiddenpower", "return", "frustration") if move.startswith(each)), move)


def bare(effect: str) -> str:
    """`move: Taunt` → `Taunt`."""
    return effect.partition(": ")[2] or effect
