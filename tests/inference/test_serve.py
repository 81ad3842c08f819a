"""`alphastral serve` as a process: from a name to a model that answers, and from there into a battle."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.serving import resolve
from services.inference.requests import ServedModel
from services.inference.serve import load_models
from shared.battle.contract import CONTRACTS
from shared.errors import UsageError
from shared.records import read_run
from shared.settings import Settings, child_environment
from tests.language.tiny import save_adapter, save_tiny

CARD = {"base": "tiny", "kind": "merged", "contract": {"v2": CONTRACTS["v2"].hash}}


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    address = folder / "address.json"
    command = [sys.executable, "-m", "deploy.serving", *arguments, "--port", "0", "--address-file", str(address)]
    with (folder / "log").open("wb") as log:
        environment = child_environment(TMPDIR=str(folder))
        child = subprocess.Popen([*command, "--threads", "1"], stdin=subprocess.PIPE, stderr=log, env=environment)
    try:
        while not address.exists():
            assert child.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield json.loads(address.read_text())["url"], child
    finally:
        child.terminate()
        child.wait(20)


@pytest.mark.slow
def test_a_base_and_its_adapters_are_served_by_one_process(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    save_adapter(tmp_path / "mine", base, 2)
    body: Any = {"messages": [{"role": "user", "content": "Gen 9"}], "temperature": 0}
    body["response_format"] = {"type": "regex", "value": "(move Psychic|switch Rotom-Wash)"}
    with serving(str(base), str(tmp_path / "mine"), folder=tmp_path) as (url, child):
        copies = list(tmp_path.glob("alphastral-models-*"))
        named = [line["id"] for line in httpx2.get(f"{url}/v1/models").json()["data"]]
        scores = {
            name: httpx2.post(f"{url}/v1/chat/completions", json={**body, "model": name}, timeout=30).json()["choices"][
                0
            ]["candidates"]
            for name in named
        }
        child.send_signal(signal.SIGTERM)
        status = child.wait(20)

    assert named == ["base", "mine"]
    assert scores["base"] != scores["mine"]
    assert (status, len(copies)) == (0, 1)
    assert not list(tmp_path.glob("alphastral-models-*"))


@pytest.mark.slow
def test_a_local_model_plays_and_the_run_calls_it_as_it_was_written(tmp_path: Path) -> None:
    # Its tokens are mostly single bytes: a prompt is long.
    folder = save_tiny(tmp_path / "mine", max_position_embeddings=8192)
    (folder / "card.json").write_text(json.dumps(CARD))
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "battle", "--n", "2", "--seed", "5"]
    policy = f"local:{folder}?substitute=forfeit"
    played = subprocess.run(
        [*command, "--p1", policy, "--p2", "max-damage", "--output", str(tmp_path / "run.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    run = read_run(tmp_path / "run.json")

    assert run.request is not None
    assert run.request.p1 == policy
    assert run.cards == {"p1": "checked"}
    assert run.summary.n_games == 2
    assert run.summary.p1_fallback_rate == 0


def test_what_is_served_together_shares_one_base() -> None:
    with pytest.raises(UsageError, match="one base with adapters over it"):
        load_models([ServedModel("a", "x"), ServedModel("b", "y")], device="cpu", dtype="auto")
    with pytest.raises(UsageError, match="stands there twice"):
        load_models([ServedModel("a", "x"), ServedModel("a", "x")], device="cpu", dtype="auto")


def test_a_model_is_found_by_what_it_is_called(tmp_path: Path) -> None:
    settings = Settings(store=str(tmp_path / "store"))
    base = save_tiny(tmp_path / "whole")
    adapter = save_adapter(tmp_path / "tuned", base, 2)
    (base / "card.json").write_text(json.dumps(CARD))

    assert resolve("smollm2", settings, tmp_path) == ServedModel("smollm2", "smollm2")
    assert resolve(str(base), settings, tmp_path) == ServedModel("whole", str(base), None, CARD)
    assert resolve(str(adapter), settings, tmp_path) == ServedModel("tuned", str(base), adapter)
    assert resolve("org/model", settings, tmp_path) == ServedModel("org/model", "org/model")
    for name in ("nothing", "nothing@1", "./nothing"):
        with pytest.raises(UsageError, match="no model of the registry"):
            resolve(name, settings, tmp_path)
