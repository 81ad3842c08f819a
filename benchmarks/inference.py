"""What a decision costs at the built-in server's engine: exact scores of nine legal actions, or free generation.

    python benchmarks/inference.py [--model smollm2] [--device cpu] [--dtype auto] [--threads 2] [--rounds 5]

Prompts are the contract's own words, cut to 200 and 400 tokens, template included. Each way to decide takes its turn in
every round, so that what else the machine does falls on all alike; the figures are medians.

  score       one forward: the prompt, and nine actions behind it as a tree
  score, cached prefix   two: the prompt into a key-value cache, then the nine as a padded batch over it
  free 15, free 30       the model says so many tokens, one at a time, and does not stop before

Then decisions a second, by scoring and by 15 free tokens, with 1, 4 and 16 requests at once at one engine. The last
line is JSON, its throughput that of scoring, which is how the arena asks:
    {"score_over_free30": x, "throughput_16_over_1": x, "ms_per_decision": {"200": x, "400": x}}
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter

import torch
from transformers import DynamicCache

from services.inference.decoding import SetMember, Work
from services.inference.engine import Engine, Limits
from shared.battle.contract import CONTRACTS, golden_states
from shared.language.chat import completions_ids, prompt_ids
from shared.language.load import Loaded, load
from shared.language.scoring import FiniteSet, score

ACTIONS = (
    "move Flash Cannon",
    "move Flash Cannon tera",
    "move Thunderbolt",
    "move Thunderbolt tera",
    "move Volt Switch",
    "move Substitute",
    "switch Rotom-Wash",
    "switch Great Tusk",
    "switch Dragapult",
)
LENGTHS = (200, 400)
AT_ONCE = (1, 4, 16)


def question(loaded: Loaded, length: int, number: int = 0) -> Work:
    """A prompt of that many tokens, another one for each number, and the nine actions."""
    contract = CONTRACTS["v2"]
    words = " ".join(contract.prompt(state) for state in golden_states()).split(" ")
    start = 7 * number
    ids: list[int] = []
    for count in range(length // 4, 4 * length, 4):
        text = " ".join(words[start : start + count])
        longer = prompt_ids(loaded.tokenizer, [{"role": "user", "content": text}])
        if len(longer) > length:
            break
        ids = longer
    members = completions_ids(loaded.tokenizer, ACTIONS)
    return Work(
        tuple(ids), members=tuple(SetMember(text, tuple(each)) for text, each in zip(ACTIONS, members, strict=True))
    )


def cached_prefix(loaded: Loaded, work: Work) -> list[float]:
    """The other exact way, for comparison: the prompt's cache, once for each member."""
    model, device = loaded.model, loaded.model.device
    longest = max(len(member.ids) for member in work.members)
    rows = torch.zeros(len(work.members), longest, dtype=torch.long)
    for number, member in enumerate(work.members):
        rows[number, : len(member.ids)] = torch.tensor(member.ids)
    with torch.inference_mode():
        cache = DynamicCache()
        first = model(
            input_ids=torch.tensor([work.prompt], device=device), past_key_values=cache, logits_to_keep=1
        ).logits[:, -1]
        cache.batch_repeat_interleave(len(work.members))
        rest = model(input_ids=rows[:, :-1].to(device), past_key_values=cache).logits
        logprobs = torch.cat([first[:, None].expand(len(rows), 1, -1), rest], dim=1).float().log_softmax(-1).cpu()
    return [
        float(logprobs[number, range(len(member.ids)), list(member.ids)].sum())
        for number, member in enumerate(work.members)
    ]


async def milliseconds(engine: Engine, work: Work) -> float:
    """One decision, alone."""
    began = perf_counter()
    await engine.submit(work).answer()
    return 1000 * (perf_counter() - began)


async def per_second(engine: Engine, works: Sequence[Work], at_once: int) -> float:
    """Decisions a second while so many ask, each the next question once the last is answered."""
    left = list(works)

    async def ask() -> None:
        while left:
            await engine.submit(left.pop()).answer()

    began = perf_counter()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    return len(works) / (perf_counter() - began)


async def measure(loaded: Loaded, rounds: int, limits: Limits) -> dict[str, object]:
    """Every figure, printed as it is found."""
    # Nothing ends an answer early: a token is a token.
    engine = Engine(replace(loaded, end_ids=frozenset()), limits)
    engine.start()
    ms_per_decision = {}
    score_over_free30 = 0.0
    for length in LENGTHS:
        work = question(loaded, length)
        tokens = sum(len(member.ids) for member in work.members)
        took: dict[str, list[float]] = {"score": [], "score, cached prefix": [], "free 15": [], "free 30": []}
        for number in range(rounds + 1):
            found = {"score": await milliseconds(engine, work)}
            began = perf_counter()
            other = cached_prefix(loaded, work)
            found["score, cached prefix"] = 1000 * (perf_counter() - began)
            for count in (15, 30):
                free = replace(work, members=(), max_new_tokens=count)
                found[f"free {count}"] = await milliseconds(engine, free)
            if number > 0:  # The first round warms up.
                for name, value in found.items():
                    took[name].append(value)
        exact = score(loaded.model, [FiniteSet(work.prompt, tuple(member.ids for member in work.members))])[0]
        differ = max(abs(one - two) for one, two in zip(exact, other, strict=True))
        print(f"prompt of {len(work.prompt)} tokens, 9 actions of {tokens} tokens; the two ways differ by {differ:.1g}")
        for name, values in took.items():
            print(f"  {name:<22}{median(values):8.0f} ms", flush=True)
        ms_per_decision[str(length)] = round(median(took["score"]), 1)
        score_over_free30 = max(score_over_free30, median(took["score"]) / median(took["free 30"]))
    rates: dict[str, dict[int, float]] = {}
    scored = [question(loaded, 200, number) for number in range(16 * max(1, rounds // 2))]
    for name, works in (
        ("score", scored),
        ("free 15", [replace(work, members=(), max_new_tokens=15) for work in scored[:16]]),
    ):
        rates[name] = {at_once: await per_second(engine, works, at_once) for at_once in AT_ONCE}
        shown = ", ".join(f"{rate:.2f} with {at_once}" for at_once, rate in rates[name].items())
        print(f"decisions a second by {name}, prompts of 200 tokens: {shown} at once")
    engine.stop()
    return {
        "score_over_free30": round(score_over_free30, 3),
        "throughput_16_over_1": round(rates["score"][16] / rates["score"][1], 2),
        "ms_per_decision": ms_per_decision,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="smollm2, a folder, or a model's name on the Hub")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--rounds", type=int, default=5, help="of which medians are taken")
    parser.add_argument("--batch-tokens", type=int, default=Limits().batch_tokens, help="in one forward, at most")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    loaded = load(given.model, device=given.device, dtype=given.dtype)
    name = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else "the CPU"
    print(f"{given.model} in {loaded.dtype} on {name}, {given.threads} threads, {given.batch_tokens} tokens a forward")
    found = asyncio.run(measure(loaded, given.rounds, Limits(batch_tokens=given.batch_tokens)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
