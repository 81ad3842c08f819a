"""`alphastral tournament`: a suite, its budget, and going on after an interruption."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.tournament import play_matchup, play_tournament
from services.arena.tournament import Suite, next_matchup, read_suite
from services.reporter.standings import Table
from shared.errors import Conflict, UsageError
from shared.records import MatchupRequest, Run
from shared.settings import Settings
from shared.verdicts.ratings import Meeting
from shared.verdicts.scores import Scores
from tests.services.test_standings import run_of

SUITE = """
policies = ["heuristic", "max-damage", "random"]
battles = 4
seed = 7
[budget]
battles = 20
"""


def suite_of(text: str, folder: Path) -> Suite:
    path = folder / "suite.toml"
    path.write_text(text)
    return read_suite(path)


class Interrupted(Exception):
    pass


def play(suite: Suite, folder: Path, play: Callable[..., Run] | None = None) -> Table:
    found, _ = play_tournament(
        suite, folder, settings=Settings(), advance=lambda tally, test=None: None, tell=lambda line: None, play=play
    )
    return found


def figures(table: Table) -> object:
    """All but the time that decisions took."""
    return [(line.as_played, line.own_choices) for line in table.lines], table.matrix, table.runs


def test_killed_and_resumed_it_gives_the_table_of_an_undisturbed_one(tmp_path: Path) -> None:
    # Really played; the second is killed in its third matchup, with a half-written file left behind.
    suite = suite_of(SUITE.replace("battles = 4", "battles = 2").replace("battles = 20", "battles = 8"), tmp_path)
    undisturbed = play(suite, tmp_path / "one")

    def dies_in_the_third(request: MatchupRequest, matchup_id: str, *more: object) -> Run:
        if matchup_id.endswith("-002"):
            (tmp_path / "two" / "runs" / "002.part").write_text("{")
            raise Interrupted
        return play_matchup(request, matchup_id, *more)  # type: ignore[arg-type]

    with pytest.raises(Interrupted):
        play(suite, tmp_path / "two", dies_in_the_third)
    resumed = play(suite, tmp_path / "two")

    assert figures(resumed) == figures(undisturbed)
    assert len(undisturbed.runs) == 4
    assert (tmp_path / "two" / "leaderboard.html").read_text().count("runs/") == 4


def made_up(request: MatchupRequest, matchup_id: str, *more: object) -> Run:
    """Who comes first in the alphabet wins three in four."""
    run = run_of(request.p1, request.p2, ["p1", "p1", "p1", "p2"], matchup_id=matchup_id)
    return run.model_copy(update={"request": request})


def never(*more: object) -> Run:
    raise AssertionError("this was played already")


def test_a_finished_tournament_plays_nothing_and_more_budget_goes_on_from_there(tmp_path: Path) -> None:
    play(suite_of(SUITE, tmp_path), tmp_path / "t", made_up)

    assert len(play(suite_of(SUITE, tmp_path), tmp_path / "t", never).runs) == 5
    assert len(play(suite_of(SUITE.replace("20", "28"), tmp_path), tmp_path / "t", made_up).runs) == 7


def test_a_folder_of_another_tournament_is_left_alone(tmp_path: Path) -> None:
    play(suite_of(SUITE, tmp_path), tmp_path / "t", made_up)

    with pytest.raises(Conflict, match="no matchup of this tournament"):
        play(suite_of(SUITE.replace("seed = 7", "seed = 8"), tmp_path), tmp_path / "t", made_up)


def test_everybody_plays_before_anybody_plays_again(tmp_path: Path) -> None:
    table = play(suite_of(SUITE, tmp_path), tmp_path / "t", made_up)

    assert {line.policy for line in table.lines} == {"heuristic", "max-damage", "random"}
    first = [{run.p1, run.p2} for run in table.runs][:2]
    assert set.union(*first) == {"heuristic", "max-damage", "random"}


def test_with_anchors_the_others_do_not_meet_each_other(tmp_path: Path) -> None:
    suite = suite_of('anchors = ["heuristic"]\n' + SUITE, tmp_path)

    assert suite.pairings == (("heuristic", "max-damage"), ("heuristic", "random"))


def test_each_matchup_has_a_seed_of_its_own_and_the_budget_ends_it(tmp_path: Path) -> None:
    suite = suite_of(SUITE, tmp_path)
    results: list[Meeting] = []
    seeds = []
    while (request := next_matchup(suite, results)) is not None:
        results.append(Meeting(request.p1, request.p2, Scores(pairs=(0, 0, 2, 0, 0))))
        seeds.append(request.seed)

    assert len(seeds) == len(set(seeds)) == 5


def test_the_order_of_the_policies_in_the_file_decides_nothing(tmp_path: Path) -> None:
    turned = SUITE.replace('"heuristic", "max-damage", "random"', '"random", "max-damage", "heuristic"')
    one, other = suite_of(SUITE, tmp_path), suite_of(turned, tmp_path)

    assert (one.id, one.pairings) == (other.id, other.pairings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SUITE.replace('"random"]', '"randm"]'), "did you mean 'random'"),
        (SUITE.replace('"random"]', '"heuristic"]'), "a policy is named twice"),
        (SUITE.replace("battles = 4", "battles = 5"), "multiple of 2"),
        (SUITE.replace("battles = 20", "battles = 2"), "not enough for one matchup"),
        (SUITE.replace("[budget]", "[budget]\nmoney = 3"), "budget.money"),
        (SUITE.replace("seed = 7", 'anchors = ["nobody"]'), "among the policies"),
        (SUITE.replace("[budget]", "[budget"), "no TOML file"),
        (SUITE.replace("seed", "sed"), "sed: Extra inputs"),
    ],
)
def test_a_suite_that_cannot_be_played_is_refused_with_the_reason(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        suite_of(text, tmp_path)


def test_the_command_shows_the_table_and_where_the_leaderboard_is(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(SUITE.replace("battles = 20", "battles = 8"))

    result = CliRunner().invoke(app, ["tournament", str(tmp_path / "suite.toml"), "-o", str(tmp_path / "out")])

    assert result.exit_code == 0 and "Leaderboard:" in result.output
    assert (tmp_path / "out" / "leaderboard.html").is_file()
