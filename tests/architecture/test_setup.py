"""The setup script: which Node.js it takes, and that no step fails silently or outlives it."""

import ast
import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.sources import ROOT

SCRIPT = ROOT / "scripts" / "setup.py"


@pytest.fixture
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alphastral_setup", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("version", "taken"), [("v24.19.0", True), ("v18.0.0", True), ("v16.20.2", False), ("?", False)]
)
def test_node_on_path_is_taken_from_version_18(setup: ModuleType, tmp_path: Path, version: str, taken: bool) -> None:
    program(tmp_path, "node", f"echo {version}")
    program(tmp_path, "npm", "exit 0")

    assert setup.node_on_path(str(tmp_path)) == ([str(tmp_path / "npm")] if taken else None)


def test_node_without_npm_is_not_enough(setup: ModuleType, tmp_path: Path) -> None:
    program(tmp_path, "node", "echo v24.19.0")

    assert setup.node_on_path(str(tmp_path)) is None


def test_a_step_that_fails_shows_what_it_said_and_what_to_do(setup: ModuleType, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no route'); print('to host', file=sys.stderr); sys.exit(3)"]

    with ExitStack() as steps, pytest.raises(setup.SetupError, match=r"(?s)download failed:.*no route.*Try again"):
        setup.Step("download", command, tmp_path, "Try again", steps).wait()


def test_a_step_ends_with_its_setup(setup: ModuleType, tmp_path: Path) -> None:
    with ExitStack() as steps:
        step = setup.Step("nap", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, "", steps)
        assert step.child.poll() is None

    assert step.child.returncode != 0


def test_an_old_python_can_read_the_script() -> None:
    """It must get as far as the message that names the version it needs."""
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
