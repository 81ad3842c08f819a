"""Battles in files, whoever wrote them: every form that is read, and a clear reason for everything else."""

import gzip
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scraper.replay import MAX_LINE_CHARACTERS, MAX_REPLAY_BYTES, Replay, Unfit, Unusable
from services.scraper.sources import is_battle_file, read_bytes, read_file, read_packed

LOG = (
    "|j|☆Red\n|player|p1|Red|1|1500\n|player|p2|Blue|2|1510\n|teamsize|p1|6\n|gen|9\n|tier|[Gen 9] OU\n|start\n"
    "|turn|1\n|move|p1a: Rotom|Volt Switch|p2a: Zapdos\n|win|Red\n"
    "|raw|Red's rating: 1500 &rarr; <strong>1521</strong><br />(+21 for winning)\n"
    "|raw|Blue's rating: 1510 &rarr; <strong>1489</strong><br />(-21 for losing)"
)
DOCUMENT = {
    "id": "gen9ou-1",
    "format": "[Gen 9] OU",
    "formatid": "gen9ou",
    "log": LOG,
    "inputlog": ">version 0123\n>start {}\n",
    "uploadtime": 1_700_000_000,
    "rating": 1489,
}
PAGE = f"""<!DOCTYPE html>
<meta charset="utf-8" />
<input type="hidden" name="replayid" value="gen9ou-1" />
<script type="text/plain" class="battle-log-data">{LOG.replace("/", chr(92) + "/")}</script>
<script>let daily = 1;</script>
"""


def one(found: Sequence[Replay | Unusable]) -> Replay | Unusable:
    (only,) = found
    return only


def read(folder: Path, name: str, content: bytes) -> Replay | Unusable:
    (folder / name).write_bytes(content)
    return one(list(read_file(folder / name)))


def as_json(**changes: Any) -> bytes:
    return json.dumps({**DOCUMENT, **changes}).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("any.json", as_json()),
        ("any.json.gz", gzip.compress(as_json())),
        ("gen9ou-1.log", LOG.encode()),
        ("gen9ou-1.log", LOG.replace("\n", "\r\n").encode("utf-8-sig")),
        ("any.html", PAGE.encode()),
        ("any.html.gz", gzip.compress(PAGE.encode())),
    ],
)
def test_a_replay_is_the_same_in_every_form(tmp_path: Path, name: str, content: bytes) -> None:
    replay = read(tmp_path, name, content)

    assert isinstance(replay, Replay)
    assert (replay.id, replay.format, replay.rating) == ("gen9ou-1", "gen9ou", 1489)
    assert replay.log == tuple(LOG.split("\n"))
    assert replay.source == "replay"


def test_what_only_the_site_tells_is_kept(tmp_path: Path) -> None:
    replay = read(tmp_path, "a.json", as_json())

    assert isinstance(replay, Replay)
    assert replay.inputlog == (">version 0123", ">start {}")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", as_json()[:-40], Unfit.NOT_JSON),
        ("a.json", '{"log": "é'.encode()[:-1], Unfit.NOT_JSON),
        ("a.json", b'{"log": "\xff\xfe' + b" " * 20 + b'"}', Unfit.NOT_TEXT),
        ("a.json", b"[" * 100_000, Unfit.NEITHER),
        ("a.json", b'{"a":' * 100_000, Unfit.NOT_JSON),
        ("a.json", b'{"formatid": "gen9ou", "uploadtime": 1}', Unfit.NO_LOG),
        ("a.json", b'{"name": "package"}', Unfit.NEITHER),
        ("a.json", as_json(log=7), Unfit.NO_LOG),
        ("a.json", as_json(log="|" + "x" * (MAX_LINE_CHARACTERS + 1)), Unfit.LONG_LINE),
        ("a.json", b'{"summary": {}, "battles": 3}', Unfit.BROKEN_RUN),
        ("a.json", b'{"battle_tag": "x", "public_log": 3}', Unfit.BROKEN_RUN),
        ("a.log", b"", Unfit.NEITHER),
        ("a.log", b"dear diary", Unfit.NEITHER),
        ("a.log", LOG.encode("utf-16"), Unfit.NOT_TEXT),
        ("a.log", LOG.encode() + b"\0", Unfit.NOT_TEXT),
        ("a.log", b"".join(b"|turn|%d\n" % turn for turn in range(500_000)), Unfit.TOO_MANY_LINES),
        ("a.log", b"".join(b"|turn|%d\n" % turn for turn in range(1_000_000)), Unfit.TOO_LARGE),
        ("a.html", b"<!DOCTYPE html><p>no battle here", Unfit.PAGE_WITHOUT_LOG),
        ("a.html", PAGE.partition("</script>")[0].encode(), Unfit.PAGE_WITHOUT_LOG),
        ("a.json.gz", gzip.compress(as_json())[:-30], Unfit.BROKEN_GZIP),
        ("a.json.gz", b"\x1f\x8b" + b"nonsense", Unfit.BROKEN_GZIP),
        ("a.json.gz", b"\x1f\x8b", Unfit.BROKEN_GZIP),
    ],
)
def test_what_cannot_be_read_has_its_reason(tmp_path: Path, name: str, content: bytes, reason: Unfit) -> None:
    assert read(tmp_path, name, content) == Unusable("a", reason)


@pytest.mark.parametrize("begins", [b" ", b'{"log": "', b'{"summary": "'])
def test_a_zip_bomb_takes_no_more_memory_than_a_file_may(tmp_path: Path, begins: bytes) -> None:
    bomb = gzip.compress(begins + b"0" * 300_000_000, compresslevel=1)
    (tmp_path / "a.json.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        found = one(list(read_file(tmp_path / "a.json.gz")))
        stored = one(list(read_packed(bomb, "a")))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == stored == Unusable("a", Unfit.TOO_LARGE)
    # A run of our own may be larger than a stranger's replay.
    assert most < (600_000_000 if b"summary" in begins else 4 * MAX_REPLAY_BYTES)


def test_fields_of_the_wrong_kind_are_left_out(tmp_path: Path) -> None:
    replay = read(tmp_path, "stem.json", as_json(id=["x"], rating="1500", uploadtime=-1, inputlog=5, formatid=None))

    assert isinstance(replay, Replay)
    assert (replay.id, replay.format, replay.rating) == ("stem", "gen9ou", None)
    assert replay.inputlog is None


def test_a_name_from_outside_stays_on_one_line(tmp_path: Path) -> None:
    replay = read(tmp_path, "a.json", as_json(id="gen9ou-1\n|turn|2" + "x" * 500))

    assert isinstance(replay, Replay)
    assert "\n" not in replay.id
    assert len(replay.id) <= 100


def test_files_are_told_by_their_names() -> None:
    names = {"a.json": True, "a.json.gz": True, "a.log": True, "a.html": True, "a.jsonl": False, ".a.json": False}

    assert {name: is_battle_file(Path(name)) for name in names} == names


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_whatever_the_bytes_there_is_an_answer(raw: bytes) -> None:
    for content in (raw, b"{" + raw, b"|" + raw, b"<" + raw):
        assert list(read_bytes(content, "any"))
    assert list(read_packed(raw, "any"))
    assert list(read_packed(gzip.compress(raw), "any"))


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_replay_is_read_or_has_a_reason(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([as_json(), LOG.encode(), PAGE.encode(), gzip.compress(as_json())])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40)) or b"\n"

    found = list(read_packed(bytes(raw), "any") if raw[:2] == b"\x1f\x8b" else read_bytes(bytes(raw), "any"))

    assert len(found) == 1
    if isinstance(found[0], Unusable):
        assert found[0].reason in set(Unfit)
