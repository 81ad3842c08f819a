"""What decisions cost: how they rank, what is kept of them, and that a planted blunder is found."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.arena.reviews import choices_asked
from services.reporter.films import document
from services.reporter.run import rows_of
from services.reporter.turning import TurningPoints, dice_and_choices, ranked
from shared.choices import (
    ChoiceReview,
    ChoicesAsked,
    LegalChoice,
    OnField,
    ReviewedDecision,
    keep_choices,
    read_choices,
)
from shared.errors import InputRefused, UsageError
from shared.matchups import Matchups
from shared.records import BattleReview, LuckAsked, MatchupRequest, ReviewStep
from shared.simulator.inputlog import parse_inputlog
from shared.simulator.simulator import Simulator
from shared.store import Store
from shared.value import shipped_value
from tests.services.made import battle, move, switch
from tests.services.simulated import replay

ROOT = Path(__file__).parents[2]
ASKED = ChoicesAsked(value="0" * 16)
NAMES = {"p1": "mine", "p2": "theirs"}


def decided(text: str = "Surf", **told: Any) -> ReviewedDecision:
    """A decision that cost 10 points, all of its texts being `text`."""
    pokemon = OnField(name=text, hp=43, status="par", boosts={"atk": 1}, left=3)
    options = tuple(
        LegalChoice(order=order, name=text, value=0.5, hindsight=0.5) for order in ("move a", "move b terastallize")
    )
    made: dict[str, Any] = dict(policy="p1", number=0, turn=1, kind="move", best=1, wins=False, reasoning=text)
    losses = dict(loss=0.1, error=0.01, hindsight=0.2, hindsight_error=0.02)
    return ReviewedDecision.model_validate(
        made | losses | {"own": pokemon, "opposing": pokemon, "options": options} | told
    )


def weighed(*decisions: ReviewedDecision, index: int = 0) -> ChoiceReview:
    return ChoiceReview(index=index, tag=f"m-{index:05d}", winner="p2", asked=ASKED, decisions=decisions)


def test_a_decision_costs_what_it_did_cost_as_far_as_that_could_be_known_and_a_win_at_once_comes_first() -> None:
    at_once = [decided(number=number, loss=loss, hindsight=loss, wins=True) for number, loss in ((3, 0.02), (4, 0.0))]
    dear, unlucky = decided(number=1, loss=0.3, hindsight=0.2), decided(number=2, loss=0.02, hindsight=0.9)
    nothing = decided(number=5, loss=0.5, hindsight=-0.1)

    found = ranked(weighed(decided(number=0), dear, unlucky, *at_once, nothing))

    assert [each.number for each in found] == [3, 4, 1, 0, 2]


def test_turning_points_say_where_what_and_how_sure() -> None:
    turning = TurningPoints(NAMES)
    turning.add(weighed(decided("Surf", kind="tera", turn=7)), None)
    turning.add(weighed(decided(loss=0.0, best=0, hindsight=0.0), index=1), None)
    (point,) = turning.worst()

    plain = point.position.replace("\u00a0", " ")
    assert plain == "Surf (43 %, paralyzed, +1 Attack) against Surf (43 %, paralyzed, +1 Attack), 3 left against 3"
    assert (point.chosen, point.better, point.result, point.sure) == ("Surf", "Surf with Tera", "lost", True)
    assert point.says.replace("\u00a0", " ").startswith("10 ± 1 points better, as far as could be known; 20 ± 2 ")
    assert turning.sentence.replace("\u00a0", " ").endswith("mine 5.0 ± 5.0 points of win probability on average.")
    rows = {row[0]: row[2] for row in turning.table().rows}
    assert rows == {"all": "2", "move": "1", "tera": "1", "turns 1 to 5": "1", "turns 6 to 15": "1"}
    told = json.loads(json.dumps(turning.document(1)))
    assert told["by_battle"][0]["turning_points"] == told["turning_points"]


def test_dice_and_choices_are_all_that_moved_a_battle() -> None:
    steps = tuple(
        ReviewStep(turn=1, chose=("p1",), value=value, luck=luck) for value, luck in ((0.7, 0.3), (0.0, -0.2))
    )
    asked = LuckAsked(value="0" * 16, copies=6, share=0.5)
    review = BattleReview(index=0, pair=None, winner="p2", asked=asked, first=0.5, steps=steps)

    assert dice_and_choices(review) == pytest.approx((0.1, -0.6))
    turning = TurningPoints(NAMES)
    turning.add(weighed(decided()), review)
    assert (turning.dice_lost, turning.choices_lost) == ({"p1": 0, "p2": 0}, {"p1": 1, "p2": 0})


def test_what_would_have_been_better_stands_beside_the_decision_whatever_was_refused_before() -> None:
    request = MatchupRequest(p1="heuristic", p2="random")
    made = [switch("p1", 1, refused="[Unavailable choice]"), move("p2", 1), move("p1", 1), move("p1", 2)]
    row, stats = rows_of(battle(0, "p2", made), request)
    log = ("|switch|p1a: A|Pikachu|1/1", "|switch|p2a: B|Pikachu|1/1", "|turn|1", "|move|p1a: A|Surf|p2a: B")

    told = document(request, row.model_copy(update={"public_log": log}), stats, None, weighed(decided(number=1)))

    assert ["better" in each for each in told["decisions"]] == [False, False, False, True]


def test_choices_are_kept_beside_a_run_and_in_a_store(tmp_path: Path) -> None:
    run, first, again = tmp_path / "run.json.gz", weighed(decided()), weighed(decided(number=9))
    for each in (first, again, weighed(index=1)):
        keep_choices(run, each)
    (tmp_path / "run.choices.jsonl").open("a").write('{"index": 0, "tag":')

    assert read_choices(run, [battle(0)]) == {0: again}
    assert read_choices(run, [battle(0).model_copy(update={"battle_tag": "another-0"})]) == {}

    matchups = Matchups(Store(str(tmp_path / "store")))
    assert (matchups.weighed("m"), matchups.choices("m", 0)) == (frozenset(), None)
    matchups.record_choices("m", first)
    assert (matchups.weighed("m"), matchups.choices("m", 0)) == (frozenset({0}), first)


def test_a_format_without_a_value_model_is_refused() -> None:
    with pytest.raises(UsageError, match="no value model of gen4randombattle"):
        choices_asked("gen4randombattle", 16)


async def test_every_legal_choice_is_weighed_and_the_battle_goes_on_as_recorded() -> None:
    value = shipped_value("gen9randombattle")
    assert value is not None
    async with Simulator() as simulator:
        log = parse_inputlog((await replay(simulator, 5)).inputlog or ())
        few = type(log)(log.commits, log.start, log.inputs[:8])
        first, again = [
            await simulator.choices(few, value, table=1, fresh=2, least=0.0, dice=dice) for dice in ("a", "a")
        ]
        with pytest.raises(InputRefused, match="odd number of dice"):
            await simulator.choices(few, value, table=1, fresh=1, least=0.0, dice="a")

    assert first["decisions"] == again["decisions"]
    seats: Sequence[str] = [each["seat"] for each in first["decisions"]]
    assert set(seats) == {"p1", "p2"}
    made = [text for kind, _, *text in log.inputs if kind == "choose"]
    for each in first["decisions"]:
        orders = [option["order"] for option in each["options"]]
        assert len(orders) == len(set(orders)) >= 2
        values = [option["value"] for option in each["options"]]
        assert min(values) >= 0 and max(values) <= 1
        assert (each["best"] > 0) == (max(values[1:]) >= values[0])
        assert [orders[0]] in made or orders[0].split()[0] == "move"
    opening = first["decisions"][0]
    assert sum(option["order"].startswith("switch") for option in opening["options"]) == 5
    assert opening["position"][0]["left"] == 6


@pytest.mark.slow
def test_a_planted_blunder_is_among_the_first_three() -> None:
    """One of them; benchmarks/blunders.py plants twenty."""
    given = ["--battles", "1", "--dice", "4", "--first", "6"]
    command = [sys.executable, str(ROOT / "benchmarks" / "blunders.py"), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    found = json.loads(done.stdout.splitlines()[-1])
    assert found["battles"] == found["among_first_three"] == 1
