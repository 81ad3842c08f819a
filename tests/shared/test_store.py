"""The store: written once, atomically, and read back with clear errors."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared.errors import BrokenRecord, Conflict, NotFound, Unreachable, UsageError
from shared.matchups import Matchups
from shared.records import BattleRecord, MatchupRequest
from shared.store import Store, new_matchup_id

REQUEST = MatchupRequest(p1="heuristic", p2="random", battles=4)


def record(index: int = 0, **changes: object) -> BattleRecord:
    fields = dict(
        index=index,
        battle_tag=f"m-{index}",
        pair=0,
        p1_seat="p1",
        winner="p1",
        turns=3,
        started_at="2026-01-01T00:00:00Z",
        duration_s=0.1,
        seeds=None,
        worker="test",
        decisions=(),
        input_log=(">version x",),
        public_log=("|turn|1",),
    )
    return BattleRecord.model_validate(fields | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_a_matchup_is_created_once_and_a_repeat_is_harmless(store: Store) -> None:
    assert Matchups(store).create("m1", REQUEST)
    assert not Matchups(store).create("m1", REQUEST)
    with pytest.raises(Conflict):
        Matchups(store).create("m1", REQUEST.model_copy(update={"battles": 5}))
    assert Matchups(store).request("m1") == REQUEST


def test_of_two_requests_at_once_under_one_name_one_is_refused(store: Store) -> None:
    def ask(name: str, seed: int) -> bool:
        with suppress(Conflict):
            return Matchups(store).create(name, REQUEST.model_copy(update={"seed": seed}))
        return False

    with ThreadPoolExecutor(8) as threads:
        for name in (f"m{number}" for number in range(20)):
            assert sum(threads.map(partial(ask, name), range(8))) == 1


@pytest.mark.parametrize("kind", ["disk", "bucket"])
def test_of_two_stores_that_create_the_same_at_once_one_is_told_that_it_did(kind: str, tmp_path: Path) -> None:
    # Each with its own idea of the same place, as two processes have it.
    url = str(tmp_path / "store") if kind == "disk" else f"memory://{tmp_path.name}"
    stores = [Store(url) for _ in range(8)]

    def create(name: str, number: int) -> bool:
        return stores[number].create(f"matchups/{name}/request.json", str(number).encode())

    with ThreadPoolExecutor(8) as threads:
        for name in (f"m{number}" for number in range(20)):
            made = list(threads.map(partial(create, name), range(8)))
            assert sum(made) == 1
            assert stores[0].read(f"matchups/{name}/request.json", "gone") == str(made.index(True)).encode()
    assert not list(tmp_path.glob("store/matchups/*/.*"))


@pytest.mark.parametrize("url", ["nosuch://x", "s3://bucket"])
def test_a_store_that_cannot_be_opened_is_told_by_its_address(url: str) -> None:
    if url == "s3://bucket" and find_spec("s3fs"):
        pytest.skip("s3fs is installed here")
    with pytest.raises(UsageError, match=f"cannot open the store {url}"):
        Store(url)


def test_a_store_that_takes_nothing_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unreachable, match="file cannot be written: Not a directory"):
        Matchups(Store(str(tmp_path / "file"))).create("m1", REQUEST)


def test_battles_come_back_in_order_whatever_the_order_they_ended_in(store: Store) -> None:
    Matchups(store).create("m1", REQUEST)
    for index in (3, 0, 2):
        Matchups(store).record("m1", record(index))

    assert Matchups(store).recorded("m1") == {0, 2, 3}
    assert [battle.index for battle in Matchups(store).battles("m1")] == [0, 2, 3]


def test_matchups_are_listed_newest_first(store: Store) -> None:
    for name in ("20260101-000000-aa", "20260301-000000-aa", "20260201-000000-aa"):
        Matchups(store).create(name, REQUEST)

    assert [name[:6] for name in Matchups(store).ids()] == ["202603", "202602", "202601"]
    assert Matchups(Store(store.url + "/elsewhere")).ids() == []


@pytest.mark.parametrize("name", ["nosuch", "../m1", "m1/../m1", "", "M1", "a" * 65, ".hidden", "m1\n"])
def test_an_unknown_or_hostile_id_is_not_found(store: Store, name: str) -> None:
    Matchups(store).create("m1", REQUEST)

    with pytest.raises(NotFound):
        Matchups(store).request(name)


def test_a_record_cut_short_is_told_by_name(store: Store, tmp_path: Path) -> None:
    Matchups(store).create("m1", REQUEST)
    Matchups(store).record("m1", record(0))
    path = tmp_path / "store/matchups/m1/battles/00000.json.gz"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(BrokenRecord, match=r"00000\.json\.gz"):
        Matchups(store).battle("m1", 0)
    path.write_bytes(path.read_bytes()[:12] + b"\xff" * 40)
    with pytest.raises(BrokenRecord, match=r"00000\.json\.gz"):
        Matchups(store).battle("m1", 0)


def test_a_file_half_written_by_a_dead_process_is_no_record(store: Store, tmp_path: Path) -> None:
    Matchups(store).create("m1", REQUEST)
    Matchups(store).record("m1", record(0))
    (tmp_path / "store/matchups/m1/battles/.00001.json.gz.abc").write_bytes(b"half")

    assert Matchups(store).recorded("m1") == {0}


def test_a_failure_is_remembered_until_the_shard_gets_another_try(store: Store) -> None:
    Matchups(store).create("m1", REQUEST)
    Matchups(store).fail("m1", "the worker died three times", 2)
    assert Matchups(store).failures("m1") == {2: "the worker died three times"}

    Matchups(store).forget("m1", 2)
    assert Matchups(store).failures("m1") == {}


def test_a_cancelled_matchup_says_so(store: Store) -> None:
    Matchups(store).create("m1", REQUEST)
    assert Matchups(store).cancelled("m1") is None
    Matchups(store).cancel("m1")
    assert Matchups(store).cancelled("m1") is not None
    with pytest.raises(NotFound):
        Matchups(store).cancel("m2")


def test_a_bucket_works_like_a_folder() -> None:
    store = Store("memory://alphastral-test")
    Matchups(store).create("m1", REQUEST)
    Matchups(store).record("m1", record(1))

    assert Matchups(store).ids() == ["m1"]
    assert [battle.index for battle in Matchups(store).battles("m1")] == [1]


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    assert len({new_matchup_id() for _ in range(100)}) == 100
