"""Whether this machine can do what a recipe asks, found out before the first step, and where on it a process trains."""

import math
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open

from services.trainer.recipes import CPU_RECIPE, Recipe
from shared.errors import UsageError

if TYPE_CHECKING:
    from peft import PeftModel

_BYTES: dict[str, float] = {"float32": 4, "bfloat16": 2}
_FOUR_BIT_BYTES = 0.6
_ADAM_BYTES = 16
"""A trained parameter in float32, its gradient, and Adam's two moments."""
_SAMPLE_BYTES = 200
"""About what a token of a batch keeps, per hidden unit and layer, until the gradients are taken."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is."""

    parameters: int
    trained: int
    hidden: int
    layers: int

    @classmethod
    def of(cls, model: "PeftModel") -> "Size":
        config = model.config.get_text_config()
        # peft's count sees through the packing of weights in 4 bits.
        trained, parameters = model.get_nb_trainable_parameters()
        return cls(
            parameters=parameters,
            trained=trained,
            hidden=int(config.hidden_size),
            layers=int(config.num_hidden_layers),
        )


def check_device(recipe: Recipe, *, cuda: bool | None = None) -> None:
    """Raises UsageError where a recipe for CUDA meets a machine without, and names the one to use instead."""
    here = torch.cuda.is_available() if cuda is None else cuda
    if recipe.device == "cuda" and not here:
        raise UsageError(
            f"the recipe {recipe.name} needs CUDA, and no CUDA device is here: use --recipe {CPU_RECIPE}",
            field="recipe",
        )


def device_of(recipe: Recipe) -> str:
    """Where this process trains: of several, each has a GPU of its own."""
    return "cpu" if recipe.device == "cpu" else f"cuda:{PartialState().local_process_index}"


def check_base(recipe: Recipe, *, memory: int | None = None) -> None:
    """Raises UsageError where memory cannot hold a base that lies in a folder: before it is loaded, in GB.

    What has yet to come from the Hub shows its size only there.
    """
    parameters = 0
    # What cannot be read is the loader's to tell.
    with suppress(OSError, SafetensorError):
        for file in Path(recipe.base).glob("*.safetensors"):
            with safe_open(file, framework="pt") as tensors:
                names = tensors.keys()
                parameters += sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    needed = parameters * (_FOUR_BIT_BYTES if recipe.quantization else _BYTES[recipe.dtype])
    there = _free_memory(recipe) if memory is None else memory
    if needed > there:
        raise UsageError(
            f"{recipe.base} needs about {needed / 1e9:.1f} GB of memory, and {there / 1e9:.1f} GB are free",
            field="base",
        )


def check_room(recipe: Recipe, size: Size, folder: Path, *, memory: int | None = None, disk: int | None = None) -> None:
    """Raises UsageError where disk or memory cannot hold the training, with both figures in GB.

    The weights are in memory by then; what training needs besides must still be free.
    """
    kept = recipe.batch_size * recipe.max_length * size.hidden * size.layers * _SAMPLE_BYTES / 4
    needed = size.trained * _ADAM_BYTES + kept
    there = _free_memory(recipe) if memory is None else memory
    if needed > there:
        raise UsageError(
            f"the recipe {recipe.name} needs about {needed / 1e9:.1f} GB of memory beside the weights, "
            f"and {there / 1e9:.1f} GB are free: lower batch_size by --set",
            field="recipe",
        )
    wanted = size.trained * _ADAM_BYTES * (recipe.checkpoints + 1) + (size.parameters * 2 if recipe.merge else 0)
    free = shutil.disk_usage(folder).free if disk is None else disk
    if wanted > free:
        raise UsageError(
            f"checkpoints and model need about {wanted / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free",
            field="output",
        )


def _free_memory(recipe: Recipe) -> int:
    if recipe.device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62
