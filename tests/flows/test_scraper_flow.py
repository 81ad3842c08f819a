"""Scrapes and datasets through API, queue and workers: nothing fetched twice, nothing lost when workers are killed."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from deploy.api import build
from services.scraper.replay import Replay
from services.scraper.scrapes import StoredReplays
from shared.datasets import DatasetCard
from shared.settings import Settings, child_environment
from shared.store import Store
from tests.flows.conftest import alphastral, eventually, make_stack
from tests.services.simulated import replays
from tests.standins.replay_site import Site, document

FORMAT = "gen9randombattle"
ROOT = Path(__file__).parents[2]


@contextmanager
def up(site: Site) -> Iterator[str]:
    """The stand-in at its URL, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = site.server()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.fixture(scope="module")
def played() -> list[Replay]:
    return asyncio.run(replays(range(60, 64)))


def site_with(played: list[Replay], others: int) -> Site:
    site = Site({(made := document(number))["id"]: made for number in range(1000, 1000 + others)})
    for number, replay in enumerate(played):
        changes = {"log": "\n".join(replay.log), "inputlog": "\n".join(replay.inputlog or ())}
        made = document(100_000 + number) | changes | {"id": replay.id, "uploadtime": 1_800_000_000 + number}
        site.documents[replay.id] = made
    return site


def stored(folder: Path) -> set[str]:
    return set(StoredReplays(Store(str(folder / "store"))).ids(FORMAT))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_scrape_goes_through_the_queue_and_becomes_a_dataset(tmp_path: Path, played: list[Replay]) -> None:
    site = site_with(played, 300)
    settings = {"scraper_workers": 2, "replay_site_requests_per_second": 100.0}
    with up(site) as url, make_stack(tmp_path, arena_workers=0, replay_site_url=url, **settings) as stack:
        http = httpx2.Client(base_url=stack.url, timeout=30)
        asked = {"format": FORMAT, "max_replays": 1000}
        scrape = http.post("/scrapes", json=asked, headers={"Idempotency-Key": "first"}).json()
        again = http.post("/scrapes", json=asked, headers={"Idempotency-Key": "first"}).json()
        eventually(lambda: len(stored(tmp_path)) > 30)
        victim = stack._children["scraper-1"]
        os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: http.get(f"/scrapes/{scrape['id']}").json()["state"] == "finished", 60)
        status = http.get(f"/scrapes/{scrape['id']}").json()

        assert again["id"] == scrape["id"]
        assert stored(tmp_path) == set(site.documents)
        assert status["ranges"] == status["ranges_done"] == 2
        assert status["found"] == 304
        # Only what a killed worker had on its way is asked for again.
        assert sum(site.served.values()) <= len(site.documents) + 8

        built = http.post("/datasets", json={"name": "first", "sources": [f"store:replays/{FORMAT}"]})
        assert built.status_code == 202
        eventually(lambda: http.get("/datasets/first").json()["state"] == "finished", 60)
        card = DatasetCard.model_validate(http.get("/datasets/first").json()["card"])
        assert card.counts["exact"] == {"true": sum(card.rows.values())}
        assert sum(card.battles.values()) == len(played)
        assert card.dropped.replays == {"no battle in it": 300}
        assert (tmp_path / "store" / "datasets" / "first" / "train.jsonl").stat().st_size > 0


def test_a_dataset_that_cannot_be_is_said_not_to_be(tmp_path: Path) -> None:
    with make_stack(tmp_path, arena_workers=0, scraper_workers=1) as stack:
        http = httpx2.Client(base_url=stack.url, timeout=30)

        http.post("/datasets", json={"name": "none", "sources": ["store:replays"]})
        eventually(lambda: http.get("/datasets/none").json()["state"] == "failed", 60)

        assert "no battle at store:replays" in http.get("/datasets/none").json()["failure"]
        assert http.get("/datasets/other").status_code == 404
        assert http.get("/scrapes/other").status_code == 404
        assert http.get("/datasets").json()["items"][0]["name"] == "none"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/datasets", {"name": "x", "sources": ["/etc"]}),
        ("/datasets", {"name": "../x", "sources": ["store:replays"]}),
        ("/datasets", {"name": "x", "sources": ["store:replays"], "contract": "v9"}),
        ("/scrapes", {"format": "../x"}),
        ("/scrapes", {"max_replays": 0}),
        ("/scrapes", {"url": "http://elsewhere"}),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    settings = Settings(redis_url="redis://127.0.0.1:9", store=str(tmp_path), _env_file=None)
    with TestClient(build(settings), base_url="http://127.0.0.1") as api:
        assert api.post(path, json=body).status_code == 422


def test_the_command_killed_and_given_again_fetches_the_rest(tmp_path: Path, played: list[Replay]) -> None:
    site = site_with(played, 120)
    # After forty requests it says nothing more, so that the command is killed in the middle.
    site.trouble = lambda path, times: 600.0 if site.asked.total() > 40 else None
    with up(site) as url:
        environment = {
            "PYTHONPATH": str(ROOT),
            "ALPHASTRAL_STORE": str(tmp_path / "store"),
            "ALPHASTRAL_REPLAY_SITE_URL": url,
            "ALPHASTRAL_REPLAY_SITE_REQUESTS_PER_SECOND": "100",
        }
        command = [sys.executable, "-c", "from deploy.cli import main; main()", "scrape", "--max-replays", "500"]
        first = subprocess.Popen(command, env=child_environment(**environment), cwd=tmp_path, stdout=subprocess.DEVNULL)
        eventually(lambda: len(stored(tmp_path)) > 20)
        first.kill()
        first.wait()
        site.trouble = lambda path, times: None
        assert len(stored(tmp_path)) < 124
        done = alphastral(*command[3:], folder=tmp_path, **environment)

    assert done.status == 0, done.stderr
    assert "fetched" in done.stdout
    assert stored(tmp_path) == set(site.documents)
    assert sum(site.served.values()) <= 124 + 4
