"""The policy that searches: what it knows, what it makes of it, and how it plays."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from services.arena.checks import check_matchup
from services.arena.play import play
from services.arena.player import View
from services.arena.policies import make_policy
from services.arena.policies.known import known
from services.arena.policies.search import Search, solve
from shared.battle.action import legal_actions
from shared.battle.protocol import SEATS, Seat, seen_by
from shared.battle.tracker import Tracker
from shared.errors import UnknownPolicy, UsageError
from shared.policies import SearchOptions, parse_policy
from shared.records import BattleRecord, MatchupRequest
from shared.simulator.simulator import SeatSetup, Simulator

NAMES: dict[Seat, str] = {"p1": "Red", "p2": "Blue"}
OWN = "\n\n".join(
    f"{species} @ Leftovers\nLevel: 80\nAbility: {ability}\nTera Type: {tera}\n- {moves}"
    for species, ability, tera, moves in (
        ("Forretress", "Sturdy", "Bug", "Stealth Rock\n- Volt Switch\n- Gyro Ball\n- Spikes"),
        ("Garchomp", "Rough Skin", "Fire", "Earthquake\n- Swords Dance\n- Outrage\n- Fire Fang"),
        ("Gyarados", "Moxie", "Flying", "Waterfall\n- Dragon Dance\n- Earthquake\n- Ice Fang"),
    )
)
CLEFABLE = "Clefable @ {item}\nLevel: 83\nAbility: Unaware\nTera Type: {tera}\n- Calm Mind\n- {moves}"
SHOWN_ALIKE = (
    CLEFABLE.format(item="Leftovers", tera="Steel", moves="Moonblast\n- Moonlight\n- Flamethrower")
    + "\n\nTauros\nLevel: 82\nAbility: Intimidate\n- Body Slam\n\nEiscue\nLevel: 84\nAbility: Ice Face\n- Liquidation",
    CLEFABLE.format(item="Life Orb", tera="Fairy", moves="Stored Power\n- Encore\n- Thunder Wave")
    + "\n\nKyogre\nLevel: 72\nAbility: Drizzle\n- Water Spout\n\nMew\nLevel: 81\nAbility: Synchronize\n- Psychic",
)
"""Teams of which a turn of Calm Mind shows the same."""


@pytest.fixture
async def search() -> AsyncIterator[Search]:
    policy = make_policy("search?worlds=2&dice=1&time=0.1")
    assert isinstance(policy, Search)
    yield policy
    await policy.aclose()


async def second_turn(simulator: Simulator, team: str) -> tuple[View, list[str]]:
    """What p1 is asked after a turn of Stealth Rock against that team's Calm Mind, and the log as it saw it."""
    format_id = "gen9randombattle"
    packed = {"p1": await packed_team(simulator, OWN), "p2": await packed_team(simulator, team)}
    battle = await simulator.open(
        format_id, f"sodium,{1:032x}", {seat: SeatSetup(NAMES[seat], team=packed[seat]) for seat in SEATS}
    )
    tracker, heard = Tracker(9, "p1", NAMES), list[str]()
    step = await battle.step()
    heard.extend(seen_by("p1", step.lines))
    tracker.request(step.requests["p1"])
    battle.choose({"p1": "move 1", "p2": "move 1"})
    step = await battle.step()
    battle.close()
    heard.extend(seen_by("p1", step.lines))
    tracker.hear(heard)
    request = step.requests["p1"]
    tracker.request(request)
    return View(request, legal_actions(request), Random(3), tracker), [line for line in heard if "|t:|" not in line]


async def packed_team(simulator: Simulator, team: str) -> str:
    return await simulator.validate_team("gen9customgame", team)


async def test_what_the_opponent_has_not_shown_changes_nothing(search: Search) -> None:
    async with Simulator() as simulator:
        first, seen_first = await second_turn(simulator, SHOWN_ALIKE[0])
        second, seen_second = await second_turn(simulator, SHOWN_ALIKE[1])
    assert seen_first == seen_second

    advice = await search.advise(first)

    assert advice == await search.advise(second)
    assert [each.action for each in advice] == list(first.legal)
    assert sum(each.probability for each in advice) == pytest.approx(1)
    assert (await search.decide(first)).action == (await search.decide(second)).action


async def test_what_it_has_shown_is_known(search: Search) -> None:
    async with Simulator() as simulator:
        view, _ = await second_turn(simulator, SHOWN_ALIKE[0])

    told: dict[str, Any] = known(view)

    foe = told["foe"]["pokemon"][0]
    assert (foe["species"], foe["moves"], foe["boosts"], foe["item"]) == (
        "Clefable",
        ["calmmind"],
        {"spa": 1, "spd": 1},
        None,
    )
    assert told["foe"]["conditions"] == {"stealthrock": 1}
    assert told["foe"]["unseen"] == 2
    assert [each["hp"] for each in told["own"]["pokemon"]] == [each["max_hp"] for each in told["own"]["pokemon"]]


async def battles(p1: str, number: int) -> list[BattleRecord]:
    found: list[BattleRecord] = []
    request = MatchupRequest(p1=p1, p2="heuristic", battles=number, seed=31, concurrency=2)
    await play(request, range(number), matchup_id="m", worker="w", on_record=found.append)
    return sorted(found, key=lambda record: record.index)


async def test_it_plays_battles_and_advises_on_every_decision() -> None:
    records = await battles("search?worlds=1&dice=1&time=0.05", 2)

    assert [record.broken for record in records] == [None, None]
    made = [each for record in records for each in record.decisions if each.policy == "p1" and each.legal_actions > 1]
    assert [each.outcome for each in made if not each.advice] == []
    for each in made:
        assert len(each.advice) == each.legal_actions
        assert sum(advice.probability for advice in each.advice) == pytest.approx(1, abs=0.01)
        assert all(0 <= advice.value <= 1 for advice in each.advice)
        assert next(advice for advice in each.advice if advice.order == each.order).probability > 0
    assert {each.gimmick for each in made} == {None, "tera"}


def test_of_a_game_of_three_each_is_taken_alike() -> None:
    stone_scissors_paper = [[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]]

    probabilities, values = solve([stone_scissors_paper], [0.0] * 3, [[1.0] * 3])

    assert probabilities == pytest.approx([1 / 3] * 3)
    assert values == pytest.approx([0.5] * 3)


def test_what_is_worse_whatever_the_opponent_does_is_never_taken() -> None:
    probabilities, values = solve([[[0.4, 0.6], [0.3, 0.5], None]], [0.5, 0.4, 0.1], [[1.0, 1.0]])

    assert probabilities == [1.0, 0.0, 0.0]
    assert values[0] > values[1] > values[2] == 0.1


def test_one_strategy_must_do_in_all_worlds() -> None:
    """Where the first action wins in one world and the second in the other, the third is safe in both."""
    worlds = [[[0.9], [0.1], [0.6]], [[0.1], [0.9], [0.6]]]

    probabilities, _ = solve(worlds, [0.5, 0.5, 0.6], [[1.0], [1.0]])

    assert probabilities == [0.0, 0.0, 1.0]


def test_what_the_opponent_is_likely_to_do_counts_for_more() -> None:
    """A game without a best action: the one that is good against what is likely is taken more often."""
    game = [[0.6, 0.4], [0.4, 0.6]]

    likely_first, _ = solve([game], [0.5, 0.5], [[9.0, 1.0]])
    likely_second, _ = solve([game], [0.5, 0.5], [[1.0, 9.0]])

    assert likely_first == likely_second[::-1]
    assert likely_first[0] > likely_first[1]


def test_its_options_are_checked() -> None:
    assert parse_policy("search?worlds=4&time=1.5").search == SearchOptions(worlds=4, time_seconds=1.5)
    with pytest.raises(UnknownPolicy, match="'worlds' takes a whole number from 1 to 16"):
        parse_policy("search?worlds=0")
    with pytest.raises(UnknownPolicy, match="no option 'asks'"):
        parse_policy("search?asks=3")


@pytest.mark.parametrize("format_id", ["gen8randombattle", "gen9ou"])
def test_a_format_without_a_value_model_is_refused_beforehand(format_id: str) -> None:
    with pytest.raises(UsageError, match=f"{format_id} has none") as refused:
        check_matchup(MatchupRequest(p1="random", p2="search", format=format_id))
    assert refused.value.field == "p2"
