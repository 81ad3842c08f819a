"""What an attack takes from its target, worked out from what one side knows, as a damage calculator does.

The formula is the simulator's (formula.py), and so is what changes a figure in it (modifiers.py). What a side does not
know counts as nothing (an item, an ability), but for an opponent's stats: random battles give every Pokémon the same,
and those are assumed everywhere. docs/prompts.md tells how often that is right.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from shared.battle.blow import Blow, Fighter, Surroundings, boosted, is_grounded, speed_of
from shared.battle.effectiveness import attack_type, type_multiplier
from shared.battle.formula import Damage, is_immune, result
from shared.battle.pokedex import Category, Mechanics, Pokedex, to_id
from shared.battle.state import PokemonState, Side

Order = Literal["first", "second", "tie"]

_BREAKS_MOLDS = frozenset({"moldbreaker", "teravolt", "turboblaze"})
_NO_WEATHER = frozenset({"cloudnine", "airlock"})
_UNKNOWN = frozenset(
    {
        *("beatup", "bide", "comeuppance", "counter", "endeavor", "fling", "magnitude", "metalburst", "mirrorcoat"),
        *("naturalgift", "naturepower", "present", "psywave", "spitup", "trumpcard"),
    }
)
"""Their damage is decided on use, or by what is not known."""


def fighter(
    dex: Pokedex, pokemon: PokemonState, side: Side | None = None, facing: PokemonState | None = None
) -> Fighter:
    """A Pokémon with its stats: its own where they are told, else those that all have in random battles.

    One that is transformed has those of what it copied, which is `facing` it as a rule.
    """
    forme = pokemon.transformed_into or pokemon.species
    species = dex.species(forme)
    told = pokemon.stats if not pokemon.transformed_into else {}
    stats = told or _assumed(dex, forme, pokemon.level)
    if pokemon.transformed_into:
        if facing is not None and facing.species == forme:
            stats = facing.stats or _assumed(dex, forme, facing.level)
        stats = {**stats, "hp": (pokemon.stats or _assumed(dex, pokemon.species, pokemon.level))["hp"]}
    if pokemon.effects and "dynamax" in pokemon.effects and not pokemon.stats:
        stats = {**stats, "hp": 2 * stats["hp"]}
    weight, evolves = dex.body(forme)
    own_types = pokemon.types if not pokemon.terastallized else species.types if species else ()
    fallen = sum(mate.fainted for mate in side.bench) if side else 0
    return Fighter(pokemon, stats, own_types, weight, evolves, fallen)


def _assumed(dex: Pokedex, forme: str, level: int) -> Mapping[str, int]:
    species = dex.species(forme)
    if species is None:
        return dict.fromkeys(("hp", "atk", "def", "spa", "spd", "spe"), 2 * level)
    base = species.stats
    # 31 + 84 / 4 in each stat; before generation 3, the most.
    more = 52 if dex.generation > 2 else 93
    names = {
        "atk": base.attack,
        "def": base.defense,
        "spa": base.special_attack,
        "spd": base.special_defense,
        "spe": base.speed,
    }
    hp = 1 if base.hp == 1 else (2 * base.hp + more) * level // 100 + level + 10
    return {"hp": hp, **{name: (2 * value + more) * level // 100 + 5 for name, value in names.items()}}


class Calculator:
    """Works damage out under one weather and field."""

    def __init__(self, dex: Pokedex, weather: str | None = None, fields: Mapping[str, int] | None = None) -> None:
        self._dex = dex
        self.around = Surroundings(weather, fields or {})

    def damage(
        self, move: str, user: Fighter, target: Fighter, screens: Mapping[str, int], *, power: int | None = None
    ) -> Damage | None:
        """Of a move by its name or id, against a target behind `screens`; None for one that does none, or that can't
        be told. `power` is what a request tells behind the name.
        """
        facts = self._dex.move(move)
        move_id = to_id(facts.name) if facts else ""
        if facts is None or facts.category == "Status" or move_id in _UNKNOWN or user.has("dynamax"):
            return None
        mechanics = self._dex.mechanics(move)
        blow = self._blow(move_id, facts.type, facts.category, power or facts.power, user, target, screens)
        blow.traits, blow.priority = mechanics.traits, self.priority(move, user)
        self._work(blow, mechanics.traits)
        blow.type = self._type(move, blow)
        blow.changed_to_type = facts.type == "Normal" != blow.type and blow.ability in _CHANGES_NORMAL
        multiplier = type_multiplier(
            self._dex,
            move,
            user.pokemon.in_sight,
            target.pokemon.in_sight,
            weather=blow.around.weather,
            user_ability=blow.ability,
            target_ability=blow.target_ability,
            type_name=blow.type,
        )
        if multiplier is None or is_immune(blow):
            return None if multiplier is None else Damage(0, 0, 0.0)
        blow.multiplier = multiplier
        return result(blow, mechanics) if multiplier else Damage(0, 0, 0.0)

    def of_type(self, type_name: str, power: int, user: Fighter, target: Fighter, screens: Mapping[str, int]) -> Damage:
        """Of a plain attack of that type and power, by the user's better stat."""
        better = user.stats["atk"] > user.stats["spa"]
        category: Category = "Physical" if better else "Special"
        if self._dex.generation < 4:
            category = "Special" if type_name in _SPECIAL_ONCE else "Physical"
        blow = self._blow("", type_name, category, power, user, target, screens)
        self._work(blow, frozenset())
        blow.multiplier = self._dex.multiplier(type_name, target.pokemon.types)
        immune = type_multiplier(
            self._dex,
            "tackle",
            user.pokemon.in_sight,
            target.pokemon.in_sight,
            target_ability=blow.target_ability,
            type_name=type_name,
        )
        if not immune or is_immune(blow):
            return Damage(0, 0, 0.0)
        return result(blow, Mechanics())

    def priority(self, move: str, user: Fighter) -> int:
        """Of a move as its user has it now."""
        facts = self._dex.move(move)
        if facts is None:
            return 0
        ability = user.pokemon.ability
        raised = {
            "prankster": facts.category == "Status",
            "galewings": facts.type == "Flying" and user.is_full,
            "triage": 3 * bool(self._dex.mechanics(move).heals),
        }
        glides = facts.name == "Grassy Glide" and "grassy terrain" in self.around.fields
        more = int(raised.get(ability or "", 0)) + (glides and is_grounded(user, ability, self.around))
        return facts.priority + more

    def order(self, user: Fighter, own: Mapping[str, int], target: Fighter, foe: Mapping[str, int]) -> Order:
        """Who moves earlier, both with moves of one priority. `own` and `foe` are the conditions of their sides."""
        first = speed_of(user, self.around, "tailwind" in own)
        second = speed_of(target, self.around, "tailwind" in foe)
        if first == second:
            return "tie"
        return "first" if (first > second) != ("trick room" in self.around.fields) else "second"

    def on_entry(self, mate: Fighter, conditions: Mapping[str, int]) -> int:
        """What the hazards on its side take from it as it comes in, in percent of all its HP."""
        pokemon = mate.pokemon
        if pokemon.item == "heavydutyboots" or pokemon.ability == "magicguard":
            return 0
        percent = 0.0
        if "stealth rock" in conditions:
            percent += 12.5 * self._dex.multiplier("Rock", pokemon.types)
        if "g max steelsurge" in conditions:
            percent += 12.5 * self._dex.multiplier("Steel", pokemon.types)
        if "spikes" in conditions and is_grounded(mate, pokemon.ability, self.around):
            percent += (12.5, 100 / 6, 25.0)[min(3, conditions["spikes"]) - 1]
        return int(percent)

    # ── one blow ────────────────────────────────────────────────────────────────────────────────────

    def _blow(
        self,
        move_id: str,
        type_name: str,
        category: Category,
        power: int,
        user: Fighter,
        target: Fighter,
        screens: Mapping[str, int],
    ) -> Blow:
        order = self.order(user, {}, target, {})
        return Blow(
            dex=self._dex,
            user=user,
            target=target,
            around=replace(self.around, screens=screens),
            move=move_id,
            type=type_name,
            category=category,
            power=power,
            priority=0,
            traits=frozenset(),
            multiplier=1.0,
            ability=user.pokemon.ability,
            target_ability=target.pokemon.ability,
            item=user.pokemon.item,
            target_item=target.pokemon.item,
            is_first=None if order == "tie" else order == "first",
        )

    def _work(self, blow: Blow, traits: Iterable[str]) -> None:
        """Take away what does not work now, and settle category and critical hits."""
        if blow.user.has("gastro acid") or blow.target_ability == "neutralizinggas":
            blow.ability = None
        if blow.target.has("gastro acid") or blow.ability == "neutralizinggas":
            blow.target_ability = None
        if {blow.ability, blow.target_ability} & _NO_WEATHER:
            blow.around = replace(blow.around, weather=None)
        if blow.ability in _BREAKS_MOLDS or "ignores ability" in traits:
            blow.target_ability = None
        if "magic room" in blow.around.fields:
            blow.item = blow.target_item = None
        user = blow.user.pokemon
        by_better_stat = blow.move == "photongeyser" or (
            blow.move in ("terablast", "terastarstorm") and user.terastallized
        )
        if by_better_stat:
            attack, special = (boosted(blow.user.stats[stat], user.boosts.get(stat, 0)) for stat in ("atk", "spa"))
            blow.category = "Physical" if attack > special else "Special"
        blow.is_critical = "critical" in traits and blow.target_ability not in ("battlearmor", "shellarmor")
        if blow.ability == "merciless" and blow.target.pokemon.status in ("psn", "tox"):
            blow.is_critical = True

    def _type(self, move: str, blow: Blow) -> str:
        facts = self._dex.move(move)
        assert facts is not None
        if blow.ability == "normalize":
            return "Normal"
        if blow.move in ("judgment", "multiattack") and blow.user.own_types:
            return blow.user.own_types[0]
        if blow.ability == "liquidvoice" and "sound" in blow.traits:
            return "Water"
        if blow.move == "terrainpulse" and is_grounded(blow.user, blow.ability, blow.around):
            terrain = next((name for name in blow.around.fields if name.endswith(" terrain")), "")
            return _TYPE_BY_TERRAIN.get(terrain, "Normal")
        return attack_type(move, facts, blow.user.pokemon.in_sight, weather=blow.around.weather, ability=blow.ability)


_CHANGES_NORMAL = ("aerilate", "galvanize", "pixilate", "refrigerate")
_SPECIAL_ONCE = ("Fire", "Water", "Grass", "Electric", "Ice", "Psychic", "Dragon", "Dark")
_TYPE_BY_TERRAIN: Mapping[str, str] = {
    "electric terrain": "Electric",
    "grassy terrain": "Grass",
    "misty terrain": "Fairy",
    "psychic terrain": "Psychic",
}
