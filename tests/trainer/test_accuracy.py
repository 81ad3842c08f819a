"""Decision accuracy: what the model, a guess and the plain rule choose, counted by kind."""

import math

import pytest

from services.trainer.data import asked
from services.trainer.evaluate import (
    choices,
    drawn,
    guess_accuracy,
    model_accuracy,
    most_power,
    perplexity,
    rule_accuracy,
    yardsticks,
)
from shared.datasets import Row
from shared.language.chat import completion_ids
from tests.language.tiny import score_plainly, tiny
from tests.trainer.learned import rows

PROMPT = """Gen 9 turn 13
Choose:
dark physical 65 x0.5 pp32 move Knock Off +tera
fighting physical 120 x0.25 pp8 move Close Combat +tera
water physical 85 x1 acc90 priority +1 pp16 move Liquidation +tera
rock status pp31 move Stealth Rock +tera
full psychic Life Orb (Focus Blast, Recover): switch Reuniclus"""


def row(completion: str, legal: tuple[str, ...], kind: str = "move", prompt: str = PROMPT) -> Row:
    return rows("train", 1)[0].model_copy(
        update={"prompt": prompt, "completion": completion, "legal": legal, "kind": kind}
    )


LEGAL = (
    *("move Knock Off", "move Knock Off tera", "move Close Combat", "move Close Combat tera"),
    *("move Liquidation", "move Liquidation tera", "move Stealth Rock", "switch Reuniclus"),
)


def test_the_plain_rule_takes_most_power_times_effectiveness() -> None:
    assert most_power(row("move Knock Off", LEGAL)) == "move Liquidation"


def test_by_v3_the_plain_rule_takes_most_damage() -> None:
    prompt = "Choose:\ndark hits 30 first: move Knock Off\ntera water hits 100 KO first: move Liquidation tera"
    told = row("move Knock Off", LEGAL, prompt=prompt).model_copy(update={"contract": "v3"})

    assert most_power(told) == "move Liquidation tera"
    assert set(yardsticks([told])) == {"a uniform guess", "most damage"}


def test_where_no_move_is_offered_the_rule_takes_the_first_switch() -> None:
    offered = ("switch Reuniclus", "switch Mudsdale")

    assert most_power(row(offered[1], offered, "forced switch", "Choose:\n…: switch Reuniclus")) == "switch Reuniclus"


def test_the_rule_is_left_out_where_prompts_tell_no_effectiveness() -> None:
    own = row("move Knock Off", LEGAL)

    assert set(yardsticks([own])) == {"a uniform guess", "most power times effectiveness"}
    assert set(yardsticks([own, own.model_copy(update={"contract": "v1"})])) == {"a uniform guess"}


def test_a_guess_hits_one_of_as_many_as_there_are() -> None:
    own = [row("move Knock Off", LEGAL), row("switch Reuniclus", ("switch Reuniclus", "pass"), "forced switch")]

    found = guess_accuracy(own)

    assert found["all"].rate == pytest.approx((1 / 8 + 1 / 2) / 2)
    assert (found["move"].rate, found["forced switch"].decisions) == (1 / 8, 1)
    assert rule_accuracy(own)["move"].rate == 0


def test_the_models_choice_is_the_most_probable_legal_completion() -> None:
    loaded, own = tiny(), rows("train", 5)

    chosen = choices(loaded.model, loaded.tokenizer, own)

    for each, choice in zip(own, chosen, strict=True):
        prompt = asked(loaded.tokenizer, each.prompt)
        plainly = {
            text: score_plainly(loaded.model, prompt, completion_ids(loaded.tokenizer, text)) for text in each.legal
        }
        assert choice.completion == max(plainly, key=plainly.__getitem__)
        assert choice.label_logprob == pytest.approx(plainly[each.completion], abs=1e-3)
    assert model_accuracy(own, chosen)["all"].decisions == 5
    assert math.isfinite(perplexity(chosen))


def test_the_same_seed_draws_the_same_decisions() -> None:
    own = rows("train", 30)

    assert drawn(own, 10, seed=3) == drawn(own, 10, seed=3) != drawn(own, 10, seed=4)
