"""Fine-tunes a model on a dataset, by a recipe: what one would write in a notebook, and what a notebook forgets.

    1  refuse what cannot come to a good end
    2  the base, with an adapter on it
    3  samples in tokens
    4  train, evaluate, keep checkpoints
    5  the best checkpoint, as a folder that can be published

FOLDER/checkpoint-N/    trl's and transformers' own checkpoints: weights, optimizer, schedule, random states
FOLDER/training.json    whose folder it is: recipe and dataset
FOLDER/metrics.jsonl    every logged figure
FOLDER/model/           the result
"""

import json
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from accelerate import PartialState
from datasets import Dataset
from peft import prepare_model_for_kbit_training
from peft.helpers import disable_input_dtype_casting
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from trl import SFTConfig

from services.trainer.adapters import adapted, four_bits, merge
from services.trainer.data import LegalSets, Splits, Tokens, legal_sets, read_splits, tokens
from services.trainer.evaluate import ALL, drawn, guess_accuracy
from services.trainer.machine import (
    Size,
    check_base,
    check_device,
    check_room,
    device_of,
)
from services.trainer.recipes import Recipe
from services.trainer.trainer import DecisionTrainer, together
from services.trainer.trainings import TrainingStanding
from shared.datasets import Row
from shared.errors import Conflict, UsageError
from shared.jobs import HandedBack
from shared.language.load import fitting_dtype, load, save
from shared.settings import is_first_process
from shared.store import replace_file
from shared.text import one_line

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
    dtype: str
    """The number type it was trained in."""


def train(
    recipe: Recipe,
    dataset: Path,
    folder: Path,
    *,
    adapter: Path | None = None,
    on_standing: Callable[[TrainingStanding], None] = lambda standing: None,
    tell: Callable[[str], None] = lambda sentence: None,
    stopping: Callable[[], bool] = lambda: False,
    given_up: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train in `folder`, from its last checkpoint on. In each of several processes it gives the same.

    `adapter` is the folder of the one that is trained on.

    Raises UsageError for what cannot be done as asked, Conflict for a folder that holds another training, and
    HandedBack once `stopping`, with a checkpoint to go on from, and once it is `given_up`, wherever it is.
    """
    # ── 1. refuse what cannot come to a good end ────────────────────────────────────────────────────────────────────
    check_device(recipe)
    processes = PartialState(cpu=recipe.device == "cpu")
    first = is_first_process()
    splits = read_splits(dataset, recipe.contract)
    with processes.main_process_first():
        checkpoint, recipe = _claim(folder, recipe, splits)
    # Of several processes one speaks.
    say = tell if first else lambda sentence: None
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
    trainer_model = adapted(recipe, model, adapter)
    size = Size.of(trainer_model)
    check_room(recipe, size, folder)
    say(
        f"{recipe.name}: {size.trained:,} of {size.parameters:,} parameters are trained on {len(splits.train):,} "
        f"samples, {len(splits.validation):,} are held out; in {recipe.dtype}"
    )

    if given_up():
        raise HandedBack

    # ── 3. samples in tokens ────────────────────────────────────────────────────────────────────────────────────────
    written = {
        # What is held out counts as it comes, so that losses compare.
        "train": _samples(recipe, splits.train, tokenizer, recipe.weight),
        "validation": _samples(recipe, splits.validation, tokenizer, "none"),
    }
    for split, samples in written.items():
        if samples.too_long:
            say(f"{samples.too_long} samples of {split} are {LEFT_OUT} {recipe.max_length}")
        if not samples.input_ids:
            raise UsageError(f"every sample of {split} is longer than {recipe.max_length} tokens", field="recipe")
    scored = drawn(splits.validation, recipe.scored_decisions, recipe.seed)

    # ── 4. train, evaluate, keep checkpoints ────────────────────────────────────────────────────────────────────────
    trainer = DecisionTrainer(
        model=trainer_model,
        args=_arguments(recipe, folder, valued=any(row.values for row in scored)),
        data_collator=partial(together, padding=tokenizer.pad_token_id) if recipe.objective == "legal-set" else None,
        train_dataset=_dataset(written["train"]),
        eval_dataset=_dataset(written["validation"], scored=len(scored), seed=recipe.seed),
        processing_class=tokenizer,
    )
    trainer.scored, trainer.tell = scored, say
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Progress(folder / "metrics.jsonl", on_standing, stopping, given_up))
    # Under autocast the casts that peft adds undo each other: bfloat16 to float32 and back, at every layer.
    with disable_input_dtype_casting(trainer_model):
        if checkpoint is None or not trainer.take_up_ended(checkpoint):
            trainer.train(resume_from_checkpoint=checkpoint)
    _check_ended(trainer.state, stopping)
    processes.wait_for_everyone()

    # ── 5. the best checkpoint, as a folder that can be published ───────────────────────────────────────────────────
    best = _best(read_metrics(folder / "metrics.jsonl"), trainer.state.best_model_checkpoint)
    result = folder / "model"
    if first:
        save(trainer_model, tokenizer, result)
        if recipe.merge:
            merge(recipe, result, written["validation"])
    processes.wait_for_everyone()
    return Trained(
        folder=result,
        splits=splits,
        size=size,
        architecture=str(model.config.model_type),
        too_long={split: samples.too_long for split, samples in written.items()},
        metrics={**best, "uniform_guess_accuracy": guess_accuracy(scored)[ALL].rate},
        dtype=recipe.dtype,
    )


def _samples(
    recipe: Recipe, rows: Sequence[Row], tokenizer: Any, weight: Literal["none", "cost"]
) -> Tokens | LegalSets:
    if recipe.objective == "legal-set":
        return legal_sets(rows, tokenizer, weight=weight, max_length=recipe.max_length)
    return tokens(rows, tokenizer, loss=recipe.loss, max_length=recipe.max_length)


def _arguments(recipe: Recipe, folder: Path, *, valued: bool) -> SFTConfig:
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
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length" if recipe.group_by_length else "random",
        eval_strategy="steps",
        eval_steps=recipe.evaluate_every,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=recipe.checkpoints,
        load_best_model_at_end=True,
        # Where a teacher says what each action is worth, a near miss is none.
        metric_for_best_model="eval_decision_cost" if valued else "eval_decision_accuracy",
        greater_is_better=not valued,
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


def _dataset(samples: Tokens | LegalSets, *, scored: int | None = None, seed: int = 0) -> Dataset:
    """All samples; of the validation split, as many as decisions are scored."""
    whole = Dataset.from_dict(samples.columns)
    if scored is None:
        return whole
    return whole.select(random.Random(seed).sample(range(len(whole)), min(scored, len(whole))))


def _best(metrics: list[dict[str, float]], checkpoint: str | None) -> dict[str, float]:
    """The figures of the step whose checkpoint is published."""
    last = max(line["step"] for line in metrics)
    step = int(checkpoint.rpartition("-")[2]) if checkpoint else last
    logged = {name: value for line in metrics if line["step"] == step for name, value in line.items()}
    figures = {name: value for name, value in logged.items() if name == "eval_loss" or name.startswith("eval_decision")}
    return {
        "step": float(step),
        **{name.removeprefix("eval_"): figures[name] for name in figures},
        "steps": float(last),
    }


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _claim(folder: Path, recipe: Recipe, splits: Splits) -> tuple[str | None, Recipe]:
    """Make the folder this training's own; the checkpoint to go on from, and the recipe with its number type.

    Raises Conflict where it holds another training, and UsageError where nothing can be written. Another training that
    never came to a checkpoint (it was refused, say) gives way.
    """
    path = folder / "training.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = _last_whole(folder)
        theirs = json.loads(path.read_text()) if path.exists() else None
        if theirs is not None:
            theirs["recipe"].pop("packing", None)  # A value that recipes had earlier; others came since.
            theirs["recipe"] = Recipe.model_validate(theirs["recipe"]).model_dump(mode="json")
        if recipe.dtype == "auto":
            # Whoever goes on does so in the type that it was begun in.
            begun = theirs["recipe"]["dtype"] if theirs is not None and checkpoint is not None else None
            recipe = recipe.model_copy(update={"dtype": begun or fitting_dtype(recipe.device)})
        ours = {"recipe": recipe.model_dump(mode="json"), "dataset": splits.digest}
        differs = theirs != json.loads(json.dumps(ours))
        if theirs is None or (differs and checkpoint is None):
            replace_file(path, json.dumps(ours, indent=2).encode())
            return None, recipe
        if differs:
            raise Conflict(
                f"{folder} holds a training by another recipe or on another dataset: choose another --output"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"cannot train in {folder}: {one_line(error)}", field="output") from error
    return checkpoint, recipe


def _last_whole(folder: Path) -> str | None:
    """The last checkpoint that is whole. Halves, left by a training that was killed as it wrote, are removed."""
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        try:
            # What transformers writes last.
            whole[int(json.loads((path / TRAINER_STATE_NAME).read_text())["global_step"])] = path
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(path, ignore_errors=True)
    return str(whole[max(whole)]) if whole else None


# ── how far it is ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Progress(TrainerCallback):  # type: ignore[misc]
    """Writes every metric down, and tells how far the training is; ends it once `stopping`."""

    metrics_file: Path
    on_standing: Callable[[TrainingStanding], None]
    stopping: Callable[[], bool]
    given_up: Callable[[], bool]
    _began: tuple[float, int, int] = (0.0, 0, 0)
    _latest: dict[str, float] = field(default_factory=dict)

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **more: Any) -> None:
        """Start the clock. What was written after the checkpoint that is gone on from will be written again."""
        self._began = (time.monotonic(), state.global_step, state.num_input_tokens_seen)
        if state.is_world_process_zero and self.metrics_file.exists():
            kept = [line for line in read_metrics(self.metrics_file) if line["step"] <= state.global_step]
            replace_file(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """After each step: tell how far it is, and save before ending where somebody said stop."""
        if state.is_world_process_zero:
            self.on_standing(self.standing(state))
        if self.stopping():
            control.should_save = control.should_training_stop = True

    def on_substep_end(self, *_: Any, **more: Any) -> None:
        """Within a step, and within an evaluation: end it at once where nobody wants it any more."""
        if self.given_up():
            raise HandedBack

    on_prediction_step = on_substep_end

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Mapping[str, Any], **more: Any) -> None:
        """Write what the trainer logs; of several processes, one."""
        if not state.is_world_process_zero:
            return
        # It also logs what is no figure.
        figures = {name: value for name, value in logs.items() if isinstance(value, int | float)}
        self._latest.update(figures)
        line: dict[str, float] = {"step": state.global_step, **figures}
        if "loss" in figures and (speed := self.standing(state).tokens_per_second) is not None:
            line["tokens_per_second"] = round(speed, 1)
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def standing(self, state: TrainerState) -> TrainingStanding:
        """How far it is, at the pace since it was begun or gone on with."""
        began, first_step, first_tokens = self._began
        elapsed, steps = time.monotonic() - began, state.global_step - first_step
        return TrainingStanding(
            step=state.global_step,
            steps=state.max_steps,
            loss=self._latest.get("loss"),
            learning_rate=self._latest.get("learning_rate"),
            tokens_per_second=(state.num_input_tokens_seen - first_tokens) / elapsed if steps and elapsed else None,
            seconds_left=(state.max_steps - state.global_step) * elapsed / steps if steps else None,
        )


def _check_ended(state: TrainerState, stopping: Callable[[], bool]) -> None:
    """Raises HandedBack where a training was stopped before its last step: what is left is for another worker."""
    if state.global_step < state.max_steps and stopping():
        raise HandedBack


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The metrics that were written; a line that a killed process left unfinished is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
