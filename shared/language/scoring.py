"""How probable each member of a finite set is as a whole answer, its end included, and nothing guessed.

    log p(member) = Σ log p(token | prompt, the member's tokens before it), over all its tokens and the one that ends it

The prompt is read once for all members. Behind it stand their tokens as a tree, in which members that begin alike share
their beginning; a mask lets each token see the prompt and its own line of the tree, and its position is the one that it
would have behind the prompt alone. So a member's score is what a forward of prompt and member gives, whoever else is in
the set or in the batch, but for the last digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class FiniteSet:
    """A prompt and the only answers to it, as tokens; each answer with the token that ends it."""

    prompt: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Members with their common beginnings merged. A member's last token is predicted, and never read."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    """Node → the node before it; -1 where the prompt is."""
    depths: tuple[int, ...]
    """Node → how many nodes stand before it on its line."""
    paths: tuple[tuple[int, ...], ...]
    """Member → the node that predicts each of its tokens; -1 stands for the prompt's last token."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Several sets as one batch, each a row, padded on its left."""

    sets: tuple[FiniteSet, ...]
    trees: tuple[Tree, ...]
    ids: torch.Tensor
    """(B, T)"""
    positions: torch.Tensor
    """(B, T)"""
    seen: torch.Tensor
    """(B, T, T): whether the token in the second place sees the one in the third."""

    @property
    def read(self) -> torch.Tensor:
        """(K,): the places whose predictions are read, the last of every row: a prompt's last token and its tree's.

        Named one by one: a mere number makes a slice of them, for which torch copies the matrix of the whole vocabulary
        once for each row.
        """
        total = self.ids.shape[1]
        return torch.arange(total - 1 - max(len(tree.tokens) for tree in self.trees), total)


def pack(sets: Sequence[FiniteSet], padding: int = 0) -> Packed:
    """Sets as one batch. Memory grows with their number times the square of the longest: the caller chooses them."""
    trees = tuple(tree_of(each.members) for each in sets)
    lengths = [len(each.prompt) + len(tree.tokens) for each, tree in zip(sets, trees, strict=True)]
    total = max(lengths)
    ids = torch.full((len(sets), total), padding, dtype=torch.long)
    positions = torch.zeros(len(sets), total, dtype=torch.long)
    # What stands to the left of a shorter row sees itself alone: a row without any sight would give no number.
    seen = torch.eye(total, dtype=torch.bool).repeat(len(sets), 1, 1)
    for row, (each, tree) in enumerate(zip(sets, trees, strict=True)):
        start, tree_start, prompt = total - lengths[row], total - len(tree.tokens), len(each.prompt)
        ids[row, start:] = torch.tensor([*each.prompt, *tree.tokens])
        positions[row, start:] = torch.tensor([*range(prompt), *(prompt + depth for depth in tree.depths)])
        seen[row, start:tree_start, start:tree_start] |= torch.ones(prompt, prompt, dtype=torch.bool).tril()
        seen[row, tree_start:, start:tree_start] = True
        for node, parent in enumerate(tree.parents):
            if parent >= 0:
                seen[row, tree_start + node, tree_start:] |= seen[row, tree_start + parent, tree_start:]
    return Packed(tuple(sets), trees, ids, positions, seen)


def score(model: Any, sets: Sequence[FiniteSet]) -> list[list[float]]:
    """The log-probability of every member of every set, in one forward."""
    return [[sum(member) for member in members] for members in score_tokens(model, sets)]


def score_tokens(model: Any, sets: Sequence[FiniteSet]) -> list[list[list[float]]]:
    """The same, token by token: set → member → the log-probability of each of its tokens."""
    with torch.inference_mode():
        return [
            [member.tolist() for member in found.cpu().split([len(member) for member in each.members])]
            for each, found in zip(sets, token_logprobs(model, pack(sets)), strict=True)
        ]


def score_to_learn(model: Any, packed: Packed) -> list[torch.Tensor]:
    """Set → `score` of its members (M,), through which gradients flow back."""
    scores = []
    for each, found in zip(packed.sets, token_logprobs(model, packed), strict=True):
        lengths = torch.tensor([len(member) for member in each.members], device=found.device)
        owners = torch.arange(len(each.members), device=found.device).repeat_interleave(lengths)
        scores.append(found.new_zeros(len(each.members)).index_add(0, owners, found))
    return scores


def token_logprobs(model: Any, packed: Packed) -> list[torch.Tensor]:
    """Set → the log-probability of each token of its members, one member after the other, by one forward."""
    # What trains in several processes is wrapped, and only the model itself says what it is of.
    itself = getattr(model, "module", model)
    logits = model(
        input_ids=packed.ids.to(itself.device),
        attention_mask=_additive(packed.seen, itself.dtype).to(itself.device),
        position_ids=packed.positions.to(itself.device),
        logits_to_keep=packed.read.to(itself.device),
        use_cache=False,
    ).logits.float()
    rows = zip(packed.sets, packed.trees, logits, strict=True)
    return [_tokens(row[len(row) - 1 - len(tree.tokens) :], each.members, tree) for each, tree, row in rows]


def tree_of(members: Sequence[Ids]) -> Tree:
    """Merge the members' common beginnings. A node stands behind its parent."""
    known: dict[tuple[int, ...], int] = {(): -1}
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    paths = []
    for member in members:
        path = [-1]
        for end in range(1, len(member)):
            line = tuple(member[:end])
            if line not in known:
                known[line] = len(tokens)
                tokens.append(member[end - 1])
                parents.append(path[-1])
                depths.append(end - 1)
            path.append(known[line])
        paths.append(tuple(path))
    return Tree(tuple(tokens), tuple(parents), tuple(depths), tuple(paths))


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask as every attention takes it: nought where there is sight, else as good as minus infinity."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def _tokens(logits: torch.Tensor, members: Sequence[Ids], tree: Tree) -> torch.Tensor:
    """`logits` (1 + nodes, vocabulary): row 0 is what the prompt predicts, row n + 1 what node n does."""
    rows = torch.tensor([node + 1 for path in tree.paths for node in path], device=logits.device)
    tokens = torch.tensor([token for member in members for token in member], device=logits.device)
    return logits[rows, tokens] - logits.logsumexp(-1)[rows]
