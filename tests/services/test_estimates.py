"""What a matchup will probably take, told before it is asked for."""

from pathlib import Path

import pytest

from services.arena.budget import read_prices
from services.arena.estimates import estimate
from shared.battle.decision import AskRecord
from shared.errors import UnknownPolicy
from shared.matchups import Matchups
from shared.records import AskedUntilDecided, MatchupRequest, NewMatchup
from shared.store import Store
from tests.services.made import battle, move

MODEL = "mistral:mistral-large-latest"


def matchups(folder: Path) -> Matchups:
    return Matchups(Store(str(folder)))


def test_baselines_cost_nothing_and_models_what_their_prices_say(tmp_path: Path) -> None:
    prices = read_prices()
    assert estimate(NewMatchup(p1="heuristic", p2="random", battles=10), matchups(tmp_path), prices).cost_usd == 0
    told = estimate(NewMatchup(p1=MODEL, p2="random", battles=10), matchups(tmp_path), prices)
    price = prices[MODEL]
    assert told.cost_usd == pytest.approx(10 * 25 * (300 * price.tokens_in + 8 * price.tokens_out) / 1e6)
    assert (told.seconds, told.source) == (None, "going by the price table")
    assert estimate(NewMatchup(p1="tgi:mine", p2="random"), matchups(tmp_path), prices).cost_usd is None


def test_what_a_policy_took_before_counts_for_more(tmp_path: Path) -> None:
    stored = matchups(tmp_path)
    stored.create("before", MatchupRequest(p1="random", p2=MODEL, battles=2))
    asked = (AskRecord(prompt="p", answer="a", cost_usd=0.5),)
    made = move("p2", 1, ms=3900.0).model_copy(update={"asked": asked})
    for index in range(2):
        stored.record("before", battle(index, decisions=(made,)))
    told = estimate(NewMatchup(p1=MODEL, p2="random", battles=8, concurrency=4), stored, read_prices())
    assert told.cost_usd == pytest.approx(4.0) and told.seconds == pytest.approx(8.0, rel=0.01)
    assert told.source == "going by 4 battles that they played"


def test_until_decided_it_is_the_most_and_nobody_is_unknown(tmp_path: Path) -> None:
    asked = NewMatchup(p1="heuristic", p2="random", until_decided=AskedUntilDecided(max_battles=300))
    told = estimate(asked, matchups(tmp_path), read_prices())
    assert (told.battles, told.at_most) == (300, True)
    with pytest.raises(UnknownPolicy):
        estimate(NewMatchup(p1="nobody", p2="random"), matchups(tmp_path), read_prices())
