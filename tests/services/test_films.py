"""Battles that can be opened: what is told of them, and how many a report takes."""

import base64
import gzip
import json
from pathlib import Path

import pytest

from services.reporter import films
from services.reporter.films import Openable, document
from services.reporter.run import rows_of
from shared.battle.decision import AskRecord
from shared.errors import NotFound
from shared.records import BattleRecord, BattleReview, LuckAsked, MatchupRequest, ReviewStep
from tests.services.made import battle, move

REQUEST = MatchupRequest(p1="tgi:mine", p2="random")
LOG = (
    "|switch|p1a: Sparky|Pikachu, L80|100/100",
    "|switch|p2a: Rex|Tyranitar, L78|100/100",
    "|turn|1",
    "|move|p1a: Sparky|Surf|p2a: Rex",
    "|-damage|p2a: Rex|12/100",
)
ASKED = AskRecord(prompt="Choose:", answer="move Surf", probabilities={"move Surf": 0.9}, cost_usd=float("nan"))


def played(index: int) -> BattleRecord:
    made = move("p1", 1, ms=float("inf"), reasoning="\u202eevil\x07").model_copy(update={"asked": (ASKED,)})
    return battle(index, decisions=[made]).model_copy(update={"public_log": LOG, "p1_seat": "p1"})


def test_a_battle_is_told_with_what_was_thought() -> None:
    told = document(REQUEST, played(3), played(3).decisions)
    assert told["names"] == {"p1": "tgi:mine", "p2": "random"} and told["battle"] == 3
    assert [step["said"] for step in told["steps"]][1] == ["Sparky used Surf.", "Rex lost 88\u00a0%: 12\u00a0% left."]
    (decision,) = told["decisions"]
    assert (decision["action"], decision["ms"], decision["reasoning"]) == ("move Surf", 0, "\ufffdevil\ufffd")
    assert decision["asked"] == [{"prompt": "Choose:", "answer": "move Surf", "probabilities": {"move Surf": 0.9}}]
    json.dumps(told, allow_nan=False)


def test_a_reviewed_battle_says_who_was_likely_to_win_a_turn_of_two_steps_being_two_halves() -> None:
    steps = [(1, 0.6, 0.1), (1, 0.4, -0.2), (2, 1.0, 0.0)]
    review = BattleReview(
        index=3,
        pair=1,
        winner="p1",
        asked=LuckAsked(value="0" * 16, copies=6, share=0.5),
        first=0.5,
        steps=tuple(ReviewStep(turn=turn, chose=("p1",), value=value, luck=luck) for turn, value, luck in steps),
    )
    told = document(REQUEST, played(3), played(3).decisions, review)
    assert told["chances"] == [(0, 0.5, 0), (0.5, 0.6, 0.1), (1, 0.4, -0.2), (2, 1, 0)]
    assert document(REQUEST, played(3), ())["chances"] == []


@pytest.mark.parametrize("log", [(), ("|turn|many",)])
def test_a_battle_that_cannot_be_shown_is_said_to_be(log: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="cannot be shown"):
        document(REQUEST, played(0).model_copy(update={"public_log": log}), ())


def test_a_report_takes_as_many_battles_as_fit_and_their_extras_last(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Openable()
    one.add(REQUEST, *rows_of(played(0), REQUEST))
    film, more = len(one.films[0]), len(one.more()[0])
    unpacked = json.loads(gzip.decompress(base64.b64decode(one.more()[0])))
    assert unpacked == {"log": list(LOG), "prompts": [["Choose:"]]}

    monkeypatch.setattr(films, "MAX_FILM_CHARACTERS", 3 * film + more + 40)
    many = Openable()
    for index in range(9):
        many.add(REQUEST, *rows_of(played(index), REQUEST))
    assert len(many.films) + many.left_out == 9 and 3 <= len(many.films) < 9
    assert many.more() == {}


def test_a_run_that_names_no_format_has_no_battle_to_open(tmp_path: Path) -> None:
    nothing = Openable()
    nothing.add(None, *rows_of(played(0), REQUEST))
    assert (nothing.films, nothing.left_out) == ({}, 0)
