"""The published schema of a run file is that of the records, and holds for what is written."""

import json
from pathlib import Path

import jsonschema

from scripts.run_schema import run_schema
from tests.services.made import battles, run_of

PUBLISHED = Path(__file__).parents[2] / "docs" / "run.schema.json"


def test_the_published_schema_is_in_step_with_the_records() -> None:
    message = "run: python scripts/run_schema.py > docs/run.schema.json"

    assert PUBLISHED.read_text(encoding="utf-8") == run_schema(), message


def test_a_run_as_written_follows_the_schema() -> None:
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    document = json.loads(run_of(battles(["p1", "draw", None]), asked=5, failures=["why"]).model_dump_json())

    jsonschema.Draft202012Validator(schema).validate(document)
