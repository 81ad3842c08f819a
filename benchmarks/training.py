"""Tokens a second of our recipe against plain SFTTrainer, which pads and learns every token: same model, same data.

    python benchmarks/training.py [--device cuda] [--steps 10] [--base smollm2]

The samples are made here: prompts of contract v2 at the committed golden states. Both run in this process, one after
the other, a first step of each untimed. Last line: one line of JSON.
"""

import json
from argparse import ArgumentParser
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from services.trainer import recipes
from services.trainer.adapters import lora_config
from services.trainer.data import asked
from services.trainer.trainer import DecisionTrainer
from shared.battle.contract import CONTRACTS, golden_states
from shared.language.chat import completion_ids
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


def samples(tokenizer: Any, count: int) -> list[tuple[list[int], list[int]]]:
    """Prompt and completion in tokens."""
    contract, found = CONTRACTS["v2"], []
    states = golden_states()
    for number in range(count):
        state = states[number * 7 % len(states)]
        completion = next(iter(contract.completions(state)))
        found.append((asked(tokenizer, contract.prompt(state)), completion_ids(tokenizer, completion)))
    return found


def tokens_per_second(base: str, device: str, steps: int, *, ours: bool, batch_size: int) -> tuple[float, int]:
    """How fast it trains, and how many parameters the model has. Padding is no token."""
    recipe = recipes.load("cpu-smollm2")
    loaded = load(base, device=device, dtype="bfloat16")
    tokenizer = loaded.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = get_peft_model(loaded.model, lora_config(recipe, loaded.model))
    rows = samples(tokenizer, steps * batch_size)
    data = Dataset.from_dict(
        {
            "input_ids": [prompt + completion for prompt, completion in rows],
            "labels": [([-100] * len(prompt) if ours else prompt) + completion for prompt, completion in rows],
        }
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
                train_sampling_strategy="group_by_length" if ours else "random",
                bf16=True,
                use_cpu=device == "cpu",
                gradient_checkpointing=False,
                save_strategy="no",
                include_num_input_tokens_seen="non_padding",
                logging_steps=steps,
                disable_tqdm=True,
                report_to=[],
                seed=0,
            ),
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[clock],
        )
        if ours:
            with disable_input_dtype_casting(model):
                trainer.train()
        else:
            trainer.train()
    share_timed = (steps - 1) / steps
    trained = int(trainer.state.num_input_tokens_seen) * share_timed
    return trained / clock.seconds, sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    """Measure both and print."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--base", default="smollm2")
    given = parser.parse_args()
    batch_size = given.batch_size or (4 if given.device == "cpu" else 32)
    plain, _ = tokens_per_second(given.base, given.device, given.steps, ours=False, batch_size=batch_size)
    print(f"plain SFTTrainer: {plain:,.0f} tokens a second")
    ours, parameters = tokens_per_second(given.base, given.device, given.steps, ours=True, batch_size=batch_size)
    print(f"our recipe:       {ours:,.0f} tokens a second")
    share = None
    if given.device == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((flops for chip, flops in PEAK_FLOPS.items() if chip in name), None)
        # Forward and the gradients of what flows back: four operations a parameter and token, none for frozen weights.
        share = round(ours * 4 * parameters / peak, 4) if peak else None
    figures = {
        "tokens_per_second_ratio": round(ours / plain, 2),
        "tokens_per_second": round(ours, 1),
        "share_of_peak": share,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
