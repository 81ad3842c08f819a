"""Recipes: everything that decides how a model is trained, as TOML files, checked when they are read.

A recipe is an exact record. Its values, with those changed by `--set`, stand on the card of the model that came of it.
"""

from collections.abc import Mapping
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from shared.document import Finite, parse_toml, read_toml
from shared.errors import UsageError, first_fault

FOLDER = Path(__file__).parent / "recipes"
CPU_RECIPE = "cpu-smollm2"
MAX_STEPS = 1_000_000
"""A thousand times what any training here has taken; more is a slip, and would keep a trainer for years."""

Device = Literal["cpu", "cuda"]
Target = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Lora(Finite):
    """The adapter. https://arxiv.org/abs/2106.09685"""

    r: int = Field(ge=1, le=1024)
    alpha: int = Field(ge=1, le=1_000_000)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: Literal["none", "all", "lora_only"] = "none"
    targets: tuple[Target, ...] = Field(min_length=1, max_length=100)
    """Linear layers of the language model, by the end of their names; never of a vision tower."""
    last_layers: int | None = Field(default=None, ge=1, le=10_000)
    """Adapt only so many layers, the last ones; all when not given."""


class Quantization(Finite):
    """The base in four bits while it is trained. https://arxiv.org/abs/2305.14314"""

    type: Literal["nf4", "fp4"] = "nf4"
    double: bool = False


class Recipe(Finite):
    """How a model is trained."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    base: str = Field(min_length=1, max_length=500)
    """A model's name on the Hub, a folder with one, or `smollm2`."""
    contract: Literal["v1", "v2", "v3"]
    """The contract that its datasets must be made for."""
    device: Device
    loss: Literal["all", "completion"]
    """Learn the whole chat text, as the original project did, or the completion alone."""
    objective: Literal["completion", "legal-set"] = "completion"
    """Learn to write the label, or to score the legal completions against each other as the teacher would choose among
    them, by the very score that the built-in server chooses by."""
    weight: Literal["none", "cost"] = "none"
    """`cost` has a decision count as much as a wrong choice costs there: the teacher's best value less its mean."""
    lora: Lora
    begin_from: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,63}@[\w.-]{1,100}$")
    """NAME@VERSION of the registry, an adapter over this base that is trained on; a new one when not given."""
    quantization: Quantization | None = None
    max_steps: int = Field(ge=1, le=MAX_STEPS)
    learning_rate: float = Field(gt=0, le=1)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    warmup_steps: int = Field(ge=0, le=MAX_STEPS)
    batch_size: int = Field(ge=1, le=1024)
    accumulation: int = Field(default=1, ge=1, le=1024)
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_8bit"]
    weight_decay: float = Field(default=0.0, ge=0, le=1_000)
    max_gradient_norm: float = Field(default=1.0, gt=0, le=1_000_000)
    evaluate_every: int = Field(ge=1, le=MAX_STEPS)
    save_every: int = Field(ge=1, le=MAX_STEPS)
    checkpoints: int = Field(default=2, ge=2, le=1_000)
    """How many are kept: the last ones, and the best. All that are kept can be laddered."""
    scored_decisions: int = Field(default=200, ge=1, le=1_000_000)
    """Of how many validation decisions the accuracy is taken at each evaluation, drawn once by the seed."""
    max_length: int = Field(ge=16, le=1 << 20)
    """Tokens of prompt and completion; samples over it are left out and counted."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of the weights and their products; `auto` for what the machine is faster in, as it is measured at the start."""
    group_by_length: bool = False
    """Batches of samples of about one length, so that little is padding."""
    merge: bool = False
    """Publish whole weights in place of the adapter."""
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def _packs_nothing(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "packing" in values:
            raise ValueError("packing is no value of a recipe any more: samples are not packed into rows. Leave it out")
        return values

    @model_validator(mode="after")
    def _evaluates_what_it_saves(self) -> "Recipe":
        # The best checkpoint can only be told where each one was evaluated.
        if self.save_every % self.evaluate_every:
            raise ValueError("save_every must be a multiple of evaluate_every")
        if self.objective == "legal-set" and self.loss == "all":
            raise ValueError('the objective legal-set learns no prompt: it takes loss = "completion"')
        if self.objective == "completion" and self.weight != "none":
            raise ValueError("weights are for the objective legal-set")
        if self.device == "cpu" and (self.quantization or self.optimizer == "paged_adamw_8bit"):
            raise ValueError("four bits and paged_adamw_8bit are for CUDA: on a CPU they lose gradients silently")
        return self


def names(own: Path | None = None) -> list[str]:
    """The recipes there are: ours, and those in the operator's own folder."""
    return sorted(_paths(own))


def load(name: str, changes: Mapping[str, str] | None = None, own: Path | None = None) -> Recipe:
    """The recipe of that name, or in that TOML file, with `changes`: `{"lora.r": "32"}`.

    Raises UsageError for an unknown one, and for a value that cannot be.
    """
    path = _paths(own).get(name, Path(name))
    if path.suffix != ".toml" or not path.is_file():
        raise UsageError(f"no recipe is called {name!r}; the recipes are: {', '.join(names(own))}", field="recipe")
    try:
        values = read_toml(path)
        for key, text in (changes or {}).items():
            _change(values, key.split("."), text)
        return Recipe.model_validate({"name": path.stem, **values})
    except ValidationError as error:
        where, why = first_fault(error)
        raise UsageError(f"the recipe {name}: {f'{where}: ' if where else ''}{why}", field="recipe") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"the recipe {name} cannot be read: {error}", field="recipe") from error


def parse_changes(given: list[str]) -> dict[str, str]:
    """`["max_steps=40", …]` as a mapping. Raises UsageError for one without `=`."""
    changes = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UsageError(f"--set takes key=value, not {text!r}", field="set")
        changes[key.strip()] = value.strip()
    return changes


def _paths(own: Path | None) -> dict[str, Path]:
    folders = (FOLDER, own) if own else (FOLDER,)
    return {path.stem: path for folder in folders for path in folder.glob("*.toml")}


def _change(values: dict[str, Any], path: list[str], text: str) -> None:
    *outer, last = path
    for key in outer:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{'.'.join(path)} is no value of a recipe", field="set")
        values = inner
    try:
        values[last] = parse_toml(f"value = {text}")["value"]
    except TOMLDecodeError:
        values[last] = text
