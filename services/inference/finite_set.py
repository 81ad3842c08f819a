r"""Which regular expressions stand for a finite set of answers: an alternation of literal texts, and no other.

It is what the arena sends: `(move Flash Cannon|switch Mr\. Mime)`.
"""

import re

MOST_MEMBERS = 512
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_TOKEN = re.compile(r"\\(.)|([|])|([.^$*+?{}\[\]()\\])|(.)", re.DOTALL)


class NotFinite(ValueError):
    """The expression is none of these; the text says what stands in the way."""


def members_of(expression: str) -> tuple[str, ...]:
    """The texts that the expression matches, in its order, each once. Raises NotFinite."""
    inner = expression
    if inner.startswith("(") and inner.endswith(")"):
        inner = inner[1:-1].removeprefix("?:")
    members = [""]
    for token in _TOKEN.finditer(inner):
        escaped, bar, special, literal = token.groups()
        if bar:
            members.append("")
        elif special:
            raise NotFinite(f"{special!r} is no literal text at character {token.start() + 1}")
        else:
            members[-1] += literal or _unescaped(escaped)
    found = tuple(dict.fromkeys(members))
    if "" in found:
        raise NotFinite("one of its alternatives is empty")
    if len(found) > MOST_MEMBERS:
        raise NotFinite(f"it has {len(found)} alternatives, more than {MOST_MEMBERS}")
    return found


def _unescaped(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isalnum():
        raise NotFinite(f"\\{character} is no literal text")
    return character
