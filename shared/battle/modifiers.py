"""What changes the damage of an attack, step by step of the formula: abilities, items, weather, terrain, screens.

A modifier is a fraction of 4096, as in the games. The tables are the simulator's rules for singles (data/ and
sim/battle-actions.ts of pokemon-showdown, MIT licence).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from shared.battle.blow import ONE, SNOW, SUN, Blow, Fighter

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
_KEEPS_ITS_ITEM: Mapping[str, str] = {
    "Arceus": "plate",
    "Dialga": "adamant",
    "Genesect": "drive",
    "Giratina": "griseous",
    "Ogerpon": "mask",
    "Palkia": "lustrous",
    "Silvally": "memory",
    "Zacian": "rusted",
    "Zamazenta": "rusted",
}
"""Species, and what the names of the items hold that cannot be knocked off it."""

_When = Callable[[Blow], bool]


def _soul_dew_of_old(blow: Blow, holder: Fighter) -> bool:
    return blow.dex.generation < 7 and holder.pokemon.species.startswith("Lati")


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
    "orichalcumpulse": (5461, lambda blow: blow.is_physical and blow.around.weather in SUN),
    "overgrow": (6144, lambda blow: blow.type == "Grass" and 3 * blow.user.hp <= blow.user.stats["hp"]),
    "purepower": (8192, lambda blow: blow.is_physical),
    "rockypayload": (6144, lambda blow: blow.type == "Rock"),
    "solarpower": (6144, lambda blow: not blow.is_physical and blow.around.weather in SUN),
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
    "souldew": (6144, lambda blow: _soul_dew_of_old(blow, blow.user) and not blow.is_physical),
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
    "souldew": (6144, lambda blow: _soul_dew_of_old(blow, blow.target) and not blow.hits_defense),
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
            kept = _KEEPS_ITS_ITEM.get(blow.target.pokemon.species.split("-")[0])
            if kept is None or kept not in (blow.target_item or kept):
                yield 6144
        case "expandingforce" if blow.on("psychic", blow.user, ability=blow.ability):
            yield 6144
        case "mistyexplosion" if blow.on("misty", blow.user, ability=blow.ability):
            yield 6144
        case "gravapple" if "gravity" in blow.around.fields:
            yield 6144
        case "solarbeam" | "solarblade" if blow.around.weather not in (None, "DeltaStream", *SUN):
            yield 2048
        case "collisioncourse" | "electrodrift" if blow.multiplier > 1:
            yield 5461


def _power_of_items(blow: Blow, species: str) -> Iterator[int]:
    item = blow.item or ""
    orb = _ORBS.get(item) if item != "souldew" or blow.dex.generation > 6 else None
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
    if weather in SNOW and "Ice" in target.pokemon.types and stat == "def":
        yield 6144
    if target.has(f"protosynthesis{stat}") or target.has(f"quarkdrive{stat}"):
        yield 5325
    if blow.ability == ("swordofruin" if stat == "def" else "beadsofruin") != blow.target_ability:
        yield 3072
    yield from _of(_DEFENSE_BY_ABILITY, blow.target_ability, blow)
    yield from _of(_DEFENSE_BY_ITEM, blow.target_item, blow)


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


def modified(value: int, modifiers: Iterable[int]) -> int:
    """A whole number after modifiers that are fractions of 4096, rounded as the games do."""
    chain = ONE
    for modifier in modifiers:
        if modifier != ONE:
            chain = (chain * modifier + 2048) >> 12
    return (value * chain + 2047) // ONE if chain != ONE else value
