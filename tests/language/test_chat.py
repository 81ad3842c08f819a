"""What is learned and what is asked are the same tokens, whatever the template."""

import pytest

from shared.errors import UsageError
from shared.language.chat import (
    assistant_turn,
    completion_ids,
    completions_ids,
    end_ids,
    prompt_ids,
    prompt_text,
    without_thinking,
)
from tests.language.tiny import CHATML, HYBRID, WITH_SPACES, tiny_tokenizer

HYBRID_PROMPT_ONLY = HYBRID.replace("loop.last", "false")
ASKED = [{"role": "user", "content": "Gen 9 turn 3"}]


@pytest.mark.parametrize(("template", "bos"), [(CHATML, None), (WITH_SPACES, "<s>")])
def test_prompt_and_completion_are_the_conversation_that_the_template_writes(template: str, bos: str | None) -> None:
    tokenizer = tiny_tokenizer(template, bos)
    sample = prompt_ids(tokenizer, ASKED) + completion_ids(tokenizer, "move Psychic Noise")
    whole = tokenizer.apply_chat_template(
        [*ASKED, {"role": "assistant", "content": "move Psychic Noise"}], tokenize=False
    )

    assert tokenizer.decode(sample) == whole.rstrip("\n")
    assert sample[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("template", [HYBRID, HYBRID_PROMPT_ONLY])
def test_a_template_that_can_think_is_asked_not_to(template: str) -> None:
    tokenizer = tiny_tokenizer(template)
    asked = "<|im_start|>user\nGen 9 turn 3<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

    assert prompt_text(tokenizer, ASKED) == asked
    sample = prompt_ids(tokenizer, ASKED) + completion_ids(tokenizer, "move Psychic")
    assert tokenizer.decode(sample) == f"{asked}move Psychic<|im_end|>"
    assert end_ids(tokenizer) == {tokenizer.eos_token_id}

    # Saved, it does so for whoever knows of no switch.
    tokenizer.chat_template = without_thinking(without_thinking(template))
    assert tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True) == asked
    assert prompt_text(tokenizer, ASKED) == asked


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        (HYBRID.replace("enable_thinking", "other_switch"), r"writes '<think>.*</think>' before an assistant's words"),
        (CHATML.replace("assistant\\n", "assistant\\n<think>\\n"), "has the model think before it answers"),
        (CHATML.replace("message['content']", "'…'"), "does not write what an assistant says"),
        (CHATML.replace("assistant\\n", "model\\n"), "in another way than a prompt"),
        (CHATML.replace("<|im_end|>", ""), "does not end"),
    ],
)
def test_why_a_template_is_not_taken_is_told(template: str, cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        completion_ids(tiny_tokenizer(template), "move Tackle")


def test_a_completion_ends_as_the_template_ends_a_turn() -> None:
    tokenizer = tiny_tokenizer()
    psychic, noise = completions_ids(tokenizer, ["move Psychic", "move Psychic Noise"])

    assert psychic[-1] == noise[-1] == assistant_turn(tokenizer).end_id
    assert noise[: len(psychic)] != psychic


def test_a_template_may_put_a_space_before_the_answer() -> None:
    assert assistant_turn(tiny_tokenizer(WITH_SPACES, "<s>")).lead == " "
    assert assistant_turn(tiny_tokenizer()).lead == ""


def test_a_model_is_ended_by_its_turn_its_tokenizer_and_its_configuration() -> None:
    assert end_ids(tiny_tokenizer(), [0, 7]) == {0, 2, 7}
    assert end_ids(tiny_tokenizer(None), 1) == {1, 2}


def test_a_model_without_a_template_has_no_chat() -> None:
    with pytest.raises(UsageError, match="no chat template"):
        prompt_text(tiny_tokenizer(None), ASKED)


def test_a_template_that_refuses_a_conversation_says_why() -> None:
    tokenizer = tiny_tokenizer("{{ raise_exception('roles must alternate') }}")

    with pytest.raises(UsageError, match="roles must alternate"):
        prompt_text(tokenizer, ASKED)


def test_a_template_that_ends_no_turn_is_refused() -> None:
    tokenizer = tiny_tokenizer("{% for message in messages %}{{ message['content'] }}\n{% endfor %}")

    with pytest.raises(UsageError, match="does not end"):
        completion_ids(tokenizer, "move Tackle")
