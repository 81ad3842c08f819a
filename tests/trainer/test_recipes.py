"""Recipes: the published ones are exact records, and a wrong value is named."""

import pytest

from services.trainer import recipes
from services.trainer.machine import check_device
from shared.errors import UsageError

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MINISTRAL = "mistralai/Ministral-3-3B-Instruct-2512-BF16"


def test_t4_qlora_is_the_first_training_of_the_original() -> None:
    recipe = recipes.load("t4-qlora")

    assert (recipe.base, recipe.contract, recipe.loss, recipe.device) == (MINISTRAL, "v1", "all", "cuda")
    assert recipe.quantization == recipes.Quantization(type="nf4", double=False)
    assert recipe.lora == recipes.Lora(r=16, alpha=16, dropout=0, bias="none", targets=TARGETS)
    assert (recipe.max_steps, recipe.learning_rate, recipe.warmup_steps) == (100, 1e-4, 10)
    assert (recipe.batch_size, recipe.accumulation, recipe.optimizer) == (4, 4, "paged_adamw_8bit")
    assert (recipe.evaluate_every, recipe.save_every, recipe.max_length) == (50, 50, 512)
    assert (recipe.dtype, recipe.merge) == ("bfloat16", False)


def test_a100_lora_is_the_second_training_of_the_original() -> None:
    recipe = recipes.load("a100-lora")

    assert (recipe.base, recipe.contract, recipe.loss, recipe.device) == (MINISTRAL, "v1", "all", "cuda")
    assert recipe.quantization is None
    assert recipe.lora == recipes.Lora(r=32, alpha=32, dropout=0, bias="none", targets=TARGETS)
    assert (recipe.max_steps, recipe.learning_rate, recipe.warmup_steps) == (1000, 1e-4, 50)
    assert (recipe.batch_size, recipe.accumulation, recipe.optimizer) == (16, 1, "adamw_torch")
    assert (recipe.evaluate_every, recipe.save_every, recipe.max_length) == (200, 200, 512)
    assert (recipe.dtype, recipe.merge) == ("bfloat16", True)


def test_h100_lora_learns_the_completion_alone_with_a_larger_adapter() -> None:
    recipe = recipes.load("h100-lora")

    assert (recipe.base, recipe.contract, recipe.loss) == (MINISTRAL, "v2", "completion")
    assert recipe.lora.r > recipes.load("a100-lora").lora.r


def test_cpu_smollm2_needs_neither_network_nor_gpu() -> None:
    recipe = recipes.load("cpu-smollm2")

    assert (recipe.base, recipe.device, recipe.loss, recipe.contract) == ("smollm2", "cpu", "completion", "v2")
    assert recipe.quantization is None


def test_a_changed_value_is_part_of_the_record() -> None:
    recipe = recipes.load("cpu-smollm2", recipes.parse_changes(["max_steps=40", "lora.r=8", "base=some/model"]))

    assert (recipe.max_steps, recipe.lora.r, recipe.base) == (40, 8, "some/model")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": "40"}, "steps"),
        ({"max_steps": "many"}, "max_steps"),
        ({"lora.r": "0"}, "lora.r"),
        ({"max_steps.deep": "1"}, "max_steps.deep"),
        ({"save_every": "30"}, "save_every"),
        ({"quantization.type": "nf4"}, "CUDA"),
        ({"packing": "true"}, "packing is no value of a recipe any more"),
    ],
)
def test_a_value_that_cannot_be_is_named(changes: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        recipes.load("cpu-smollm2", changes)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="a100-lora, cpu-smollm2, cpu-smollm2-taught, h100-lora, t4-qlora"):
        recipes.load("gpu")


def test_a_recipe_for_cuda_without_cuda_names_the_one_to_use() -> None:
    with pytest.raises(UsageError, match="use --recipe cpu-smollm2"):
        check_device(recipes.load("t4-qlora"), cuda=False)
