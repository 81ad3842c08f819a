"""How a conversation becomes tokens: the same for a sample to learn from and for a question to answer.

A sample is `prompt_ids(…) + completion_ids(…)`, to the token; a question is `prompt_ids(…)`, and its answer ends where
`completion_ids` ends.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from shared.errors import UsageError
from shared.text import one_line

Message = Mapping[str, str]
"""`{"role": "user", "content": "…"}`."""

_PROBE = "completion"
_SWITCH = "enable_thinking"
"""What Qwen3's template, and many since, are told by that no thoughts are wanted."""
_SWITCHED_OFF = f"{{%- set {_SWITCH} = false -%}}"
_NO_SWITCH = f", and knows no {_SWITCH} to leave that out: take a model that can answer without thinking"
_NO_THOUGHT = re.compile(r"<think>\s*</think>\s*")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a chat template writes around an assistant's words."""

    lead: str
    """Between the prompt's end and the first word: nothing, or a space."""
    end_id: int
    """The token that ends the turn."""


def prompt_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The conversation as the model's own template writes it, up to where its answer begins.

    Raises UsageError where there is no template, and where it refuses the conversation.
    """
    return _written(tokenizer, messages, add_generation_prompt=True)


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """`prompt_text` in tokens."""
    return text_ids(tokenizer, prompt_text(tokenizer, messages))


def completion_ids(tokenizer: Any, completion: str) -> list[int]:
    """An answer in tokens, the one that ends it included."""
    return completions_ids(tokenizer, (completion,))[0]


def completions_ids(tokenizer: Any, completions: Iterable[str]) -> list[list[int]]:
    """`completion_ids` of several."""
    turn = assistant_turn(tokenizer)
    return [[*text_ids(tokenizer, turn.lead + completion), turn.end_id] for completion in completions]


def assistant_turn(tokenizer: Any) -> Turn:
    """How the template writes what an assistant says. Raises UsageError, with the cause, where it cannot.

    An empty think block may stand before the answer, where the prompt writes it, too.
    """
    asked: list[Message] = [{"role": "user", "content": "prompt"}]
    before = prompt_text(tokenizer, asked)
    whole = _written(tokenizer, [*asked, {"role": "assistant", "content": _PROBE}], add_generation_prompt=False)
    head, found, rest = whole.rpartition(_PROBE)
    lead = head.removeprefix(before)
    if not found:
        raise UsageError("the chat template does not write what an assistant says")
    if not head.startswith(before):
        # Some templates write the empty block in the prompt alone.
        if _NO_THOUGHT.sub("", head).rstrip() != _NO_THOUGHT.sub("", before).rstrip():
            raise UsageError(_why_another_prompt(before))
        lead = ""
    if lead.strip():
        raise UsageError(
            f"the chat template writes {one_line(lead.strip(), 80)!r} before an assistant's words, and its prompt does "
            f"not{_NO_SWITCH}"
        )
    end = text_ids(tokenizer, rest)[:1]
    special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", ()))
    if not (end and end[0] in special):
        raise UsageError("the chat template does not end an assistant's turn by a token of its own")
    return Turn(lead, end[0])


def _why_another_prompt(before: str) -> str:
    if "<think>" in before.rpartition("</think>")[2]:
        return f"the chat template has the model think before it answers{_NO_SWITCH}"
    return "the chat template writes the conversation before an answer in another way than a prompt"


def without_thinking(template: Any) -> Any:
    """The template as whoever renders it without options should: not thinking, as `prompt_text` writes it."""
    if not isinstance(template, str) or _SWITCH not in template or template.startswith(_SWITCHED_OFF):
        return template
    return _SWITCHED_OFF + template


def end_ids(tokenizer: Any, more: int | Sequence[int] | None = None) -> frozenset[int]:
    """Every token that ends what a model says: the turn's, the tokenizer's, and those its configuration names."""
    known = [more] if isinstance(more, int) else list(more or ())
    if tokenizer.eos_token_id is not None:
        known.append(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        known.append(assistant_turn(tokenizer).end_id)
    return frozenset(known)


def _written(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    if not tokenizer.chat_template:
        raise UsageError("this model has no chat template")
    options: dict[str, bool] = {_SWITCH: False} if _SWITCH in str(tokenizer.chat_template) else {}
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **options,
            )
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise UsageError(f"the chat template refuses this conversation: {error}") from error


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """A text that goes on, or that a template wrote: nothing is put before it that a text of this model begins with."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
