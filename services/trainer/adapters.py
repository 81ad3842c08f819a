"""What a recipe's adapter and quantization are to peft and transformers."""

from typing import Any

import torch
from peft import LoraConfig
from transformers import BitsAndBytesConfig
from transformers.utils import is_flash_attn_2_available

from services.trainer.recipes import Recipe


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


def use_flash_attention(model: Any) -> bool:
    """Turn flash attention on where it is; False elsewhere. Without it, nothing keeps packed samples apart."""
    if not (torch.cuda.is_available() and is_flash_attn_2_available()):
        return False
    model.set_attn_implementation("flash_attention_2")
    return True
