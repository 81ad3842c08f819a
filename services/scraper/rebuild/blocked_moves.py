"""What keeps the Pokémon on the field from some of its moves, or from leaving, as the log shows it.

The simulator tells a player the same in its request. What it hides even there (an unseen trapping ability, Imprison)
is left aside here, too. Which moves are sound, or healing, comes from the simulator's data (pokemon-showdown, MIT).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.battle.causes import called_by, cause_of
from shared.battle.pokedex import Pokedex, to_id
from shared.battle.protocol import Line

_SOUND = frozenset(
    {
        *("alluringvoice", "boomburst", "bugbuzz", "chatter", "clangingscales", "clangoroussoul", "confide"),
        *("disarmingvoice", "echoedvoice", "eeriespell", "grasswhistle", "growl", "healbell", "howl", "hypervoice"),
        *("metalsound", "nobleroar", "overdrive", "partingshot", "perishsong", "psychicnoise", "relicsong", "roar"),
        *("round", "screech", "sing", "snarl", "snore", "sparklingaria", "supersonic", "torchsong", "uproar"),
    }
)
_HEALING = frozenset(
    {
        *("absorb", "bitterblade", "bouncybubble", "drainingkiss", "drainpunch", "dreameater", "floralhealing"),
        *("gigadrain", "healingwish", "healorder", "healpulse", "hornleech", "junglehealing", "leechlife", "lifedew"),
        *("lunarblessing", "lunardance", "matchagotcha", "megadrain", "milkdrink", "moonlight", "morningsun"),
        *("oblivionwing", "paraboliccharge", "purify", "recover", "rest", "revivalblessing", "roost", "shoreup"),
        *("slackoff", "softboiled", "strengthsap", "swallow", "synthesis", "wish"),
    }
)
_GROUNDED_BY_GRAVITY = frozenset(
    {
        *("bounce", "floatyfall", "fly", "flyingpress", "highjumpkick", "jumpkick", "magnetrise", "skydrop"),
        *("splash", "telekinesis"),
    }
)
_NOT_TWICE_RUNNING = frozenset({"bloodmoon", "gigatonhammer"})
_BINDS = frozenset(
    {
        *("Bind", "Clamp", "Fire Spin", "Infestation", "Magma Storm", "Sand Tomb", "Snap Trap", "Thunder Cage"),
        *("Whirlpool", "Wrap"),
    }
)
_HOLDS = frozenset({"No Retreat", "Octolock", "ingrain", "Ingrain"})


@dataclass(slots=True)
class BlockedMoves:
    """Of one Pokémon, from when it came in."""

    last_move: str = ""
    """Id of the last move that it chose, or struggle: that frees a move which may not be used twice running."""
    first_move: str = ""
    """Id of the first that it chose, while its item worked, since it came in or since its item changed: what a choice
    item would lock."""
    encore: str = ""
    disabled: str = ""
    effects: set[str] = field(default_factory=set)
    """Names of what else was started on it: Taunt, Torment, Throat Chop, Heal Block."""
    held_by: set[str] = field(default_factory=set)
    """What keeps it from leaving."""

    def see(self, line: Line, *, item_works: bool) -> None:
        """Take in a line about this Pokémon."""
        kind = line[1]
        if kind == "move":
            if called_by(line) is None:
                self.last_move = to_id(line[3])
                if item_works and self.last_move != "struggle":
                    self.first_move = self.first_move or self.last_move
        elif kind in ("-start", "-end"):
            self._turn_on(line[3].removeprefix("move: "), line[4:], on=kind == "-start")
        elif kind == "-activate":
            name = line[3].removeprefix("move: ")
            if name == "trapped" or name in _BINDS:
                self.held_by.add(name)
        elif kind == "-enditem" or (kind == "-item" and cause_of(line) not in ("", "ability: Frisk")):
            # Frisk and an item that announces itself change nothing.
            self.first_move = ""

    def foe_left(self) -> None:
        """The opponent's Pokémon left the field: what only it held is free."""
        self.held_by &= {"No Retreat", "ingrain", "Ingrain"}

    def trapped(self, types: Sequence[str], item: str | None) -> bool:
        """Whether it may not be switched out."""
        return bool(self.held_by) and "Ghost" not in types and item != "shedshell"

    def blocks(
        self, move: str, dex: Pokedex, *, item: str | None, gravity: bool, choice_locked: bool, ate_berry: bool
    ) -> bool:
        """Whether the move of that id may not be chosen now."""
        return (
            (choice_locked and self.first_move not in ("", move))
            or (self.encore not in ("", move))
            or move == self.disabled
            or (dex.is_status(move) and move != "mefirst" and ("Taunt" in self.effects or item == "assaultvest"))
            or ("Torment" in self.effects and move == self.last_move)
            or ("Throat Chop" in self.effects and move in _SOUND)
            or ("Heal Block" in self.effects and move in _HEALING)
            or (gravity and move in _GROUNDED_BY_GRAVITY)
            or (move == self.last_move and move in _NOT_TWICE_RUNNING)
            or (move == "belch" and not ate_berry)
            or (move == "stuffcheeks" and item is not None and not item.endswith("berry"))
        )

    def _turn_on(self, effect: str, rest: Sequence[str], *, on: bool) -> None:
        if effect == "Encore":
            self.encore = self.last_move if on else ""
        elif effect == "Disable":
            self.disabled = to_id(rest[0]) if on and rest else ""
        else:
            effects = self.held_by if effect in _HOLDS or effect in _BINDS else self.effects
            (effects.add if on else effects.discard)(effect)
