"""Lays an adapter into its base for good, and checks that the two say the same before and after."""

import shutil
from pathlib import Path

import torch

from services.trainer.recipes import Recipe
from services.trainer.samples import Tokens
from shared.errors import AlphaStralError
from shared.language.export import save
from shared.language.load import load

TOLERANCE = 1e-3
"""Between logits in float32, as a share of the largest: merging only adds in another order."""
_SAMPLES = 4


def merge(recipe: Recipe, folder: Path, samples: Tokens) -> None:
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


def _logits(model: torch.nn.Module, samples: Tokens) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([ids], device=model.device)).logits.cpu()
            for ids in samples.input_ids[:_SAMPLES]
        ]
