"""Free generation for many requests at once: rows join and leave between two tokens, and none waits for another's end.

The rows of one adapter share a key-value cache, padded on the left to the longest. A row that joins is read alone with
those that join with it, then laid beside the others; one that leaves takes its part of the cache along.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

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

from shared.language.load import Loaded

Cache = list[tuple[torch.Tensor, torch.Tensor]]
"""Layer → keys and values, each (B, heads, T, width)."""
Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Sampling:
    """TGI's parameters of the choice. Without a seed the most probable is taken."""

    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class SetMember:
    """A permitted answer."""

    text: str
    ids: tuple[int, ...]
    """With the token that ends it."""
    lead: str = ""
    """What the template has before every answer: in the tokens, and no part of the text."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked of the model."""

    prompt: tuple[int, ...]
    adapter: str | None = None
    """None: the base."""
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    top_n: int = 0
    members: tuple[SetMember, ...] = ()
    """The only permitted answers; none: whatever the model says."""


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


@dataclass(frozen=True, slots=True)
class ScoredMember:
    """A permitted answer, scored."""

    text: str
    logprob: float
    """Of the whole answer, its end included."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a request."""

    text: str
    reason: str
    """TGI's words: length, eos_token, stop_sequence."""
    generated: int
    candidates: tuple[ScoredMember, ...] = ()


class Chooser:
    """The choices of one request. They are drawn by a generator of its own, so no other request changes them."""

    def __init__(self, how: Sampling) -> None:
        self._generator = None if how.seed is None else torch.Generator().manual_seed(how.seed)
        self._penalty, self._warpers = LogitsProcessorList(), LogitsProcessorList()
        if how.repetition_penalty not in (None, 1.0):
            self._penalty.append(RepetitionPenaltyLogitsProcessor(how.repetition_penalty))
        if how.temperature not in (None, 1.0):
            self._warpers.append(TemperatureLogitsWarper(how.temperature))
        if how.top_k is not None:
            self._warpers.append(TopKLogitsWarper(how.top_k))
        if how.top_p is not None and how.top_p < 1:
            self._warpers.append(TopPLogitsWarper(how.top_p))
        if how.typical_p is not None and how.typical_p < 1:
            self._warpers.append(TypicalLogitsWarper(how.typical_p))

    def choose(self, scores: torch.Tensor, before: torch.Tensor | None = None) -> int:
        """An index of `scores` (N,), logits or log-probabilities; `before` are the tokens so far (T,)."""
        row = scores[None]
        seen = None if before is None else before[None]
        if seen is not None:
            row = self._penalty(seen, row)
        if self._generator is None:
            return int(row.argmax())
        probabilities = self._warpers(seen, row)[0].softmax(-1).cpu()
        if not probabilities.isfinite().all():
            # Divided by next to nothing they are beyond all numbers: what is left is the limit, the most probable.
            return int(row.argmax())
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


@dataclass(slots=True, eq=False)
class DecodingRow(Generic[Owner]):
    """One request that is generated for."""

    work: Work
    owner: Owner
    """Whom its tokens are for."""
    finished: Finished | None = None
    ids: list[int] = field(init=False)
    text: str = ""
    chooser: Chooser = field(init=False)
    stream: DecodeStream = field(init=False)

    def __post_init__(self) -> None:
        self.ids = list(self.work.prompt)
        self.chooser = Chooser(self.work.sampling)
        self.stream = DecodeStream(skip_special_tokens=True)


class Decoding(Generic[Owner]):
    """The rows of one adapter, which the caller has the model use before each call."""

    def __init__(self, loaded: Loaded) -> None:
        self.rows: list[DecodingRow[Owner]] = []
        self._loaded = loaded
        self._cache: Cache = []
        # (B, T): where a row's own tokens are, and not its padding.
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def admit(self, rows: Sequence[DecodingRow[Owner]]) -> list[tuple[DecodingRow[Owner], Token]]:
        """Read the prompts of new rows, and say their first tokens. Where that raises, the other rows are as before."""
        longest = max(len(row.ids) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, longest - len(row.ids) :] = torch.tensor(row.ids)
            mask[number, longest - len(row.ids) :] = 1
        logits, cache = self._forward(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), [])
        said = self._say(rows, logits)
        if self.rows:
            mask = _stacked(self._mask, mask, 1)
            cache = [
                (_stacked(keys, more_keys, 2), _stacked(values, more_values, 2))
                for (keys, values), (more_keys, more_values) in zip(self._cache, cache, strict=True)
            ]
        self._cache, self._mask = cache, mask
        self.rows += rows
        return said

    def step(self) -> list[tuple[DecodingRow[Owner], Token]]:
        ids = torch.tensor([[row.ids[-1]] for row in self.rows])
        self._mask = torch.cat([self._mask, torch.ones(len(self.rows), 1, dtype=torch.long)], dim=1)
        positions = torch.tensor([[len(row.ids) - 1] for row in self.rows])
        logits, self._cache = self._forward(ids, self._mask, positions, self._cache)
        return self._say(self.rows, logits)

    def keep(self, stays: Callable[[DecodingRow[Owner]], bool]) -> None:
        """Take out all other rows, and the columns that no row needs any more."""
        stay = [number for number, row in enumerate(self.rows) if stays(row)]
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
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, past: Cache
    ) -> tuple[torch.Tensor, Cache]:
        """Logits (B, vocabulary) behind the last token of each row, and the cache with these tokens in it."""
        model = self._loaded.model
        cache = DynamicCache()
        for number, (keys, values) in enumerate(past):
            cache.update(keys, values, number)
        with torch.inference_mode():
            said = model(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                position_ids=positions.to(model.device),
                past_key_values=cache,
                use_cache=True,
                # Not the number 1, which makes a slice of it: torch copies the vocabulary's matrix for each row then.
                logits_to_keep=torch.tensor([ids.shape[1] - 1], device=model.device),
            )
        return said.logits[:, -1].float(), [(layer.keys, layer.values) for layer in cache.layers]

    def _say(self, rows: Sequence[DecodingRow[Owner]], logits: torch.Tensor) -> list[tuple[DecodingRow[Owner], Token]]:
        logprobs = logits.log_softmax(-1)
        return [(row, self._next(row, logits[number], logprobs[number])) for number, row in enumerate(rows)]

    def _next(self, row: DecodingRow[Owner], logits: torch.Tensor, logprobs: torch.Tensor) -> Token:
        work, tokenizer, end_ids = row.work, self._loaded.tokenizer, self._loaded.end_ids
        chosen = row.chooser.choose(logits, torch.tensor(row.ids, device=logits.device))
        logprob = finite(float(logprobs[chosen]))
        row.ids.append(chosen)
        generated = len(row.ids) - len(work.prompt)
        text = "" if chosen in end_ids else row.stream.step(tokenizer.backend_tokenizer, chosen) or ""
        row.text, text, stopped = _until_stop(row.text, text, work.stop)
        if chosen in end_ids:
            row.finished = Finished(row.text, "eos_token", generated)
        elif stopped:
            row.finished = Finished(row.text, "stop_sequence", generated)
        elif generated >= work.max_new_tokens:
            row.finished = Finished(row.text, "length", generated)
        best = zip(*(part.tolist() for part in logprobs.topk(work.top_n)), strict=True)
        top = tuple(Token(index, tokenizer.decode([index]), value, index in end_ids) for value, index in best)
        return Token(chosen, text, logprob, chosen in end_ids, top)


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


def _stacked(ours: torch.Tensor, theirs: torch.Tensor, dimension: int) -> torch.Tensor:
    """One below the other, the shorter one padded with zeros on its left."""
    length = max(ours.shape[dimension], theirs.shape[dimension])
    padded = []
    for part in (ours, theirs):
        shape = list(part.shape)
        shape[dimension] = length - part.shape[dimension]
        padded.append(torch.cat([part.new_zeros(shape), part], dimension))
    return torch.cat(padded)
