"""The soak of faults, in short: real services, real faults, and nobody helps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_faults_lose_double_break_and_hold_up_nothing() -> None:
    # A seed whose first faults are as unlike as can be: a host without Node.js, a store that is away, an empty file, a
    # Redis that answers nobody and one that forgets, and a stopped worker whose job plays on.
    command = [sys.executable, "benchmarks/faults.py", "--seed", "6350", "--faults", "6", "--battles", "24"]
    command += ["--matchup", "8", "--longest", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("longest_standstill_s") < 40
    assert told.pop("battles") >= 24
    assert told == {"faults": 6, "lost": 0, "doubled": 0, "broken": 0, "manual": 0}, done.stderr[-2000:]
