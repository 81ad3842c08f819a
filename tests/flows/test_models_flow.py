"""Models over the API and the queue: endpoints that the operator named, workers that ask them, budgets that hold."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deploy.api import build
from shared.battle.decision import Outcome
from shared.matchups import Matchups
from shared.settings import Settings
from shared.store import Store
from tests.flows.conftest import await_no_job

ROOT = Path(__file__).parents[2]
KEY = "s3cret-key-of-the-endpoint"


class Place:
    """An API, its store, and a file that names the stand-in as the endpoint `small`."""

    def __init__(self, redis_url: str, folder: Path, port: int) -> None:
        self.folder = folder
        endpoints = folder / "endpoints.toml"
        endpoints.write_text(f'[small]\nurl = "http://127.0.0.1:{port}"\nkey = "{KEY}"\nmax_in_flight = 4\n')
        self.settings = Settings(
            redis_url=redis_url, store=str(folder / "store"), endpoints_file=endpoints, _env_file=None
        )
        self.store = Store(self.settings.store)
        self.http = TestClient(build(self.settings), base_url="http://127.0.0.1")

    def ask(self, **body: object) -> Any:
        return self.http.post("/matchups", json={"p1": "tgi:small", "p2": "random", "battles": 4, "seed": 1, **body})

    def work(self, queue: str) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "ALPHASTRAL_REDIS_URL": self.settings.redis_url or "",
            "ALPHASTRAL_STORE": self.settings.store,
            "ALPHASTRAL_ENDPOINTS_FILE": str(self.settings.endpoints_file),
        }
        return subprocess.Popen([sys.executable, "-m", "deploy.worker", queue], cwd=ROOT, env=environment)


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Iterator[Place]:
    command = [sys.executable, "-m", "tests.standins.models", "--service-ms", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as model:
        assert model.stdout is not None
        made = Place(redis_url, tmp_path, int(model.stdout.readline()))
        with made.http:
            yield made
        model.kill()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Place]:
    """The API alone: no model answers at its endpoint, nor a Redis."""
    made = Place("redis://127.0.0.1:9", tmp_path, 9)
    with made.http:
        yield made


def settled(place: Place, matchup_id: str) -> dict[str, Any]:
    """The matchup once every battle has ended, those too that were in play when it did, and is in the report."""
    workers = [place.work("arena"), place.work("arena"), place.work("reporter")]
    try:
        await_no_job(place.settings.redis_url or "", seconds=90)
        status: dict[str, Any] = place.http.get(f"/matchups/{matchup_id}").json()
        return status
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_a_matchup_of_a_named_model_goes_through_api_and_workers_and_no_secret_is_written(place: Place) -> None:
    matchup_id = place.ask().json()["id"]
    status = settled(place, matchup_id)

    assert (status["state"], status["finished"], status["broken"]) == ("finished", 4, 0)
    run = place.http.get(f"/matchups/{matchup_id}/run").json()
    assert run["summary"]["p1_asking"]["asks"] > 10
    assert run["cards"] == {"p1": "assumed"} and list(run["contract"]) == ["v2"]
    chosen = [stat for stat in run["turn_stats"] if stat["policy"] == "p1" and stat["outcome"] == Outcome.CHOSEN]
    assert all(stat["asked"][0]["prompt"] and stat["asked"][0]["answer"] for stat in chosen)
    for path in (place.folder / "store").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()
    assert KEY not in place.http.get(f"/matchups/{matchup_id}/run").text


def test_a_budget_ends_a_matchup_on_the_queue_with_what_it_has(place: Place) -> None:
    matchup_id = place.ask(battles=64, max_tokens=20_000).json()["id"]
    status = settled(place, matchup_id)

    assert 1 <= status["finished"] < 64
    assert "the budget of 20,000 tokens does not reach for another battle" in status["stopped"]
    run = place.http.get(f"/matchups/{matchup_id}/run").json()
    assert run["stopped"] == status["stopped"] and run["cancelled"] is False
    assert run["summary"]["not_played"] == 64 - status["finished"]
    assert "The matchup ended with" in place.http.get(f"/matchups/{matchup_id}/report").text


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("tgi:http://127.0.0.1:1", "an address is for the command line"),
        ("openai:m@http://169.254.169.254/latest", "an address is for the command line"),
        ("local:/etc/passwd", "is for the command line"),
        ("tgi:other", "no endpoint is called 'other'"),
        ("openai:m@other", "no endpoint is called 'other'"),
        ("tgi:small?asks=99", "a whole number from 1 to 5"),
        ("large", "unknown policy"),
    ],
)
def test_the_api_takes_no_endpoint_that_the_operator_did_not_name(api: Place, policy: str, reason: str) -> None:
    response = api.ask(p2=policy)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "p2" and reason in error["reason"]
    assert Matchups(api.store).ids() == []


def test_the_api_lists_what_it_takes(api: Place) -> None:
    listed = {line["name"]: line for line in api.http.get("/policies").json()["policies"]}

    assert "local" not in listed
    assert listed["mistral"]["example"] == "mistral:mistral-large-latest"
    assert "contract" in listed["tgi"]["options"]
