"""One side's state, drawn from the request, what is remembered of the log, and what is in sight.

The request is the truth about one's own side. Of the opponent, what its side of the log revealed.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.battle.action import Request, legal_actions
from shared.battle.memory import Memory, Remembered, own_move
from shared.battle.pokedex import Pokedex
from shared.battle.protocol import (
    InSight,
    TurnTracker,
    hp_percent,
    name_of,
    other,
    read_details,
    seat_of,
    status_of,
)
from shared.battle.state import BattleState, KnownMove, PokemonState, Question, Side

SHOWN_AS_ANOTHER: Mapping[tuple[str, str], str] = {
    ("Greninja", "battlebond"): "Greninja-Bond",
    ("Rockruff", "owntempo"): "Rockruff-Dusk",
}
"""What a log calls these, and the ability that tells them apart."""
_ANY_ABILITY = re.compile(r"custom|hackmons|abilit|inheritance|shared power|trademarked", re.IGNORECASE)
"""Formats whose Pokémon may have abilities that their species can't have."""


def draw(request: Request, memory: Memory, turns: TurnTracker) -> BattleState:
    """The state of the seat of `turns` at `request`, which comes after all that both others have seen."""
    dex = turns.field.pokedex
    return BattleState(
        generation=dex.generation,
        turn=turns.turn,
        asked=_asked(request),
        own=_own_side(request, memory, turns, dex),
        foe=foe_side(memory, turns),
        legal=legal_actions(request),
        weather=turns.weather,
        fields=dict(memory.fields),
        last_turn=turns.last_turn,
        foe_moves_seen=turns.foe_moves,
    )


def _own_side(request: Request, memory: Memory, turns: TurnTracker, dex: Pokedex) -> Side:
    preview = bool(request.get("teamPreview"))
    listed = request["active"][0]["moves"] if request.get("active") else ()
    active: PokemonState | None = None
    bench: list[PokemonState] = []
    for pokemon in request["side"]["pokemon"]:
        known = memory.pokemon.get(pokemon["ident"]) or Remembered()
        if pokemon["active"] and not preview:
            shown = turns.field.active.get(turns.seat)
            mine = shown if shown is not None and name_of(shown.ident) == pokemon["ident"] else None
            active = _own(pokemon, known, mine, listed, dex)
        else:
            bench.append(_own(pokemon, known, None, (), dex))
    return Side(active, tuple(bench), conditions=dict(memory.conditions[turns.seat]))


def _own(
    pokemon: Mapping[str, Any],
    known: Remembered,
    shown: InSight | None,
    listed: Sequence[Mapping[str, Any]],
    dex: Pokedex,
) -> PokemonState:
    name, level, _ = read_details(pokemon["details"])
    tera_type = pokemon.get("teraType") or None
    terastallized = bool(pokemon.get("terastallized"))
    if shown is None:
        shown = InSight("", name, level, dex.types(name), tera_type if terastallized else None)
    # Requests before generation 7 tell only the ability it began with, not one traced or given since.
    ability = pokemon.get("ability") or (known.ability if known.has_other_ability else pokemon["baseAbility"])
    return PokemonState(
        species=SHOWN_AS_ANOTHER.get((shown.species, pokemon["baseAbility"]), shown.species),
        level=level,
        hp_percent=hp_percent(pokemon["condition"]),
        types=shown.types,
        status=status_of(pokemon["condition"]),
        ability=_known_ability(ability),
        item=pokemon["item"],
        tera_type=tera_type,
        terastallized=terastallized,
        transformed_into=shown.transformed_into,
        moves=_own_moves(pokemon, known, listed, dex),
        boosts=_boosts(known),
        effects=tuple(sorted(known.effects)),
        stats=_own_stats(pokemon),
    )


def _own_stats(pokemon: Mapping[str, Any]) -> Mapping[str, int]:
    most = pokemon["condition"].partition(" ")[0].rpartition("/")[2].rstrip("gyr")
    # A request made up from a public log has HP of 100 and no stats.
    told: Mapping[str, int] = pokemon.get("stats") or {}
    return {"hp": int(most), **told} if told and most.isdecimal() else {}


def _own_moves(
    pokemon: Mapping[str, Any], known: Remembered, listed: Sequence[Mapping[str, Any]], dex: Pokedex
) -> tuple[KnownMove, ...]:
    # The active Pokémon's moves are listed with PP, but for one locked into a move; the rest by id alone.
    if listed and all("pp" in move for move in listed):
        return tuple(KnownMove(move["move"], move["pp"], move["maxpp"]) for move in listed)
    counted = known.pp if known.copied is None else {}
    return tuple(
        KnownMove(dex.move_name(move), *counted.get(own_move(move), (None, None))) for move in pokemon["moves"]
    )


def foe_side(memory: Memory, turns: TurnTracker) -> Side:
    """What the seat of `turns` has seen of its opponent."""
    dex = turns.field.pokedex
    active: PokemonState | None = None
    bench: list[PokemonState] = []
    seat = other(turns.seat)
    on_field = turns.field.active.get(seat)
    sure = _ANY_ABILITY.search(memory.tier) is None
    for name, met in turns.field.met.items():
        if seat_of(name) != seat:
            continue
        known = memory.pokemon.get(name) or Remembered()
        if on_field is not None and name_of(on_field.ident) == name:
            active = _foe(on_field, known, dex, sure=sure)
        else:
            bench.append(_foe(met, known, dex, sure=sure))
    seen = len(bench) + (active is not None)
    previewed = turns.preview[seat]
    if previewed:
        families = {_family(pokemon.species) for pokemon in (*bench, *((active,) if active else ()))}
        for details in previewed:
            species_name, level, _ = read_details(details)
            if _family(species_name) not in families:
                # `Arceus-*` may be any of its formes, whose types differ.
                types = () if species_name.endswith("-*") else dex.types(species_name)
                bench.append(PokemonState(species_name.removesuffix("-*"), level, 100, types))
    unseen = 0 if previewed else max(0, turns.team_size.get(seat, seen) - seen)
    return Side(active, tuple(bench), unseen, dict(memory.conditions[seat]))


def _foe(shown: InSight, known: Remembered, dex: Pokedex, *, sure: bool) -> PokemonState:
    """`sure` says that it can only have an ability of its species."""
    ability = known.ability
    # Of As One, a log leaves out which of the two it is.
    if sure and (ability == "asone" or (ability is None and not known.has_other_ability)):
        possible = dex.abilities(shown.forme)
        ability = possible[0] if len(possible) == 1 else None
    moves = known.moves if known.copied is None else known.copied
    return PokemonState(
        species=SHOWN_AS_ANOTHER.get((shown.species, known.own_ability or ""), shown.species),
        level=shown.level,
        hp_percent=known.hp_percent,
        types=shown.types,
        status=known.status,
        ability=_known_ability(ability),
        item=known.item,
        tera_type=shown.tera_type,
        terastallized=shown.tera_type is not None,
        transformed_into=shown.transformed_into,
        moves=tuple(KnownMove(dex.move_name(move)) for move in moves),
        boosts=_boosts(known),
        effects=tuple(sorted(known.effects)),
    )


def _family(species_name: str) -> str:
    return species_name.split("-", 1)[0]


def _known_ability(ability: str | None) -> str | None:
    return None if ability in (None, "", "noability", "asone") else ability


def _boosts(known: Remembered) -> Mapping[str, int]:
    return {stat: known.boosts[stat] for stat in sorted(known.boosts) if known.boosts[stat]}


def _asked(request: Request) -> Question:
    if request.get("teamPreview"):
        return "lead"
    return "switch" if any(request.get("forceSwitch", ())) else "move"
