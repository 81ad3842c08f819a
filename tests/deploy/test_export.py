"""A run's decisions as a table."""

import csv
from pathlib import Path

import pytest
from pyarrow import parquet

from deploy.cli.export import export
from shared.errors import UsageError
from tests.services.made import battles, run_of
from tests.services.test_report_models import model_run


def test_a_row_a_decision_tells_what_it_took_and_who_won(tmp_path: Path) -> None:
    run = model_run()
    (tmp_path / "run.json").write_text(run.model_dump_json())

    export(tmp_path / "run.json", tmp_path / "out" / "decisions.csv")
    export(tmp_path / "run.json", tmp_path / "decisions.parquet")

    rows = list(csv.DictReader((tmp_path / "out" / "decisions.csv").open(newline="")))
    table = parquet.read_table(tmp_path / "decisions.parquet").to_pylist()
    assert len(rows) == len(table) == len(run.turn_stats) == 5
    assert [(row["battle"], row["winner"], row["asks"]) for row in table[:3]] == [
        (1, "p1", 1),
        (1, "p1", 2),
        (2, "p2", 2),
    ]
    assert table[1]["cost_usd"] == pytest.approx(0.004) and table[4]["cost_usd"] is None
    assert (rows[1]["outcome"], rows[1]["prompt"], rows[4]["cost_usd"]) == ("chosen_after_second_ask", "p", "")
    assert [row["tokens_in"] for row in table] == [100, 200, 200, None, 100]


@pytest.mark.parametrize(("to", "said"), [("decisions.xlsx", "neither"), ("decisions.csv", "has no decision")])
def test_what_cannot_be_exported_is_refused(tmp_path: Path, to: str, said: str) -> None:
    run = run_of(battles(["p1"])).model_copy(update={"turn_stats": ()})
    (tmp_path / "run.json").write_text(run.model_dump_json())

    with pytest.raises(UsageError, match=said):
        export(tmp_path / "run.json", tmp_path / to)
