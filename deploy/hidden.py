"""What a public log cannot hold of a side's own knowledge, so that a rebuilt state may lack it.

Two states of one moment are compared. Every difference must have one of these names; what is left is a mistake.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from shared.battle.action import Action, Move, Switch
from shared.battle.state import BattleState, Event, PokemonState

_CURES_ON_THE_BENCH = ("naturalcure", "regenerator")
_NAMES: Mapping[str, str] = {
    "item": "own item that never shows",
    "ability": "own ability that never shows",
    "tera_type": "own tera type that never shows",
}


def explained(rebuilt: BattleState, served: BattleState, *, complete: bool) -> tuple[tuple[str, ...], bool]:
    """Which hidden facts the two states differ by, and whether that is all they differ by.

    `complete` says whether the rebuilt state claims to know all legal actions; then they must be the same.
    """
    if _is_disguised(served) and rebuilt.own.active != served.own.active:
        return ("own Pokémon in a disguise that nothing lifts",), True
    causes = dict.fromkeys(
        (*_of_active(rebuilt, served), *_of_bench(rebuilt, served), *_of_legal(rebuilt, served, complete=complete))
    )
    one, another = _what_is_left(rebuilt, served), _what_is_left(served, rebuilt)
    causes.update(dict.fromkeys(_of_the_rest(rebuilt, served)))
    return tuple(causes), one == another and not (complete and _offered(rebuilt) != _offered(served))


def _is_disguised(served: BattleState) -> bool:
    return served.own.active is not None and "illusion" in (served.own.active.ability or "")


def _of_active(rebuilt: BattleState, served: BattleState) -> Iterator[str]:
    if rebuilt.own.active is not None and served.own.active is not None:
        yield from _of_pokemon(rebuilt.own.active, served.own.active)


def _of_pokemon(rebuilt: PokemonState, served: PokemonState) -> Iterator[str]:
    for name, cause in _NAMES.items():
        if getattr(rebuilt, name) != getattr(served, name):
            yield cause
    if rebuilt.hp_percent != served.hp_percent:
        yield "HP between 99 and 100 %"
    ours = {move.name: move.pp for move in rebuilt.moves}
    theirs = {move.name: move.pp for move in served.moves}
    if set(ours) != set(theirs):
        yield "own move that never shows"
    if any(ours[name] != theirs[name] for name in set(ours) & set(theirs)):
        yield "PP"
    if [name for name in ours if name in theirs] != [name for name in theirs if name in ours]:
        yield "order of own moves"


def _of_bench(rebuilt: BattleState, served: BattleState) -> Iterator[str]:
    theirs = {_who(mate): mate for mate in served.own.bench}
    ours = {_who(mate): mate for mate in rebuilt.own.bench}
    if set(ours) != set(theirs):
        yield "own Pokémon that never shows"
    for who in set(ours) & set(theirs):
        yield from _of_pokemon(ours[who], theirs[who])
    if [who for who in ours if who in theirs] != [who for who in theirs if who in ours]:
        yield "order of own Pokémon"


def _of_legal(rebuilt: BattleState, served: BattleState, *, complete: bool) -> Iterator[str]:
    if not complete and _offered(rebuilt) != _offered(served):
        yield "legal actions that follow from these"


def _of_the_rest(rebuilt: BattleState, served: BattleState) -> Iterator[str]:
    if rebuilt.last_turn != served.last_turn:
        yield "damage to own Pokémon, of HP in percent"
    if rebuilt.foe != served.foe:
        yield "own moves that a transformed opponent took on"


def _who(mate: PokemonState) -> tuple[str, int]:
    return mate.species, mate.level


def _offered(state: BattleState) -> frozenset[str]:
    return frozenset(_shown(action, state) for action in state.legal)


def _shown(action: Action, state: BattleState) -> str:
    match action:
        case Move(id=move, gimmick=gimmick):
            return f"{move} {gimmick}"
        case Switch():
            return str(_who(state.switched_to(action)))
        case _:
            return "pass"


def _what_is_left(state: BattleState, beside: BattleState) -> BattleState:
    """The state without what a public log cannot hold, as far as the one beside it differs there."""
    theirs = {_who(mate): mate for mate in beside.own.bench}
    bench = tuple(sorted((_plain(m, theirs[_who(m)]) for m in state.own.bench if _who(m) in theirs), key=_who))
    active = state.own.active
    if active is not None and beside.own.active is not None:
        active = _plain(active, beside.own.active)
    foe = state.foe
    if foe.active is not None and foe.active.transformed_into is not None:
        foe = replace(foe, active=replace(foe.active, moves=(), ability=None))
    return replace(
        state,
        own=replace(state.own, active=active, bench=bench),
        foe=foe,
        legal=(),
        last_turn=_about(state.last_turn, beside.last_turn),
    )


def _plain(pokemon: PokemonState, beside: PokemonState) -> PokemonState:
    close = {pokemon.hp_percent, beside.hp_percent} == {99, 100}
    cured = any((one.ability or "") in _CURES_ON_THE_BENCH for one in (pokemon, beside))
    return replace(
        pokemon,
        hp_percent=0 if close or cured else pokemon.hp_percent,
        status=None if cured else pokemon.status,
        item=None,
        ability=None,
        tera_type=None,
        moves=(),
    )


def _about(events: tuple[Event, ...], beside: tuple[Event, ...]) -> tuple[Event, ...]:
    if len(events) != len(beside):
        return events
    return tuple(
        replace(event, damage_percent=None) if _nearly(event.damage_percent, other.damage_percent) else event
        for event, other in zip(events, beside, strict=True)
    )


def _nearly(one: int | None, another: int | None) -> bool:
    return one is not None and another is not None and abs(one - another) <= 2
