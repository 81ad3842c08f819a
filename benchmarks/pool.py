"""Battles of baselines that now and then play at random: for value models, and for pools that luck is measured on.

    .venv/bin/python benchmarks/pool.py heuristic/6 typed/6 --battles 400 --seed 15 --out var/value/slips.json.gz

`heuristic/6` plays every sixth decision at random, on average, so that also what a baseline never does (it never
terastallizes) is done and its consequences are seen. Written is a run file, in pairs.
"""

import asyncio
import gzip
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

from services.arena.play import play
from services.arena.player import Policy, View
from services.arena.policies import make_policy
from services.reporter.run import assemble
from shared.battle.decision import Decision
from shared.records import BattleRecord, MatchupRequest


class Slips:
    """A policy that plays every `each`-th decision at random, on average."""

    contract: Mapping[str, str] = {}

    def __init__(self, policy: Policy, each: int) -> None:
        self._policy, self._each = policy, each

    async def decide(self, view: View) -> Decision:
        if view.rng.random() < 1 / self._each:
            return Decision(view.rng.choice(view.legal))
        return await self._policy.decide(view)


def seated(text: str) -> Policy:
    """The policy of a name such as `typed` or `typed/6`."""
    name, _, each = text.partition("/")
    return Slips(make_policy(name), int(each)) if each else make_policy(name)


def main() -> None:
    """Play a pool, write it, say who won."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("p1")
    parser.add_argument("p2")
    parser.add_argument("--battles", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    names = {seat: text.partition("/")[0] for seat, text in (("p1", asked.p1), ("p2", asked.p2))}
    request = MatchupRequest(**names, battles=asked.battles, seed=asked.seed)
    records: list[BattleRecord] = []
    asyncio.run(
        play(
            request,
            range(asked.battles),
            matchup_id=f"pool-{asked.seed}",
            worker="pool",
            on_record=records.append,
            policies_of=lambda _: {"p1": seated(asked.p1), "p2": seated(asked.p2)},
        )
    )
    run = assemble(request, records, matchup_id=f"pool-{asked.seed}", created_at="2026-11-28T00:00:00+00:00")
    agents = {"p1_agent": asked.p1, "p2_agent": asked.p2}
    run = run.model_copy(update={"summary": run.summary.model_copy(update=agents)})
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_bytes(gzip.compress(run.model_dump_json().encode(), mtime=0))
    print(f"{asked.p1} won {run.summary.p1_win_rate:.3f} of {asked.battles} battles; written to {asked.out}")


if __name__ == "__main__":
    main()
