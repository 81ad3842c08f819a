"""Who may import whom: the contracts in pyproject.toml hold, notice a violation, and are true of a running API too."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT, name

APIS = [name(path) for path in sorted([*ROOT.glob("services/*/api.py"), *ROOT.glob("deploy/api.py")])]
NOT_IN_AN_API = {"jinja2", "plotly", "torch", "transformers"}


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [linter, "--no-cache", "--no-logo"], cwd=checkout, capture_output=True, text=True, check=False
    )


def test_the_import_contracts_hold() -> None:
    result = lint_imports(ROOT)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("shared/matchups.py", "import services.arena", "deploy → services → shared"),
        ("services/reporter/extra.py", "import services.arena.matchups", "No service imports another"),
        ("shared/records.py", "import shared.matchups", "Inside shared, imports point one way"),
        ("shared/anything.py", "", "Inside shared, imports point one way"),
        ("services/arena/api.py", "import services.arena.tasks", "An API carries neither the jobs"),
        ("services/reporter/api.py", "import services.reporter.report", "An API carries neither the jobs"),
        ("shared/battle/state.py", "import httpx2", "shared.battle knows no queue"),
        ("services/arena/shards.py", "from poke_env import Player", "poke-env comes in by few doors"),
        ("services/arena/shards.py", "import rq", "rq and redis live in shared.jobs"),
        ("services/reporter/run.py", "import torch", "torch and its family"),
    ],
)
def test_a_violation_is_noticed(tmp_path: Path, module: str, line: str, contract: str) -> None:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("node_modules", "__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")

    result = lint_imports(tmp_path)

    assert result.returncode == 1
    assert any(shown.startswith(contract) and "BROKEN" in shown for shown in result.stdout.splitlines()), result.stdout


@pytest.mark.parametrize("api", APIS)
def test_an_api_process_loads_nothing_that_only_its_jobs_need(api: str) -> None:
    module = api.removesuffix(".py").replace("/", ".")
    script = f"import sys, {module}; print(*(name for name in sys.modules if '.' not in name))"

    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert NOT_IN_AN_API.intersection(loaded.split()) == set()
