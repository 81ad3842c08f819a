"""Actions as text: what a policy is to answer, and which action an answer means.

A contract lists the completion of every action that it can express, `Completions`; everything else follows
from that list. Reading an answer looks it up there and nowhere else: prose is not searched for a move.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum

from shared.battle.action import Action, Move, Pass, Switch
from shared.battle.pokedex import pokedex
from shared.battle.prompt_v1 import describe_move_v1
from shared.battle.state import BattleState
from shared.text import one_line

Completions = Mapping[str, Action]
"""Completion → action, in the order of the legal actions. No two actions share a completion."""

NAME_LIMIT = 40
# re.escape would also escape spaces, which not every engine behind a backend takes.
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")
_SHAPES = re.compile(r"(move|switch) \S.*|pass|.+ \(\S+, \S+pw, \S+\)")
# Signs that people and models write for one another, and that Unicode's own forms leave apart.
_ONE_SIGN = str.maketrans(
    {
        **dict.fromkeys("`´ʹʻʼʽʾʿˈˊˋ՚׳᾽᾿῾‘’‚‛‹›′‵❛❜ꞌ", "'"),
        **dict.fromkeys("«»ʺ“”„‟″‶❝❞〝〞〟", '"'),
        **dict.fromkeys("˗\u2043\u2212\u2500\u2796", "-"),
        **dict.fromkeys("ː∶꞉", ":"),
        **dict.fromkeys("。｡", "."),
        **dict.fromkeys("\u115f\u1160\u2800\u3164\uffa0", " "),
    }
)


class Reason(StrEnum):
    """Why an answer could not be used."""

    UNPARSABLE = "unparsable"
    ILLEGAL = "illegal"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    INEXPRESSIBLE = "inexpressible_in_contract"
    """No legal action can be written in the contract: not the policy's fault."""


def completions_v1(state: BattleState) -> Completions:
    """`Flash Cannon (steel, 80pw, special)`. Moves alone, without a gimmick."""
    dex = pokedex(state.generation)
    return _distinct(
        (describe_move_v1(action.name, dex), action)
        for action in state.legal
        if isinstance(action, Move) and action.gimmick is None
    )


def completions_v2(state: BattleState) -> Completions:
    """`move Flash Cannon`, `move Flash Cannon tera`, `switch Rotom-Wash`, `pass`. Every action."""
    return _distinct((_write_v2(action), action) for action in state.legal)


def render(action: Action, completions: Completions) -> str | None:
    """The completion that means `action`; None when the contract cannot express it."""
    return next((text for text, meant in completions.items() if meant == action), None)


def parse(text: str, completions: Completions) -> Action | Reason:
    """The action that `text` means, or why it means none.

    The text must be a completion from end to end. How its signs are typed, `folded`, doesn't matter where that leaves
    one meaning.
    """
    answer = text.strip()
    if answer in completions:
        return completions[answer]
    answer = folded(answer)
    if not answer:
        return Reason.EMPTY
    meant = [action for written, action in completions.items() if folded(written) == answer]
    if len(meant) == 1:
        return meant[0]
    return Reason.ILLEGAL if _SHAPES.fullmatch(answer) else Reason.UNPARSABLE


def folded(text: str) -> str:
    """The text as it stands for all that differ from it in typing alone: `  King’s  SHIELD` → `king's shield`.

    Case, accents, Unicode's composed, full-width and other compatible forms, quotes, dashes, the width of spaces and
    what has no width: none of them tells two names apart. Lines stay lines.
    """
    plain = _decomposed(_decomposed(text.translate(_ONE_SIGN)).casefold()).translate(_ONE_SIGN)
    kinds = ((sign, unicodedata.category(sign)) for sign in plain)
    plain = "".join("-" if kind == "Pd" else sign for sign, kind in kinds if kind not in ("Mn", "Me", "Cf"))
    return "\n".join(" ".join(line.split()) for line in plain.strip().splitlines())


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


def regex(completions: Completions) -> str:
    """A regular expression for exactly these completions: the one constraint that backends are given."""
    return "(" + "|".join(_SPECIAL.sub(r"\\\g<0>", text) for text in completions) + ")"


def _write_v2(action: Action) -> str:
    match action:
        case Move(name=name, gimmick=None):
            return f"move {_name(name)}"
        case Move(name=name, gimmick=gimmick):
            return f"move {_name(name)} {gimmick}"
        case Switch(name=name):
            return f"switch {_name(name)}"
        case Pass():
            return "pass"


def _name(name: str) -> str:
    return " ".join(one_line(name, NAME_LIMIT).split()) or "?"


def _distinct(written: Iterable[tuple[str, Action]]) -> Completions:
    # The second of a name is written `NAME #2`, counted in the request's order.
    found: dict[str, Action] = {}
    for text, action in written:
        candidate, number = text, 1
        while candidate in found:
            number += 1
            candidate = f"{text} #{number}"
        found[candidate] = action
    return found
