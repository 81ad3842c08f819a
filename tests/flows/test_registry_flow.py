"""Models of the registry over API and queue: the version of the day they were asked for, at its server, or nothing."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deploy.api import build
from services.arena.matchups import Progress
from services.arena.tasks import play_shard
from shared.jobs import Context
from shared.matchups import Matchups
from shared.records import read_run
from shared.settings import Settings
from shared.store import Store
from tests.flows.conftest import Ended
from tests.flows.conftest import alphastral as command_line
from tests.standins.models import TGI, StandIn
from tests.standins.registry import OWN, promote, publish

ROOT = Path(__file__).parents[2]
TRAINED_FOR_ANOTHER = {"v1": "a" * 64}


class Place:
    """An API, a registry with two versions of `smol`, and a file that names the stand-in as their server."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.model = StandIn(TGI, models=({"id": "smol@1"},))
        self.folder = folder / "store"
        publish(self.folder, "smol", "1")
        publish(self.folder, "smol", "2")
        publish(self.folder, "odd", "1", TRAINED_FOR_ANOTHER)
        promote(self.folder, "smol", "1")
        promote(self.folder, "odd", "1")
        self.endpoints = folder / "endpoints.toml"
        self.settings = Settings(
            redis_url=redis_url,
            store=str(self.folder),
            endpoints_file=self.endpoints,
            _env_file=None,
        )
        self.serve_at(1)
        self.store = Store(self.settings.store)
        self.http = TestClient(build(self.settings), base_url="http://127.0.0.1")

    def serve_at(self, port: int) -> None:
        self.endpoints.write_text(f'[registry]\nurl = "http://127.0.0.1:{port}"\n')

    def ask(self, key: str | None = None, **body: object) -> Any:
        return self.http.post(
            "/matchups",
            json={"p1": "tgi:smol", "p2": "random", "battles": 2, "seed": 1, **body},
            headers={"Idempotency-Key": key} if key else {},
        )

    async def play(self, matchup_id: str, patience_seconds: float = 20) -> None:
        """What a worker does with the matchup's one shard."""
        settings = self.settings.model_copy(update={"redis_url": None, "version_patience_seconds": patience_seconds})
        context = Context(settings, self.store, lambda payload: True, lambda: False, "w")
        await asyncio.to_thread(play_shard, Progress.of(self.store, matchup_id).shard(range(2)), context)

    def work(self) -> "list[subprocess.Popen[bytes]]":
        """Workers of the arena and the reporter, which wait for a version for three seconds."""
        environment = {
            **os.environ,
            "ALPHASTRAL_REDIS_URL": self.settings.redis_url or "",
            "ALPHASTRAL_STORE": str(self.folder),
            "ALPHASTRAL_ENDPOINTS_FILE": str(self.endpoints),
            "ALPHASTRAL_VERSION_PATIENCE_SECONDS": "3",
        }
        return [
            subprocess.Popen([sys.executable, "-m", "deploy.worker", queue], cwd=ROOT, env=environment)
            for queue in ("arena", "reporter")
        ]

    def status(self, matchup_id: str) -> Any:
        return self.http.get(f"/matchups/{matchup_id}").json()


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Iterator[Place]:
    made = Place(redis_url, tmp_path)
    with made.http:
        yield made


def test_a_name_is_stored_with_its_version_and_a_later_promotion_changes_nothing(place: Place) -> None:
    asked = place.ask(p1="tgi:smol?asks=3")
    assert (asked.status_code, asked.json()["p1"]) == (202, "tgi:smol@1?asks=3")
    promote(place.folder, "smol", "2")

    assert place.status(asked.json()["id"])["request"]["p1"] == "tgi:smol@1?asks=3"
    assert Matchups(place.store).request(asked.json()["id"]).p1 == "tgi:smol@1?asks=3"
    assert place.ask().json()["p1"] == "tgi:smol@2"
    assert place.ask(p1="tgi:smol@1").json()["p1"] == "tgi:smol@1"


def test_asking_again_under_the_same_key_gives_the_same_matchup_after_a_promotion(place: Place) -> None:
    first = place.ask("key")
    promote(place.folder, "smol", "2")
    again = place.ask("key")

    assert (again.status_code, again.json()["id"], again.json()["p1"]) == (202, first.json()["id"], "tgi:smol@1")
    assert place.ask("key", p1="tgi:smol@2").status_code == 409


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("tgi:other", "the registry's models are: odd, smol"),
        ("tgi:other@1", "no endpoint is called 'other@1'"),
        ("tgi:smol@3", "its versions are: 1, 2"),
        ("tgi:../../etc", "no endpoint is called"),
        ("tgi:smol@../1", "has no version"),
    ],
)
def test_the_api_refuses_a_name_that_the_registry_does_not_know(place: Place, policy: str, reason: str) -> None:
    response = place.ask(p2=policy)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "p2" and reason in error["reason"]
    assert Matchups(place.store).ids() == []


async def test_a_server_that_has_another_version_is_waited_for_and_then_played(place: Place) -> None:
    model = place.model
    model.models = ({"id": "smol@2"},)
    matchup_id = place.ask().json()["id"]
    async with model.server:
        place.serve_at(model.server.port)
        playing = asyncio.ensure_future(place.play(matchup_id))
        while model.listed < 3:  # noqa: ASYNC110 - it waits for what the server is asked
            await asyncio.sleep(0.01)
        assert model.asked == [] and Matchups(place.store).recorded(matchup_id) == frozenset()
        model.models = ({"id": "smol@2"}, {"id": "smol@1"})
        await playing

    assert Matchups(place.store).failures(matchup_id) == {}
    battles = list(Matchups(place.store).battles(matchup_id))
    assert [battle.broken for battle in battles] == [None, None]
    assert {asked.body["model"] for asked in model.asked} == {"smol@1"} and len(model.asked) > 10
    assert {card for battle in battles for card in battle.cards.values()} == {"checked"}, "by the registry's card"


@pytest.mark.parametrize("listed", [[{"id": "smol@2"}], [{"id": "smol"}], []])
async def test_a_server_that_never_gets_the_version_plays_no_battle_and_the_reason_is_recorded(
    place: Place, listed: Sequence[dict[str, str]]
) -> None:
    model = place.model
    model.models = tuple(listed)
    matchup_id = place.ask().json()["id"]
    async with model.server:
        place.serve_at(model.server.port)
        await place.play(matchup_id, patience_seconds=3)

    assert model.asked == [] and Matchups(place.store).recorded(matchup_id) == frozenset()
    (reason,) = place.status(matchup_id)["failures"]
    instead = listed[0]["id"] if listed else "nothing"
    assert f"does not serve smol@1: after 3 s it still serves {instead}" in reason


async def test_a_server_that_is_away_is_no_server_of_the_version(place: Place) -> None:
    matchup_id = place.ask().json()["id"]
    async with place.model.server:
        place.serve_at(place.model.server.port)
    await place.play(matchup_id, patience_seconds=1)

    (reason,) = place.status(matchup_id)["failures"]
    assert "does not serve smol@1: after 1 s it still does not answer" in reason


@pytest.mark.parametrize(
    ("policy", "line"),
    [("odd", {"id": "odd@1"}), ("smol", {"id": "smol@1", "card": {"contract": TRAINED_FOR_ANOTHER}})],
    ids=["the registry's card", "the server's card"],
)
async def test_a_model_trained_for_another_contract_is_refused_with_both_names(
    place: Place, policy: str, line: dict[str, Any]
) -> None:
    place.model.models = (line,)
    matchup_id = place.ask(p1=f"tgi:{policy}").json()["id"]
    async with place.model.server:
        place.serve_at(place.model.server.port)
        await place.play(matchup_id)

    assert place.model.asked == [] and Matchups(place.store).recorded(matchup_id) == frozenset()
    (reason,) = place.status(matchup_id)["failures"]
    assert f"{policy}@1 was trained for the contract v1 (aaaaaaaaaaa…), and is asked by v2 ({OWN['v2'][:12]})" in reason


async def test_on_the_queue_a_version_that_does_not_come_ends_the_matchup_as_failed(
    place: Place,
) -> None:
    place.model.models = ({"id": "smol@2"},)
    matchup_id = place.ask(battles=4).json()["id"]
    async with place.model.server:
        place.serve_at(place.model.server.port)
        workers = place.work()
        try:
            deadline = time.monotonic() + 60
            while (status := place.status(matchup_id))["state"] != "failed":
                assert time.monotonic() < deadline, f"waited in vain: {status}"
                await asyncio.sleep(0.1)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()

    assert (status["recorded"], place.model.asked) == (0, [])
    (reason,) = status["failures"]
    assert "does not serve smol@1: after 3 s it still serves smol@2" in reason


@pytest.mark.timeout(300)
async def test_on_the_command_line_a_version_is_played_or_a_sentence_says_why_not(place: Place, tmp_path: Path) -> None:
    environment = {"ALPHASTRAL_STORE": str(place.folder), "ALPHASTRAL_ENDPOINTS_FILE": str(place.endpoints)}

    async def alphastral(*arguments: str, patience_seconds: int = 30) -> Ended:
        waiting = {"ALPHASTRAL_VERSION_PATIENCE_SECONDS": str(patience_seconds), **environment}
        return await asyncio.to_thread(command_line, *arguments, folder=tmp_path, **waiting)

    async with place.model.server:
        place.serve_at(place.model.server.port)
        tried = await alphastral("try", "tgi:smol")
        played = await alphastral("battle", "--p1", "tgi:smol", "--output", "run.json")
        promote(place.folder, "smol", "2")
        vain = await alphastral("battle", "--p1", "tgi:smol", "--output", "vain.json", patience_seconds=3)
        unknown = await alphastral("battle", "--p1", "tgi:other")

    assert tried.status == 0 and "tgi, smol@1 at 127.0.0.1" in tried.stdout and "checked" in tried.stdout
    run = read_run(tmp_path / "run.json")
    assert played.status == 0 and run.request is not None and run.request.p1 == "tgi:smol@1"
    assert vain.status == 1 and "does not serve smol@2: after 3 s it still serves smol@1" in vain.stderr
    assert not (tmp_path / "vain.json").exists()
    assert unknown.status == 2 and "error (--p1): no endpoint is called 'other'" in unknown.stderr
