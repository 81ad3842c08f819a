"""Takes a log's lines into a side's memory, each by its kind."""

from collections.abc import Callable, Mapping

from shared.battle import belongings, effects, health
from shared.battle.memory import Memory, Remembered, bare
from shared.battle.pokedex import to_id
from shared.battle.protocol import Line

_NAMES_A_CAUSE = frozenset({"-activate", "-block", "cant"})
_NOTHING_TO_REMEMBER = frozenset(
    {
        *("-block", "-burst", "-candynamax", "-center", "-combine", "-crit", "-fail", "-formechange", "-hint"),
        *("-hitcount", "-message", "-notarget", "-nothing", "-ohko", "-primal", "-resisted"),
        *(
            "-supereffective",
            "-terastallize",
            "-waiting",
            "-weather",
            "-zbroken",
            "-zpower",
            "clearpoke",
        ),
        *("-mimic", "gametype", "gen", "message", "poke", "rated", "replace", "rule", "start", "swap", "teampreview"),
        *("teamsize", "tie", "win"),
    }
)


def follow(memory: Memory, line: Line) -> bool:
    """Take in a line, split at `|`. False for one of an unknown kind; raises LookupError or ValueError."""
    kind = line[1]
    # Before the line's own news: what it names as its cause was there before.
    if len(line) > 3 and (line[-1][:1] == "[" or kind in _NAMES_A_CAUSE):
        belongings.reveal(memory, line)
    handler = _HANDLERS.get(kind)
    if handler is not None:
        handler(memory, line)
    return handler is not None or kind in _NOTHING_TO_REMEMBER


def _activate(memory: Memory, line: Line) -> None:
    if len(line) < 4 or not line[2]:
        return
    what = to_id(bare(line[3]))
    activated = _ACTIVATIONS.get(what)
    if activated is not None:
        activated(memory, line, memory.of(line[2]))
    else:
        effects.bind(memory.of(line[2]), what)


_ACTIVATIONS: Mapping[str, Callable[[Memory, Line, Remembered], None]] = {
    **effects.ACTIVATIONS,
    **belongings.ACTIVATIONS,
}
_HANDLERS: Mapping[str, Callable[[Memory, Line], None]] = {
    **health.HANDLERS,
    **effects.HANDLERS,
    **belongings.HANDLERS,
    "-activate": _activate,
}
