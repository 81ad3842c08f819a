"""What this project does on a GPU, in at most six minutes, without a network: training, memory and decisions a second.

    make gpu-wheels                                      where a network is: what else is needed, into var/gpu-wheels
    make gpu-check                                       where the GPU is, with PyTorch, transformers, peft, accelerate
    python -m benchmarks.gpu --device cpu --thin         tries the script itself: two thin layers

The models have random weights, in the shapes of SmolLM2-135M and Ministral-3-3B, and a tokenizer that is trained on
the spot: how fast a step is does not hang on what a model has learned. What cannot be measured here is null, with its
reason above. The last line is JSON:

    card                          the GPU's name
    tokens_per_second_ratio       our recipe over plain SFTTrainer, SmolLM2's shape
    tokens_per_second             of ours there
    samples_per_second_legal_set  of ours there, by the other objective
    share_of_peak_3b              of the card's dense bfloat16 peak, training the 3B shape with the recipe a100-lora
    tokens_per_second_3b
    peak_gib_qlora                memory of the recipe t4-qlora, 3B shape
    decisions_per_second          of the built-in server's engine, with 1, 16 and 64 at once, SmolLM2's shape
    ms_per_decision               alone
    seconds                       all of it
"""

import asyncio
import json
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from packaging.requirements import Requirement
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PretrainedConfig, PreTrainedTokenizerFast

from benchmarks.inference import milliseconds, per_second, question
from benchmarks.training import pace, share_of_peak
from services.inference.engine import Engine, Limits
from services.trainer import recipes
from shared.battle.contract import CONTRACTS, golden_states
from shared.errors import AlphaStralError
from shared.language.load import load

THERE = ("torch", "transformers", "peft", "accelerate")
"""What a machine with a GPU has; with it, what these need."""
AT_ONCE = (1, 16, 64)
_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def shapes(thin: bool) -> Mapping[str, PretrainedConfig]:
    """The two models' shapes; `thin`, two narrow layers of each."""
    small: dict[str, Any] = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9)
    large: dict[str, Any] = dict(hidden_size=3072, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=32)
    if thin:
        small = large = dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3)
    more: dict[str, Any] = dict(tie_word_embeddings=True, max_position_embeddings=8192, pad_token_id=0, eos_token_id=2)
    return {
        "135M": LlamaConfig(**small, num_key_value_heads=3, vocab_size=4_096 if thin else 49_152, **more),
        "3B": MistralConfig(
            **large,
            num_key_value_heads=3 if thin else 8,
            head_dim=16 if thin else 128,
            vocab_size=4_096 if thin else 131_072,
            **more,
        ),
    }


def made(config: PretrainedConfig, folder: Path, device: str) -> str:
    """A folder with a model of that shape, and a tokenizer."""
    torch.manual_seed(1)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    words = Tokenizer(BPE())
    words.pre_tokenizer, words.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words.train_from_iterator(
        [CONTRACTS["v3"].prompt(state) for state in golden_states()],
        BpeTrainer(
            vocab_size=4_000, special_tokens=specials, initial_alphabet=ByteLevel.alphabet(), show_progress=False
        ),
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=_TEMPLATE
    ).save_pretrained(folder)
    return str(folder)


def small_training(folder: str, device: str, steps: int, batch_size: int) -> dict[str, object]:
    """Our recipe beside plain SFTTrainer."""
    found = {
        learns: pace(folder, device, steps, batch_size, learns=learns)
        for learns in ("plain", "completion", "legal-set")
    }
    ours = found["completion"]
    return {
        "tokens_per_second_ratio": round(ours.tokens / found["plain"].tokens, 2),
        "tokens_per_second": round(ours.tokens),
        "samples_per_second_legal_set": round(found["legal-set"].samples, 1),
    }


def large_training(folder: str, device: str, steps: int, batch_size: int) -> dict[str, object]:
    """LoRA in bfloat16, all layers."""
    found = pace(folder, device, steps, batch_size, learns="completion", recipe=recipes.load("a100-lora"))
    return {"tokens_per_second_3b": round(found.tokens), "share_of_peak_3b": share_of_peak(found, device)}


def quantized_training(folder: str, device: str, steps: int) -> dict[str, object]:
    """QLoRA's memory."""
    if device == "cpu":
        raise RuntimeError("the memory of a GPU is measured on a GPU")
    recipe = recipes.load("t4-qlora")
    torch.cuda.reset_peak_memory_stats()
    pace(folder, device, steps, recipe.batch_size, learns="completion", recipe=recipe)
    return {"peak_gib_qlora": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def decisions(folder: str, device: str, rounds: int) -> dict[str, object]:
    """What the built-in server's engine does."""
    loaded = load(folder, device=device, dtype="bfloat16" if device == "cuda" else "float32")
    engine = Engine(loaded, Limits(batch_tokens=1 << 16) if device == "cuda" else None)
    works = [question(loaded, 340, number) for number in range(64)]

    async def measured() -> dict[str, object]:
        engine.start()
        alone = [await milliseconds(engine, work) for work in works[: rounds + 2]][2:]
        await per_second(engine, works, 64)
        rates = {str(many): round(await per_second(engine, works * rounds, many), 1) for many in AT_ONCE}
        engine.stop()
        return {"decisions_per_second": rates, "ms_per_decision": round(median(alone), 2)}

    return asyncio.run(measured())


def carried(more: Iterable[str] = ()) -> list[str]:
    """What is imported here, is needed by trl, datasets or ours, and not by THERE or `more`; as pip names it."""
    there, needed = _with_what_they_need((*THERE, *more)), _with_what_they_need(("trl", "datasets", "alphastral"))
    owners = packages_distributions()
    imported = {_plain(owner) for module in [*sys.modules] if "." not in module for owner in owners.get(module, ())}
    return sorted(f"{name}=={version(name)}" for name in (imported & needed) - there - {"alphastral"})


def _with_what_they_need(names: Iterable[str]) -> set[str]:
    found, left = set[str](), [_plain(name) for name in names]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            needed = [Requirement(each) for each in requires(name) or ()]
            left += [_plain(each.name) for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def main() -> None:
    """Measure and print, or fetch what is to be carried along."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--thin", action="store_true", help="two thin layers, to try the script itself")
    parser.add_argument("--carry", type=Path, help="fetch the wheels that are needed beside PyTorch into this folder")
    parser.add_argument(
        "--python", default=f"{sys.version_info.major}.{sys.version_info.minor}", help="of that machine"
    )
    parser.add_argument("--there", nargs="*", default=[], help="what that machine has besides; 64 MiB may be the most")
    given = parser.parse_args()
    if given.carry is not None:
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        place = ["--python-version", given.python, "--dest", str(given.carry)]
        subprocess.run([*fetch, *place, *carried(given.there)], check=True)
        size = sum(file.stat().st_size for file in given.carry.glob("*.whl"))
        print(f"{given.carry}: {size / 2**20:.0f} MiB")
        return
    began, device = perf_counter(), given.device
    found: dict[str, object] = {"card": torch.cuda.get_device_name() if device == "cuda" else "none"}
    steps, batch, rounds = (4, 4, 1) if given.thin else (20, 32, 8)
    with TemporaryDirectory() as parent:
        folders = {name: made(config, Path(parent) / name, device) for name, config in shapes(given.thin).items()}
        parts: tuple[Callable[[], dict[str, object]], ...] = (
            lambda: small_training(folders["135M"], device, steps, batch),
            lambda: decisions(folders["135M"], device, rounds),
            lambda: large_training(folders["3B"], device, steps, batch),
            lambda: quantized_training(folders["3B"], device, steps),
        )
        for part in parts:
            try:
                figures = part()
            # One part that fails, for want of a package or of memory, leaves the others.
            except (AlphaStralError, ImportError, RuntimeError, ValueError) as error:
                print(f"not measured: {type(error).__name__}: {error}", flush=True)
                continue
            print(figures, flush=True)
            found |= figures
            if device == "cuda":
                torch.cuda.empty_cache()
    names = [line.split()[0] for line in (__doc__ or "").partition("JSON:")[2].splitlines() if line.strip()]
    print(json.dumps({name: found.get(name) for name in names} | {"seconds": round(perf_counter() - began)}))


if __name__ == "__main__":
    main()
