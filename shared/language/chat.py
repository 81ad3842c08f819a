"""How a conversation becomes tokens: the same for a sample to learn from and for a question to answer.

A sample is `prompt_ids(…) + completion_ids(…)`, to the token; a question is `prompt_ids(…)`, and its answer ends where
`completion_ids` ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from shared.errors import UsageError

Message = Mapping[str, str]
"""`{"role": "user", "content": "…"}`."""

_PROBE = "completion"


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
    """How the template writes what an assistant says. Raises UsageError where it does not end it by a token."""
    asked: list[Message] = [{"role": "user", "content": "prompt"}]
    before = prompt_text(tokenizer, asked)
    whole = _written(tokenizer, [*asked, {"role": "assistant", "content": _PROBE}], add_generation_prompt=False)
    lead, found, rest = whole.removeprefix(before).partition(_PROBE)
    end = text_ids(tokenizer, rest)[:1]
    special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", ()))
    if not whole.startswith(before) or not found or lead.strip() or not (end and end[0] in special):
        raise UsageError("the chat template does not end an assistant's turn by a token of its own")
    return Turn(lead, end[0])


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
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise UsageError(f"the chat template refuses this conversation: {error}") from error


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """A text that goes on, or that a template wrote: nothing is put before it that a text of this model begins with."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
