"""Runs of many battles: written, reported and served in one pass, with the same content as in memory."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import services.reporter.run as written
from services.arena.api import router, takes_gzip
from services.reporter.figures import Figures
from services.reporter.report import render, write_results
from services.reporter.run import run_of
from services.reporter.verdict import verdict
from shared.battle.decision import AskRecord, Outcome, Reason
from shared.errors import NotFound
from shared.matchups import Matchups, unpacked
from shared.records import BattleRecord, MatchupRequest
from shared.settings import Settings
from shared.store import Store
from tests.services.made import battle, move, switch
from tests.services.made import run_of as made_run

ASK = AskRecord("why?", "move Surf", tokens_in=9, tokens_out=2, last_token_ms=3.5, cost_usd=0.1, model="m-1", retries=1)


def stored(folder: Path, records: Sequence[BattleRecord], *, asked: int | None = None) -> Matchups:
    matchups = Matchups(Store(str(folder)))
    matchups.create(
        "m", MatchupRequest(p1='a "quoted" [],"battles":[]', p2="random", battles=asked or len(records) or 1)
    )
    for record in records:
        matchups.record("m", record)
    return matchups


def records(count: int, characters: int = 0) -> list[BattleRecord]:
    """Battles with decisions of all sorts, and logs of so many characters."""
    of_a_model = move("p1", 2, reasoning="since it <b>hits</b>").model_copy(update={"asked": (ASK, ASK)})
    wrong = move("p1", 3, outcome=Outcome.SUBSTITUTED, reason=Reason.TIMED_OUT, ms=1e-7)
    decisions = [move("p1", 1), move("p2", 1, effectiveness=4.0), of_a_model, switch("p2", 2), switch("p2", 2)]
    winners = ("p1", "p2", "draw", "p1", None)
    return [
        battle(index, winners[index % 5], [*decisions, *[wrong] * (index % 3 == 0)], turns=9 + index).model_copy(  # type: ignore[arg-type]
            update={"public_log": (str(index) * characters,)}
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("in_memory_bytes", [4 << 20, 10])
def test_a_run_that_is_written_battle_by_battle_is_the_same_to_the_letter(
    count: int, in_memory_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "_IN_MEMORY_BYTES", in_memory_bytes)
    matchups = stored(tmp_path, records(count), asked=9)

    write_results(matchups, "m")

    whole = run_of(matchups, "m")
    packed = (tmp_path / "matchups/m/run.json.gz").read_bytes()
    assert gzip.decompress(packed) == whole.model_dump_json().encode()
    assert (len(whole.battles), len(whole.turn_stats)) == (count, 5 * count + len(range(0, count, 3)))
    unpack = zlib.decompressobj(31)
    unpack.decompress(packed)
    assert unpack.eof and not unpack.unused_data, "one stream, which every client unpacks"
    assert matchups.report("m").decode() == render(whole)
    assert matchups.run("m") == whole
    assert {path.name for path in (tmp_path / "matchups/m").iterdir()} <= {
        "battles",
        "request.json",
        "run.json.gz",
        "report.html",
    }


def test_a_run_that_is_written_to_a_bucket_is_the_same(tmp_path: Path) -> None:
    matchups = Matchups(Store(f"memory://{tmp_path}"))
    matchups.create("m", MatchupRequest(p1="a", p2="b", battles=3))
    for record in records(3):
        matchups.record("m", record)

    write_results(matchups, "m")

    assert b"".join(matchups.run_pieces("m")) == run_of(matchups, "m").model_dump_json().encode()


def test_what_a_report_takes_hardly_grows_with_the_battles(tmp_path: Path) -> None:
    most: list[int] = []
    for count in (1, 20, 80):
        matchups = stored(tmp_path / str(count), records(count, characters=50_000))
        tracemalloc.start()
        write_results(matchups, "m")
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    # The first compiles the templates, too. A battle's log alone is 100 kB; its cell and what was said in it stay.
    assert (most[2] - most[1]) / 60 < 20_000


def test_a_report_of_many_failed_shards_names_some_of_them() -> None:
    run = made_run([battle(0)], asked=9, failures=[f"shard {number} failed" for number in range(50)])

    caveats = verdict(Figures.of(run)).caveats

    assert sum("A shard failed" in caveat for caveat in caveats) == 20
    assert caveats[-1] == "Why 30 other shards failed is in the run file."


@pytest.fixture
def http(tmp_path: Path) -> TestClient:
    matchups = stored(tmp_path, records(4, characters=50_000))
    write_results(matchups, "m")
    matchups.create("unwritten", MatchupRequest(p1="a", p2="b"))
    app = FastAPI()
    app.include_router(router(matchups.files, Settings(store=str(tmp_path))))
    return TestClient(app)


@pytest.mark.parametrize(("accepted", "coding"), [("gzip", "gzip"), ("identity", None)])
def test_a_run_is_served_as_it_is_stored_or_unpacked_as_the_client_takes_it(
    accepted: str, coding: str | None, http: TestClient, tmp_path: Path
) -> None:
    answer = http.get("/matchups/m/run", headers={"accept-encoding": accepted})

    assert (answer.status_code, answer.headers.get("content-encoding")) == (200, coding)
    assert answer.headers["content-type"] == "application/json" and answer.headers["vary"] == "Accept-Encoding"
    assert answer.json() == json.loads(run_of(Matchups(Store(str(tmp_path))), "m").model_dump_json())


def test_a_run_that_is_not_written_yet_is_not_found_before_the_answer_begins(http: TestClient) -> None:
    for name in ("unwritten", "nosuch"):
        with pytest.raises(NotFound):
            http.get(f"/matchups/{name}/run")


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip, deflate, br", True),
        ("GZIP;q=0.5", True),
        ("br;q=1.0, gzip ; q=0.1", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("gzip;q=x", False),
        ("", False),
    ],
)
def test_gzip_is_sent_only_to_those_who_take_it(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) is takes


def test_what_is_packed_well_is_unpacked_in_small_pieces() -> None:
    pieces = list(unpacked([gzip.compress(bytes(50_000_000))]))

    assert sum(map(len, pieces)) == 50_000_000
    assert max(map(len, pieces)) <= 1 << 20
