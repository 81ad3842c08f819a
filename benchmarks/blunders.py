"""Whether a review finds a blunder that was planted: a policy that once ignores a certain win.

`heuristic` plays `heuristic`. Where the choice that ended a battle would have won whatever the opponent did, the battle
is played again from the same seeds; there its winner makes one of its other choices, by chance, and both play on. The
review of that battle is then asked where the blunder ranks among the decisions of both sides.

The last line is JSON: {"battles", "among_first_three", "dice", "ranks": [1, …], "cpu_seconds_a_battle":
of all that was done on the simulator}.
"""

import argparse
import asyncio
import json
import resource
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import Any

from services.arena.play import play
from services.arena.player import View
from services.arena.policies import Policy, make_policy
from services.arena.reviews import choices_asked, review_choices
from services.reporter.turning import ranked
from shared.battle.action import Pass
from shared.battle.decision import Decision
from shared.battle.protocol import SEATS, Seat, other
from shared.choices import ChoiceReview
from shared.records import BattleRecord, MatchupRequest
from shared.simulator.inputlog import parse_inputlog
from shared.simulator.simulator import Simulator
from shared.value import shipped_value

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


@dataclass(frozen=True)
class Blunder:
    """A certain win that is to be ignored."""

    index: int
    policy: Seat
    number: int
    """Which of its choices."""
    winning: Set[str]


async def played(
    request: MatchupRequest, indices: Sequence[int], blunders: Mapping[int, Blunder]
) -> list[BattleRecord]:
    """These battles of the matchup, with these blunders."""
    records: list[BattleRecord] = []

    def policies(index: int) -> Mapping[Seat, Policy]:
        found = blunders.get(index)
        return {
            seat: Blundering(found.number, found.winning, seed=index)
            if found and found.policy == seat
            else Blundering()
            for seat in SEATS
        }

    await play(request, indices, matchup_id="b", worker="w", on_record=records.append, policies_of=policies)
    return sorted(records, key=lambda record: record.index)


async def certain_wins(records: Sequence[BattleRecord]) -> Mapping[int, Blunder]:
    """Index → the choice that ended the battle, where it would have won whatever the opponent did."""
    value, found = shipped_value("gen9randombattle"), {}
    assert value is not None
    async with Simulator() as simulator:
        for record in records:
            if record.winner not in SEATS:
                continue
            winner: Seat = "p1" if record.winner == "p1" else "p2"
            seat = record.p1_seat if winner == "p1" else other(record.p1_seat)
            how: dict[str, Any] = dict(table=4, fresh=2, least=1.0, dice="certain", since=record.turns)
            told = await simulator.choices(parse_inputlog(record.input_log), value, **how)
            last = [each for each in told["decisions"] if each["seat"] == seat][-1:]
            asked = [each for each in record.decisions if each.policy == winner and not each.refused_by_simulator]
            if last and last[0]["number"] == len(asked) - 1 and last[0]["options"][0]["value"] > CERTAIN:
                winning = {each["name"] for each in last[0]["options"] if each["value"] > CERTAIN}
                number = sum(each.legal_actions > 1 for each in asked) - 1
                found[record.index] = Blunder(record.index, winner, number, winning)
    return found


async def main(battles: int, dice: int, seed: int, first: int) -> None:
    """Plant so many, beginning with battle `first`, and print where they rank."""
    request = MatchupRequest(p1="heuristic", p2="heuristic", battles=1000, seed=seed)
    planted: list[BattleRecord] = []
    blunders: dict[int, Blunder] = {}
    at_once = 4 * battles if battles > 1 else 1
    for start in range(first, request.battles, at_once):
        records = await played(request, range(start, start + at_once), {})
        blunders |= await certain_wins(records)
        lengths = {record.index: len(record.decisions) for record in records}
        again = await played(request, [index for index in blunders if index >= start], blunders)
        planted += [each for each in again if each.winner is not None and len(each.decisions) > lengths[each.index]]
        if len(planted) >= battles:
            break
    ranks: list[int] = []

    def keep(review: ChoiceReview) -> None:
        blunder = blunders[review.index]
        asked = [each for each in record_of[review.index].decisions if each.policy == blunder.policy]
        taken = [each for each in asked if each.legal_actions > 1][blunder.number]
        own = [each for each in asked if not each.refused_by_simulator]
        order = [(each.policy, each.number) for each in ranked(review)]
        where = (blunder.policy, own.index(taken))
        ranks.append(order.index(where) + 1 if where in order else len(review.decisions))
        print(f"battle {review.index}: the blunder ranks {ranks[-1]} of {len(review.decisions)}", flush=True)

    record_of = {record.index: record for record in planted[:battles]}
    await review_choices(request, choices_asked(request.format, dice), planted[:battles], keep)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (spent.ru_utime + spent.ru_stime) / max(1, len(ranks))
    early = sum(each <= 3 for each in ranks)
    figures = {"battles": len(ranks), "among_first_three": early, "dice": dice, "ranks": ranks}
    print(json.dumps(figures | {"cpu_seconds_a_battle": round(seconds, 2)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--battles", type=int, default=20)
    parser.add_argument("--dice", type=int, default=16)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(main(given.battles, given.dice, given.seed, given.first))
