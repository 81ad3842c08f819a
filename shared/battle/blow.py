"""One attack and what counts for it: the two Pokémon, what is around them, and powers that are worked out on use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.battle.pokedex import Category, Pokedex
from shared.battle.state import PokemonState

ONE = 4096
SUN, RAIN = ("SunnyDay", "DesolateLand"), ("RainDance", "PrimordialSea")
SNOW = ("Snow", "Snowscape")


@dataclass(frozen=True, slots=True)
class Fighter:
    """A Pokémon with its stats, known or assumed."""

    pokemon: PokemonState
    stats: Mapping[str, int]
    """hp (the most), atk, def, spa, spd, spe of the forme it acts as, before anything changes them."""
    own_types: tuple[str, ...]
    """Without terastallization: they still strengthen its attacks."""
    weight: float
    """In kilograms."""
    evolves: bool
    fallen: int = 0
    """How many of its own side have fainted."""

    @property
    def hp(self) -> int:
        """What it has left: the most that its percentage can mean."""
        return max(1, self.pokemon.hp_percent * self.stats["hp"] // 100) if self.pokemon.hp_percent else 0

    @property
    def is_full(self) -> bool:
        """Whether it has all its HP, as far as percents tell."""
        return self.pokemon.hp_percent == 100

    def has(self, effect: str) -> bool:
        """Whether a volatile effect is on it."""
        return effect in self.pokemon.effects


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is there besides the two."""

    weather: str | None = None
    fields: Mapping[str, int] = field(default_factory=dict)
    screens: Mapping[str, int] = field(default_factory=dict)
    """The conditions of the target's side."""


@dataclass(slots=True)
class Blow:
    """One attack, as far as it is resolved. An ability or item that doesn't work now is None."""

    dex: Pokedex
    user: Fighter
    target: Fighter
    around: Surroundings
    move: str
    """Its id."""
    type: str
    category: Category
    power: float
    priority: int
    traits: frozenset[str]
    multiplier: float
    """Of the type chart."""
    ability: str | None
    target_ability: str | None
    item: str | None
    target_item: str | None
    is_first: bool | None
    """Whether its user moves before the target; None where that is open."""
    is_critical: bool = False
    changed_to_type: bool = False
    """Whether an ability made a move of type Normal one of this type."""

    @property
    def is_physical(self) -> bool:
        """Whether it uses Attack."""
        return self.category == "Physical"

    @property
    def hits_defense(self) -> bool:
        """Whether the target's Defense counts, not its Special Defense."""
        return self.is_physical or "defense defends" in self.traits

    def on(self, terrain: str, stands: Fighter, *, ability: str | None) -> bool:
        """Whether that terrain is there and works for `stands`."""
        return f"{terrain} terrain" in self.around.fields and is_grounded(stands, ability, self.around)


def is_grounded(fighter: Fighter, ability: str | None, around: Surroundings) -> bool:
    """Whether terrain and hazards on the ground reach it."""
    held = fighter.pokemon.item
    if "gravity" in around.fields or held == "ironball" or fighter.has("smack down") or fighter.has("ingrain"):
        return True
    floats = held == "airballoon" or fighter.has("magnet rise") or fighter.has("telekinesis")
    return not (floats or ability == "levitate" or "Flying" in fighter.pokemon.types)


def speed_of(fighter: Fighter, around: Surroundings, tailwind: bool) -> int:
    """Its speed as it stands there."""
    pokemon, ability = fighter.pokemon, fighter.pokemon.ability
    speed = boosted(fighter.stats["spe"], pokemon.boosts.get("spe", 0))
    doubles = {"chlorophyll": SUN, "swiftswim": RAIN, "sandrush": ("Sandstorm",), "slushrush": (*SNOW, "Hail")}
    factor = 1.0
    if around.weather in doubles.get(ability or "", ()):
        factor *= 2
    if ability == "surgesurfer" and "electric terrain" in around.fields:
        factor *= 2
    if ability == "quickfeet" and pokemon.status:
        factor *= 1.5
    if pokemon.item == "choicescarf" or fighter.has("protosynthesisspe") or fighter.has("quarkdrivespe"):
        factor *= 1.5
    if pokemon.item in ("ironball", "machobrace") or fighter.has("slow start"):
        factor *= 0.5
    if tailwind:
        factor *= 2
    speed = int(speed * factor)
    return speed // 2 if pokemon.status == "par" and ability != "quickfeet" else speed


def boosted(stat: int, stages: int) -> int:
    """A stat after that many stages."""
    return stat * (2 + stages) // 2 if stages >= 0 else stat * 2 // (2 - stages)


# ── power ───────────────────────────────────────────────────────────────────────────────────────────


def _weight(fighter: Fighter, ability: str | None) -> float:
    factor = {"heavymetal": 2.0, "lightmetal": 0.5}.get(ability or "", 1.0)
    return max(0.1, fighter.weight * factor * (0.5 if fighter.pokemon.item == "floatstone" else 1))


def _by_weight(blow: Blow) -> float:
    weight = _weight(blow.target, blow.target_ability)
    powers = ((200, 120), (100, 100), (50, 80), (25, 60), (10, 40))
    return next((power for least, power in powers if weight >= least), 20)


def _by_ratio_of_weights(blow: Blow) -> float:
    ratio = _weight(blow.user, blow.ability) / _weight(blow.target, blow.target_ability)
    return next((power for least, power in ((5, 120), (4, 100), (3, 80), (2, 60)) if ratio >= least), 40)


def _by_lost_hp(blow: Blow) -> float:
    left = 48 * blow.user.hp // blow.user.stats["hp"]
    return next((power for most, power in ((1, 200), (4, 150), (9, 100), (16, 80), (32, 40)) if left <= most), 20)


def _by_hp(blow: Blow) -> float:
    return max(1, 150 * blow.user.hp // blow.user.stats["hp"])


def _by_targets_hp(most: int) -> Callable[[Blow], float]:
    return lambda blow: max(1, most * blow.target.hp // blow.target.stats["hp"])


def _by_boosts(blow: Blow) -> float:
    return 20 + 20 * sum(max(0, stages) for stages in blow.user.pokemon.boosts.values())


def _speeds(blow: Blow) -> tuple[int, int]:
    return max(1, speed_of(blow.user, blow.around, False)), max(1, speed_of(blow.target, blow.around, False))


def _electro_ball(blow: Blow) -> float:
    own, other = _speeds(blow)
    return (40, 60, 80, 120, 150)[min(4, own // other)]


def _gyro_ball(blow: Blow) -> float:
    own, other = _speeds(blow)
    return min(150, 25 * other // own + 1)


def _times(factor: float, when: Callable[[Blow], bool]) -> Callable[[Blow], float]:
    return lambda blow: blow.power * (factor if when(blow) else 1)


def _is_poisoned(blow: Blow) -> bool:
    return blow.target.pokemon.status in ("psn", "tox")


def _has_status(blow: Blow) -> bool:
    return bool(blow.target.pokemon.status) or blow.target_ability == "comatose"


_POWER: Mapping[str, Callable[[Blow], float]] = {
    "acrobatics": _times(2, lambda blow: blow.item in ("", "flyinggem")),
    "barbbarrage": _times(2, _is_poisoned),
    "boltbeak": _times(2, lambda blow: blow.is_first is True),
    "brine": _times(2, lambda blow: 2 * blow.target.hp <= blow.target.stats["hp"]),
    "crushgrip": _by_targets_hp(120),
    "dragonenergy": _by_hp,
    "electroball": _electro_ball,
    "eruption": _by_hp,
    "facade": _times(2, lambda blow: blow.user.pokemon.status in ("brn", "par", "psn", "tox")),
    "fishiousrend": _times(2, lambda blow: blow.is_first is True),
    "flail": _by_lost_hp,
    "frustration": lambda _: 102,
    "grassknot": _by_weight,
    "gyroball": _gyro_ball,
    "hardpress": _by_targets_hp(100),
    "heatcrash": _by_ratio_of_weights,
    "heavyslam": _by_ratio_of_weights,
    "hex": _times(2, _has_status),
    "infernalparade": _times(2, _has_status),
    "lastrespects": lambda blow: 50 + 50 * blow.user.fallen,
    "lowkick": _by_weight,
    "payback": _times(2, lambda blow: blow.is_first is False),
    "powertrip": _by_boosts,
    "psyblade": _times(1.5, lambda blow: "electric terrain" in blow.around.fields),
    "return": lambda _: 102,
    "reversal": _by_lost_hp,
    "risingvoltage": _times(2, lambda blow: blow.on("electric", blow.target, ability=blow.target_ability)),
    "smellingsalts": _times(2, lambda blow: blow.target.pokemon.status == "par"),
    "storedpower": _by_boosts,
    "terablast": lambda blow: (
        100 if blow.user.pokemon.tera_type == "Stellar" and blow.user.pokemon.terastallized else 80
    ),
    "terrainpulse": _times(2, lambda blow: blow.type != "Normal"),
    "venoshock": _times(2, _is_poisoned),
    "wakeupslap": _times(2, lambda blow: blow.target.pokemon.status == "slp"),
    "waterspout": _by_hp,
    "weatherball": _times(2, lambda blow: blow.type != "Normal"),
    "wringout": _by_targets_hp(120),
}


def power_of(blow: Blow) -> float:
    """Of the move itself, worked out where that is done on use."""
    worked_out = _POWER.get(blow.move)
    return worked_out(blow) if worked_out else blow.power
