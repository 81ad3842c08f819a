"""What the type chart makes of a move against the opponent in sight.

By the chart of the generation, the move's type as its user has it now, and the few moves that bend the
chart. Hidden things don't count: an unrevealed ability, or the Pokémon beneath an Illusion.
"""

from collections.abc import Iterable, Mapping, Sequence

from shared.battle.pokedex import MoveFacts, Pokedex, pokedex, to_id
from shared.battle.protocol import FieldTracker, InSight, Seat, other

ChosenMove = tuple[int, Seat, str]
"""Turn, seat, and the move's id or name."""

_TYPE_BY_FORME: Mapping[str, Mapping[str, str]] = {
    "aurawheel": {"Morpeko-Hangry": "Dark"},
    "ivycudgel": {
        "Ogerpon-Wellspring": "Water",
        "Ogerpon-Hearthflame": "Fire",
        "Ogerpon-Cornerstone": "Rock",
    },
    "ragingbull": {
        "Tauros-Paldea-Combat": "Fighting",
        "Tauros-Paldea-Blaze": "Fire",
        "Tauros-Paldea-Aqua": "Water",
    },
    "technoblast": {
        "Genesect-Burn": "Fire",
        "Genesect-Chill": "Ice",
        "Genesect-Douse": "Water",
        "Genesect-Shock": "Electric",
    },
    "terastarstorm": {"Terapagos-Stellar": "Stellar"},
}
_OF_USERS_FIRST_TYPE = frozenset({"judgment", "multiattack", "revelationdance"})
_TYPE_BY_WEATHER: Mapping[str, str] = {
    "SunnyDay": "Fire",
    "DesolateLand": "Fire",
    "RainDance": "Water",
    "PrimordialSea": "Water",
    "Sandstorm": "Rock",
    "Hail": "Ice",
    "Snow": "Ice",
    "Snowscape": "Ice",
}
_TYPE_BY_ABILITY: Mapping[str, str] = {
    "aerilate": "Flying",
    "galvanize": "Electric",
    "pixilate": "Fairy",
    "refrigerate": "Ice",
}
_FIXED_DAMAGE = frozenset(
    {
        *("bide", "comeuppance", "counter", "dragonrage", "endeavor", "finalgambit", "fissure", "guillotine"),
        *("horndrill", "metalburst", "mirrorcoat", "naturesmadness", "nightshade", "psywave", "ruination"),
        *("seismictoss", "sheercold", "sonicboom", "superfang"),
    }
)
_IMMUNE_BY_ABILITY: Mapping[str, str] = {
    "dryskin": "Water",
    "eartheater": "Ground",
    "flashfire": "Fire",
    "levitate": "Ground",
    "lightningrod": "Electric",
    "motordrive": "Electric",
    "sapsipper": "Grass",
    "stormdrain": "Water",
    "voltabsorb": "Electric",
    "waterabsorb": "Water",
    "wellbakedbody": "Fire",
}
_ABSORBS_SINCE_GENERATION_5 = frozenset({"lightningrod", "stormdrain"})


def attack_type(
    move: str, facts: MoveFacts, user: InSight, *, weather: str | None = None, ability: str | None = None
) -> str:
    """The type a move has when `user`, whose ability is `ability` as far as known, uses it now."""
    move_id = to_id(move)
    if move_id == "terablast":
        return user.tera_type or facts.type
    if move_id in _OF_USERS_FIRST_TYPE:
        return user.types[0] if user.types else facts.type
    if move_id == "weatherball":
        return _TYPE_BY_WEATHER.get(weather or "", facts.type)
    if move_id in _TYPE_BY_FORME:
        return _TYPE_BY_FORME[move_id].get(user.forme.removesuffix("-Tera"), facts.type)
    if facts.type == "Normal" and facts.category != "Status":
        return _TYPE_BY_ABILITY.get(ability or "", facts.type)
    return facts.type


def type_multiplier(
    dex: Pokedex,
    move: str,
    user: InSight,
    target: InSight,
    *,
    weather: str | None = None,
    user_ability: str | None = None,
    target_ability: str | None = None,
    type_name: str | None = None,
) -> float | None:
    """0, 0.25, 0.5, 1, 2 or 4 (and 8 or 0.125 against three types).

    None for a status move, an unknown move, an opponent of unknown types, and Hidden Power of unknown type.
    A move of fixed damage gives 1, or 0 where the target is immune. `type_name`: the move's, where it is settled.
    """
    facts, move_id = dex.move(move), to_id(move)
    if facts is None or facts.category == "Status" or not target.types or move_id == "hiddenpower":
        return None
    if move_id == "struggle" and dex.generation > 1:
        return 1.0
    if type_name is None:
        type_name = attack_type(move, facts, user, weather=weather, ability=user_ability)
    if _immune(dex, type_name, user_ability, target_ability):
        return 0.0
    multiplier = dex.multiplier(type_name, _types_that_count(move_id, type_name, target, user_ability))
    if move_id == "freezedry" and "Water" in target.types:
        multiplier *= 2 / dex.multiplier(type_name, ("Water",))
    if move_id == "flyingpress":
        multiplier *= dex.multiplier("Flying", target.types)
    if move_id in _FIXED_DAMAGE:
        return 1.0 if multiplier or dex.generation == 1 else 0.0
    return multiplier


def chosen_effectiveness(
    public_log: Iterable[str], choices: Sequence[ChosenMove], generation: int
) -> tuple[float | None, ...]:
    """For each choice, in order, `type_multiplier` against the opponent in sight when that turn began.

    None also for a turn that the log does not have. `|split|` blocks need not be resolved.
    """
    dex, field = pokedex(generation), FieldTracker(generation)
    by_turn: dict[int, list[int]] = {}
    for index, (turn, _, _) in enumerate(choices):
        by_turn.setdefault(turn, []).append(index)
    found: list[float | None] = [None] * len(choices)
    weather: str | None = None
    for line in public_log:
        fields = line.split("|")
        field.see(fields)
        kind = fields[1] if len(fields) > 2 else ""
        if kind == "-weather":
            weather = fields[2]
        elif kind == "turn":
            for index in by_turn.get(int(fields[2]), ()):
                _, seat, move = choices[index]
                user, target = field.active.get(seat), field.active.get(other(seat))
                if user is not None and target is not None:
                    found[index] = type_multiplier(dex, move, user, target, weather=weather)
    return tuple(found)


def _immune(dex: Pokedex, type_name: str, user_ability: str | None, target_ability: str | None) -> bool:
    if target_ability is None or user_ability in ("moldbreaker", "teravolt", "turboblaze"):
        return False
    if target_ability in _ABSORBS_SINCE_GENERATION_5 and dex.generation < 5:
        return False
    return _IMMUNE_BY_ABILITY.get(target_ability) == type_name


def _types_that_count(move_id: str, type_name: str, target: InSight, user_ability: str | None) -> tuple[str, ...]:
    # What takes an immunity away leaves the other types to count.
    ignored: str | None = None
    if move_id == "thousandarrows":
        ignored = "Flying"
    elif user_ability in ("scrappy", "mindseye") and type_name in ("Normal", "Fighting"):
        ignored = "Ghost"
    return tuple(type_name for type_name in target.types if type_name != ignored)
