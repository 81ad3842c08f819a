"""How well a model decides on held-out battles: decision accuracy by kind, and what it would say without constraint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from services.trainer.accuracy import Share, choices, model_accuracy, perplexity, yardsticks
from services.trainer.samples import asked
from shared.datasets import Row
from shared.language.load import Loaded

KINDS = ("all", "move", "voluntary switch", "forced switch", "tera")
MAX_ANSWER_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model on a dataset's validation split."""

    accuracy: Mapping[str, Mapping[str, Share]]
    """The model, and what it is measured against → kind of decision → share."""
    legal: Share
    """How often what it writes unconstrained, word by word, is a legal completion."""
    perplexity: float
    """Of a completion's token, its end included."""


def evaluate(loaded: Loaded, rows: Sequence[Row], *, name: str, written: int) -> Evaluation:
    """Measure a model on `rows`, and let it write on the first `written` of them."""
    chosen = choices(loaded.model, loaded.tokenizer, rows)
    accuracy = {name: model_accuracy(rows, chosen), **yardsticks(rows)}
    return Evaluation(
        accuracy=accuracy,
        legal=_legal_share(loaded, rows[:written]),
        perplexity=perplexity(chosen),
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
