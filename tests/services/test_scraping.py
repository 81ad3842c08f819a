"""Scraping the stand-in of the replay site: each replay once, all of them, gently, and on again after anything."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from services.scraper.scrapes import Scrapes, StoredReplays, fetch_range
from services.scraper.views import NewScrape, ScrapeStatus
from services.scraper.website import replay_site
from shared.errors import Unreachable
from shared.jobs.inline import Inline
from shared.jobs.limits import LocalLimiter
from shared.settings import Settings
from shared.store import Store
from shared.work import ask, cancel
from tests.standins.http import Send
from tests.standins.replay_site import Reset, Site, document

FORMAT = "gen9randombattle"


def given(url: str, folder: Path, **changes: Any) -> Settings:
    return Settings(
        **{
            "store": str(folder),
            "replay_site_url": url,
            "replay_site_requests_per_second": 100.0,
            "redis_url": None,
            **changes,
        }
    )


async def scrape(site: Site, folder: Path, asked: NewScrape | None = None, **changes: Any) -> ScrapeStatus:
    """A scrape in this process, and how it ended."""
    async with site.server() as server:
        scrapes = Scrapes(Store(str(folder)))
        here = Inline(scrapes.files, given(server.url, folder, **changes))
        id = ask(scrapes, asked or NewScrape(), here)
        await asyncio.to_thread(here.drain)
    return scrapes.standing(id)


def stored(folder: Path) -> set[str]:
    return set(StoredReplays(Store(str(folder))).ids(FORMAT))


def site_of(count: int, **changes: Any) -> Site:
    return Site({(made := document(number, **changes))["id"]: made for number in range(count)})


async def test_all_are_found_and_each_is_fetched_once(tmp_path: Path) -> None:
    site = site_of(180)

    status = await scrape(site, tmp_path)

    assert status.outcomes == {"fetched": 180}
    assert status.state == "finished"
    assert stored(tmp_path) == set(site.documents)
    assert set(site.served.values()) == {1}
    assert site.misuse == []


async def test_a_replay_is_stored_as_the_site_gave_it(tmp_path: Path) -> None:
    site = site_of(1)

    await scrape(site, tmp_path)

    raw = gzip.decompress((tmp_path / "replays" / FORMAT / f"{FORMAT}-0.json.gz").read_bytes())
    assert json.loads(raw) == site.documents[f"{FORMAT}-0"]


async def test_behind_page_one_hundred_it_goes_on_by_time(tmp_path: Path) -> None:
    site = site_of(5_150)
    site_is_quick = given("", tmp_path, replay_site_connections=1)
    store = Store(str(tmp_path))
    scrapes = Scrapes(store)
    scrapes.create("one", NewScrape(max_replays=10_000))
    found: set[str] = set()

    async with site.server() as server:
        settings = site_is_quick.model_copy(update={"replay_site_url": server.url})
        async with replay_site(settings, LocalLimiter()) as pages:
            number = 0
            while (listing := await scrapes.list_range("one", number, pages)).next is not None:
                found.update(replay.id for replay in listing.replays)
                number += 1
            found.update(replay.id for replay in listing.replays)

    assert found == set(site.documents)
    assert site.misuse == []
    assert any("before=" in path for path in site.asked)


async def test_replays_of_one_second_are_all_found_by_time(tmp_path: Path) -> None:
    site = Site({(made := document(n, uploaded=1_700_000_000 + n // 20))["id"]: made for n in range(130)})

    await scrape(site, tmp_path, NewScrape.model_validate({"until": "2030-01-01"}))

    assert stored(tmp_path) == set(site.documents)


async def test_what_comes_in_while_it_pages_hides_nothing(tmp_path: Path) -> None:
    site = site_of(180)
    before = set(site.documents)

    def more(path: str, times: int) -> None:
        if path.startswith("/search.json"):
            for _ in range(7):
                made = document(10_000 + len(site.documents))
                site.documents[made["id"]] = made

    site.trouble = more
    await scrape(site, tmp_path)

    assert before <= stored(tmp_path)
    assert set(site.served.values()) == {1}


async def test_the_next_run_fetches_only_what_is_new(tmp_path: Path) -> None:
    site = site_of(70)
    await scrape(site, tmp_path)
    for number in range(70, 90):
        site.documents[f"{FORMAT}-{number}"] = document(number)

    status = await scrape(site, tmp_path)

    assert status.outcomes == {"fetched": 20, "stored already": 70}
    assert set(site.served.values()) == {1}


async def test_a_scrape_that_is_cancelled_waits_for_no_site(tmp_path: Path) -> None:
    site, scrapes = site_of(1), Scrapes(Store(str(tmp_path)))
    spared = asyncio.Event()

    def spare(path: str, times: int) -> Send:
        spared.set()
        return Send(b"", status=503, headers={"retry-after": "500"})

    site.trouble = spare
    async with site.server() as server:
        here = Inline(scrapes.files, given(server.url, tmp_path))
        id = ask(scrapes, NewScrape(), here)
        draining = asyncio.create_task(asyncio.to_thread(here.drain))
        await spared.wait()
        cancel(scrapes, id, here)
        async with asyncio.timeout(60):
            await draining

    assert scrapes.standing(id).state == "cancelled"
    assert stored(tmp_path) == set()


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1960-01-01"])
@pytest.mark.parametrize("end", ["since", "until"])
def test_replays_are_of_these_times(end: str, moment: str) -> None:
    with pytest.raises(ValueError, match="of these times"):
        NewScrape.model_validate({end: moment})


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"min_rating": 1530}, {n for n in range(60) if 1500 + n >= 1530 and n % 10}),
        ({"max_replays": 7}, set(range(53, 60))),
        ({"since": "2023-11-14T22:13:50Z"}, set(range(30, 60))),
        ({"until": "2023-11-14T22:13:50"}, set(range(30))),
        ({"user": "Blue 3"}, {n for n in range(60) if n % 5 == 3}),
    ],
)
async def test_only_what_was_asked_for_is_fetched(tmp_path: Path, asked: dict[str, Any], wanted: set[int]) -> None:
    site = Site()
    for number in range(60):
        made = document(number, rating=1500 + number if number % 10 else None)
        site.documents[made["id"]] = made

    await scrape(site, tmp_path, NewScrape.model_validate(asked))

    assert stored(tmp_path) == {f"{FORMAT}-{number}" for number in wanted}
    assert sum(site.served.values()) == len(wanted)


async def test_missing_busy_slow_and_broken_answers_lose_nothing_else(tmp_path: Path) -> None:
    site = site_of(60)
    gone, broken = f"/{FORMAT}-3.json", f"/{FORMAT}-4.json"

    def trouble(path: str, times: int) -> Send | float | Exception | None:
        if path == gone:
            return Send(b"", status=404)
        if path == broken:
            return Send(b'{"id": "gen9random', headers={"content-type": "application/json"})
        number = int(path.removeprefix(f"/{FORMAT}-").removesuffix(".json")) if path.startswith("/gen9") else 0
        first: dict[int, Send | float | Exception] = {
            10: Send(b"slow down", status=429, headers={"retry-after": "1"}),
            20: Reset(),
            30: 0.3,
            40: Send(b'{"cut":', status=200),
        }
        return first.get(number) if times == 1 else None

    site.trouble = trouble
    status = await scrape(site, tmp_path)

    assert status.outcomes == {"fetched": 58, "gone": 1, "no replay": 1}
    assert stored(tmp_path) == set(site.documents) - {f"{FORMAT}-3", f"{FORMAT}-4"}
    assert set(site.served.values()) == {1}


async def test_it_says_who_it_is_and_keeps_to_few_connections(tmp_path: Path) -> None:
    site = site_of(40)
    site.trouble = lambda path, times: 0.02

    await scrape(site, tmp_path)

    assert all(agent.startswith("alphaStral/") for agent in site.agents)
    assert site.most_at_once <= 4


async def test_it_keeps_to_the_rate(tmp_path: Path) -> None:
    site = site_of(20)
    loop = asyncio.get_running_loop()
    began = loop.time()

    await scrape(site, tmp_path, replay_site_requests_per_second=20.0)

    assert loop.time() - began >= (sum(site.asked.values()) - 5) / 20


async def test_left_in_the_middle_it_goes_on_where_it_was(tmp_path: Path) -> None:
    site = site_of(60)
    store = Store(str(tmp_path))
    scrapes = Scrapes(store)
    scrapes.create("one", NewScrape())
    async with site.server() as server:
        settings = given(server.url, tmp_path)
        async with replay_site(settings, LocalLimiter()) as pages:
            listing = await scrapes.list_range("one", 0, pages)
            fetching = asyncio.create_task(fetch_range(listing, StoredReplays(store), pages))
            while len(stored(tmp_path)) < 20:  # noqa: ASYNC110 - it waits for files
                await asyncio.sleep(0.01)
            fetching.cancel()
            await asyncio.wait([fetching])
    assert [job.number for job in scrapes.jobs("one")] == [0]

    await scrape(site, tmp_path)

    assert stored(tmp_path) == set(site.documents)
    assert sum(times > 1 for times in site.served.values()) <= 4  # Those that were on their way.


async def test_a_site_that_stays_away_is_told_and_what_was_fetched_stays(tmp_path: Path) -> None:
    site = site_of(10)
    site.trouble = lambda path, times: Send(b"", status=403) if "battle-5" in path else None

    with pytest.raises(Unreachable, match="403"):
        await scrape(site, tmp_path)

    assert len(stored(tmp_path)) >= 1


async def test_rows_that_would_leave_the_folder_are_passed_over(tmp_path: Path) -> None:
    site = site_of(3)
    hostile = document(99) | {"id": "../../etc/passwd"}
    site.documents["../../etc/passwd"] = hostile

    status = await scrape(site, tmp_path)

    assert status.outcomes == {"a row that is none": 1, "fetched": 3}
    assert stored(tmp_path) == {f"{FORMAT}-{number}" for number in range(3)}


async def test_a_cancelled_scrape_stops_in_the_middle_of_a_range(tmp_path: Path) -> None:
    site = site_of(60)
    site.trouble = lambda path, times: 0.1
    async with site.server() as server:
        scrapes = Scrapes(Store(str(tmp_path)))
        here = Inline(scrapes.files, given(server.url, tmp_path))
        id = ask(scrapes, NewScrape(), here)
        draining = asyncio.create_task(asyncio.to_thread(here.drain))
        while not stored(tmp_path):  # noqa: ASYNC110 - it waits for files
            await asyncio.sleep(0.01)
        cancel(scrapes, id, here)
        await draining

    assert 1 <= len(stored(tmp_path)) < 60
    assert scrapes.standing(id).state == "cancelled"
    assert scrapes.jobs(id) == []


async def test_what_failed_is_told_and_tried_again_when_that_is_wished(tmp_path: Path) -> None:
    site = site_of(3)
    site.trouble = lambda path, times: Send(b"", status=403)
    with pytest.raises(Unreachable):
        await scrape(site, tmp_path)
    scrapes = Scrapes(Store(str(tmp_path)))
    [id] = scrapes.ids()
    assert scrapes.standing(id).state == "failed"
    assert scrapes.jobs(id) == []
    # Where failures lay before all kinds of work had one place for them.
    folder = tmp_path / "scrapes" / id
    (folder / "failures").rename(folder / "failed")
    assert "403" in scrapes.standing(id).failures[0]

    scrapes.forget(id)

    assert [job.number for job in scrapes.jobs(id)] == [0]
