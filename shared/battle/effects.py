"""What a log's lines change of Pokémon on the field and of the field: who is there, effects, conditions.

A log tells when most effects begin and end, but not all: what passes on (Baton Pass), what ends by another's leaving,
by the next move or by the clock ends without a line of its own. Each of these ways is one place here. The names of
lines and effects are the simulator's (SIM-PROTOCOL.md of the pokemon-showdown repository, and its data).
"""

from collections.abc import Callable, Mapping

from shared.battle.causes import cause_of
from shared.battle.memory import Memory, Remembered, bare
from shared.battle.pokedex import to_id
from shared.battle.protocol import SEATS, Line, name_of, other, read_details, seat_of

_BINDING = (
    *("bind", "clamp", "fire spin", "infestation", "magma storm", "sand tomb", "snap trap", "thunder cage"),
    *("whirlpool", "wrap", "g max centiferno", "g max sandblast"),
)
EFFECTS = (
    *("aqua ring", "attract", "autotomize", "bide", "charge", "confusion", "curse", "destiny bond", "disable"),
    *("dragon cheer", "dynamax", "embargo", "encore", "flash fire", "focus energy", "foresight", "glaive rush"),
    *("grudge", "heal block", "imprison", "ingrain", "laser focus", "leech seed", "light screen", "magnet rise"),
    *("miracle eye", "mist", "mud sport", "nightmare", "no retreat", "octolock", "power shift", "power trick", "rage"),
    *("reflect", "salt cure", "slow start", "smack down", "substitute", "syrup bomb", "tar shot", "taunt"),
    *("telekinesis", "throat chop", "torment", "uproar", "water sport", "yawn", "g max chi strike"),
    *_BINDING,
)
_WORDS: Mapping[str, str] = {to_id(words): words for words in EFFECTS}
_COUNTED = ("fallen", "perish", "stockpile", "protosynthesis", "quarkdrive")
"""Written with what they count or raise: `perish3`, `quarkdrivespe`. There is one of each at a time."""

_PASSED_ON = frozenset(
    {
        *("aqua ring", "charge", "confusion", "curse", "dragon cheer", "embargo", "focus energy", "gastro acid"),
        *("heal block", "ingrain", "laser focus", "leech seed", "magnet rise", "mist", "no retreat", "octolock"),
        *("perish", "power shift", "power trick", "substitute", "tar shot", "taunt", "telekinesis", "throat chop"),
        *_BINDING,
    }
)
"""By Baton Pass. The simulator calls all others `noCopy`."""
_PASSED_ON_UNTIL: Mapping[str, int] = {
    **dict.fromkeys(("lock on", "mud sport", "trapped", "water sport"), 4),
    "foresight": 2,
}
"""The last generation in which these were passed on."""
_UNDONE_BY: Mapping[str, tuple[str, ...]] = {
    "smack down": ("magnet rise", "telekinesis", "preparing fly", "preparing bounce"),
    "gravity": ("magnet rise", "telekinesis", "preparing fly", "preparing bounce", "preparing skydrop"),
}
_GUARDS = ("crafty shield", "mat block", "quick guard", "wide guard")
"""Conditions of a side that last until the turn ends."""
_MOST_LAYERS: Mapping[str, int] = {"spikes": 3, "toxic spikes": 2}


# ── who comes and goes ──────────────────────────────────────────────────────────────────────────────


def _enter(memory: Memory, line: Line) -> None:
    seat, name = seat_of(line[2]), name_of(line[2])
    if seat is None:
        raise ValueError("nobody comes in")
    left = memory.pokemon.get(memory.active.get(seat, ""))
    come = memory.of(name)
    come.leave()
    passed = to_id(cause_of(line))
    if left is not None and left is not come:
        if passed == "batonpass":
            come.boosts = dict(left.boosts)
            come.effects = {each: lasts for each, lasts in left.effects.items() if is_passed(each, memory.generation)}
        elif passed == "shedtail" and "substitute" in left.effects:
            come.effects = {"substitute": None}
        left.leave()
    if seat in memory.active:
        heir = name if passed == "batonpass" and is_passed("trapped", memory.generation) else None
        memory.end_what_came_from(memory.active[seat], heir)
    memory.active[seat] = name
    come.health(line[4])


def is_passed(effect: str, generation: int) -> bool:
    """Whether Baton Pass hands that effect on."""
    if effect in _PASSED_ON_UNTIL:
        return generation <= _PASSED_ON_UNTIL[effect]
    return effect in _PASSED_ON or effect.startswith("perish")


def _faint(memory: Memory, line: Line) -> None:
    pokemon = memory.of(line[2])
    pokemon.leave()
    pokemon.hp_percent, pokemon.status = 0, None
    memory.end_what_came_from(name_of(line[2]))


def _change_forme(memory: Memory, line: Line) -> None:
    pokemon, abilities = memory.of(line[2]), memory.dex.abilities(read_details(line[3])[0])
    ability = abilities[0] if len(abilities) == 1 else None
    # As it faints, it is again what it was at first.
    if ability is not None or not pokemon.hp_percent:
        pokemon.ability, pokemon.own_ability, pokemon.has_other_ability = ability, ability, False


# ── effects ─────────────────────────────────────────────────────────────────────────────────────────


def _start(memory: Memory, line: Line) -> None:
    pokemon, effect = memory.of(line[2]), to_id(bare(line[3]))
    counted = next((begin for begin in _COUNTED if effect.startswith(begin)), None)
    if counted is not None:
        _drop(pokemon, counted)
        pokemon.effects[effect] = None
    elif effect in _WORDS:
        pokemon.effects[_WORDS[effect]] = None
        _undo(pokemon, _WORDS[effect])
    elif effect == "mimic":
        pokemon.replace_move("mimic", to_id(line[4]))


def _end(memory: Memory, line: Line) -> None:
    _drop(memory.of(line[2]), to_id(bare(line[3])))


def _drop(pokemon: Remembered, effect: str) -> None:
    counted = next((begin for begin in _COUNTED if effect.startswith(begin)), None)
    if counted is not None:
        pokemon.effects = {each: source for each, source in pokemon.effects.items() if not each.startswith(counted)}
    else:
        pokemon.effects.pop(_WORDS.get(effect, effect), None)


def bind(pokemon: Remembered, move: str) -> None:
    """Where `move` is one that binds: the Pokémon is bound by it."""
    if _WORDS.get(move) in _BINDING:
        pokemon.effects[_WORDS[move]] = None


def _undo(pokemon: Remembered, effect: str) -> None:
    for undone in _UNDONE_BY.get(effect, ()):
        pokemon.effects.pop(undone, None)


def _single_move(memory: Memory, line: Line) -> None:
    effect = _WORDS.get(to_id(bare(line[3])))
    if effect is not None:
        memory.of(line[2]).effects[effect] = None


def _must_recharge(memory: Memory, line: Line) -> None:
    # Before generation 2 it waits for as long as it takes.
    memory.of(line[2]).effects["must recharge"] = 2 if memory.generation > 1 else None


def _strike(memory: Memory, line: Line) -> None:
    # What is prepared and strikes in the same turn (Power Herb, Solar Beam in the sun) shows it by `-anim` alone.
    memory.of(line[2]).effects.pop(f"preparing {to_id(line[3])}", None)


def _cannot(memory: Memory, line: Line) -> None:
    # `cant|HOLDER|ability: Damp|MOVE|[of] USER` names whose ability it was, not who could not.
    if line[-1].startswith("[of]"):
        return
    pokemon = memory.of(line[2])
    pokemon.lose_turn(line[3], memory.generation)
    if len(line) > 4 and not line[3].startswith("ability: "):
        memory.learn(pokemon, line[4])


def _trap(memory: Memory, line: Line, pokemon: Remembered) -> None:
    seat = seat_of(line[2])
    pokemon.effects["trapped"] = memory.active.get(other(seat)) if seat else None


def _lock_on(memory: Memory, _: Line, pokemon: Remembered) -> None:
    pokemon.effects.setdefault("lock on", 2)


def _fall(memory: Memory, _: Line, pokemon: Remembered) -> None:
    _undo(pokemon, "gravity")


def _single_turn(memory: Memory, line: Line) -> None:
    guard = _field_words(line[3])
    if guard in _GUARDS:
        _side(memory, line[2]).setdefault(guard, memory.turn)


def _break_guards(memory: Memory, line: Line, *_: Remembered) -> None:
    for guard in _GUARDS:
        _side(memory, line[2]).pop(guard, None)


def _turn_ends(memory: Memory, _: Line) -> None:
    for conditions in memory.conditions.values():
        for guard in _GUARDS:
            conditions.pop(guard, None)
    for name in memory.active.values():
        memory.pokemon[name].end_turn(memory.generation)
    for name in [name for name, left in memory.fields_left.items() if left == 1]:
        memory.fields.pop(name, None)
    memory.fields_left = {name: left - 1 for name, left in memory.fields_left.items() if left > 1}


def _turn_begins(memory: Memory, line: Line) -> None:
    memory.turn = int(line[2])
    for pokemon in memory.pokemon.values():
        pokemon.acted = False


def _read_tier(memory: Memory, line: Line) -> None:
    memory.tier = line[2]


# ── the field ───────────────────────────────────────────────────────────────────────────────────────


def _side_start(memory: Memory, line: Line) -> None:
    conditions, name = _side(memory, line[2]), _field_words(line[3])
    if name in _MOST_LAYERS:
        conditions[name] = min(conditions.get(name, 0) + 1, _MOST_LAYERS[name])
    else:
        conditions.setdefault(name, memory.turn)


def _side_end(memory: Memory, line: Line) -> None:
    conditions, ended = _side(memory, line[2]), _field_words(line[3])
    # Defog tells twice that Mist is over; of anything else that was never begun, something was missed.
    if ended in conditions or ended != "mist":
        del conditions[ended]


def _swap_sides(memory: Memory, _: Line) -> None:
    memory.conditions = {
        seat: {
            name: since
            for owner in (other(seat), seat)
            for name, since in memory.conditions[owner].items()
            if (name in _GUARDS) == (owner == seat)
        }
        for seat in SEATS
    }


def _side(memory: Memory, ident: str) -> dict[str, int]:
    seat = seat_of(ident)
    if seat is None:
        raise ValueError(f"{ident!r} is no side")
    return memory.conditions[seat]


def _field_start(memory: Memory, line: Line) -> None:
    name = _field_words(line[2])
    if name.endswith("terrain"):
        memory.fields = {known: turn for known, turn in memory.fields.items() if not known.endswith("terrain")}
    memory.fields[name] = memory.turn


def _field_end(memory: Memory, line: Line) -> None:
    memory.fields.pop(_field_words(line[2]), None)


def _field_activate(memory: Memory, line: Line) -> None:
    # These have no line for their end.
    lasts = {"fairy lock": 2, "ion deluge": 1}.get(name := _field_words(line[2]))
    if lasts is not None:
        memory.fields[name], memory.fields_left[name] = memory.turn, lasts


def _field_words(name: str) -> str:
    return bare(name).lower().replace("-", " ")


ACTIVATIONS: Mapping[str, Callable[[Memory, Line, Remembered], None]] = {
    "trapped": _trap,
    "lockon": _lock_on,
    "mindreader": _lock_on,
    "gravity": _fall,
    **dict.fromkeys(("feint", "hyperspacefury", "hyperspacehole", "phantomforce", "shadowforce"), _break_guards),
}

HANDLERS: Mapping[str, Callable[[Memory, Line], None]] = {
    "switch": _enter,
    "drag": _enter,
    "faint": _faint,
    "detailschange": _change_forme,
    "-start": _start,
    "-end": _end,
    "-singlemove": _single_move,
    "-singleturn": _single_turn,
    "-mustrecharge": _must_recharge,
    "-anim": _strike,
    "cant": _cannot,
    "upkeep": _turn_ends,
    "turn": _turn_begins,
    "tier": _read_tier,
    "-sidestart": _side_start,
    "-sideend": _side_end,
    "-swapsideconditions": _swap_sides,
    "-fieldstart": _field_start,
    "-fieldend": _field_end,
    "-fieldactivate": _field_activate,
}
