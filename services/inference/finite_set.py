r"""Finite sets of answers: which regular expressions stand for one, and which of its members is the answer.

An alternation of literal texts does, and no other expression. It is what the arena sends:
`(move Flash Cannon|switch Mr\. Mime)`.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers.decoders import DecodeStream

from services.inference.decoding import Chooser, Finished, ScoredMember, Token, Work, finite

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


def choose(work: Work, scores: Sequence[Sequence[float]], tokenizer: Any) -> tuple[list[Token], Finished]:
    """A member by the scores of all (member → the log-probability of each of its tokens), as if it had been generated.

    The most probable member is taken; where a request samples, one is drawn. The members' log-probabilities stand for
    the logits then, so that temperature, top_k and the rest mean what they mean for tokens. Raises FloatingPointError
    where a score is no finite number: it would pass for certainty.
    """
    candidates = tuple(
        ScoredMember(member.text, min(0.0, finite(sum(tokens))), len(member.ids))
        for member, tokens in zip(work.members, scores, strict=True)
    )
    chosen = Chooser(work.sampling).choose(torch.tensor([each.logprob for each in candidates], dtype=torch.float64))
    member = work.members[chosen]
    stream = DecodeStream(skip_special_tokens=True)
    lead = member.lead
    said: list[Token] = []
    for place, (token, logprob) in enumerate(zip(member.ids[: work.max_new_tokens], scores[chosen], strict=False)):
        is_end = place == len(member.ids) - 1
        text = "" if is_end else stream.step(tokenizer.backend_tokenizer, token) or ""
        while lead and text.startswith(lead[0]):
            lead, text = lead[1:], text[1:]
        said.append(Token(token, text, logprob, is_end))
    if len(said) < len(member.ids):
        return said, Finished("".join(token.text for token in said), "length", len(said), candidates)
    return said, Finished(member.text, "eos_token", len(said), candidates)
