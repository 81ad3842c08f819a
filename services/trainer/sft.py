"""Fine-tunes a model on a dataset, by a recipe: what one would write in a notebook, and what a notebook forgets.

    1  refuse what cannot come to a good end
    2  the base, with an adapter on it
    3  samples in tokens
    4  train, evaluate, keep checkpoints
    5  the best checkpoint, as a folder that can be published

FOLDER/checkpoint-N/    trl's and transformers' own checkpoints: weights, optimizer, schedule, random states
FOLDER/metrics.jsonl    every logged figure; FOLDER/loss.svg their picture, at the end
FOLDER/model/           the result
"""

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset
from peft import get_peft_model, prepare_model_for_kbit_training
from peft.helpers import disable_input_dtype_casting
from transformers import PrinterCallback, set_seed
from trl import SFTConfig

from services.trainer.accuracy import ALL, drawn, guess_accuracy
from services.trainer.adapters import four_bits, lora_config, use_flash_attention
from services.trainer.decision_trainer import DecisionTrainer
from services.trainer.folders import claim
from services.trainer.machine import (
    CHECKPOINTS_KEPT,
    Size,
    check_base,
    check_device,
    check_room,
    device_of,
    is_first_process,
)
from services.trainer.progress import Standing, Telling, ended_early, loss_picture, read_metrics
from services.trainer.recipes import Recipe
from services.trainer.samples import Splits, Tokens, read_splits, tokens
from shared.errors import UsageError
from shared.language.export import save
from shared.language.load import load

LOGGED_EVERY = 5
LEFT_OUT = "left out because they are longer than max_length"


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training."""

    folder: Path
    """The model: an adapter, or merged weights, with its tokenizer."""
    splits: Splits
    size: Size
    architecture: str
    too_long: dict[str, int]
    """Split → samples that were left out because they are longer than the recipe's max_length."""
    metrics: dict[str, float]


def train(
    recipe: Recipe,
    dataset: Path,
    folder: Path,
    *,
    resume: bool = False,
    on_standing: Callable[[Standing], None] = lambda standing: None,
    tell: Callable[[str], None] = lambda sentence: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train in `folder`, from its last checkpoint on with `resume`. In each of several processes it gives the same.

    Raises UsageError for what cannot be done as asked, Conflict for a folder that holds another training, and
    HandedBack once `stopping`, with a checkpoint to go on from.
    """
    # ── 1. refuse what cannot come to a good end ────────────────────────────────────────────────────────────────────
    check_device(recipe)
    processes = PartialState(cpu=recipe.device == "cpu")
    first = is_first_process()
    splits = read_splits(dataset, recipe.contract)
    with processes.main_process_first():
        checkpoint = claim(folder, recipe, splits, resume=resume or not first)
    if not first:
        tell = _unheard
    check_base(recipe)

    # ── 2. the base, with an adapter on it ──────────────────────────────────────────────────────────────────────────
    set_seed(recipe.seed)
    loaded = load(recipe.base, device=device_of(recipe), dtype=recipe.dtype, quantization=four_bits(recipe))
    model, tokenizer = loaded.model, loaded.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if recipe.quantization:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    # What the adapter will say it belongs to; a folder in somebody's cache would mean nothing elsewhere.
    model.name_or_path = recipe.base
    flash = recipe.packing and use_flash_attention(model)
    trainer_model = get_peft_model(model, lora_config(recipe, model))
    size = Size.of(trainer_model)
    check_room(recipe, size, folder)
    tell(
        f"{recipe.name}: {size.trained:,} of {size.parameters:,} parameters are trained on {len(splits.train):,} "
        f"samples, {len(splits.validation):,} are held out"
    )

    # ── 3. samples in tokens ────────────────────────────────────────────────────────────────────────────────────────
    written = {
        split: tokens(rows, tokenizer, loss=recipe.loss, max_length=recipe.max_length)
        for split, rows in (("train", splits.train), ("validation", splits.validation))
    }
    for split, samples in written.items():
        if samples.too_long:
            tell(f"{samples.too_long} samples of {split} are {LEFT_OUT} {recipe.max_length}")
        if not samples.input_ids:
            raise UsageError(f"every sample of {split} is longer than {recipe.max_length} tokens", field="recipe")
    scored = drawn(splits.validation, recipe.scored_decisions, recipe.seed)

    # ── 4. train, evaluate, keep checkpoints ────────────────────────────────────────────────────────────────────────
    trainer = DecisionTrainer(
        model=trainer_model,
        args=_arguments(recipe, folder, packing=flash),
        train_dataset=_dataset(written["train"]),
        eval_dataset=_dataset(written["validation"], scored=len(scored), seed=recipe.seed),
        processing_class=tokenizer,
    )
    trainer.scored, trainer.tell = scored, tell
    telling = Telling(folder / "metrics.jsonl", lambda: int(trainer.state.num_input_tokens_seen), on_standing, stopping)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(telling)
    with ExitStack() as inside:
        # Under autocast the casts that peft adds undo each other: bfloat16 to float32 and back, at every layer.
        inside.enter_context(disable_input_dtype_casting(trainer_model))
        if checkpoint is None or not trainer.take_up_ended(checkpoint):
            trainer.train(resume_from_checkpoint=checkpoint)
    ended_early(trainer.state, stopping)
    processes.wait_for_everyone()

    # ── 5. the best checkpoint, as a folder that can be published ───────────────────────────────────────────────────
    metrics = read_metrics(folder / "metrics.jsonl")
    guess = guess_accuracy(scored)[ALL].rate
    figures = {**_best(metrics, trainer.state.best_model_checkpoint), "uniform_guess_accuracy": guess}
    result = folder / "model"
    if first:
        (folder / "loss.svg").write_text(loss_picture(metrics))
        save(trainer_model, tokenizer, result)
        if recipe.merge:
            from services.trainer.merging import merge

            merge(recipe, result, written["validation"])
    processes.wait_for_everyone()
    return Trained(
        folder=result,
        splits=splits,
        size=size,
        architecture=str(model.config.model_type),
        too_long={split: samples.too_long for split, samples in written.items()},
        metrics=figures,
    )


def _unheard(sentence: str) -> None:
    """Where several processes train, one of them speaks."""


def _arguments(recipe: Recipe, folder: Path, *, packing: bool) -> SFTConfig:
    return SFTConfig(
        output_dir=str(folder),
        max_steps=recipe.max_steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        optim=recipe.optimizer,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_gradient_norm,
        # Too long samples are gone before trl could cut them.
        max_length=recipe.max_length if packing else None,
        packing=packing,
        eval_packing=False,
        train_sampling_strategy="group_by_length" if recipe.group_by_length and not packing else "random",
        eval_strategy="steps",
        eval_steps=recipe.evaluate_every,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=CHECKPOINTS_KEPT - 1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_decision_accuracy",
        greater_is_better=True,
        bf16=recipe.dtype == "bfloat16",
        use_cpu=recipe.device == "cpu",
        gradient_checkpointing=False,
        include_num_input_tokens_seen="non_padding",
        logging_steps=LOGGED_EVERY,
        prediction_loss_only=True,
        disable_tqdm=True,
        report_to=[],
        seed=recipe.seed,
        data_seed=recipe.seed,
        dataloader_pin_memory=recipe.device == "cuda",
    )


def _dataset(samples: Tokens, *, scored: int | None = None, seed: int = 0) -> Dataset:
    """As trl takes samples that are in tokens already. Of the validation split, as many as decisions are scored."""
    rows = list(zip(samples.input_ids, samples.labels, strict=True))
    if scored is not None:
        rows = random.Random(seed).sample(rows, min(scored, len(rows)))
    return Dataset.from_dict({"input_ids": [list(ids) for ids, _ in rows], "labels": [list(own) for _, own in rows]})


def _best(metrics: list[dict[str, float]], checkpoint: str | None) -> dict[str, float]:
    """The figures of the step whose checkpoint is published."""
    step = int(checkpoint.rpartition("-")[2]) if checkpoint else max(line["step"] for line in metrics)
    figures: dict[str, float] = {"step": float(step)}
    for line in metrics:
        if line["step"] == step:
            figures |= {
                name.removeprefix("eval_"): value
                for name, value in line.items()
                if name == "eval_loss" or name.startswith("eval_decision")
            }
    return figures | {"steps": float(max(line["step"] for line in metrics))}
