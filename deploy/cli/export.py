"""`alphastral export`: a run's decisions as a table that pandas, polars, DuckDB and spreadsheets read, a row each."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deploy.cli.show import out, result
from shared.errors import AlphaStralError, UsageError
from shared.records import Run, read_run


def export(
    run_file: Annotated[Path, typer.Argument(help="A run file, ours or the original project's.")],
    to: Annotated[Path, typer.Option(help="A .csv or a .parquet file.")],
) -> None:
    """Write a run's decisions as a table, a row each: what was decided, how it came about, what it took, who won."""
    if to.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{to} is neither a .csv nor a .parquet file", field="to")
    rows = list(decisions(read_run(run_file)))
    if not rows:
        raise UsageError(f"{run_file} has no decision")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        _write_csv(to, rows) if to.suffix == ".csv" else _write_parquet(to, rows)
    except OSError as error:
        raise AlphaStralError(f"cannot write {to}: {error.strerror}") from error
    out.print(escape(f"{len(rows):,} decisions in {to}"))
    result({"decisions": len(rows), "file": to})


def decisions(run: Run) -> Iterator[dict[str, Any]]:
    """A row a decision. Of several asks: the last one's prompt and answer, and the sums of tokens and money.

    An unknown figure is None. `probabilities` is JSON: completion → probability.
    """
    battles = {battle.battle_tag: battle for battle in run.battles}
    for stat in run.turn_stats:
        battle, asked = battles.get(stat.battle_tag), stat.asked
        last = asked[-1] if asked else None
        yield {
            "matchup": run.matchup_id,
            "battle": battle.game_id if battle else None,
            "pair": battle.pair if battle else None,
            "winner": battle.winner if battle else None,
            **stat.model_dump(mode="json", exclude={"asked"}),
            "asks": len(asked),
            "prompt": last and last.prompt,
            "answer": last and last.answer,
            "model": last and last.model,
            "constraint": last and last.constraint,
            "probabilities": last and last.probabilities and json.dumps(dict(last.probabilities)),
            **{name: _sum([getattr(ask, name) for ask in asked]) for name in ("tokens_in", "tokens_out", "cost_usd")},
        }


def _sum(figures: list[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known and len(known) == len(figures) else None


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        from pyarrow import Table, parquet
    except ImportError as error:
        raise UsageError("a .parquet file needs pyarrow: pip install pyarrow; or write a .csv", field="to") from error
    parquet.write_table(Table.from_pylist(rows), path)
