"""The objective legal-set: what is learned is the score by which the built-in server chooses."""

import asyncio
from pathlib import Path

import pytest
import torch

from services.inference.decoding import SetMember, Work
from services.inference.engine import Engine
from services.trainer.data import legal_sets
from services.trainer.evaluate import choices, decision_cost
from services.trainer.sft import train
from services.trainer.trainer import DecisionTrainer, together
from shared.datasets import Row
from shared.language.scoring import pack, score_to_learn
from tests.language.tiny import save_tiny, tiny
from tests.trainer.learned import recipe, rows, write
from tests.trainer.test_sft import Killed, killed_at, told


def advised(split: str, count: int) -> list[Row]:
    """Rows of which a teacher knows what each action is worth: the last legal one is best."""
    found = []
    for row in rows(split, count):
        last = len(row.legal) - 1
        probabilities = [0.0] * last + [0.75]
        probabilities[0] += 0.25
        changes = {
            "completion": row.legal[-1],
            "teacher": "search",
            "probabilities": tuple(probabilities),
            "values": tuple(0.2 + 0.5 * place / last for place in range(last + 1)),
            "played": row.legal[0],
        }
        found.append(row.model_copy(update=changes))
    return found


async def test_what_is_learned_is_the_score_that_the_server_chooses_by() -> None:
    loaded, own = tiny(), rows("train", 3)
    samples = legal_sets(own, loaded.tokenizer, weight="none", max_length=2000)
    engine = Engine(loaded)
    engine.start()
    try:
        served = [
            (await engine.submit(Work(each.prompt, members=_members(row, each.members))).answer())[1].candidates
            for row, each in zip(own, samples.sets, strict=True)
        ]
    finally:
        await asyncio.to_thread(engine.stop)

    learned = score_to_learn(loaded.model, pack(samples.sets))

    for scores, candidates in zip(learned, served, strict=True):
        by_server = torch.tensor([candidate.logprob for candidate in candidates])
        assert torch.allclose(scores, by_server, atol=1e-4)
        assert torch.allclose(scores.log_softmax(-1), by_server.log_softmax(-1), atol=1e-4)


def _members(row: Row, ids: tuple[tuple[int, ...], ...]) -> tuple[SetMember, ...]:
    return tuple(SetMember(text, own) for text, own in zip(row.legal, ids, strict=True))


def test_loss_and_gradients_are_those_of_slow_forwards_of_each_completion_alone() -> None:
    loaded, own = tiny(), [*advised("train", 3), *rows("others", 1)]
    samples = legal_sets(own, loaded.tokenizer, weight="cost", max_length=2000)
    parameter = loaded.model.model.layers[0].self_attn.q_proj.weight

    def plainly() -> torch.Tensor:
        losses = []
        for each, target in zip(samples.sets, samples.targets, strict=True):
            scores = []
            for member in each.members:
                ids = torch.tensor([[*each.prompt, *member]])
                logprobs = loaded.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
                places = range(len(each.prompt) - 1, ids.shape[1] - 1)
                scores.append(sum(logprobs[place, ids[0, place + 1]] for place in places))
            losses.append(-(torch.tensor(target) @ torch.stack(scores).log_softmax(-1)))
        return (torch.tensor(samples.weights) * torch.stack(losses)).mean()

    columns = samples.columns
    batch = [{name: column[place] for name, column in columns.items()} for place in range(len(own))]
    found = DecisionTrainer._legal_set_loss(loaded.model, together(batch, 0))
    [gradient] = torch.autograd.grad(found, parameter)
    expected = plainly()

    assert found.item() == pytest.approx(expected.item(), abs=1e-4)
    assert torch.allclose(gradient, torch.autograd.grad(expected, parameter)[0], atol=1e-4)


def test_without_a_teacher_all_of_it_is_on_the_label_and_what_leaves_no_choice_is_left_out() -> None:
    [own] = rows("train", 1)
    alone = own.model_copy(update={"legal": own.legal[:1]})

    samples = legal_sets([own, alone], tiny().tokenizer, weight="cost", max_length=2000)

    assert samples.targets == ((1.0,) + (0.0,) * (len(own.legal) - 1),)
    assert (samples.weights, samples.too_long) == ((1.0,), 0)


def test_a_decision_counts_as_much_as_a_wrong_choice_costs() -> None:
    own = [
        row.model_copy(update={"legal": row.legal[:2], "probabilities": (1.0, 0.0), "values": values})
        for row, values in zip(rows("train", 3), [(0.5, 0.5), (0.6, 0.4), (0.9, 0.1)], strict=True)
    ]

    even, some, much = legal_sets(own, tiny().tokenizer, weight="cost", max_length=2000).weights

    assert 0 < even < some < much
    assert even + some + much == pytest.approx(3) and much / some == pytest.approx(4)


def test_what_is_too_long_with_its_completions_is_left_out_and_counted() -> None:
    own, tokenizer = rows("train", 8), tiny().tokenizer
    lengths = sorted(map(len, legal_sets(own, tokenizer, weight="none", max_length=2000).input_ids))

    samples = legal_sets(own, tokenizer, weight="none", max_length=lengths[3])

    assert max(map(len, samples.input_ids)) <= lengths[3]
    assert samples.too_long == len(own) - len(samples.sets) > 0


def test_what_a_choice_gives_away_is_told_by_the_teachers_values() -> None:
    loaded, own = tiny(), advised("train", 4)
    chosen = choices(loaded.model, loaded.tokenizer, own)

    lost = decision_cost(own, chosen)

    places = [row.legal.index(choice.completion) for row, choice in zip(own, chosen, strict=True)]
    expected = [0.5 * (1 - place / (len(row.legal) - 1)) for row, place in zip(own, places, strict=True)]
    assert lost == pytest.approx(sum(expected) / 4)
    assert decision_cost(rows("others", 1), chosen[:1]) is None


def test_killed_and_resumed_it_ends_the_same_and_chooses_as_the_teacher(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    data = write(tmp_path / "data", {"train": advised("train", 24), "validation": advised("validation", 6)})
    ours = recipe(
        base, objective="legal-set", weight="cost", max_steps=30, evaluate_every=5, save_every=5, accumulation=2
    )

    whole = train(ours, data, tmp_path / "whole")
    with pytest.raises(Killed):
        train(ours, data, tmp_path / "killed", on_standing=killed_at(13))
    train(ours, data, tmp_path / "killed")

    for figure in ("eval_loss", "loss"):
        assert told(tmp_path / "killed", figure) == pytest.approx(told(tmp_path / "whole", figure), abs=1e-4)
    losses = told(tmp_path / "whole", "eval_loss")
    assert losses[30] < losses[5]
    # The published step is the one that gives least away.
    costs = told(tmp_path / "whole", "eval_decision_cost")
    assert whole.metrics["decision_cost"] == min(costs.values()) < costs[5]
