"""trl's trainer, and what ours needs besides: right decisions counted, and an order that can be gone on with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices
from trl import SFTTrainer

from services.trainer.data import IGNORED
from services.trainer.evaluate import ALL, Share, choices, decision_cost, guess_accuracy, model_accuracy
from shared.datasets import Row
from shared.language.scoring import FiniteSet, pack, score_to_learn
from shared.text import percent


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
        if "packed" in inputs:
            return self._legal_set_loss(model, inputs)
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
        loss = sum_of_losses / torch.as_tensor(learned).clamp(min=1)
        # What is learned is counted over all processes, whose gradients are then averaged.
        return loss if num_items_in_batch is None else loss * self.accelerator.num_processes

    @staticmethod
    def _legal_set_loss(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Cross-entropy between the teacher's distribution and the model's normalised scores, averaged over decisions.

        What is accumulated and what other processes find is averaged by the trainer: the batch has no labels to count.
        """
        losses = [
            -(target.to(scores) @ scores.log_softmax(-1))
            for scores, target in zip(score_to_learn(model, inputs["packed"]), inputs["targets"], strict=True)
        ]
        found = torch.stack(losses)
        return (inputs["weights"].to(found) * found).mean()

    def take_up_ended(self, checkpoint: str) -> bool:
        """Whether a checkpoint is of the last step: then the best one is loaded, and nothing is left to train."""
        state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        if state.global_step < self.args.max_steps:
            return False
        if state.best_model_checkpoint is None or not Path(state.best_model_checkpoint).is_dir():
            state.best_model_checkpoint = checkpoint
        self.state = state
        self._load_best_model()
        return True

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        if not isinstance(sampler, LengthGroupedSampler):
            return sampler
        return _Grouped(sampler, self.args.data_seed, lambda: int(self.state.epoch or 0))

    def evaluate(self, *given: Any, metric_key_prefix: str = "eval", **more: Any) -> dict[str, float]:
        """Validation loss, and how often the most probable legal action is the label."""
        metrics: dict[str, float] = super().evaluate(*given, metric_key_prefix=metric_key_prefix, **more)
        training = self.model.training
        self.model.eval()
        chosen = choices(self.model, self.processing_class, self.scored)
        shares, lost = model_accuracy(self.scored, chosen), decision_cost(self.scored, chosen)
        self.model.train(training)
        found = {_metric(metric_key_prefix, kind): share.rate for kind, share in shares.items()}
        if lost is not None:
            found[f"{metric_key_prefix}_decision_cost"] = lost
        self.log(dict(found))
        self.tell(
            f"step {self.state.global_step}: validation loss {metrics[f'{metric_key_prefix}_loss']:.3f}, "
            f"decision accuracy {_told(shares)}; a uniform guess {_told(guess_accuracy(self.scored))}"
            + ("" if lost is None else f"; a decision loses {percent(lost, 1)} of win probability")
        )
        return {**metrics, **found}


def together(decisions: Sequence[Mapping[str, Any]], padding: int) -> dict[str, Any]:
    """A batch of the rows of `LegalSets`."""
    packed = pack([FiniteSet(tuple(each["prompt"]), tuple(map(tuple, each["members"]))) for each in decisions], padding)
    return {
        # By these the trainer counts what was read.
        "input_ids": packed.ids,
        "packed": packed,
        "targets": [torch.tensor(each["target"]) for each in decisions],
        "weights": torch.tensor([each["weight"] for each in decisions]),
    }


class _Grouped(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """Samples of like length together, each epoch in an order that its number and the seed give.

    transformers draws the order from the state of torch's generator, which a resumed training has only once its first
    samples are drawn: in the second epoch, and after it, it would see others.
    """

    def __init__(self, of: LengthGroupedSampler, seed: int, epoch: Callable[[], int]) -> None:
        self._of, self._seed, self._epoch = of, seed, epoch

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch())
        return iter(get_length_grouped_indices(self._of.lengths, self._of.batch_size, generator=generator))


def _metric(prefix: str, kind: str) -> str:
    return f"{prefix}_decision_accuracy" + ("" if kind == ALL else f"_{kind.replace(' ', '_')}")


def _told(shares: dict[str, Share]) -> str:
    kinds = ", ".join(f"{kind} {share.rate:.2f}" for kind, share in shares.items() if kind != ALL)
    return f"{shares[ALL].rate:.3f} ({kinds})"
