"""The engine: batches change nothing, places are bounded, failures stay with those they concern."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from services.inference.decoding import Finished, Sampling, SetMember, Work
from services.inference.engine import Engine, GenerationFailed, Limits, Overloaded
from shared.language.chat import completions_ids, prompt_ids
from shared.language.load import Loaded, load
from tests.inference.conftest import Hooked
from tests.language.tiny import save_adapter, save_tiny, score_plainly, tiny

TEXTS = ("move Psychic", "move Psychic Noise", "switch Rotom-Wash")


def question(loaded: Loaded, text: str, adapter: str | None = None, *, members: bool = False, **how: object) -> Work:
    prompt = tuple(prompt_ids(loaded.tokenizer, [{"role": "user", "content": text}]))
    ids = completions_ids(loaded.tokenizer, TEXTS) if members else []
    choices = tuple(SetMember(member, tuple(tokens)) for member, tokens in zip(TEXTS, ids, strict=False))
    return Work(prompt, adapter, members=choices, **{"max_new_tokens": 8, **how})  # type: ignore[arg-type]


async def answered(engine: Engine, works: list[Work]) -> list[tuple[list[int], Finished]]:
    found = await asyncio.gather(*(engine.submit(work).answer() for work in works))
    return [([token.id for token in said], finished) for said, finished in found]


async def test_a_batch_changes_no_answer_and_no_score() -> None:
    loaded = tiny()
    works = [
        question(loaded, "Gen 9 turn " * (number + 1), members=number % 2 == 0, max_new_tokens=4 + number)
        for number in range(8)
    ] + [question(loaded, "drawn", sampling=Sampling(seed=7, temperature=1.5, top_k=40))]
    engine = Engine(loaded, Limits(batch_rows=16))
    engine.start()
    together = await answered(engine, works)
    alone = [(await answered(engine, [work]))[0] for work in works]
    engine.stop()

    for (ids, finished), (own_ids, own) in zip(together, alone, strict=True):
        assert ids == own_ids
        assert (finished.text, finished.reason) == (own.text, own.reason)
        assert [each.logprob for each in finished.candidates] == pytest.approx(
            [each.logprob for each in own.candidates], abs=1e-4
        )


async def test_free_generation_says_what_transformers_says() -> None:
    loaded = tiny()
    works = [question(loaded, text, max_new_tokens=12) for text in ("Gen 9", "turn 3 and much more than that", "x")]
    engine = Engine(loaded)
    engine.start()
    found = await answered(engine, works)
    engine.stop()

    for work, (ids, _) in zip(works, found, strict=True):
        assert ids == greedy(loaded, work)


async def test_adapters_are_mixed_and_each_request_gets_its_own(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    adapters = {f"smol@{seed}": save_adapter(tmp_path / str(seed), base, seed) for seed in (2, 3)}
    loaded = load(base, adapters=adapters, dtype="float32")
    works = [
        question(loaded, "Gen 9", name, members=members)
        for members in (True, False)
        for name in (None, *adapters, None, *adapters)
    ]
    engine = Engine(loaded)
    engine.start()
    found = await answered(engine, works)
    engine.stop()

    for work, (ids, finished) in zip(works, found, strict=True):
        loaded.use_adapter(work.adapter)
        if work.members:
            plain = [score_plainly(loaded.model, work.prompt, member.ids) for member in work.members]
            assert [each.logprob for each in finished.candidates] == pytest.approx(plain, abs=1e-4)
        else:
            assert ids == greedy(loaded, work)
    free = {work.adapter: tuple(ids) for work, (ids, _) in zip(works, found, strict=True) if not work.members}
    assert len(set(free.values())) == 3


async def test_places_are_bounded_and_come_back_when_whoever_asked_goes_away(hooked: Loaded) -> None:
    engine = Engine(hooked, Limits(concurrent_requests=2))
    engine.start()
    gate(hooked).open.clear()
    tickets = [engine.submit(question(hooked, "Gen 9", members=True)) for _ in range(2)]
    with pytest.raises(Overloaded):
        engine.submit(question(hooked, "Gen 9"))
    tickets[0].close()
    third = engine.submit(question(hooked, "Gen 9", members=True))
    gate(hooked).open.set()
    await third.answer()
    await tickets[1].answer()

    assert engine.in_flight == 0
    engine.stop()


async def test_what_nobody_waits_for_any_more_is_not_worked_on(endless: Loaded) -> None:
    engine = Engine(endless)
    engine.start()
    model = gate(endless)
    model.open.clear()
    # Its first token is said, and the engine is in the forward of the second when it is given up.
    model.holds_from = 2
    events = engine.submit(question(endless, "Gen 9", max_new_tokens=400)).tokens()
    await anext(events)
    await until(lambda: model.forwards == 2)
    await events.aclose()
    model.open.set()
    for _ in range(2):
        await engine.submit(question(endless, "Gen 9", members=True)).answer()

    # Of the forwards behind those two, each is one of the later questions'.
    assert model.forwards == 2 + 2
    engine.stop()


async def test_a_forward_that_fails_fails_those_in_it_and_the_engine_goes_on(hooked: Loaded) -> None:
    engine = Engine(hooked)
    engine.start()
    gate(hooked).raises = RuntimeError("CUDA error")
    for members in (True, False):
        with pytest.raises(GenerationFailed, match="CUDA error"):
            await engine.submit(question(hooked, "Gen 9", members=members)).answer()
    was_well = engine.is_well
    gate(hooked).raises = None
    await engine.submit(question(hooked, "Gen 9", members=True)).answer()

    await until(lambda: engine.is_well)

    assert (was_well, engine.in_flight) == (False, 0)
    engine.stop()


async def test_a_temperature_next_to_nothing_takes_the_most_probable_and_hurts_nobody(hooked: Loaded) -> None:
    coldest = (Sampling(seed=1, temperature=1e-40), Sampling(seed=1, temperature=1e-320, top_p=0.9, typical_p=0.9))
    works = [
        question(hooked, "Gen 9", members=members, sampling=how)
        for members in (True, False)
        for how in (Sampling(), *coldest)
    ]
    engine = Engine(hooked)
    engine.start()
    gate(hooked).open.clear()
    beside = asyncio.create_task(engine.submit(question(hooked, "x", max_new_tokens=12)).answer())
    await until(lambda: gate(hooked).forwards == 1)
    asking = asyncio.create_task(answered(engine, works))
    await until(lambda: engine.in_flight == 1 + len(works))
    gate(hooked).open.set()
    found = [ids for ids, _ in await asking]
    said, _ = await beside
    engine.stop()

    assert found == [found[0]] * 3 + [found[3]] * 3
    assert [token.id for token in said] == greedy(hooked, question(hooked, "x", max_new_tokens=12))


async def test_one_that_joins_and_fails_leaves_those_who_were_there_alone(endless: Loaded) -> None:
    engine = Engine(endless)
    engine.start()
    gate(endless).open.clear()
    # A's prompt, A's second token, and then B's prompt.
    gate(endless).spoils = lambda number: number == 3
    first = asyncio.create_task(engine.submit(question(endless, "Gen 9", max_new_tokens=12)).answer())
    await until(lambda: gate(endless).forwards == 1)
    joining = asyncio.create_task(engine.submit(question(endless, "x")).answer())
    await until(lambda: engine.in_flight == 2)
    gate(endless).open.set()
    with pytest.raises(GenerationFailed, match="no finite number"):
        await joining
    said, finished = await first
    engine.stop()

    assert (len(said), finished.reason, engine.in_flight) == (12, "length", 0)


@pytest.mark.parametrize("members", [True, False])
async def test_weights_that_say_nothing_but_nan_are_no_certainty(hooked: Loaded, members: bool) -> None:
    engine = Engine(hooked)
    engine.start()
    gate(hooked).spoils = lambda number: True
    with pytest.raises(GenerationFailed, match="no finite number"):
        await engine.submit(question(hooked, "Gen 9", members=members)).answer()
    engine.stop()

    assert not engine.is_well


async def test_an_engine_that_dies_fails_all_that_it_had_and_says_so(hooked: Loaded) -> None:
    deaths: list[bool] = []
    engine = Engine(hooked, on_death=lambda: deaths.append(True))
    engine.start()
    gate(hooked).open.clear()
    tickets = [engine.submit(question(hooked, "Gen 9", members=members)) for members in (True, False, True)]
    gate(hooked).raises = SystemExit()
    gate(hooked).open.set()
    for ticket in tickets:
        with pytest.raises(GenerationFailed):
            await ticket.answer()
    await until(lambda: len(deaths) > 0)

    assert deaths == [True]
    with pytest.raises(GenerationFailed):
        engine.submit(question(hooked, "Gen 9"))


async def test_an_engine_that_is_stopped_fails_what_is_left(hooked: Loaded) -> None:
    engine = Engine(hooked)
    engine.start()
    gate(hooked).open.clear()
    ticket = engine.submit(question(hooked, "Gen 9", max_new_tokens=400))
    engine.halt()
    gate(hooked).open.set()
    with pytest.raises(GenerationFailed, match="ended"):
        await ticket.answer()
    engine.stop()


async def test_a_stop_sequence_ends_the_answer_behind_itself() -> None:
    loaded = tiny()
    engine = Engine(loaded)
    engine.start()
    [(_, whole)] = await answered(engine, [question(loaded, "Gen 9", max_new_tokens=12)])
    stop = whole.text[3:5]
    [(_, cut)] = await answered(engine, [question(loaded, "Gen 9", max_new_tokens=12, stop=(stop,))])
    engine.stop()

    assert cut.reason == "stop_sequence"
    assert cut.text == whole.text[: whole.text.index(stop) + len(stop)]


async def test_an_answer_longer_than_what_was_asked_for_is_cut_and_says_so() -> None:
    loaded = tiny()
    engine = Engine(loaded)
    engine.start()
    [(ids, finished)] = await answered(engine, [question(loaded, "Gen 9", members=True, max_new_tokens=1)])
    engine.stop()

    assert (len(ids), finished.reason) == (1, "length")
    assert any(text.startswith(finished.text) for text in TEXTS)


def greedy(loaded: Loaded, work: Work) -> list[int]:
    prompt = torch.tensor([work.prompt])
    said = loaded.model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=work.max_new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return [int(token) for token in said[0, len(work.prompt) :]]


def gate(loaded: Loaded) -> Hooked:
    assert isinstance(loaded.model, Hooked)
    return loaded.model


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
