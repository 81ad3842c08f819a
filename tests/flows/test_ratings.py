"""`alphastral ratings`, on run files."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from shared.errors import UsageError
from tests.services.test_standings import A_TO_B, ALL_WON, B_TO_C


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for run in (A_TO_B, B_TO_C, ALL_WON):
        (folder / f"{run.matchup_id}.json").write_text(run.model_dump_json())
    return folder


def test_a_folder_of_runs_is_rated_and_the_leaderboard_links_their_reports(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "m1.html").write_text("a report")
    board = tmp_path / "board.html"

    result = CliRunner().invoke(app, ["ratings", str(runs), "-o", str(board)])

    assert result.exit_code == 0
    assert "1,000 (the\u00a0anchor)" in result.output and "above" in result.output
    assert 'href="reports/m1.html"' in board.read_text()


def test_the_order_of_the_files_changes_nothing(runs: Path) -> None:
    files = sorted(str(path) for path in runs.iterdir())

    one, other = (CliRunner().invoke(app, ["ratings", *each]).output for each in (files, files[::-1]))

    assert one == other


def test_another_anchor_can_be_chosen(runs: Path) -> None:
    result = CliRunner().invoke(app, ["ratings", str(runs), "--anchor", "c", "--anchor-rating", "1500"])

    assert "1,500 (the\u00a0anchor)" in result.output


def test_an_anchor_that_never_played_is_refused_with_the_list(runs: Path) -> None:
    result = CliRunner().invoke(app, ["ratings", str(runs), "--anchor", "nobody"])

    assert isinstance(result.exception, UsageError) and "b, c, d, heuristic" in result.exception.message


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["ratings", str(tmp_path)])

    assert isinstance(result.exception, UsageError) and "no run file" in result.exception.message
