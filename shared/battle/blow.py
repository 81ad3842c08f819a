"""What changes the damage of an attack: powers that are worked out on use, abilities, items, weather, terrain, screens.

One table for each step of the formula (damage.py). A modifier is a fraction of 4096, as in the games. The tables are
the simulator's rules for singles (data/ and sim/battle-actions.ts of pokemon-showdown, MIT licence); where generations
differ, those of 6 and later, but for what is said here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from shared.battle.pokedex import Category, Pokedex
from shared.battle.state import PokemonState

ONE = 4096
_SUN, _RAIN = ("SunnyDay", "DesolateLand"), ("RainDance", "PrimordialSea")
_SNOW = ("Snow", "Snowscape")


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
    doubles = {"chlorophyll": _SUN, "swiftswim": _RAIN, "sandrush": ("Sandstorm",), "slushrush": (*_SNOW, "Hail")}
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
    "acrobatics": _times(2, lambda blow: blow.user.pokemon.item == ""),
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


# ── modifiers ───────────────────────────────────────────────────────────────────────────────────────

_TYPE_ITEMS: Mapping[str, str] = {
    item: type_name
    for type_name, items in {
        "Bug": "silverpowder insectplate",
        "Dark": "blackglasses dreadplate",
        "Dragon": "dragonfang dracoplate",
        "Electric": "magnet zapplate",
        "Fairy": "fairyfeather pixieplate",
        "Fighting": "blackbelt fistplate",
        "Fire": "charcoal flameplate",
        "Flying": "sharpbeak skyplate",
        "Ghost": "spelltag spookyplate",
        "Grass": "miracleseed meadowplate roseincense",
        "Ground": "softsand earthplate",
        "Ice": "nevermeltice icicleplate",
        "Normal": "silkscarf pinkbow polkadotbow",
        "Poison": "poisonbarb toxicplate",
        "Psychic": "twistedspoon mindplate oddincense",
        "Rock": "hardstone stoneplate rockincense",
        "Steel": "metalcoat ironplate",
        "Water": "mysticwater splashplate seaincense waveincense",
    }.items()
    for item in items.split()
}
_ORBS: Mapping[str, tuple[str, str, str]] = {
    "adamantorb": ("Dialga", "Steel", "Dragon"),
    "adamantcrystal": ("Dialga", "Steel", "Dragon"),
    "lustrousorb": ("Palkia", "Water", "Dragon"),
    "lustrousglobe": ("Palkia", "Water", "Dragon"),
    "griseousorb": ("Giratina", "Ghost", "Dragon"),
    "griseouscore": ("Giratina", "Ghost", "Dragon"),
    "souldew": ("Lati", "Psychic", "Dragon"),
}
_RESIST_BERRIES: Mapping[str, str] = {
    f"{berry}berry": type_name
    for berry, type_name in {
        "occa": "Fire", "passho": "Water", "wacan": "Electric", "rindo": "Grass", "yache": "Ice", "chople": "Fighting",
        "kebia": "Poison", "shuca": "Ground", "coba": "Flying", "payapa": "Psychic", "tanga": "Bug", "charti": "Rock",
        "kasib": "Ghost", "chilan": "Normal", "haban": "Dragon", "colbur": "Dark", "babiri": "Steel", "roseli": "Fairy",
    }.items()
}  # fmt: skip
_KEEPS_ITS_ITEM = (
    "Arceus",
    "Silvally",
    "Genesect",
    "Giratina",
    "Dialga",
    "Palkia",
    "Ogerpon",
    "Zacian",
    "Zamazenta",
)

_When = Callable[[Blow], bool]


def _trait(name: str) -> _When:
    return lambda blow: name in blow.traits


_POWER_BY_ABILITY: Mapping[str, tuple[int, _When]] = {
    "analytic": (5325, lambda blow: blow.is_first is False),
    "flareboost": (6144, lambda blow: blow.user.pokemon.status == "brn" and not blow.is_physical),
    "ironfist": (4915, _trait("punch")),
    "megalauncher": (6144, _trait("pulse")),
    "punkrock": (5325, _trait("sound")),
    "reckless": (4915, _trait("recoil")),
    "sandforce": (
        5325,
        lambda blow: blow.around.weather == "Sandstorm" and blow.type in ("Rock", "Ground", "Steel"),
    ),
    "sharpness": (6144, _trait("slicing")),
    "sheerforce": (5325, _trait("secondary")),
    "steelyspirit": (6144, lambda blow: blow.type == "Steel"),
    "strongjaw": (6144, _trait("bite")),
    "technician": (6144, lambda blow: blow.power <= 60),
    "toughclaws": (5325, _trait("contact")),
    "toxicboost": (6144, lambda blow: blow.user.pokemon.status in ("psn", "tox") and blow.is_physical),
}
_ATTACK_BY_ABILITY: Mapping[str, tuple[int, _When]] = {
    "blaze": (6144, lambda blow: blow.type == "Fire" and 3 * blow.user.hp <= blow.user.stats["hp"]),
    "defeatist": (2048, lambda blow: 2 * blow.user.hp <= blow.user.stats["hp"]),
    "dragonsmaw": (6144, lambda blow: blow.type == "Dragon"),
    "flashfire": (6144, lambda blow: blow.type == "Fire" and blow.user.has("flash fire")),
    "gorillatactics": (6144, lambda blow: blow.is_physical),
    "guts": (6144, lambda blow: blow.is_physical and bool(blow.user.pokemon.status)),
    "hadronengine": (5461, lambda blow: not blow.is_physical and "electric terrain" in blow.around.fields),
    "hugepower": (8192, lambda blow: blow.is_physical),
    "hustle": (6144, lambda blow: blow.is_physical),
    "orichalcumpulse": (5461, lambda blow: blow.is_physical and blow.around.weather in _SUN),
    "overgrow": (6144, lambda blow: blow.type == "Grass" and 3 * blow.user.hp <= blow.user.stats["hp"]),
    "purepower": (8192, lambda blow: blow.is_physical),
    "rockypayload": (6144, lambda blow: blow.type == "Rock"),
    "solarpower": (6144, lambda blow: not blow.is_physical and blow.around.weather in _SUN),
    "steelworker": (6144, lambda blow: blow.type == "Steel"),
    "swarm": (6144, lambda blow: blow.type == "Bug" and 3 * blow.user.hp <= blow.user.stats["hp"]),
    "torrent": (6144, lambda blow: blow.type == "Water" and 3 * blow.user.hp <= blow.user.stats["hp"]),
    "transistor": (5325, lambda blow: blow.type == "Electric"),
    "waterbubble": (8192, lambda blow: blow.type == "Water"),
}
_ATTACK_BY_TARGETS_ABILITY: Mapping[str, tuple[str, ...]] = {
    "heatproof": ("Fire",),
    "purifyingsalt": ("Ghost",),
    "thickfat": ("Fire", "Ice"),
    "waterbubble": ("Fire",),
}
_ATTACK_BY_ITEM: Mapping[str, tuple[int, _When]] = {
    "choiceband": (6144, lambda blow: blow.is_physical),
    "choicespecs": (6144, lambda blow: not blow.is_physical),
    "deepseatooth": (8192, lambda blow: not blow.is_physical and blow.user.pokemon.species == "Clamperl"),
    "lightball": (8192, lambda blow: blow.user.pokemon.species.startswith("Pikachu")),
    "thickclub": (
        8192,
        lambda blow: blow.is_physical and blow.user.pokemon.species.startswith(("Marowak", "Cubone")),
    ),
}
_DEFENSE_BY_ABILITY: Mapping[str, tuple[int, _When]] = {
    "furcoat": (8192, lambda blow: blow.hits_defense),
    "grasspelt": (6144, lambda blow: blow.hits_defense and "grassy terrain" in blow.around.fields),
    "marvelscale": (6144, lambda blow: blow.hits_defense and bool(blow.target.pokemon.status)),
}
_DEFENSE_BY_ITEM: Mapping[str, tuple[int, _When]] = {
    "assaultvest": (6144, lambda blow: not blow.hits_defense),
    "deepseascale": (8192, lambda blow: not blow.hits_defense and blow.target.pokemon.species == "Clamperl"),
    "eviolite": (6144, lambda blow: blow.target.evolves),
    "metalpowder": (
        8192,
        lambda blow: (
            blow.hits_defense and blow.target.pokemon.species == "Ditto" and not blow.target.pokemon.transformed_into
        ),
    ),
}
_FINAL_BY_ABILITY: Mapping[str, tuple[int, _When]] = {
    "neuroforce": (5120, lambda blow: blow.multiplier > 1),
    "sniper": (6144, lambda blow: blow.is_critical),
    "tintedlens": (8192, lambda blow: blow.multiplier < 1),
}
_FINAL_BY_TARGETS_ABILITY: Mapping[str, tuple[int, _When]] = {
    "filter": (3072, lambda blow: blow.multiplier > 1),
    "fluffy": (2048, _trait("contact")),
    "icescales": (2048, lambda blow: not blow.is_physical),
    "multiscale": (2048, lambda blow: blow.target.is_full),
    "prismarmor": (3072, lambda blow: blow.multiplier > 1),
    "punkrock": (2048, _trait("sound")),
    "shadowshield": (2048, lambda blow: blow.target.is_full),
    "solidrock": (3072, lambda blow: blow.multiplier > 1),
}


def _of(table: Mapping[str, tuple[int, _When]], ability: str | None, blow: Blow) -> Iterator[int]:
    found = table.get(ability or "")
    if found is not None and found[1](blow):
        yield found[0]


def power_modifiers(blow: Blow) -> Iterator[int]:
    """Of the power: abilities, items, terrain."""
    species = blow.user.pokemon.transformed_into or blow.user.pokemon.species
    yield from _of(_POWER_BY_ABILITY, blow.ability, blow)
    if blow.changed_to_type:
        yield 4915 if blow.dex.generation > 6 else 5325
    if blow.ability == "supremeoverlord":
        fallen = next((int(effect[-1]) for effect in blow.user.pokemon.effects if effect.startswith("fallen")), 0)
        yield (4096, 4506, 4915, 5325, 5734, 6144)[min(5, fallen)]
    if f"{blow.type.lower()}aura" in (f"{blow.ability}", f"{blow.target_ability}") and blow.type in ("Dark", "Fairy"):
        yield 5448
    if blow.target_ability == "dryskin" and blow.type == "Fire":
        yield 5120
    if blow.user.has("charge") and blow.type == "Electric":
        yield 8192
    yield from _power_of_moves(blow)
    yield from _power_of_items(blow, species)
    for terrain, type_name in (("electric", "Electric"), ("grassy", "Grass"), ("psychic", "Psychic")):
        if blow.type == type_name and blow.on(terrain, blow.user, ability=blow.ability):
            yield 5325 if blow.dex.generation > 7 else 6144
    if blow.type == "Dragon" and blow.on("misty", blow.target, ability=blow.target_ability):
        yield 2048
    if blow.move in ("earthquake", "bulldoze", "magnitude") and blow.on(
        "grassy", blow.target, ability=blow.target_ability
    ):
        yield 2048


def _power_of_moves(blow: Blow) -> Iterator[int]:
    match blow.move:
        case "knockoff" if blow.dex.generation > 5 and blow.target_item != "":
            # Of an item that is not known yet: nearly every Pokémon holds one.
            if not blow.target.pokemon.species.startswith(_KEEPS_ITS_ITEM):
                yield 6144
        case "expandingforce" if blow.on("psychic", blow.user, ability=blow.ability):
            yield 6144
        case "mistyexplosion" if blow.on("misty", blow.user, ability=blow.ability):
            yield 6144
        case "gravapple" if "gravity" in blow.around.fields:
            yield 6144
        case "solarbeam" | "solarblade" if blow.around.weather not in (None, "DeltaStream", *_SUN):
            yield 2048
        case "collisioncourse" | "electrodrift" if blow.multiplier > 1:
            yield 5461


def _power_of_items(blow: Blow, species: str) -> Iterator[int]:
    item = blow.item or ""
    orb = _ORBS.get(item)
    if _TYPE_ITEMS.get(item) == blow.type:
        yield 4915 if blow.dex.generation > 3 else 4506
    elif item == f"{blow.type.lower()}gem":
        yield 5325 if blow.dex.generation > 5 else 6144
    elif (orb is not None and species.startswith(orb[0]) and blow.type in orb[1:]) or (
        item.endswith("mask") and species.startswith("Ogerpon")
    ):
        yield 4915
    elif item == ("muscleband" if blow.is_physical else "wiseglasses") or (
        item == "punchingglove" and "punch" in blow.traits
    ):
        yield 4506


def attack_modifiers(blow: Blow) -> Iterator[int]:
    """Of the stat that attacks."""
    yield from _of(_ATTACK_BY_ABILITY, blow.ability, blow)
    if blow.type in _ATTACK_BY_TARGETS_ABILITY.get(blow.target_ability or "", ()):
        yield 2048
    if blow.is_physical and blow.user.has("slow start"):
        yield 2048
    stat = "atk" if blow.is_physical else "spa"
    if blow.user.has(f"protosynthesis{stat}") or blow.user.has(f"quarkdrive{stat}"):
        yield 5325
    ruin = "tabletsofruin" if blow.is_physical else "vesselofruin"
    if blow.target_ability == ruin != blow.ability:
        yield 3072
    yield from _of(_ATTACK_BY_ITEM, blow.item, blow)


def defense_modifiers(blow: Blow) -> Iterator[int]:
    """Of the stat that defends."""
    stat, target, weather = "def" if blow.hits_defense else "spd", blow.target, blow.around.weather
    if weather == "Sandstorm" and "Rock" in target.pokemon.types and stat == "spd" and blow.dex.generation > 3:
        yield 6144
    if weather in _SNOW and "Ice" in target.pokemon.types and stat == "def":
        yield 6144
    if target.has(f"protosynthesis{stat}") or target.has(f"quarkdrive{stat}"):
        yield 5325
    if blow.ability == ("swordofruin" if stat == "def" else "beadsofruin") != blow.target_ability:
        yield 3072
    yield from _of(_DEFENSE_BY_ABILITY, blow.target_ability, blow)
    yield from _of(_DEFENSE_BY_ITEM, blow.target_item, blow)


def weather_modifier(blow: Blow) -> int:
    """Of the damage before the roll."""
    if blow.around.weather in _SUN and blow.type in ("Fire", "Water"):
        return 6144 if blow.type == "Fire" or blow.move == "hydrosteam" else 2048
    if blow.around.weather in _RAIN and blow.type in ("Fire", "Water"):
        return 6144 if blow.type == "Water" else 2048
    return ONE


def final_modifiers(blow: Blow) -> Iterator[int]:
    """Of the damage after the roll."""
    screen = "reflect" if blow.is_physical else "light screen"
    behind = screen in blow.around.screens or "aurora veil" in blow.around.screens
    breaks = blow.move in ("brickbreak", "psychicfangs", "ragingbull") or blow.ability == "infiltrator"
    if behind and not breaks and not blow.is_critical:
        yield 2048
    yield from _of(_FINAL_BY_ABILITY, blow.ability, blow)
    yield from _of(_FINAL_BY_TARGETS_ABILITY, blow.target_ability, blow)
    if blow.target_ability == "fluffy" and blow.type == "Fire":
        yield 8192
    if blow.item == "lifeorb" or (blow.item == "expertbelt" and blow.multiplier > 1):
        yield 5324 if blow.item == "lifeorb" else 4915
    if blow.target.has("glaive rush"):
        yield 8192
    berry = _RESIST_BERRIES.get(blow.target_item or "")
    if berry == blow.type and (blow.multiplier > 1 or berry == "Normal"):
        yield 2048
