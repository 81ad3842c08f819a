"""A budget: what it permits, and what it says when it does not."""

import asyncio

import pytest

from services.arena.budget import MatchupBudget, Spent
from shared.battle.decision import AskRecord, Outcome
from shared.records import BattleRecord
from tests.services.made import battle, move


def cost(index: int, cost_usd: float | None = 0.1, tokens: int | None = 50) -> BattleRecord:
    """A battle whose only ask took that much."""
    asked = AskRecord("prompt", "answer", tokens_in=tokens, tokens_out=tokens, cost_usd=cost_usd)
    return battle(index, "p1", [move("p1", 1, outcome=Outcome.CHOSEN).model_copy(update={"asked": (asked,)})])


async def begun(budget: MatchupBudget, most: int = 100) -> int:
    """How many battles begin one after the other, each of them like `cost`."""
    for index in range(most):
        if not await budget.begin():
            return index
        await budget.end(cost(index))
    return most


async def test_without_a_limit_every_battle_begins() -> None:
    assert await begun(MatchupBudget()) == 100


@pytest.mark.parametrize(
    ("budget", "battles"),
    [
        (MatchupBudget(max_cost_usd=1.05), 10),
        (MatchupBudget(max_cost_usd=0.05), 1),
        (MatchupBudget(max_tokens=1_000), 10),
        (MatchupBudget(max_cost_usd=100, max_tokens=250), 2),
        (MatchupBudget(max_cost_usd=1.05, elsewhere=Spent(0.8, 0)), 2),
        (MatchupBudget(max_cost_usd=1.0, elsewhere=Spent(1.0, 0)), 0),
    ],
)
async def test_no_battle_begins_that_would_probably_cost_too_much(budget: MatchupBudget, battles: int) -> None:
    assert await begun(budget) == battles
    assert "does not reach for another battle" in (budget.stopped or "")


async def test_the_first_battle_is_played_alone_to_learn_what_one_costs() -> None:
    budget = MatchupBudget(max_cost_usd=1.0)
    assert await budget.begin()
    second = asyncio.create_task(budget.begin())
    await asyncio.sleep(0)
    assert not second.done()

    await budget.end(cost(0))

    assert await second


async def test_battles_in_play_are_reckoned_with() -> None:
    budget = MatchupBudget(max_cost_usd=0.35)
    budget.note([cost(0)])

    assert [await budget.begin() for _ in range(4)] == [True, True, False, False]


async def test_what_others_recorded_counts() -> None:
    others = [cost(index) for index in range(8)]
    budget = MatchupBudget(max_cost_usd=1.05, fetch=lambda known: [each for each in others if each.index not in known])
    assert await budget.begin()
    await budget.end(cost(8))
    assert await budget.begin()
    others.append(cost(9))

    assert not await budget.begin()


@pytest.mark.parametrize("unknown", [cost(0, cost_usd=None), cost(0, tokens=None, cost_usd=None)])
async def test_what_cannot_be_counted_cannot_be_kept_within_bounds(unknown: BattleRecord) -> None:
    budget = MatchupBudget(max_cost_usd=1.0)
    assert await budget.begin()
    await budget.end(unknown)

    assert not await budget.begin()
    assert budget.stopped == "a budget of 1 USD cannot be kept, since it is unknown what was spent"


async def test_what_was_spent_on_a_battle_that_is_played_again_counts() -> None:
    budget = MatchupBudget(max_tokens=1_000)
    assert await budget.begin()
    for _ in range(4):
        budget.lose(cost(0, tokens=100))
    await budget.end(cost(0, tokens=100))

    assert not await budget.begin()
