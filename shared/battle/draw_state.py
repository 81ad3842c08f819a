"""One side's state, drawn from the request, what was seen, and poke-env's memory of the rest.

The request is the truth about one's own side. Of the opponent, poke-env's Battle keeps what was revealed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from poke_env.battle import Battle, Pokemon
from poke_env.battle import Move as PokeEnvMove
from poke_env.battle.side_condition import SideCondition

from shared.battle.action import Request, legal_actions
from shared.battle.pokedex import Pokedex, pokedex
from shared.battle.protocol import (
    InSight,
    TurnTracker,
    hp_percent,
    name_of,
    other,
    read_details,
    seat_of,
)
from shared.battle.state import BattleState, KnownMove, PokemonState, Question, Side

# Of poke-env's effects, those that last and bear on a decision; the rest are passing notices.
_LASTING_EFFECTS = frozenset(
    {
        *("AQUA_RING", "ATTRACT", "AUTOTOMIZE", "BIND", "CHARGE", "CLAMP", "CONFUSION", "CURSE", "DESTINY_BOND"),
        *("DISABLE", "DYNAMAX", "EMBARGO", "ENCORE", "FIRE_SPIN", "FLASH_FIRE", "FOCUS_ENERGY", "FORESIGHT"),
        *("GASTRO_ACID", "GLAIVE_RUSH", "HEAL_BLOCK", "IMPRISON", "INFESTATION", "INGRAIN", "LASER_FOCUS"),
        *("LEECH_SEED", "LOCK_ON", "MAGMA_STORM", "MAGNET_RISE", "MIRACLE_EYE", "MUST_RECHARGE", "NIGHTMARE"),
        *("NO_RETREAT", "OCTOLOCK", "PARTIALLY_TRAPPED", "POWER_TRICK", "RAGE", "SALT_CURE", "SAND_TOMB"),
        *("SLOW_START", "SMACK_DOWN", "SNAP_TRAP", "SUBSTITUTE", "SYRUP_BOMB", "TAR_SHOT", "TAUNT"),
        *("TELEKINESIS", "THROAT_CHOP", "THUNDER_CAGE", "TORMENT", "TRAPPED", "UPROAR", "WHIRLPOOL", "WRAP"),
        *("YAWN"),
        *(
            f"{ability}{stat}"
            for ability in ("PROTOSYNTHESIS", "QUARKDRIVE")
            for stat in ("ATK", "DEF", "SPA", "SPD", "SPE")
        ),
        *(f"{count}{number}" for count in ("FALLEN", "PERISH", "STOCKPILE") for number in range(1, 6)),
    }
)


def draw(generation: int, request: Request, battle: Battle, turns: TurnTracker) -> BattleState:
    """The state of the seat of `turns` at `request`, which comes after all that `battle` and `turns` have seen."""
    dex = pokedex(generation)
    return BattleState(
        generation=generation,
        turn=turns.turn,
        asked=_asked(request),
        own=_own_side(request, battle, turns, dex),
        foe=foe_side(battle, turns, dex),
        legal=legal_actions(request),
        weather=turns.weather,
        fields=fields(battle),
        last_turn=turns.last_turn,
        foe_moves_seen=turns.foe_moves,
    )


def _own_side(request: Request, battle: Battle, turns: TurnTracker, dex: Pokedex) -> Side:
    preview = bool(request.get("teamPreview"))
    listed = request["active"][0]["moves"] if request.get("active") else ()
    active: PokemonState | None = None
    bench: list[PokemonState] = []
    for pokemon in request["side"]["pokemon"]:
        tracked = battle.team.get(pokemon["ident"])
        if pokemon["active"] and not preview:
            shown = turns.field.active.get(turns.seat)
            mine = shown if shown is not None and name_of(shown.ident) == pokemon["ident"] else None
            active = _own(pokemon, tracked, mine, listed, dex)
        else:
            bench.append(_own(pokemon, tracked, None, (), dex))
    return Side(active, tuple(bench), conditions=_conditions(battle.side_conditions))


def _own(
    pokemon: Mapping[str, Any],
    tracked: Pokemon | None,
    shown: InSight | None,
    listed: Sequence[Mapping[str, Any]],
    dex: Pokedex,
) -> PokemonState:
    name, level, _ = read_details(pokemon["details"])
    tera_type = pokemon.get("teraType") or None
    terastallized = bool(pokemon.get("terastallized"))
    if shown is None:
        shown = InSight("", name, level, dex.types(name), tera_type if terastallized else None)
    _, _, status = pokemon["condition"].partition(" ")
    return PokemonState(
        species=shown.species,
        level=level,
        hp_percent=hp_percent(pokemon["condition"]),
        types=shown.types,
        status=None if status in ("", "fnt") else status,
        ability=_known_ability(pokemon.get("ability") or _tracked_ability(tracked) or pokemon["baseAbility"]),
        item=pokemon["item"],
        tera_type=tera_type,
        terastallized=terastallized,
        transformed_into=shown.transformed_into,
        moves=_own_moves(pokemon, tracked, listed, dex),
        boosts=_boosts(tracked),
        effects=_effects(tracked),
    )


def _own_moves(
    pokemon: Mapping[str, Any], tracked: Pokemon | None, listed: Sequence[Mapping[str, Any]], dex: Pokedex
) -> tuple[KnownMove, ...]:
    # The active Pokémon's moves are listed with PP, but for one locked into a move; the rest by id alone.
    if listed and all("pp" in move for move in listed):
        return tuple(KnownMove(move["move"], move["pp"], move["maxpp"]) for move in listed)
    counted = tracked.moves if tracked is not None else {}
    moves = []
    for move_id in pokemon["moves"]:
        move = counted.get(PokeEnvMove.retrieve_id(move_id))
        current, most = (move.current_pp, move.max_pp) if move is not None else (None, None)
        moves.append(KnownMove(dex.move_name(move_id), current, most))
    return tuple(moves)


def fields(battle: Battle) -> Mapping[str, int]:
    """Terrains, rooms and gravity → the turn each began."""
    return {_words(effect.name): turn for effect, turn in battle.fields.items() if effect.name != "UNKNOWN"}


def foe_side(battle: Battle, turns: TurnTracker, dex: Pokedex) -> Side:
    """What the seat of `turns` has seen of its opponent."""
    active: PokemonState | None = None
    bench: list[PokemonState] = []
    seat = other(turns.seat)
    on_field = turns.field.active.get(seat)
    for name, met in turns.field.met.items():
        if seat_of(name) != seat:
            continue
        tracked = battle.opponent_team.get(name)
        if on_field is not None and name_of(on_field.ident) == name:
            active = _foe(on_field, tracked, dex)
        else:
            bench.append(_foe(met, tracked, dex))
    seen = len(bench) + (active is not None)
    previewed = turns.preview[seat]
    if previewed:
        families = {_family(pokemon.species) for pokemon in (*bench, *((active,) if active else ()))}
        for details in previewed:
            species_name, level, _ = read_details(details)
            if _family(species_name) not in families:
                bench.append(PokemonState(species_name.removesuffix("-*"), level, 100, dex.types(species_name)))
    unseen = 0 if previewed else max(0, turns.team_size.get(seat, seen) - seen)
    return Side(active, tuple(bench), unseen, _conditions(battle.opponent_side_conditions))


def _foe(shown: InSight, tracked: Pokemon | None, dex: Pokedex) -> PokemonState:
    seen = PokemonState(
        species=shown.species,
        level=shown.level,
        hp_percent=100,
        types=shown.types,
        tera_type=shown.tera_type,
        terastallized=shown.tera_type is not None,
        transformed_into=shown.transformed_into,
    )
    if tracked is None:
        return seen
    status = tracked.status.name.lower() if tracked.status is not None else None
    return replace(
        seen,
        hp_percent=0 if tracked.fainted else -(-100 * tracked.current_hp // max(tracked.max_hp, 1)),
        status=None if status == "fnt" else status,
        ability=_known_ability(tracked.ability),
        item=None if tracked.item == "unknown_item" else tracked.item or "",
        moves=tuple(KnownMove(dex.move_name(move_id)) for move_id in tracked.moves),
        boosts=_boosts(tracked),
        effects=_effects(tracked),
    )


def _family(species_name: str) -> str:
    return species_name.split("-", 1)[0]


def _known_ability(ability: str | None) -> str | None:
    return None if ability in (None, "", "noability") else ability


def _tracked_ability(tracked: Pokemon | None) -> str | None:
    # Requests before generation 7 tell only the ability it began with, not one traced or given since.
    return tracked.ability if tracked is not None and tracked.active else None


def _boosts(tracked: Pokemon | None) -> Mapping[str, int]:
    return {stat: stages for stat, stages in tracked.boosts.items() if stages} if tracked is not None else {}


def _effects(tracked: Pokemon | None) -> tuple[str, ...]:
    if tracked is None:
        return ()
    names = {_words(effect.name) for effect in tracked.effects if effect.name in _LASTING_EFFECTS}
    if tracked.must_recharge:
        names.add("must recharge")
    if tracked.preparing_move is not None:
        names.add(f"preparing {tracked.preparing_move.id}")
    return tuple(sorted(names))


def _conditions(conditions: Mapping[SideCondition, int]) -> Mapping[str, int]:
    return {_words(condition.name): count for condition, count in conditions.items() if condition.name != "UNKNOWN"}


def _words(enum_name: str) -> str:
    return enum_name.lower().replace("_", " ")


def _asked(request: Request) -> Question:
    if request.get("teamPreview"):
        return "lead"
    return "switch" if any(request.get("forceSwitch", ())) else "move"
