"""The JSON Schema of a run file: `python scripts/run_schema.py > docs/run.schema.json`."""

import json
import sys

from shared.records import Run


def run_schema() -> str:
    """The schema of what we write, from the records themselves, as JSON text."""
    schema = Run.model_json_schema(mode="serialization")
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "alphaStral run",
        **{key: value for key, value in schema.items() if key != "title"},
    }
    # An ask is published under the name that run files were first described with.
    return json.dumps(described, indent=2, ensure_ascii=False).replace("AskRecord", "Asked") + "\n"


if __name__ == "__main__":
    sys.stdout.write(run_schema())
