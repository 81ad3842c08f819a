"""The damage formula of the main games, as the simulator has it (sim/battle-actions.ts of pokemon-showdown)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.battle.blow import ONE, RAIN, SUN, Blow, boosted, is_grounded, power_of
from shared.battle.modifiers import (
    attack_modifiers,
    defense_modifiers,
    final_modifiers,
    modified,
    power_modifiers,
)
from shared.battle.pokedex import Mechanics

_IMMUNE_TO_TRAIT: Mapping[str, str] = {"bulletproof": "bullet", "soundproof": "sound", "windrider": "wind"}
_STOPS_PRIORITY = frozenset({"armortail", "dazzling", "queenlymajesty"})
_HALF_OF_HP = frozenset({"naturesmadness", "ruination", "superfang"})
_FEWEST_OF_FIVE = 4
_AVERAGE_OF_2_TO_5 = 3.0


@dataclass(frozen=True, slots=True)
class Damage:
    """What one use of a move takes when it hits and is no critical hit, in HP, with all its hits together."""

    least: int
    most: int
    mean: float
    leaves_one: bool = False
    """Whether it can't take the last HP at once: by a substitute, Sturdy or a Focus Sash."""

    def percent(self, hp: int) -> int:
        """The mean in percent of `hp`, at most 100."""
        return max(1 if self.most else 0, min(100, round(100 * self.mean / hp))) if hp else 0

    def knocks_out(self, hp: int) -> Literal["surely", "perhaps", "never"]:
        """Whether it takes `hp`."""
        if self.leaves_one or self.most < hp:
            return "never"
        return "surely" if self.least >= hp else "perhaps"


def is_immune(blow: Blow) -> bool:
    """Whether something besides the type chart and the abilities of one type stops it."""
    ability = blow.target_ability or ""
    on_ground = is_grounded(blow.target, blow.target_ability, blow.around)
    return (
        _IMMUNE_TO_TRAIT.get(ability) in blow.traits
        or (blow.priority > 0 and ability in _STOPS_PRIORITY)
        or (blow.priority > 0 and on_ground and "psychic terrain" in blow.around.fields)
        or (blow.type == "Ground" and not on_ground and blow.move != "thousandarrows")
        or (blow.around.weather == "PrimordialSea" and blow.type == "Fire")
        or (blow.around.weather == "DesolateLand" and blow.type == "Water")
        or (blow.move == "dreameater" and blow.target.pokemon.status != "slp")
        or (blow.move == "steelroller" and not any("terrain" in name for name in blow.around.fields))
        or (blow.move == "poltergeist" and blow.target.pokemon.item == "")
    )


def result(blow: Blow, mechanics: Mechanics) -> Damage:
    """What a blow does whose type, category, multiplier and abilities are settled."""
    target = blow.target
    if blow.target_ability == "wonderguard" and blow.multiplier <= 1:
        return Damage(0, 0, 0.0)
    if blow.target_ability == "terashell" and target.is_full and blow.multiplier >= 1:
        blow.multiplier = 0.5
    if (blow.target_ability == "disguise" and target.pokemon.species == "Mimikyu") or (
        blow.target_ability == "iceface" and target.pokemon.species == "Eiscue" and blow.is_physical
    ):
        return Damage(0, 0, 0.0)
    held = target.has("substitute") and "sound" not in blow.traits and blow.ability != "infiltrator"
    holds_on = target.is_full and (
        (blow.target_ability == "sturdy" and blow.dex.generation > 4) or blow.target_item == "focussash"
    )
    fewest, most = _hits(blow, mechanics)
    leaves_one = held or (holds_on and most == 1)
    fixed = _fixed(blow, mechanics)
    if fixed is not None:
        return Damage(fixed, fixed, fixed, leaves_one)
    blow.power = power_of(blow)
    if blow.power <= 0:
        return Damage(0, 0, 0.0)
    least, largest = _rolls(blow, mechanics)
    times = _AVERAGE_OF_2_TO_5 if (fewest, most) == (2, 5) else (fewest + most) / 2
    if blow.move in ("triplekick", "tripleaxel"):
        # The second hit is twice as strong, the third three times; each must hit.
        return Damage(least, 6 * largest, 5 * (least + largest) / 2, leaves_one)
    return Damage(fewest * least, most * largest, times * (least + largest) / 2, leaves_one)


def _hits(blow: Blow, mechanics: Mechanics) -> tuple[int, int]:
    fewest, most = mechanics.hits
    if most > 1 and blow.ability == "skilllink":
        return most, most
    if (fewest, most) == (2, 5) and blow.item == "loadeddice":
        return _FEWEST_OF_FIVE, most
    return (1, most) if blow.move == "populationbomb" else (fewest, most)


def _fixed(blow: Blow, mechanics: Mechanics) -> int | None:
    if "one hit" in mechanics.traits:
        stopped = blow.target_ability == "sturdy" or blow.target.pokemon.level > blow.user.pokemon.level
        return 0 if stopped else blow.target.stats["hp"]
    if blow.move in _HALF_OF_HP:
        return max(1, blow.target.hp // 2)
    if blow.move == "finalgambit":
        return blow.user.hp
    if mechanics.fixed == "level":
        return blow.user.pokemon.level
    return mechanics.fixed


def _rolls(blow: Blow, mechanics: Mechanics) -> tuple[int, int]:
    user, target, traits = blow.user, blow.target, mechanics.traits
    power = max(1, modified(int(blow.power), power_modifiers(blow)))
    if power < 60 and _is_lifted(blow, mechanics):
        power = 60
    strong = target if "target's attack" in traits else user
    stat = "def" if "defense attacks" in traits else "atk" if blow.is_physical else "spa"
    stages = strong.pokemon.boosts.get(stat, 0)
    if blow.target_ability == "unaware" or (blow.is_critical and stages < 0):
        stages = 0
    attack = modified(boosted(strong.stats[stat], stages), attack_modifiers(blow))
    stat = "def" if blow.hits_defense else "spd"
    stages = target.pokemon.boosts.get(stat, 0)
    if blow.ability == "unaware" or "ignores boosts" in traits or (blow.is_critical and stages > 0):
        stages = 0
    defense = max(1, modified(boosted(target.stats[stat], stages), defense_modifiers(blow)))
    if blow.dex.generation < 5 and blow.move in ("explosion", "selfdestruct"):
        defense = max(1, defense // 2)
    base = (2 * user.pokemon.level // 5 + 2) * power * max(1, attack) // defense // 50 + 2
    base = modified(base, (_weather_modifier(blow),))
    if blow.is_critical:
        base = base * 3 // 2 if blow.dex.generation > 5 else base * 2
    same_type = _same_type_bonus(blow)
    burned = user.pokemon.status == "brn" and blow.is_physical and blow.ability != "guts"
    if blow.move == "facade" and blow.dex.generation > 5:
        burned = False
    last = tuple(final_modifiers(blow))

    def roll(percent: int) -> int:
        rolled = modified(base * percent // 100, (same_type,))
        rolled = int(rolled * blow.multiplier)
        if burned:
            rolled = modified(rolled, (2048,))
        return max(1, modified(rolled, last))

    return roll(85), roll(100)


def _is_lifted(blow: Blow, mechanics: Mechanics) -> bool:
    """Whether terastallization makes it one of power 60."""
    user, facts = blow.user.pokemon, blow.dex.move(blow.move)
    return (
        user.terastallized
        and (blow.type in user.types or user.tera_type == "Stellar")
        and (facts is None or (facts.priority <= 0 and facts.power not in (0, 150)))
        and mechanics.hits == (1, 1)
    )


def _same_type_bonus(blow: Blow) -> int:
    """The bonus for a move of one of its user's types."""
    user = blow.user.pokemon
    if blow.move == "struggle":
        return ONE
    is_own = blow.type in blow.user.own_types or blow.type in user.types
    if user.terastallized and user.tera_type == "Stellar":
        return 8192 if is_own else 4915
    if user.terastallized and blow.type == user.tera_type and blow.type in blow.user.own_types:
        return 9216 if blow.ability == "adaptability" else 8192
    if not is_own:
        # In generation 9 these change its type once, and what has another type than its species has used that up.
        fresh = blow.dex.generation < 9 or user.types == blow.dex.types(user.transformed_into or user.species)
        changes = blow.ability in ("protean", "libero") and not user.terastallized and fresh
        return 6144 if changes else ONE
    adapted = blow.ability == "adaptability" and (not user.terastallized or blow.type == user.tera_type)
    return 8192 if adapted else 6144


def _weather_modifier(blow: Blow) -> int:
    """Of the damage before the roll."""
    if blow.around.weather in SUN and blow.type in ("Fire", "Water"):
        return 6144 if blow.type == "Fire" or blow.move == "hydrosteam" else 2048
    if blow.around.weather in RAIN and blow.type in ("Fire", "Water"):
        return 6144 if blow.type == "Water" else 2048
    return ONE
