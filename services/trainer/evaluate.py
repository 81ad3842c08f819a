"""How well a model decides on held-out battles, and what a guess and a plain rule would reach.

For its accuracy the model is not asked to write: every legal completion is scored exactly, its end included, and the
most probable one is the model's choice, as the built-in server chooses under a constraint.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from services.trainer.data import asked
from shared.datasets import Row
from shared.language.chat import completions_ids
from shared.language.load import Loaded
from shared.language.scoring import FiniteSet, score

SETS_AT_ONCE = 4
ALL = "all"
KINDS = (ALL, "move", "voluntary switch", "forced switch", "tera")
MAX_ANSWER_TOKENS = 24
_HITS = re.compile(r"\bhits (?P<power>\d+)\b.*: (?P<completion>move .+)")
_POWER = re.compile(r"\b(?:physical|special) (?P<power>\d+)? ?(?:x(?P<times>[\d.]+))?.* (?P<completion>move .+)")


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many decisions. A guess hits a share of each."""

    hits: float
    decisions: int

    @property
    def rate(self) -> float:
        """As a number from 0 to 1."""
        return self.hits / self.decisions if self.decisions else 0.0


def drawn(rows: Sequence[Row], decisions: int, seed: int) -> tuple[Row, ...]:
    """So many rows with a choice, the same for the same seed."""
    chosen = [row for row in rows if len(row.legal) > 1]
    return tuple(Random(seed).sample(chosen, min(decisions, len(chosen))))


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What a model would do at a row, and how probable it holds the label."""

    completion: str
    """The most probable legal one."""
    label_logprob: float
    """Of the row's completion as a whole answer, its end included."""
    label_tokens: int


def choices(model: Any, tokenizer: Any, rows: Sequence[Row]) -> list[ModelChoice]:
    """What the model would choose at each row."""
    # Those of about one length together, so that little is padding.
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].prompt))
    found: dict[int, ModelChoice] = {}
    for start in range(0, len(order), SETS_AT_ONCE):
        together = order[start : start + SETS_AT_ONCE]
        members = [completions_ids(tokenizer, rows[index].legal) for index in together]
        sets = [
            FiniteSet(tuple(asked(tokenizer, rows[index].prompt)), tuple(map(tuple, legal)))
            for index, legal in zip(together, members, strict=True)
        ]
        for index, legal, scores in zip(together, members, score(model, sets), strict=True):
            row = rows[index]
            label = row.legal.index(row.completion)
            best = max(range(len(scores)), key=scores.__getitem__)
            found[index] = ModelChoice(row.legal[best], scores[label], len(legal[label]))
    return [found[index] for index in range(len(rows))]


def model_accuracy(rows: Sequence[Row], chosen: Sequence[ModelChoice]) -> dict[str, Share]:
    """Kind of decision, and `all` → how often the model's choice is the label."""
    return _shares((row, float(choice.completion == row.completion)) for row, choice in zip(rows, chosen, strict=True))


def decision_cost(rows: Sequence[Row], chosen: Sequence[ModelChoice]) -> float | None:
    """How much win probability the model's choice gives away on average, by the teacher's values; 0 is the best.

    None where no row was valued.
    """
    lost = [
        max(row.values) - row.values[row.legal.index(choice.completion)]
        for row, choice in zip(rows, chosen, strict=True)
        if row.values
    ]
    return sum(lost) / len(lost) if lost else None


def perplexity(chosen: Sequence[ModelChoice]) -> float:
    """Of a token of the labels: 1 where the model is always right and sure."""
    tokens = sum(choice.label_tokens for choice in chosen)
    return math.exp(-sum(choice.label_logprob for choice in chosen) / tokens) if tokens else math.nan


def guess_accuracy(rows: Sequence[Row]) -> dict[str, Share]:
    """The same for a uniform guess: what it hits on average."""
    return _shares((row, 1 / len(row.legal)) for row in rows)


def rule_accuracy(rows: Sequence[Row]) -> dict[str, Share]:
    """The same for the plain rule: most power times effectiveness; where no move is offered, the first switch."""
    return _shares((row, float(most_power(row) == row.completion)) for row in rows)


def most_power(row: Row) -> str:
    """What the plain rule chooses, by the figures that stand in the row's own prompt (contract v2; in v3, damage)."""
    figures = _HITS if row.contract == "v3" else _POWER
    strength = {
        line["completion"].split(" +", 1)[0]: float(line["power"] or 0) * float(line.groupdict().get("times") or 1)
        for line in map(figures.search, row.prompt.splitlines())
        if line
    }
    return max(row.legal, key=lambda completion: strength.get(completion, 0.0))


def yardsticks(rows: Sequence[Row]) -> dict[str, dict[str, Share]]:
    """What a model's accuracy is measured against. The prompts of contract v1 tell no effectiveness to go by."""
    found = {"a uniform guess": guess_accuracy(rows)}
    if all(row.contract != "v1" for row in rows):
        found["most damage" if rows and rows[0].contract == "v3" else "most power times effectiveness"] = rule_accuracy(
            rows
        )
    return found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model on a dataset's validation split."""

    accuracy: Mapping[str, Mapping[str, Share]]
    """The model, and what it is measured against → kind of decision → share."""
    legal: Share
    """How often what it writes unconstrained, word by word, is a legal completion."""
    perplexity: float
    """Of a completion's token, its end included."""
    cost: float | None
    """`decision_cost`."""


def evaluate(loaded: Loaded, rows: Sequence[Row], *, name: str, written: int) -> Evaluation:
    """Measure a model on `rows`, and let it write on the first `written` of them."""
    chosen = choices(loaded.model, loaded.tokenizer, rows)
    return Evaluation(
        accuracy={name: model_accuracy(rows, chosen), **yardsticks(rows)},
        legal=_legal_share(loaded, rows[:written]),
        perplexity=perplexity(chosen),
        cost=decision_cost(rows, chosen),
    )


def table(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Who → accuracy by kind, with how many decisions there are of each; a head line first."""
    counts = next(iter(evaluation.accuracy.values()))
    kinds = [kind for kind in KINDS if kind in counts or kind == "tera"]
    head = ("", *(f"{kind} ({counts[kind].decisions if kind in counts else 0})" for kind in kinds))
    lines = [
        (name, *(f"{shares[kind].rate:.3f}" if kind in shares else "–" for kind in kinds))
        for name, shares in evaluation.accuracy.items()
    ]
    return [head, *lines]


def _shares(hits: Iterable[tuple[Row, float]]) -> dict[str, Share]:
    sums: dict[str, tuple[float, int]] = {ALL: (0.0, 0)}
    for row, hit in hits:
        for kind in (ALL, row.kind):
            before, decisions = sums.get(kind, (0.0, 0))
            sums[kind] = (before + hit, decisions + 1)
    return {kind: Share(*found) for kind, found in sums.items()}


def _legal_share(loaded: Loaded, rows: Sequence[Row]) -> Share:
    hits = 0
    for row in rows:
        prompt = asked(loaded.tokenizer, row.prompt)
        ids = torch.tensor([prompt], device=loaded.model.device)
        with torch.inference_mode():
            out = loaded.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=MAX_ANSWER_TOKENS,
                do_sample=False,
                eos_token_id=sorted(loaded.end_ids),
                pad_token_id=min(loaded.end_ids),
            )
        said = loaded.tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True).strip()
        hits += said in row.legal
    return Share(hits, len(rows))
