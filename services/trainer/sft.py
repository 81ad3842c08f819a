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

import json
import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model, prepare_model_for_kbit_training
from peft.helpers import disable_input_dtype_casting
from transformers import set_seed
from transformers.trainer import TRAINER_STATE_NAME
from trl import SFTConfig, SFTTrainer

from services.trainer.accuracy import ALL, Share, choices, drawn, guess_accuracy, model_accuracy
from services.trainer.adapters import four_bits, lora_config, use_flash_attention
from services.trainer.machine import CHECKPOINTS_KEPT, Size, check_device, check_room
from services.trainer.progress import Standing, Telling, ended_early, loss_picture, read_metrics
from services.trainer.recipes import Recipe
from services.trainer.samples import IGNORED, Splits, Tokens, read_splits, tokens
from shared.datasets import Row
from shared.errors import Conflict, UsageError
from shared.files import replace_file
from shared.language.export import save
from shared.language.load import load
from shared.logs import one_line

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
    """Train in `folder`, from its last checkpoint on with `resume`.

    Raises UsageError for what cannot be done as asked, Conflict for a folder that holds another training, and
    HandedBack once `stopping`, with a checkpoint to go on from.
    """
    # ── 1. refuse what cannot come to a good end ────────────────────────────────────────────────────────────────────
    check_device(recipe)
    splits = read_splits(dataset, recipe.contract)
    checkpoint = _claim(folder, recipe, splits, resume=resume)

    # ── 2. the base, with an adapter on it ──────────────────────────────────────────────────────────────────────────
    set_seed(recipe.seed)
    loaded = load(recipe.base, device=recipe.device, dtype=recipe.dtype, quantization=four_bits(recipe))
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
    trainer.add_callback(telling)
    with ExitStack() as inside:
        # Under autocast the casts that peft adds undo each other: bfloat16 to float32 and back, at every layer.
        inside.enter_context(disable_input_dtype_casting(trainer_model))
        trainer.train(resume_from_checkpoint=checkpoint)
    ended_early(trainer.state, stopping)

    # ── 5. the best checkpoint, as a folder that can be published ───────────────────────────────────────────────────
    metrics = read_metrics(folder / "metrics.jsonl")
    (folder / "loss.svg").write_text(loss_picture(metrics))
    guess = guess_accuracy(scored)[ALL].rate
    figures = {**_best(metrics, trainer.state.best_model_checkpoint), "uniform_guess_accuracy": guess}
    result = folder / "model"
    save(trainer_model, tokenizer, result)
    if recipe.merge:
        from services.trainer.merging import merge

        merge(recipe, result, written["validation"])
    return Trained(
        folder=result,
        splits=splits,
        size=size,
        architecture=str(model.config.model_type),
        too_long={split: samples.too_long for split, samples in written.items()},
        metrics=figures,
    )


class DecisionTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that also counts right decisions, and reads the vocabulary only where something is learned."""

    scored: tuple[Row, ...] = ()
    tell: Callable[[str], None]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy over the tokens that have a label.

        trl reads the vocabulary at labelled places alone, but only where Triton is. Elsewhere it is 49,000 figures a
        token: for a small model, as much work as a quarter of its layers.
        """
        if return_outputs or torch.cuda.is_available():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")[:, 1:]
        places = (labels != IGNORED).any(0).nonzero().flatten()
        logits = model(**inputs, logits_to_keep=places, use_cache=False).logits.float()
        targets = labels[:, places]
        sum_of_losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        learned = (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return sum_of_losses / torch.as_tensor(learned).clamp(min=1)

    def evaluate(self, *given: Any, metric_key_prefix: str = "eval", **more: Any) -> dict[str, float]:
        """Validation loss, and how often the most probable legal action is the label."""
        metrics: dict[str, float] = super().evaluate(*given, metric_key_prefix=metric_key_prefix, **more)
        training = self.model.training
        self.model.eval()
        shares = model_accuracy(self.scored, choices(self.model, self.processing_class, self.scored))
        self.model.train(training)
        found = {_metric(metric_key_prefix, kind): share.rate for kind, share in shares.items()}
        self.log(dict(found))
        self.tell(
            f"step {self.state.global_step}: validation loss {metrics[f'{metric_key_prefix}_loss']:.3f}, "
            f"decision accuracy {_told(shares)}; a uniform guess {_told(guess_accuracy(self.scored))}"
        )
        return {**metrics, **found}


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


def _claim(folder: Path, recipe: Recipe, splits: Splits, *, resume: bool) -> str | None:
    """Make the folder this training's own, and find the checkpoint to go on from."""
    claim = {"recipe": recipe.model_dump(mode="json"), "dataset": splits.digest}
    path = folder / "training.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            replace_file(path, json.dumps(claim, indent=2).encode())
            return None
        if json.loads(path.read_text()) != json.loads(json.dumps(claim)):
            raise Conflict(
                f"{folder} holds a training by another recipe or on another dataset: choose another --output"
            )
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot train in {folder}: {one_line(error)}", field="output") from error
    if not resume:
        raise Conflict(f"{folder} holds a training already: go on with it by --resume, or choose another --output")
    return _last_whole(folder)


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


def _dataset(samples: Tokens, *, scored: int | None = None, seed: int = 0) -> Dataset:
    """As trl takes samples that are in tokens already. Of the validation split, as many as decisions are scored."""
    rows = list(zip(samples.input_ids, samples.labels, strict=True))
    if scored is not None:
        rows = random.Random(seed).sample(rows, min(scored, len(rows)))
    return Dataset.from_dict({"input_ids": [list(ids) for ids, _ in rows], "labels": [list(own) for _, own in rows]})


def _metric(prefix: str, kind: str) -> str:
    return f"{prefix}_decision_accuracy" + ("" if kind == ALL else f"_{kind.replace(' ', '_')}")


def _told(shares: dict[str, Share]) -> str:
    kinds = ", ".join(f"{kind} {share.rate:.2f}" for kind, share in shares.items() if kind != ALL)
    return f"{shares[ALL].rate:.3f} ({kinds})"


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
