"""Tokens a second of our recipe, by both objectives, against plain SFTTrainer, which pads and learns every token.

    python benchmarks/training.py [--device cuda] [--steps 10] [--base smollm2]

Same model, same samples, made here: prompts of contract v2 at the committed golden states. They run in this process,
one after the other, a first step of each untimed. Last line: one line of JSON.
"""

import json
from argparse import ArgumentParser
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model, prepare_model_for_kbit_training
from peft.helpers import disable_input_dtype_casting
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from services.trainer import recipes
from services.trainer.adapters import four_bits, lora_config
from services.trainer.data import legal_sets, tokens
from services.trainer.trainer import DecisionTrainer, together
from shared.battle.contract import CONTRACTS, golden_states
from shared.datasets import Row
from shared.language.load import load

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "T4": 65e12}
"""bfloat16 (T4: float16), dense, from NVIDIA's data sheets."""


class Clock(TrainerCallback):  # type: ignore[misc]
    """Times all steps but the first."""

    began = 0.0
    seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Start after the first step, and note the time after each."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = perf_counter()
        self.began = self.began or now
        self.seconds = now - self.began


def samples(count: int) -> list[Row]:
    """Decisions at the golden states; the first legal action is the label."""
    contract, states, found = CONTRACTS["v2"], [state for state in golden_states() if state.legal[1:]], []
    for number in range(count):
        state = states[number * 7 % len(states)]
        legal = tuple(contract.completions(state))
        found.append(
            Row(
                prompt=contract.prompt(state),
                completion=legal[0],
                legal=legal,
                kind="move",
                battle=str(number),
                turn=state.turn,
                side="p1",
                rating=None,
                source="run:heuristic",
                exact=True,
                contract="v2",
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it trains."""

    tokens: float
    """A second; padding is no token."""
    samples: float
    """A second."""
    parameters: int


def pace(
    base: str, device: str, steps: int, batch_size: int, *, learns: str, recipe: recipes.Recipe | None = None
) -> Pace:
    """Measure `plain` SFTTrainer, or our trainer by an objective, with a recipe's adapter and quantization."""
    recipe = recipe or recipes.load("cpu-smollm2")
    dtype = "auto" if device == "cpu" else "bfloat16"
    loaded = load(base, device=device, dtype=dtype, quantization=four_bits(recipe))
    tokenizer = loaded.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    bare = loaded.model
    if recipe.quantization:
        bare = prepare_model_for_kbit_training(bare, use_gradient_checkpointing=False)
    model = get_peft_model(bare, lora_config(recipe, bare))
    rows, ours, sets = samples(steps * batch_size), learns != "plain", learns == "legal-set"
    written = (
        legal_sets(rows, tokenizer, weight="none", max_length=1 << 20)
        if sets
        else tokens(rows, tokenizer, loss="completion" if ours else "all", max_length=1 << 20)
    )
    clock = Clock()
    with TemporaryDirectory() as folder:
        trainer = (DecisionTrainer if ours else SFTTrainer)(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=batch_size,
                max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
                remove_unused_columns=False,
                train_sampling_strategy="group_by_length" if ours else "random",
                bf16=loaded.dtype == "bfloat16",
                use_cpu=device == "cpu",
                gradient_checkpointing=False,
                save_strategy="no",
                include_num_input_tokens_seen="non_padding",
                logging_steps=steps,
                disable_tqdm=True,
                report_to=[],
                seed=0,
                data_seed=0,
            ),
            data_collator=partial(together, padding=tokenizer.pad_token_id) if sets else None,
            train_dataset=Dataset.from_dict(written.columns),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        with disable_input_dtype_casting(model) if ours else nullcontext():
            trainer.train()
    trained = int(trainer.state.num_input_tokens_seen) * (steps - 1) / steps
    return Pace(
        tokens=trained / clock.seconds,
        samples=(steps - 1) * batch_size / clock.seconds,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def share_of_peak(found: Pace, device: str) -> float | None:
    """Of the card's; None where it is not known."""
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    peak = next((flops for chip, flops in PEAK_FLOPS.items() if chip in name), None)
    # Forward and the gradients of what flows back: four operations a parameter and token, none for frozen weights.
    return round(found.tokens * 4 * found.parameters / peak, 4) if peak else None


def main() -> None:
    """Measure both and print."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--base", default="smollm2")
    given = parser.parse_args()
    batch_size = given.batch_size or (4 if given.device == "cpu" else 32)
    found = {}
    for learns in ("plain", "completion", "legal-set"):
        found[learns] = pace(given.base, given.device, given.steps, batch_size, learns=learns)
        print(f"{learns}: {found[learns].tokens:,.0f} tokens and {found[learns].samples:.2f} samples a second")
    ours = found["completion"]
    figures = {
        "tokens_per_second_ratio": round(ours.tokens / found["plain"].tokens, 2),
        "tokens_per_second": round(ours.tokens, 1),
        "samples_per_second": round(ours.samples, 3),
        "samples_per_second_legal_set": round(found["legal-set"].samples, 3),
        "share_of_peak": share_of_peak(ours, given.device),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
