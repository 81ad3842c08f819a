"""How the next token, or a member of a finite set, is chosen from how probable each is."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)


@dataclass(frozen=True, slots=True)
class Sampling:
    """TGI's parameters of the choice. Without a seed the most probable is taken."""

    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None

    def warpers(self) -> Any:
        """What makes the distribution that is drawn from out of the model's own."""
        warpers = LogitsProcessorList()
        if self.seed is None:
            return warpers
        if self.temperature not in (None, 1.0):
            warpers.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k is not None:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p is not None and self.top_p < 1:
            warpers.append(TopPLogitsWarper(self.top_p))
        if self.typical_p is not None and self.typical_p < 1:
            warpers.append(TypicalLogitsWarper(self.typical_p))
        return warpers


class Chooser:
    """One request's choices: its own dice, so that nothing depends on who else is in the batch."""

    def __init__(self, sampling: Sampling) -> None:
        self._warpers = sampling.warpers()
        self._penalty = (
            RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
            if sampling.repetition_penalty not in (None, 1.0)
            else None
        )
        self._dice = None if sampling.seed is None else torch.Generator().manual_seed(sampling.seed)

    def choose(self, scores: torch.Tensor, before: torch.Tensor | None = None) -> int:
        """An index of `scores` (N,), logits or log-probabilities; `before` are the tokens so far (T,)."""
        row = scores[None]
        if self._penalty is not None and before is not None:
            row = self._penalty(before[None], row.clone())
        if self._dice is None:
            return int(row.argmax())
        warped = self._warpers(before[None] if before is not None else None, row)
        probabilities = warped[0].softmax(-1).cpu()
        if not probabilities.isfinite().all():
            # Divided by next to nothing they are beyond all numbers: what is left is the limit, the most probable.
            return int(row.argmax())
        return int(torch.multinomial(probabilities, 1, generator=self._dice))
