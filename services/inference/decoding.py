"""Free generation for many requests at once: rows join and leave between two tokens, and none waits for another's end.

The rows of one adapter share a key-value cache, padded on the left to the longest. A row that joins is read alone with
those that join with it, then laid beside the others; one that leaves takes its part of the cache along.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import (
    DynamicCache,
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


@dataclass(frozen=True, slots=True)
class Token:
    """One token that was said."""

    id: int
    text: str
    """Empty while a character is not complete, and for a special token."""
    logprob: float
    """As the model itself has it, before temperature and the rest."""
    special: bool = False
    top: tuple["Token", ...] = ()
    """The most probable tokens in its place, where they were asked for."""


@dataclass(slots=True, eq=False)
class Row:
    """One request that is generated for."""

    prompt: tuple[int, ...]
    sampling: Sampling
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    top_n: int = 0
    ids: list[int] = field(init=False)
    text: str = ""
    finish: str | None = None
    """TGI's words: length, eos_token, stop_sequence."""
    chooser: Chooser = field(init=False)
    stream: DecodeStream = field(init=False)

    def __post_init__(self) -> None:
        self.ids = list(self.prompt)
        self.chooser = Chooser(self.sampling)
        self.stream = DecodeStream(skip_special_tokens=True)

    @property
    def generated(self) -> int:
        """Tokens said so far."""
        return len(self.ids) - len(self.prompt)


class Decoding:
    """The rows of one adapter. The adapter is put on by whoever calls."""

    def __init__(self, model: Any, tokenizer: Any, ends: frozenset[int]) -> None:
        self.rows: list[Row] = []
        self._model = model
        self._tokenizer = tokenizer
        self._ends = ends
        self._cache: list[tuple[torch.Tensor, torch.Tensor]] = []
        # (B, T): where a row's own tokens are, and not its padding.
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def admit(self, rows: Sequence[Row]) -> list[tuple[Row, Token]]:
        """Read the prompts of new rows, and say their first tokens."""
        longest = max(len(row.prompt) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, longest - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[number, longest - len(row.prompt) :] = 1
        logits, cache = self._forward(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), [])
        # Before they join: what goes wrong with them so far is no matter of those who are here.
        said = self._say(rows, logits)
        self._cache = _beside(self._cache, cache) if self.rows else cache
        self._mask = _beside_mask(self._mask, mask) if self.rows else mask
        self.rows.extend(rows)
        return said

    def step(self) -> list[tuple[Row, Token]]:
        """The next token of every row. Rows that have finished are gone afterwards."""
        ids = torch.tensor([[row.ids[-1]] for row in self.rows])
        self._mask = torch.cat([self._mask, torch.ones(len(self.rows), 1, dtype=torch.long)], dim=1)
        positions = torch.tensor([[len(row.ids) - 1] for row in self.rows])
        logits, self._cache = self._forward(ids, self._mask, positions, self._cache)
        return self._say(self.rows, logits)

    def leave(self) -> None:
        """Take out the rows that have finished, and the columns that no row needs any more."""
        stay = [number for number, row in enumerate(self.rows) if row.finish is None]
        if len(stay) == len(self.rows):
            return
        self.rows = [self.rows[number] for number in stay]
        if not stay:
            self._cache, self._mask = [], torch.zeros(0, 0, dtype=torch.long)
            return
        chosen = torch.tensor(stay)
        first = int(self._mask[chosen].sum(0).nonzero()[0])
        self._mask = self._mask[chosen, first:]
        self._cache = [
            (keys[chosen.to(keys.device), :, first:], values[chosen.to(keys.device), :, first:])
            for keys, values in self._cache
        ]

    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        past: Sequence[tuple[torch.Tensor, torch.Tensor]],
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Logits (B, vocabulary) behind the last token of each row, and the cache with these tokens in it."""
        device = self._model.device
        cache = DynamicCache()
        for number, (keys, values) in enumerate(past):
            cache.update(keys, values, number)
        with torch.inference_mode():
            said = self._model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=positions.to(device),
                past_key_values=cache,
                use_cache=True,
                # Not the number 1, which makes a slice of it: torch copies the vocabulary's matrix for each row then.
                logits_to_keep=torch.tensor([ids.shape[1] - 1], device=device),
            )
        return said.logits[:, -1].float(), [(layer.keys, layer.values) for layer in cache.layers]

    def _say(self, rows: Sequence[Row], logits: torch.Tensor) -> list[tuple[Row, Token]]:
        logprobs = logits.log_softmax(-1)
        return [(row, self._next(row, logits[number], logprobs[number])) for number, row in enumerate(rows)]

    def _next(self, row: Row, logits: torch.Tensor, logprobs: torch.Tensor) -> Token:
        chosen = row.chooser.choose(logits, torch.tensor(row.ids, device=logits.device))
        logprob = finite(float(logprobs[chosen]))
        row.ids.append(chosen)
        ends = chosen in self._ends
        text = "" if ends else row.stream.step(self._tokenizer.backend_tokenizer, chosen) or ""
        row.text, text, stopped = _until_stop(row.text, text, row.stop)
        if ends:
            row.finish = "eos_token"
        elif stopped:
            row.finish = "stop_sequence"
        elif row.generated >= row.max_new_tokens:
            row.finish = "length"
        top = tuple(
            Token(index, self._tokenizer.decode([index]), value, index in self._ends)
            for value, index in (
                zip(*(part.tolist() for part in logprobs.topk(row.top_n)), strict=True) if row.top_n else ()
            )
        )
        return Token(chosen, text, logprob, ends, top)


def finite(logprob: float) -> float:
    """A log-probability that is one. Raises FloatingPointError: weights that have diverged say NaN to everything."""
    if not math.isfinite(logprob):
        raise FloatingPointError("a score is no finite number; the weights may have diverged")
    return logprob


def _until_stop(before: str, piece: str, stops: Sequence[str]) -> tuple[str, str, bool]:
    """The whole text, the new piece of it, and whether a stop sequence ends it; it stays in the text, as in TGI."""
    whole = before + piece
    found = [
        place + len(stop)
        for stop in stops
        if (place := whole.find(stop, max(0, len(before) - len(stop) + 1))) >= 0 and piece
    ]
    if not found:
        return whole, piece, False
    whole = whole[: min(found)]
    return whole, whole[len(before) :], True


def _beside(
    ours: Sequence[tuple[torch.Tensor, torch.Tensor]], theirs: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [
        (_stacked(keys, more_keys), _stacked(values, more_values))
        for (keys, values), (more_keys, more_values) in zip(ours, theirs, strict=True)
    ]


def _stacked(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Two parts of a cache (B, heads, T, width), the shorter one padded on its left."""
    length = max(ours.shape[2], theirs.shape[2])
    return torch.cat([torch.nn.functional.pad(part, (0, 0, length - part.shape[2], 0)) for part in (ours, theirs)])


def _beside_mask(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    length = max(ours.shape[1], theirs.shape[1])
    return torch.cat([torch.nn.functional.pad(part, (length - part.shape[1], 0)) for part in (ours, theirs)])
