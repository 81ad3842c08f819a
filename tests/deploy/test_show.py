"""What the terminal says of how things stand."""

from datetime import UTC, datetime

import pytest

from deploy.cli.show import print_status, progress, steps
from services.arena.views import BySide, MatchupLinks, MatchupStatus
from shared.records import MatchupRequest
from shared.text import pace
from shared.verdicts.scores import Tally
from shared.work import State


def status(state: State, *, reported: bool) -> MatchupStatus:
    own = "/matchups/m-1"
    links = MatchupLinks(self=own, run=f"{own}/run" if reported else None, report=f"{own}/report" if reported else None)
    return MatchupStatus.model_validate(
        dict(
            **dict(id="m-1", state=state, created_at=datetime(2026, 1, 1, tzinfo=UTC), p1="heuristic", p2="random"),
            **dict(format="gen9randombattle", battles=20, recorded=20, links=links, finished=20, broken=0, p1_wins=20),
            **dict(p2_wins=0, draws=0, p1_win_rate=1.0, p1_win_rate_interval=(0.796, 1.0), cost_usd=0.5, stopped=None),
            **dict(decisions=BySide(p1=1, p2=1), substitutions=BySide(p1=0, p2=0), failures=[], sequential_test=None),
            request=MatchupRequest(p1="heuristic", p2="random", battles=20),
            probably_left=None,
            luck=None,
        )
    )


def test_a_finished_matchup_is_told_as_one_and_names_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(status(State.FINISHED, reported=True), "http://127.0.0.1:8080")

    said = capsys.readouterr().out.replace("\u00a0", " ")
    assert "heuristic won 100.0 % (79.6 % to 100.0 %)\n" in said and "so far" not in said
    assert "report: http://127.0.0.1:8080/matchups/m-1/report\n" in said


def test_of_a_matchup_that_runs_it_is_told_how_it_stands_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(status(State.RUNNING, reported=False), "http://127.0.0.1:8080")

    said = capsys.readouterr().out
    assert "so far" in said and "report:" not in said


@pytest.mark.parametrize(
    ("battles", "seconds", "said"),
    [
        (62, 10, "6.2 battles a second"),
        (2, 120, "1.0 battles a minute"),
        (1, 90, "40.0 battles a hour"),
        (1, 36_000, "0.1 battles a hour"),
    ],
)
def test_a_pace_is_told_in_a_unit_in_which_it_is_not_nothing(battles: int, seconds: float, said: str) -> None:
    assert pace(battles, seconds) == said.replace("a hour", "an hour")


def test_where_there_is_no_terminal_a_line_now_and_then_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("battles", 20) as battles:
        battles(Tally(2, 1, 0, 0))
        battles(Tally(2, 1, 1, 1))
    with steps("the luck of battles", 20) as reviews, steps("replays", 20) as replays:
        reviews(5, {})
        replays(5, {"saved": 4, "broken": 1})

    assert capsys.readouterr().err.splitlines() == [
        "battles: 3 of 20, p1 won 2, p2 won 1",
        "battles: 5 of 20, p1 won 2, p2 won 1, 1 drawn, 1 broken",
        "the luck of battles: 5 of 20",
        "replays: 5 of 20: 4 saved, 1 broken",
    ]
