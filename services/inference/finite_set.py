r"""Finite sets of answers: what stands for one, and which of its members is the answer.

Of regular expressions, an alternation of literal texts does, `(move Flash Cannon|switch Mr\. Mime)`; of JSON schemas,
texts that are listed, `{"enum": ["move Flash Cannon", …]}`, alone or as the one property of an object. Both are what
the arena sends.
"""

import json
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
    return _bounded(members)


def documents_of(schema: Any) -> tuple[str, ...]:
    """The JSON documents that the schema permits, in its order, each once. Raises NotFinite."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if properties is None:
        return _bounded([_document(each) for each in _listed(schema)])
    if not isinstance(properties, dict) or len(properties) != 1 or schema.get("required") != list(properties):
        raise NotFinite("an object has to have one property, and to require it")
    [(name, inner)] = properties.items()
    return _bounded([_document({name: each}) for each in _listed(inner)])


def _listed(schema: Any) -> list[str]:
    texts = schema.get("enum", [schema["const"]] if "const" in schema else None) if isinstance(schema, dict) else None
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise NotFinite("a schema has to list its texts, as an `enum`")
    return texts


def _document(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def _bounded(members: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(members))
    if "" in found or not found:
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
