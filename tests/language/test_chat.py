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
)
from tests.language.tiny import CHATML, WITH_SPACES, tiny_tokenizer

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
