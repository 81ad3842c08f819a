"""The store: written once, atomically, and read back with clear errors."""

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from shared.errors import Conflict, NotFound, Unreachable, UsageError
from shared.matchups import Matchups
from shared.records import BattleRecord, MatchupRequest
from shared.store import Store
from shared.verdicts.sequential import UntilDecided, latest_look
from shared.work import new_id
from tests.standins.bucket import Bucket, serving

REQUEST = MatchupRequest(p1="heuristic", p2="random", battles=4)


WRITE = """
import resource, sys
from shared.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
store = Store(sys.argv[1])
for digit in "0123456789" * 1000:
    store.write("matchups/m1/run.json", digit.encode() * 9_000_000)
"""
"""In a process of its own, whose files may grow to a size and no further: as on a disk that is full by then."""
FORK = """
import os, sys
from shared.store import Store
store = Store(sys.argv[1])
store.write("matchups/m1/run.json", b"x")
if os.fork():
    os.wait()
else:
    store.read("matchups/m1/run.json", "gone")
"""


@contextmanager
def running(script: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        yield process


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving() as one:
        yield one


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


@pytest.mark.parametrize("kind", ["disk", "bucket", "memory"])
def test_of_two_stores_that_create_the_same_at_once_one_is_told_that_it_did(
    kind: str, tmp_path: Path, bucket: Bucket
) -> None:
    # Each with its own idea of the same place, as two processes have it.
    url = {"disk": str(tmp_path / "store"), "bucket": "s3://x/y", "memory": f"memory://{tmp_path.name}"}[kind]
    stores = [Store(url) for _ in range(8)]

    def create(name: str, number: int) -> bool:
        return stores[number].create(f"matchups/{name}/request.json", str(number).encode())

    with ThreadPoolExecutor(8) as threads:
        for name in (f"m{number}" for number in range(20)):
            made = list(threads.map(partial(create, name), range(8)))
            assert sum(made) == 1
            assert stores[0].read(f"matchups/{name}/request.json", "gone") == str(made.index(True)).encode()
    assert {path.name for path in tmp_path.glob("store/matchups/*/*")} <= {"request.json"}


@pytest.mark.parametrize("url", ["nosuch://x", "az://container"])
def test_a_store_that_cannot_be_opened_is_told_by_its_address(url: str) -> None:
    with pytest.raises(UsageError, match=f"cannot open the store {url}"):
        Store(url)


def test_a_store_that_takes_nothing_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unreachable, match="file cannot be written: Not a directory"):
        Matchups(Store(str(tmp_path / "file"))).create("m1", REQUEST)


def test_a_store_that_may_not_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"the store /proc/nothing cannot be written: \w"):
        Store("/proc/nothing").write("matchups/m1/request.json", b"x")


@pytest.mark.parametrize("kind", ["disk", "file://", "bucket", "memory"])
def test_all_kinds_of_stores_do_the_same(kind: str, tmp_path: Path, bucket: Bucket) -> None:
    disk = str(tmp_path / "a store")
    urls = {
        "disk": disk,
        "file://": f"file://{disk}",
        "bucket": "s3://shop/pre/fix",
        "memory": f"memory://{tmp_path.name}",
    }
    store = Store(urls[kind])
    assert (store.folders("matchups"), store.files("matchups"), store.exists("matchups")) == ([], [], False)

    store.write("matchups/m1/request.json", b"one")
    store.write("matchups/m1/request.json", b"two")
    store.write("matchups/m2/run.json", b"three")
    store.add_folder("models/smol", {"card.json": b"card", "weights": iter([b"a", b"b"])}, last="card.json")

    assert sorted(store.folders("matchups")) == ["m1", "m2"] and store.files("matchups") == []
    assert store.files("matchups/m1") == ["request.json"] and store.folders("matchups/m1") == []
    assert store.exists("matchups") and store.exists("matchups/m1") and store.exists("matchups/m1/request.json")
    assert not store.exists("matchup") and not store.exists("matchups/m1/request")
    assert store.read("matchups/m1/request.json", "gone") == b"two"
    assert b"".join(store.pieces("models/smol/weights", "gone")) == b"ab"
    assert abs(datetime.now(UTC) - store.modified("matchups/m1/request.json", "gone")) < timedelta(minutes=1)
    with pytest.raises(Conflict):
        store.add_folder("models/smol", {"card.json": b"another"}, last="card.json")
    store.remove("matchups/m2/run.json")
    store.remove("matchups/m2/run.json")
    for read in (store.read, store.modified, lambda *given: list(store.pieces(*given))):
        with pytest.raises(NotFound, match="it is gone"):
            read("matchups/m2/run.json", "it is gone")


def test_a_write_killed_halfway_leaves_what_was_there_before_and_nothing_to_be_listed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in range(5):
        before = time.time()
        with running(WRITE, tmp_path, -1) as writing:
            # Its first write is done; it is in the middle of another one.
            while not (run := tmp_path / "matchups/m1/run.json").exists() or run.stat().st_mtime < before:
                time.sleep(0.001)
            time.sleep(number / 300)
            writing.kill()

        assert len(set(store.read("matchups/m1/run.json", "gone"))) == 1
        assert len(store.read("matchups/m1/run.json", "gone")) == 9_000_000
        assert store.files("matchups/m1") == ["run.json"]
    store.write("matchups/m1/run.json", b"whole")
    assert store.read("matchups/m1/run.json", "gone") == b"whole"


def test_a_full_disk_leaves_what_was_there_before_and_no_half(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("matchups/m1/run.json", b"before")

    with running(WRITE, tmp_path, 50_000) as writing:
        said = writing.communicate(timeout=30)[1]

    assert "Unreachable" in said and f"the store {tmp_path} cannot be written: File too large" in said
    assert store.read("matchups/m1/run.json", "gone") == b"before"
    assert [path.name for path in (tmp_path / "matchups/m1").iterdir()] == ["run.json"]


def test_a_process_forked_after_a_store_was_used_is_told_so_and_does_not_wait_for_ever(tmp_path: Path) -> None:
    with running(FORK, tmp_path) as forking:
        said = forking.communicate(timeout=30)[1]

    assert "a process was forked after it had used a store" in said


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


@pytest.mark.parametrize(
    "torn",
    [
        lambda raw: b"",
        lambda raw: raw[:-20],
        lambda raw: raw[:12] + b"\xff" * 40,
        lambda raw: b"\0" * len(raw),
        lambda raw: gzip.compress(b""),
        lambda raw: gzip.compress(gzip.decompress(raw)[:50]),
        lambda raw: gzip.compress(b"[]"),
        lambda raw: gzip.compress(record(3).model_dump_json().encode()),
    ],
    ids=["empty", "cut", "garbage", "zeros", "nothing", "half", "another-document", "another-battle"],
)
@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_battle_file_that_cannot_be_read_counts_as_missing_and_is_kept(
    kind: str, torn: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path / "store") if kind == "disk" else f"memory://{tmp_path}")
    matchups, path = Matchups(store), "matchups/m1/battles/00000.json.gz"
    matchups.create("m1", REQUEST)
    for index in (0, 1):
        matchups.record("m1", record(index))
    store.write(path, torn(store.read(path, "gone")))
    bytes_kept = store.read(path, "gone")

    assert [battle.index for battle in matchups.battles("m1")] == [1]

    assert matchups.recorded("m1") == {1} and matchups.played("m1").keys() == {1}
    (kept,) = [name for name in store.files("matchups/m1/battles") if name.startswith("unreadable-00000.json.gz-")]
    assert store.read(f"matchups/m1/battles/{kept}", "gone") == bytes_kept
    assert path in caplog.text and kept in caplog.text
    assert matchups.record("m1", record(0)), "it is recorded again"
    assert [battle.index for battle in matchups.battles("m1")] == [0, 1]


def test_a_look_that_cannot_be_read_counts_as_missing(store: Store, tmp_path: Path) -> None:
    matchups = Matchups(store)
    matchups.create("m1", REQUEST)
    looks = {battles: latest_look({}, UntilDecided(), most=400, pairs=True) for battles in (6, 10)}
    for battles, test in looks.items():
        matchups.record_look("m1", test.model_copy(update={"battles": battles}))
    (tmp_path / "store/matchups/m1/looks/00010.json").write_bytes(b"")

    latest = matchups.latest_look("m1")

    assert latest is not None and latest.battles == 6


def test_a_battle_that_cannot_be_set_aside_counts_as_missing_all_the_same(tmp_path: Path) -> None:
    class ReadOnly(Store):
        def rename(self, path: str, name: str) -> None:
            raise Unreachable("it is read-only")

    matchups = Matchups(ReadOnly(str(tmp_path)))
    matchups.create("m1", REQUEST)
    matchups.record("m1", record(0))
    (tmp_path / "matchups/m1/battles/00000.json.gz").write_bytes(b"")

    assert list(matchups.battles("m1")) == []


@pytest.mark.parametrize("kind", ["disk", "bucket", "memory"])
def test_of_two_records_of_a_battle_the_first_stands(kind: str, tmp_path: Path, bucket: Bucket) -> None:
    url = {"disk": str(tmp_path / "store"), "bucket": "s3://x/y", "memory": f"memory://{tmp_path.name}"}[kind]

    recorded = [Matchups(Store(url)).record("m1", record(0, worker=name)) for name in ("one", "two")]

    assert recorded == [True, False]
    assert Matchups(Store(url)).battle("m1", 0).worker == "one"


def test_what_is_written_is_on_the_disk_with_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def fsync(file: int) -> None:
        name = Path(f"/proc/self/fd/{file}").readlink().relative_to(tmp_path).as_posix()
        synced.append((name, (tmp_path / "m/battles/one").exists()))

    monkeypatch.setattr(os, "fsync", fsync)

    Store(str(tmp_path)).create("m/battles/one", b"whole")

    file, *folders = [(name, there) for name, there in synced if "/." in name or there]
    assert file[0].startswith("m/battles/.one.") and not file[1], "its bytes come before its name"
    assert folders == [("m/battles", True)], "and its name before it is said to be there"
    assert [name for name, there in synced if not there] == [".", "m", file[0]], "new folders, too"


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
    assert len({new_id() for _ in range(100)}) == 100
