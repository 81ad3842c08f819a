"""`alphastral bench`: a suite is played, goes on where it was, keeps its budget, and ends in a table."""

from pathlib import Path

import pytest

from deploy.cli.bench import Bench, play_suite, read_bench, table
from services.reporter.run import assemble
from shared.errors import UsageError
from shared.matchups import Matchups
from shared.records import Run
from shared.settings import Settings
from shared.store import Store
from tests.services.made import battles
from tests.services.scripted import Scripted, connecting, first_legal

PUBLISHED = Path(__file__).parents[2] / "suites" / "published.toml"
SETTINGS = Settings(_env_file=None)
SUITE = """
title = "small"
battles = 2
seed = 3

[policies.Scripted]
policy = "tgi:scripted"

[[matchup]]
p1 = "Scripted"
p2 = "random"

[[matchup]]
p1 = "max-damage"
p2 = "random"
battles = 4
"""


def suite(folder: Path, text: str = SUITE) -> Bench:
    path = folder / "suite.toml"
    path.write_text(text, encoding="utf-8")
    return read_bench(path)


def test_the_shipped_suite_is_the_published_model_against_three_of_mistral() -> None:
    shipped = read_bench(PUBLISHED)

    assert [row.request.p2 for row in shipped.rows] == [
        "mistral:ministral-3b-latest",
        "mistral:mistral-small-latest",
        "mistral:mistral-large-latest",
    ]
    assert {row.request.p1 for row in shipped.rows} == {
        "openai:mistral-hackaton-2026/ministral-3b-pokemon-showdown@http://127.0.0.1:8000/v1?contract=v1&instructions=no"
    }
    assert shipped.max_cost_usd == 5


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('title = "small"', 'title = "Too Big!"', "title"),
        ("battles = 2", "battles = 0", "battles"),
        ('p2 = "random"', 'p2 = "nosuch"', "unknown policy 'nosuch'"),
        ('policy = "tgi:scripted"', 'policy = "tgi:"', "'Scripted': the policy 'tgi' is written like"),
        ('p1 = "max-damage"\np2 = "random"\nbattles = 4', 'p1 = "Scripted"\np2 = "random"', "stands there twice"),
        ("seed = 3", "sede = 3", "sede"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        suite(tmp_path, SUITE.replace(old, new))


def test_a_suite_is_played_once_and_its_table_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backend = Scripted(first_legal)
    played = suite(tmp_path)
    assert play_suite(played, tmp_path / "bench", SETTINGS, connect=connecting(backend))
    first, asked = capsys.readouterr().out, len(backend.questions)
    assert play_suite(played, tmp_path / "bench", SETTINGS, connect=connecting(backend))

    assert len(backend.questions) == asked > 10
    assert capsys.readouterr().out == first
    assert "| Scripted vs random | 2 of 2 |" in first and "| max-damage vs random | 4 of 4 |" in first
    assert Matchups(Store(str(tmp_path / "bench"))).has_report(played.rows[0].matchup_id)


def test_a_budget_ends_the_bench_and_a_larger_one_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played, folder = suite(tmp_path), tmp_path / "bench"
    backend = Scripted(first_legal)
    assert not play_suite(played, folder, SETTINGS, max_tokens=10, connect=connecting(backend))
    told = capsys.readouterr()
    assert "1 of 2" in told.out and "0 of 4" in told.out
    assert "The bench ends here: the budget of 10 tokens does not reach" in told.err
    kept = Matchups(Store(str(folder))).battle(played.rows[0].matchup_id, 0)

    assert play_suite(played, folder, SETTINGS, max_tokens=10**7, connect=connecting(backend))
    assert Matchups(Store(str(folder))).battle(played.rows[0].matchup_id, 0) == kept


def test_the_table_has_intervals_substitutions_and_cost(tmp_path: Path) -> None:
    two = suite(tmp_path)
    runs: list[Run] = [
        assemble(row.request, battles(["p1", "p1", "p2"]), matchup_id="m", created_at="2026-01-02T03:04:05+00:00")
        for row in two.rows
    ]

    assert [line.replace("\u00a0", " ") for line in table(two, runs)][2] == (
        "| Scripted vs random | 3 of 2 | 67 % | 1 % to >99 % | 0 % / 0 % | 67 % of 3 | 0 | $0.00 |"
    )
