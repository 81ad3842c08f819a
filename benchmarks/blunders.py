"""Whether a review finds a blunder that was planted: a policy that once ignores a certain win.

`heuristic` plays `heuristic`. Where the choice that ended a battle would have won whatever the opponent did, the battle
is played again from the same seeds; there its winner makes one of its other choices, by chance, and both play on. The
review of that battle is then asked where the blunder ranks among the decisions of both sides.

The last line is JSON: {"battles", "among_first_three", "dice", "cpu_seconds_a_battle", "ranks": [1, …]}.
"""

import argparse
import asyncio
import json
import resource
from collections.abc import Mapping, Set
from random import Random

from services.arena.play import play
from services.arena.player import View
from services.arena.policies import Policy, make_policy
from services.arena.reviews import choices_asked, review_choices
from services.reporter.turning import ranked
from shared.battle.action import Pass
from shared.battle.decision import Decision
from shared.battle.protocol import SEATS, Seat
from shared.choices import ChoiceReview, ChoicesAsked
from shared.records import BattleRecord, MatchupRequest

CERTAIN = 0.9999


class Blundering:
    """Plays as `heuristic` does, but for one of its choices in the battle."""

    contract: Mapping[str, str] = {}

    def __init__(self, at: int = -1, winning: Set[str] = frozenset(), seed: int = 0) -> None:
        """`at`: which of the decisions that it is asked for; `winning`: the moves that it does not make then."""
        self._policy = make_policy("heuristic")
        self._at, self._winning, self._rng = at, winning, Random(seed)
        self._asked = 0

    async def decide(self, view: View) -> Decision:
        decision = await self._policy.decide(view)
        asked, self._asked = self._asked, self._asked + 1
        if asked != self._at:
            return decision
        others = [each for each in view.legal if isinstance(each, Pass) or each.name not in self._winning]
        return Decision(self._rng.choice(others)) if others else decision


async def played(request: MatchupRequest, index: int, policies: Mapping[Seat, Policy]) -> BattleRecord:
    """One battle of the matchup."""
    records: list[BattleRecord] = []
    await play(
        request, [index], matchup_id="b", worker="w", on_record=records.append, policies_of=lambda index: policies
    )
    return records[0]


async def weighed(request: MatchupRequest, asked: ChoicesAsked, record: BattleRecord) -> ChoiceReview:
    """The decisions of a battle."""
    found: list[ChoiceReview] = []
    await review_choices(request, asked, [record], found.append)
    return found[0]


async def rank(request: MatchupRequest, index: int, asked: ChoicesAsked) -> tuple[int, float] | None:
    """Where the blunder in this battle ranks, from 1 on, and the CPU that the review took; None where none fits in."""
    record = await played(request, index, {seat: Blundering() for seat in SEATS})
    if record.winner not in SEATS:
        return None
    winner: Seat = "p1" if record.winner == "p1" else "p2"
    table = await weighed(request, asked.model_copy(update={"fresh": 2, "least": 1.0}), record)
    last = [each for each in table.decisions if each.policy == winner][-1:]
    mine = [each for each in record.decisions if each.policy == winner and not each.refused_by_simulator]
    if not last or last[0].number != len(mine) - 1 or last[0].options[0].value < CERTAIN:
        return None
    winning = {each.name for each in last[0].options if each.value >= CERTAIN}
    at = sum(each.policy == winner and each.legal_actions > 1 for each in record.decisions) - 1
    policies: Mapping[Seat, Policy] = {
        seat: Blundering(at, winning, seed=index) if seat == winner else Blundering() for seat in SEATS
    }
    again = await played(request, index, policies)
    if again.winner is None or len(again.decisions) <= len(record.decisions):
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    review = await weighed(request, asked, again)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    order_of = [(each.policy, each.number) for each in ranked(review)]
    planted = (winner, last[0].number)
    return (order_of.index(planted) + 1 if planted in order_of else 999), cpu


async def main(battles: int, dice: int, seed: int) -> None:
    """Plant so many, and print where they rank."""
    request = MatchupRequest(p1="heuristic", p2="heuristic", battles=1000, seed=seed)
    asked = choices_asked(request.format, dice)
    ranks: list[int] = []
    seconds = 0.0
    for index in range(request.battles):
        if len(ranks) == battles:
            break
        if found := await rank(request, index, asked):
            ranks.append(found[0])
            seconds += found[1]
            print(f"battle {index}: the blunder ranks {found[0]}", flush=True)
    first = sum(each <= 3 for each in ranks)
    figures = {"battles": len(ranks), "among_first_three": first, "dice": dice, "ranks": ranks}
    print(json.dumps(figures | {"cpu_seconds_a_battle": round(seconds / max(1, len(ranks)), 2)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--battles", type=int, default=20)
    parser.add_argument("--dice", type=int, default=16)
    parser.add_argument("--seed", type=int, default=15)
    given = parser.parse_args()
    asyncio.run(main(given.battles, given.dice, given.seed))
