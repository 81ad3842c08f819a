"""What a log's lines change of a Pokémon's HP, status and boosts."""

from collections.abc import Callable, Mapping

from shared.battle.memory import Memory
from shared.battle.protocol import Line, seat_of

_STATS = ("atk", "def", "spa", "spd", "spe", "accuracy", "evasion")


def _health(memory: Memory, line: Line) -> None:
    pokemon = memory.of(line[2])
    pokemon.health(line[3])
    if "[from] confusion" in line:
        pokemon.lose_turn("confusion", memory.generation)


def _status(memory: Memory, line: Line) -> None:
    pokemon = memory.of(line[2])
    pokemon.status = line[3]
    if memory.generation == 1 and line[3] == "slp":
        pokemon.effects.pop("must recharge", None)


def _cure(memory: Memory, line: Line) -> None:
    memory.of(line[2]).status = None


def _cure_team(memory: Memory, line: Line) -> None:
    for name, pokemon in memory.pokemon.items():
        if seat_of(name) == seat_of(line[2]):
            pokemon.status = None


def _boost(memory: Memory, line: Line) -> None:
    pokemon, stat = memory.of(line[2]), _stat(line[3])
    stages = int(line[4])
    match line[1]:
        case "-boost":
            stages = pokemon.boosts.get(stat, 0) + stages
        case "-unboost":
            stages = pokemon.boosts.get(stat, 0) - stages
    pokemon.boost(stat, stages)


def _clear_boosts(memory: Memory, line: Line) -> None:
    pokemon, sign = memory.of(line[2]), {"-clearpositiveboost": 1, "-clearnegativeboost": -1}.get(line[1], 0)
    # What is left has the other sign; without one, nothing is.
    pokemon.boosts = {stat: stages for stat, stages in pokemon.boosts.items() if stages * sign < 0}


def _clear_all_boosts(memory: Memory, _: Line) -> None:
    for pokemon in memory.pokemon.values():
        pokemon.boosts = {}


def _invert_boosts(memory: Memory, line: Line) -> None:
    pokemon = memory.of(line[2])
    pokemon.boosts = {stat: -stages for stat, stages in pokemon.boosts.items()}


def _swap_boosts(memory: Memory, line: Line) -> None:
    one, another = memory.of(line[2]), memory.of(line[3])
    named = line[4].split(", ") if len(line) > 4 and not line[4].startswith("[") else _STATS
    for stat in map(_stat, named):
        one.boosts[stat], another.boosts[stat] = another.boosts.get(stat, 0), one.boosts.get(stat, 0)


def _copy_boosts(memory: Memory, line: Line) -> None:
    memory.of(line[2]).copy_boosts(memory.of(line[3]), memory.generation)


def _stat(name: str) -> str:
    if name not in _STATS:
        raise ValueError(f"there is no stat {name!r}")
    return name


HANDLERS: Mapping[str, Callable[[Memory, Line], None]] = {
    "-damage": _health,
    "-heal": _health,
    "-sethp": _health,
    "-status": _status,
    "-curestatus": _cure,
    "-cureteam": _cure_team,
    "-boost": _boost,
    "-unboost": _boost,
    "-setboost": _boost,
    "-clearboost": _clear_boosts,
    "-clearpositiveboost": _clear_boosts,
    "-clearnegativeboost": _clear_boosts,
    "-clearallboost": _clear_all_boosts,
    "-invertboost": _invert_boosts,
    "-swapboost": _swap_boosts,
    "-copyboost": _copy_boosts,
}
