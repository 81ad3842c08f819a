"""Scores of a finite set are those of plain forwards, whoever else is asked about at the same time."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.language.scoring import FiniteSet, score, tree_of
from tests.language.tiny import score_plainly, tiny, tiny_model

torch.set_num_threads(1)
MODEL = tiny_model()

ids = st.integers(3, 300)
member = st.lists(ids, max_size=5).map(lambda tokens: (*tokens, 2))
finite_set = st.builds(
    FiniteSet,
    st.lists(ids, min_size=1, max_size=30).map(tuple),
    st.lists(member, min_size=1, max_size=8, unique=True).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(finite_set, min_size=1, max_size=4))
def test_a_score_is_that_of_a_plain_forward_of_prompt_and_member(sets: list[FiniteSet]) -> None:
    for each, scores in zip(sets, score(MODEL, sets), strict=True):
        for tokens, found in zip(each.members, scores, strict=True):
            assert abs(found - score_plainly(MODEL, each.prompt, tokens)) < 1e-4


@settings(max_examples=30, deadline=None)
@given(finite_set)
def test_a_member_scores_the_same_alone_and_in_any_order(each: FiniteSet) -> None:
    together = dict(zip(each.members, score(MODEL, [each])[0], strict=True))
    turned = FiniteSet(each.prompt, each.members[::-1])

    for tokens, found in zip(turned.members, score(MODEL, [turned])[0], strict=True):
        alone = score(MODEL, [FiniteSet(each.prompt, (tokens,))])[0][0]
        assert abs(found - together[tokens]) < 1e-4
        assert abs(found - alone) < 1e-4


def test_the_end_counts_so_that_a_beginning_of_another_member_is_not_favoured() -> None:
    short, long = (10, 11, 2), (10, 11, 12, 13, 2)
    scores = score(MODEL, [FiniteSet((5, 6, 7), (short, long))])[0]

    assert abs(scores[0] - score_plainly(MODEL, (5, 6, 7), short)) < 1e-4
    assert scores[0] < score_plainly(MODEL, (5, 6, 7), short[:-1])


def test_scores_of_a_complete_set_sum_to_one() -> None:
    # All answers of one token, and its end left out: the whole vocabulary.
    everything = FiniteSet((5, 6, 7), tuple((token,) for token in range(320)))

    assert abs(sum(torch.tensor(score(MODEL, [everything])[0]).exp().tolist()) - 1) < 1e-4


def test_common_beginnings_are_read_once_and_ends_never() -> None:
    tree = tree_of(((7, 8, 2), (7, 9, 2), (7, 8, 3, 2), (2,)))

    assert tree.tokens == (7, 8, 9, 3)
    assert tree.parents == (-1, 0, 0, 1)
    assert tree.depths == (0, 1, 1, 2)
    assert tree.paths == ((-1, 0, 1), (-1, 0, 2), (-1, 0, 1, 3), (-1,))


def test_scoring_leaves_no_gradient_behind() -> None:
    loaded = tiny()
    score(loaded.model, [FiniteSet((5,), ((6, 2),))])

    assert all(parameter.grad is None for parameter in loaded.model.parameters())
