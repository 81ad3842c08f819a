"""Publishing and promoting: whole or not at all, never changed, and what a name stands for always loads."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import BrokenRecord, Conflict, NotFound, Unreachable, UsageError
from shared.registry import Registry
from shared.store import Store
from tests.standins.bucket import CUT, Bucket, serving
from tests.standins.registry import card, safetensors, trained

PUBLISH = """
import resource, sys
from pathlib import Path
from shared.store import Store
from shared.registry import Registry
from tests.standins.registry import card
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
Registry(Store(sys.argv[1])).publish("smol", Path(sys.argv[2]), card())
"""
"""In a process whose files cannot grow beyond a size: the system refuses the write halfway, as a full disk does."""
PROMOTE = """
import sys
from shared.store import Store
from shared.registry import Registry
registry = Registry(Store(sys.argv[1]))
for _ in range(20):
    registry.promote("smol", sys.argv[2])
"""


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving() as one:
        yield one


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Store:
    return Store(str(tmp_path / "store") if request.param == "folder" else "s3://models/of/ours")


def run(script: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])


def test_what_was_published_is_fetched_with_its_card(files: Store, tmp_path: Path) -> None:
    registry = Registry(files)
    folder = trained(tmp_path / "trained")

    version = registry.publish("smol", folder, card(metrics={"accuracy": 0.5}))
    fetched = registry.fetch("smol", version, tmp_path / "here")

    assert (registry.names(), registry.versions("smol"), version[:16]) == (["smol"], [version], "20261122-120000-")
    assert {path.name for path in fetched.iterdir()} == {path.name for path in folder.iterdir()} | {"card.json"}
    assert (fetched / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert registry.card("smol", version).metrics == {"accuracy": 0.5}
    assert registry.card("smol", version).files.keys() == {path.name for path in folder.iterdir()}
    assert registry.fetch("smol", version, tmp_path / "here") == fetched


def test_a_version_of_a_folder_is_fetched_without_a_copy(tmp_path: Path) -> None:
    registry = Registry(Store(str(tmp_path / "store")))
    version = registry.publish("smol", trained(tmp_path / "trained"), card())

    fetched = registry.fetch("smol", version, tmp_path / "here")

    assert fetched == tmp_path / "store/models/smol/versions" / version
    assert not (tmp_path / "here").exists()


def test_the_same_is_published_once_and_never_changed(files: Store, tmp_path: Path) -> None:
    registry = Registry(files)
    folder = trained(tmp_path / "trained")
    first = registry.publish("smol", folder, card())

    with pytest.raises(Conflict):
        registry.publish("smol", folder, card())
    second = registry.publish("smol", trained(folder, b"\0\0\0\0"), card())

    assert first != second
    registry.check("smol", first)
    registry.check("smol", second)


def test_a_version_without_its_card_is_not_there(files: Store) -> None:
    files.write("models/smol/versions/20261122-120000-aaaaaa/model.safetensors", b"half")

    with pytest.raises(NotFound):
        Registry(files).versions("smol")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"pytorch_model__bin": b"pickle"}, "pytorch_model.bin cannot be published: only files named"),
        ({"modeling__py": b"import os"}, "modeling.py cannot be published"),
        ({"model__safetensors": safetensors(b"abcd")[:-1]}, "model.safetensors is cut off"),
        ({"model__safetensors": b"<html>"}, "no safetensors file"),
        ({"model__safetensors": b"\xff" * 9}, "no safetensors file"),
    ],
)
def test_a_folder_that_nobody_should_load_is_not_published(
    files: Store, tmp_path: Path, more: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        Registry(files).publish("smol", trained(tmp_path / "trained", **more), card())

    assert Registry(files).names() == []


@pytest.mark.parametrize("parent", [None, "smol@20261101-120000-abcdef"])
def test_a_card_of_an_earlier_version_that_names_a_parent_is_read(tmp_path: Path, parent: str | None) -> None:
    registry = Registry(Store(str(tmp_path / "store")))
    version = registry.publish("smol", trained(tmp_path / "trained"), card())
    path = tmp_path / "store/models/smol/versions" / version / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parent": parent}))

    assert registry.check("smol", version).base == card().base


@pytest.mark.parametrize("missing", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_a_folder_that_no_engine_could_load_is_not_published(files: Store, tmp_path: Path, missing: str) -> None:
    folder = trained(tmp_path / "trained")
    (folder / missing).unlink()

    with pytest.raises(UsageError, match="holds no"):
        Registry(files).publish("smol", folder, card())


@pytest.mark.parametrize("name", ["", "Smol", "a/b", "..", "a" * 65])
def test_a_name_that_is_no_folder_is_not_published(files: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        Registry(files).publish(name, trained(tmp_path / "trained"), card())


def test_a_full_disk_leaves_nothing_half_published(tmp_path: Path) -> None:
    store = tmp_path / "store"
    folder = trained(tmp_path / "trained", b"\0" * 100_000)
    registry = Registry(Store(str(store)))
    first = registry.publish("smol", trained(tmp_path / "first"), card(1))
    registry.promote("smol", first)

    publishing = run(PUBLISH, store, folder, 50_000)
    _, said = publishing.communicate(timeout=30)

    assert publishing.returncode == 1 and "Unreachable" in said and "cannot be written: File too large" in said
    assert (registry.versions("smol"), registry.current("smol")) == ([first], first)
    assert [path.name for path in (store / "models/smol/versions").iterdir()] == [first]
    again = run(PUBLISH, store, folder, 500_000)
    again.communicate(timeout=30)
    assert again.returncode == 0 and len(registry.versions("smol")) == 2


def test_a_full_disk_leaves_nothing_half_fetched(tmp_path: Path) -> None:
    bucket = Store(f"memory://{uuid.uuid4().hex}")
    version = Registry(bucket).publish("smol", trained(tmp_path / "trained"), card())
    (tmp_path / "here").touch()

    with pytest.raises(Unreachable, match="cannot be written"):
        Registry(bucket).fetch("smol", version, tmp_path / "here")


@pytest.mark.usefixtures("bucket")
def test_a_damaged_copy_is_replaced(tmp_path: Path) -> None:
    registry = Registry(Store("s3://models"))
    version = registry.publish("smol", trained(tmp_path / "trained"), card())
    copy = registry.fetch("smol", version, tmp_path / "here")
    for damage in (lambda path: path.write_bytes(b"rot"), Path.unlink):
        damage(copy / "model.safetensors")

        registry.fetch("smol", version, tmp_path / "here")

        assert (copy / "model.safetensors").read_bytes() == (tmp_path / "trained/model.safetensors").read_bytes()


@pytest.mark.parametrize(("failing", "why"), [(403, "403 Forbidden"), (503, "503 Service Unavailable"), (CUT, "error")])
def test_what_cannot_be_read_now_is_not_taken_for_damaged(
    tmp_path: Path, bucket: Bucket, failing: int | str, why: str
) -> None:
    registry = Registry(Store("s3://models"))
    version = registry.publish("smol", trained(tmp_path / "trained"), card())
    bucket.failing["GET model.safetensors"] = failing

    with pytest.raises(Unreachable, match=f"s3://models cannot be reached: .*{why}"):
        registry.check("smol", version)
    with pytest.raises(Unreachable, match=f"s3://models cannot be reached: .*{why}"):
        registry.fetch("smol", version, tmp_path / "here")
    bucket.failing.clear()
    registry.promote("smol", version)


@pytest.mark.parametrize("operation", ["HEAD", "GET"])
def test_a_bucket_that_answers_with_errors_is_unreachable(tmp_path: Path, bucket: Bucket, operation: str) -> None:
    registry = Registry(Store("s3://models"))
    registry.promote("smol", registry.publish("smol", trained(tmp_path / "trained"), card()))
    bucket.failing[operation] = 500

    with pytest.raises(Unreachable, match=r"the store s3://models cannot be reached: .*500 Internal Server Error"):
        registry.current("smol")


def test_a_bucket_that_goes_away_is_unreachable_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    with serving() as before:
        registry = Registry(Store("s3://models"))
        version = registry.publish("smol", trained(tmp_path / "trained"), card())
    with pytest.raises(Unreachable, match="the store s3://models cannot be reached: "):
        registry.current("smol")
    with pytest.raises(Unreachable, match="the store s3://models cannot be written: "):
        Store("s3://models").write("models/smol/current", b"nothing")

    with serving(before.port) as after:
        after.objects.update(before.objects)
        registry.promote("smol", version)

        assert registry.current("smol") == version


@pytest.mark.parametrize("operation", ["PUT", "PUT card.json", "POST model.safetensors"])
def test_a_bucket_that_takes_nothing_more_shows_no_half_of_a_version(
    tmp_path: Path, bucket: Bucket, operation: str
) -> None:
    registry = Registry(Store("s3://models"))
    bucket.failing[operation] = 507

    with pytest.raises(Unreachable, match="s3://models cannot be written"):
        # So large that it is sent in parts.
        registry.publish("smol", trained(tmp_path / "trained", b"\0" * 11_000_000), card())
    bucket.failing.clear()

    assert registry.names() == [] and not bucket.objects


def test_a_name_stands_for_what_was_promoted_and_goes_back_step_by_step(files: Store, tmp_path: Path) -> None:
    registry = Registry(files)
    versions = [registry.publish("smol", trained(tmp_path / "t"), card(second)) for second in range(3)]
    for version in versions:
        registry.promote("smol", version)
    registry.promote("smol", versions[2])
    assert registry.current("smol") == versions[2]

    assert registry.rollback("smol") == registry.current("smol") == versions[1]
    assert registry.rollback("smol") == registry.current("smol") == versions[0]
    with pytest.raises(Conflict, match="no version of smol was promoted before"):
        registry.rollback("smol")
    assert registry.current("smol") == versions[0]


def test_one_rolls_back_to_a_named_version_and_only_from_the_one_that_was_meant(files: Store, tmp_path: Path) -> None:
    registry = Registry(files)
    versions = [registry.publish("smol", trained(tmp_path / "t"), card(second)) for second in range(3)]
    for version in versions:
        registry.promote("smol", version)

    with pytest.raises(Conflict, match="no longer stands for"):
        registry.rollback("smol", leaving=versions[0])
    assert registry.rollback("smol", leaving=versions[2], to=versions[0]) == registry.current("smol") == versions[0]


def test_a_damaged_version_is_not_promoted_and_never_rolled_back_to(tmp_path: Path) -> None:
    registry = Registry(Store(str(tmp_path / "store")))
    versions = [registry.publish("smol", trained(tmp_path / "t"), card(second)) for second in range(3)]
    for version in versions:
        registry.promote("smol", version)
    (tmp_path / "store/models/smol/versions" / versions[1] / "model.safetensors").write_bytes(b"rot")

    with pytest.raises(BrokenRecord, match=r"model\.safetensors is not what was published"):
        registry.promote("smol", versions[1])
    with pytest.raises(BrokenRecord):
        registry.fetch("smol", versions[1], tmp_path)
    assert registry.rollback("smol") == registry.current("smol") == versions[0]


def test_a_card_that_names_files_elsewhere_reads_none_of_them(tmp_path: Path) -> None:
    registry = Registry(Store(str(tmp_path / "store")))
    version = registry.publish("smol", trained(tmp_path / "t"), card())
    path = tmp_path / "store/models/smol/versions" / version / "card.json"
    body = json.loads(path.read_text())
    body["files"]["../../../../secret.json"] = body["files"]["config.json"]
    path.write_text(json.dumps(body))

    with pytest.raises(BrokenRecord, match="none may be called"):
        registry.promote("smol", version)


def test_two_who_promote_at_once_leave_one_of_theirs_and_the_other_before_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    registry = Registry(Store(str(store)))
    one, two = (registry.publish("smol", trained(tmp_path / "t"), card(second)) for second in range(2))

    promoting = [run(PROMOTE, store, version) for version in (one, two)]
    seen = set()
    while any(process.poll() is None for process in promoting):
        seen.update(registry.promoted("smol")[:1])
    for process in promoting:
        assert process.communicate()[1] == ""

    now, *before = registry.promoted("smol")
    assert process.returncode == 0 and seen <= {one, two} and {now, before[0]} == {one, two}
    assert all(following != version for version, following in zip([now, *before], before, strict=False))


def test_threads_that_promote_and_roll_back_at_once_break_nothing(files: Store, tmp_path: Path) -> None:
    registry = Registry(files)
    versions = [registry.publish("smol", trained(tmp_path / "t"), card(second)) for second in range(4)]
    registry.promote("smol", versions[0])

    def step(number: int) -> str:
        if number % 3 == 2:
            try:
                return registry.rollback("smol")
            except Conflict:
                return registry.current("smol")
        registry.promote("smol", versions[number % 4])
        return registry.current("smol")

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(step, range(80))) <= set(versions)
    assert len(registry.promoted("smol")) <= 20
