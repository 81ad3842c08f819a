"""Contract v1's prompt: the text the original project trained on, so that its model can play.

Base stats, types in lower case, Showdown's raw weather and status, HP of 100. It tells of the two active
Pokémon and the opponent's last four distinct moves and of nothing else. docs/prompts.md lists where a
player can't know what the original's training text knew.
"""

from shared.battle.pokedex import Pokedex, pokedex
from shared.battle.state import BattleState, PokemonState
from shared.text import one_line

NAME_LIMIT = 40


def prompt_v1(state: BattleState) -> str:
    """The prompt, on one line."""
    dex = pokedex(state.generation)
    own, foe = state.own.active, state.foe.active
    own_stats, foe_stats = _stats(own, dex), _stats(foe, dex)
    moves_seen = ", ".join(describe_move_v1(move, dex) for move in state.foe_moves_seen)
    return (
        f"Turn {state.turn}. Weather: {state.weather or 'none'}. "
        f"Your pokemon: {_who(own)} | Type: {_types(own, dex)} | "
        f"Atk: {own_stats['atk']} SpA: {own_stats['spa']} Spe: {own_stats['spe']}. "
        f"Opponent: {_who(foe)} | Type: {_types(foe, dex)} | "
        f"Def: {foe_stats['def']} SpD: {foe_stats['spd']} Spe: {foe_stats['spe']}"
        f"{' | Moves seen: ' + moves_seen if moves_seen else ''}. "
        "What move do you use?"
    )


def describe_move_v1(name: str, dex: Pokedex) -> str:
    """`Flash Cannon (steel, 80pw, special)`: how v1 writes a move, in prompts and completions alike."""
    facts = dex.move(name)
    if facts is None:
        return f"{one_line(name, NAME_LIMIT)} (?, ?pw, ?)"
    return f"{facts.name} ({facts.type.lower()}, {facts.power}pw, {facts.category.lower()})"


def _who(pokemon: PokemonState | None) -> str:
    if pokemon is None:
        return "? (? HP, healthy)"
    return f"{one_line(pokemon.species, NAME_LIMIT)} ({pokemon.hp_percent}/100 HP, {pokemon.status or 'healthy'})"


def _types(pokemon: PokemonState | None, dex: Pokedex) -> str:
    # The species' own: the original knew of no terastallization.
    return "/".join(dex.types(pokemon.species)).lower() or "?" if pokemon is not None else "?"


def _stats(pokemon: PokemonState | None, dex: Pokedex) -> dict[str, int | str]:
    found = dex.species(pokemon.species) if pokemon is not None else None
    if found is None:
        return dict.fromkeys(("atk", "def", "spa", "spd", "spe"), "?")
    stats = found.stats
    return {
        "atk": stats.attack,
        "def": stats.defense,
        "spa": stats.special_attack,
        "spd": stats.special_defense,
        "spe": stats.speed,
    }
