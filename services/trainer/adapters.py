"""Adapters: what a recipe's is to peft, and how one is laid into its base for good."""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig

from services.trainer.data import LegalSets, Tokens
from services.trainer.recipes import Recipe
from shared.errors import AlphaStralError, UsageError
from shared.language.load import load, save

TOLERANCE = 1e-3
"""Between logits in float32, as a share of the largest: merging only adds in another order."""
_SAMPLES = 4


def lora_config(recipe: Recipe, model: Any) -> LoraConfig:
    """The adapter, on the language model alone: the layers of a vision tower bear the same names."""
    lora, config = recipe.lora, model.config
    layers = int(config.get_text_config().num_hidden_layers)
    first = layers - min(lora.last_layers or layers, layers)
    options: dict[str, Any] = {"target_modules": list(lora.targets)}
    if hasattr(config, "vision_config"):
        chosen = "|".join(str(layer) for layer in range(first, layers))
        options = {"target_modules": rf".*language_model\.layers\.({chosen})\..*\.({'|'.join(lora.targets)})"}
    elif first:
        options["layers_to_transform"] = list(range(first, layers))
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        task_type="CAUSAL_LM",
        **options,
    )


def adapted(recipe: Recipe, model: Any, adapter: Path | None = None) -> PeftModel:
    """The model with a new adapter on it, or with the one in a folder, to be trained on.

    Raises UsageError where that one is of another shape than the recipe's.
    """
    ours = lora_config(recipe, model)
    if adapter is None:
        return get_peft_model(model, ours)
    begun = PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    theirs = begun.peft_config["default"]
    for part in ("r", "lora_alpha", "bias", "target_modules", "layers_to_transform"):
        if getattr(theirs, part) != getattr(ours, part):
            raise UsageError(
                f"{recipe.begin_from} has another adapter than the recipe: its {part} differs", field="set"
            )
    return begun


def four_bits(recipe: Recipe) -> BitsAndBytesConfig | None:
    """How the base is quantized; None where it is not."""
    if recipe.quantization is None:
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe.quantization.type,
        bnb_4bit_use_double_quant=recipe.quantization.double,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def merge(recipe: Recipe, folder: Path, samples: Tokens | LegalSets) -> None:
    """Replace the adapter in `folder` by whole weights. Raises AlphaStralError where their logits differ on a batch."""
    loaded = load(recipe.base, adapters={"trained": folder}, device=recipe.device, dtype="float32")
    loaded.use_adapter("trained")
    before = _logits(loaded.model, samples)
    merged = loaded.model.merge_and_unload()
    difference = max(
        float((one - other).abs().max() / one.abs().max())
        for one, other in zip(before, _logits(merged, samples), strict=True)
    )
    if not difference <= TOLERANCE:
        raise AlphaStralError(f"merged and unmerged weights disagree: their logits differ by {difference:.1e}")
    whole = folder.with_name(f".{folder.name}.merged")
    shutil.rmtree(whole, ignore_errors=True)
    save(merged.to(torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32), loaded.tokenizer, whole)
    shutil.rmtree(folder)
    whole.rename(folder)


def _logits(model: torch.nn.Module, samples: Tokens | LegalSets) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([ids], device=model.device)).logits.cpu()
            for ids in samples.input_ids[:_SAMPLES]
        ]
