"""What a log's lines tell of a Pokémon's moves, item and ability: what it has, uses up, takes from another or loses."""

from collections.abc import Callable, Mapping

from shared.battle.causes import called_by, cause_of, named_sources, of_whom
from shared.battle.memory import Memory, Remembered, bare, own_move
from shared.battle.pokedex import to_id
from shared.battle.protocol import Line, seat_of

_NOT_ITS_OWN_MOVE = ("ability: Magic Bounce", "move: Magic Coat", "Magic Coat", "Snatch", "move: Snatch")
"""Moves that come over a Pokémon and are no use of its turn."""
_OF_ITS_OWN = frozenset({"move: Sleep Talk", "Sleep Talk", "Pursuit", "ability: Dancer", "move: Instruct"})
_BINDS_IN_GENERATION_1 = frozenset({"Bind", "Clamp", "Fire Spin", "Wrap"})
_GIVES_ABILITY = frozenset({"trace", "roleplay", "entrainment", "doodle"})
"""Whose `[of]` has the ability that is told."""
_TAKES_ITEM = frozenset({"thief", "covet", "magician", "pickpocket", "bestow", "bugbite", "pluck"})


# ── moves ───────────────────────────────────────────────────────────────────────────────────────────


def _move(memory: Memory, line: Line) -> None:
    pokemon, source = memory.of(line[2]), called_by(line)
    if source in _NOT_ITS_OWN_MOVE:
        return
    name = line[3]
    strikes = f"preparing {to_id(name)}" in pokemon.effects
    pokemon.use_turn()
    z_move = "[zeffect]" in line
    if z_move and name.startswith("Z-"):
        name = name[2:]
    elif z_move or "dynamax" in pokemon.effects:
        # Which of its moves became one of these isn't told.
        pokemon.pp.clear()
        return
    # What was prepared is paid for, but in generation 1.
    if memory.generation == 1 if strikes else source is None and not pokemon.is_locked:
        _change_pp(pokemon, to_id(name), -1)
    _press(memory, pokemon, line, to_id(name))
    if memory.generation == 1:
        facing = memory.facing(line[2])
        if name == "Rage":
            # It goes on for ever, once it hit.
            pokemon.effects["rage"] = None
        elif name in _BINDS_IN_GENERATION_1 and facing is not None:
            # Even where it misses.
            facing.effects.pop("must recharge", None)
    goes_on = memory.generation < 3 and name == pokemon.called
    if (source is None and not goes_on) or source in _OF_ITS_OWN:
        memory.learn(pokemon, name)
    pokemon.called = name if goes_on or source is not None else ""


def _miss(memory: Memory, line: Line) -> None:
    _not_enraged(memory, memory.of(line[2]))


def _immune(memory: Memory, line: Line) -> None:
    _not_enraged(memory, memory.facing(line[2]))


def _not_enraged(memory: Memory, user: Remembered | None) -> None:
    if memory.generation == 1 and user is not None and not user.called:
        user.effects.pop("rage", None)


def _press(memory: Memory, pokemon: Remembered, line: Line, move: str) -> None:
    """Take what the opponent's Pressure makes a move dearer; of one that another move called, that one."""
    facing = memory.facing(line[2])
    if facing is None or not facing.hp_percent or not memory.works(facing, "pressure"):
        return
    source = to_id(bare(cause_of(line)))
    # Whom a line names says little: nobody where the move fails, its user where it is for all.
    curses = move == "curse" and len(line) > 4 and seat_of(line[4]) not in (None, seat_of(line[2]))
    if (memory.dex.is_pressed(move) or curses) and (not source or memory.generation > 3):
        _change_pp(pokemon, source or move, -1)


def _change_pp(pokemon: Remembered, move: str, by: int) -> None:
    left = pokemon.pp.get(own_move(move))
    if left is not None and not pokemon.is_transformed:
        left[0] = max(0, min(left[1], left[0] + by))


def _lose_pp(_: Memory, line: Line, pokemon: Remembered) -> None:
    # Spite and its like say how much, Grudge takes all.
    _change_pp(pokemon, to_id(line[4]), -int(line[5]) if len(line) > 5 else -99)


def _gain_pp(_: Memory, line: Line, pokemon: Remembered) -> None:
    _change_pp(pokemon, to_id(line[4]), 5 if "Mystery" in line[3] else 10)


def _prepare(memory: Memory, line: Line) -> None:
    if "[premajor]" in line:
        return
    pokemon, move = memory.of(line[2]), to_id(line[3])
    # Nothing tells of one whose turn to strike is taken away as its opponent faints: it is not kept for a third turn.
    pokemon.effects[f"preparing {move}"] = 2 if memory.generation > 1 else None
    if memory.generation == 1:
        # There, it costs PP when it strikes.
        _change_pp(pokemon, move, 1)


def _mimic(memory: Memory, line: Line, pokemon: Remembered) -> None:
    # Before generation 5 Sketch says that it is Mimic; it had to be used to be told.
    if "sketch" in pokemon.moves and "mimic" not in pokemon.moves:
        _sketch(memory, line, pokemon)
    else:
        pokemon.replace_move("mimic", to_id(line[4]))


def _sketch(memory: Memory, line: Line, pokemon: Remembered) -> None:
    pokemon.moves = [to_id(line[4]) if move == "sketch" else move for move in pokemon.moves]


def _transform(memory: Memory, line: Line) -> None:
    pokemon, into = memory.of(line[2]), memory.of(line[3])
    pokemon.copied, pokemon.is_transformed = list(into.moves if into.copied is None else into.copied), True
    pokemon.copy_boosts(into, memory.generation)
    if memory.generation > 2:
        pokemon.is_given(into.ability)


# ── items ───────────────────────────────────────────────────────────────────────────────────────────


def _item(memory: Memory, line: Line) -> None:
    source, of = to_id(bare(cause_of(line))), of_whom(line)
    if not line[2]:
        # Frisk in generations 4 and 5 names only who looks.
        facing = memory.facing(of)
        if facing is not None:
            facing.item = to_id(line[3])
        return
    memory.of(line[2]).item = to_id(line[3])
    if source in _TAKES_ITEM and of:
        memory.of(of).item = ""


def _end_item(memory: Memory, line: Line) -> None:
    pokemon, item = memory.of(line[2]), to_id(line[3])
    # A berry that was eaten is named once more by what it does.
    if "[weaken]" not in line and pokemon.item in (None, item):
        pokemon.item = ""


def _mega(memory: Memory, line: Line) -> None:
    if len(line) > 4 and line[4]:
        memory.of(line[2]).item = to_id(line[4])


def _give_item(memory: Memory, line: Line, pokemon: Remembered) -> None:
    of = of_whom(line)
    if of:
        memory.of(of).item, pokemon.item = to_id(line[4].removeprefix("[item] ")), ""


def _show_item(memory: Memory, line: Line, pokemon: Remembered) -> None:
    if len(line) > 4:
        pokemon.item = to_id(line[4])


# ── abilities ───────────────────────────────────────────────────────────────────────────────────────


def _ability(memory: Memory, line: Line) -> None:
    pokemon = memory.of(line[2])
    ability = to_id(line[3])
    cause, of = to_id(bare(cause_of(line))), of_whom(line)
    if not cause or "[fail]" in line:
        pokemon.now_has(ability)
        return
    if len(line) > 4 and not line[4].startswith("["):
        pokemon.now_has(to_id(line[4]))
    if cause == "trace" and not pokemon.has_other_ability:
        pokemon.own_ability = "trace"
    if of and cause in _GIVES_ABILITY:
        memory.of(of).now_has(ability)
    pokemon.is_given(ability)


def _end_ability(memory: Memory, line: Line) -> None:
    pokemon = memory.of(line[2])
    if len(line) > 3 and line[3] and not line[3].startswith("["):
        pokemon.now_has(to_id(line[3]))
    else:
        pokemon.effects["gastro acid"] = None


def _swap_abilities(memory: Memory, line: Line, pokemon: Remembered) -> None:
    of = of_whom(line)
    if not of:
        return
    partner = memory.of(of)
    named = [to_id(part.rpartition("]")[2]) for part in line[4:] if part and not part.startswith("[of]")]
    if len(named) > 1:
        partner.now_has(named[0])
        pokemon.now_has(named[1])
    one, another = pokemon.ability, partner.ability
    pokemon.is_given(another)
    partner.is_given(one)


def _spread_ability(memory: Memory, line: Line, holder: Remembered) -> None:
    """Mummy and Lingering Aroma: `HOLDER|ability: Mummy|VICTIM|[ability] OLD`, once `OLD|[of] VICTIM`."""
    ability = to_id(bare(line[3]))
    holder.now_has(ability)
    told = [part.removeprefix("[of] ").removeprefix("[ability] ") for part in line[4:]]
    for victim in [memory.of(part) for part in told if seat_of(part)]:
        for old in [to_id(part) for part in told if not seat_of(part)]:
            victim.now_has(old)
        victim.is_given(ability)


def reveal(memory: Memory, line: Line) -> None:
    """What a line names as its cause is there."""
    for what, name, ident in named_sources(line):
        if seat_of(ident) is None:
            continue
        pokemon = memory.of(ident)
        known = to_id(name)
        if what == "item":
            # A berry works as it is eaten, and not always by who held it.
            if line[1] in ("-item", "-enditem") or known.endswith("berry"):
                continue
            memory.stick(pokemon, known, ident)
            if pokemon.item is None:
                pokemon.item = known
        elif line[1] != "-ability" and known not in ("mummy", "lingeringaroma", "wanderingspirit"):
            pokemon.now_has(known)


ACTIVATIONS: Mapping[str, Callable[[Memory, Line, Remembered], None]] = {
    "mimic": _mimic,
    "spite": _lose_pp,
    "eeriespell": _lose_pp,
    "gmaxdepletion": _lose_pp,
    "grudge": _lose_pp,
    "leppaberry": _gain_pp,
    "mysteryberry": _gain_pp,
    "sketch": _sketch,
    "symbiosis": _give_item,
    "poltergeist": _show_item,
    "skillswap": _swap_abilities,
    "wanderingspirit": _swap_abilities,
    "mummy": _spread_ability,
    "lingeringaroma": _spread_ability,
}

HANDLERS: Mapping[str, Callable[[Memory, Line], None]] = {
    "move": _move,
    "-miss": _miss,
    "-immune": _immune,
    "-prepare": _prepare,
    "-transform": _transform,
    "-item": _item,
    "-enditem": _end_item,
    "-mega": _mega,
    "-ability": _ability,
    "-endability": _end_ability,
}
