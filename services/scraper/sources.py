"""Where battles come from: files and folders, replays in the store, and battles of our own in the store.

Read are replays as the site serves them, bare logs, the client's pages, and runs and records of our own. A file is a
stranger's. How much of it is read is bounded before it is unpacked or parsed, and what cannot be used comes back as
Unusable, with one of a fixed list of reasons. Nothing here believes what a log says.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from services.scraper.replay import (
    CUSTOM,
    MAX_ID_CHARACTERS,
    MAX_REPLAY_BYTES,
    Replay,
    Unfit,
    UnfitBattle,
    Unusable,
    format_id,
    format_of,
    lines_of,
    read_record,
    read_run,
    replay_of,
)
from services.scraper.scrapes import StoredReplays
from shared.errors import BrokenRecord, NotFound, UsageError
from shared.matchups import Matchups
from shared.store import Store
from shared.text import one_line

STORE = "store:"
"""Begins a source that lies in the store: `store:replays`, `store:replays/FORMAT`, `store:matchups/ID`."""
SUFFIXES = (".json", ".log", ".html", ".htm")
"""Each may have `.gz` behind it."""
MAX_RUN_BYTES = 256 << 20
_RUN_BEGINS = re.compile(rb'\s*\{\s*"summary"')
_REPLAY_ID = re.compile(r'name="replayid"\s+value="([^"]{1,100})"')
_PAGE_LOG = re.compile(r'<script[^>]*class="battle-log-data"[^>]*>(.*?)</script>', re.DOTALL)
_NEW_RATING = re.compile(r"\|raw\|.*'s rating: \d+ &rarr; <strong>(\d{1,5})</strong>")


@dataclass(frozen=True, slots=True)
class BattleSource:
    """What is opened at once: a file, or a battle in the store. Fit for pickle, since other processes read it."""

    reader: Callable[..., Iterator[Replay | Unusable]]
    where: tuple[Path | str | bytes | int, ...]
    """What the reader is called with."""
    weight: int = 8_000
    """About how many bytes there are to read."""

    def read(self) -> Iterator[Replay | Unusable]:
        return self.reader(*self.where)


def find_sources(named: Sequence[str], store: Store) -> list[BattleSource]:
    """What these names stand for, in their order, each once; what a folder holds in order of its paths.

    Raises UsageError for a name that stands for nothing.
    """
    found: dict[BattleSource, None] = {}
    for name in named:
        inside = _in_store(name.removeprefix(STORE), store) if name.startswith(STORE) else _on_disk(Path(name))
        if not inside:
            raise UsageError(f"there is no battle at {name}", field="sources")
        found.update(dict.fromkeys(inside))
    return list(found)


def _on_disk(path: Path) -> list[BattleSource]:
    try:
        if path.is_dir():
            files = sorted(each for each in path.rglob("*") if is_battle_file(each) and each.is_file())
        elif path.is_file():
            files = [path]
        else:
            raise UsageError(f"there is no file or folder {path}", field="sources")
        return [BattleSource(read_file, (each,), each.stat().st_size) for each in files]
    except OSError as error:
        raise UsageError(f"cannot look into {path}: {error.strerror}", field="sources") from error


def _in_store(path: str, store: Store) -> list[BattleSource]:
    match path.strip("/").split("/"):
        case ["replays", *formats] if len(formats) <= 1:
            replays = StoredReplays(store)
            return [
                BattleSource(_read_replay, (store.url, format_id, replay_id))
                for format_id in formats or replays.formats()
                for replay_id in sorted(replays.ids(format_id))
            ]
        case ["matchups", matchup_id]:
            recorded = sorted(Matchups(store).recorded(matchup_id))
            return [BattleSource(_read_battle, (store.url, matchup_id, index)) for index in recorded]
        case _:
            raise UsageError(
                f"{STORE}{path} is no source; sources in the store are {STORE}replays, {STORE}replays/FORMAT and "
                f"{STORE}matchups/ID",
                field="sources",
            )


# ── the store ───────────────────────────────────────────────────────────────────────────────────────


def _read_replay(store: str, format_id: str, replay_id: str) -> Iterator[Replay | Unusable]:
    try:
        raw = StoredReplays(Store(store)).read(format_id, replay_id)
    except NotFound:
        yield Unusable(replay_id, Unfit.UNREADABLE)
    else:
        yield from read_packed(raw, replay_id)


def _read_battle(store: str, matchup_id: str, index: int) -> Iterator[Replay | Unusable]:
    name, matchups = f"{matchup_id}-{index:05d}", Matchups(Store(store))
    try:
        request = matchups.request(matchup_id)
        yield replay_of(matchups.battle(matchup_id, index), name, request)
    except UnfitBattle as refused:
        yield Unusable(name, refused.reason)
    except (BrokenRecord, NotFound):
        yield Unusable(name, Unfit.BROKEN_RUN)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


def is_battle_file(path: Path) -> bool:
    """Whether a file in a folder of battles is looked at, going by its name."""
    return path.name.removesuffix(".gz").endswith(SUFFIXES) and not path.name.startswith(".")


def read_file(path: Path) -> Iterator[Replay | Unusable]:
    """The battles in a file, plain or gzipped: one of a replay, many of a run."""
    name = path.name.removesuffix(".gz")
    stem = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
    try:
        with path.open("rb") as opened:
            yield from _read(opened, stem)
    except OSError:
        yield Unusable(stem, Unfit.UNREADABLE)


def read_packed(raw: bytes, stem: str) -> Iterator[Replay | Unusable]:
    """The battles in a gzipped file's content."""
    return _read(BytesIO(raw), stem)


def _read(opened: BinaryIO, stem: str) -> Iterator[Replay | Unusable]:
    try:
        packed = opened.read(2) == b"\x1f\x8b"
        opened.seek(0)
        with gzip.GzipFile(fileobj=opened) if packed else opened as unpacked:
            raw = _bounded(unpacked)
    except UnfitBattle as refused:
        yield Unusable(stem, refused.reason)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        yield Unusable(stem, Unfit.BROKEN_GZIP)
    else:
        yield from read_bytes(raw, stem)


def read_bytes(raw: bytes, stem: str) -> Iterator[Replay | Unusable]:
    """The battles in a file's content, which is told from its first characters. `stem` names what names nothing."""
    stem = one_line(stem, MAX_ID_CHARACTERS)
    try:
        if raw.lstrip()[:1] == b"{":
            yield from _read_document(raw, stem)
        else:
            text = _text(raw)
            yield _page(text, stem) if text.lstrip()[:1] == "<" else _bare_log(text, stem)
    except UnfitBattle as refused:
        yield Unusable(stem, refused.reason)


# ── documents ───────────────────────────────────────────────────────────────────────────────────────


def parse_replay(raw: bytes) -> Mapping[str, Any] | None:
    """A replay's JSON as the site serves it; None where it is none."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and isinstance(document.get("log"), str) else None


def _bounded(unpacked: Any) -> bytes:
    raw: bytes = unpacked.read(MAX_REPLAY_BYTES + 1)
    if len(raw) > MAX_REPLAY_BYTES and _RUN_BEGINS.match(raw):
        raw += unpacked.read(MAX_RUN_BYTES - MAX_REPLAY_BYTES)
        if len(raw) > MAX_RUN_BYTES:
            raise UnfitBattle(Unfit.TOO_LARGE)
    elif len(raw) > MAX_REPLAY_BYTES:
        raise UnfitBattle(Unfit.TOO_LARGE)
    return raw


def _read_document(raw: bytes, stem: str) -> Iterator[Replay | Unusable]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise UnfitBattle(_why_no_json(raw)) from None
    match document:
        case {"log": str() as log}:
            yield _replay(document, log, stem)
        case {"summary": _, "battles": _}:
            yield from read_run(raw, stem)
        case {"battle_tag": _, "public_log": _}:
            yield read_record(raw, stem)
        case {"formatid": _} | {"uploadtime": _}:
            raise UnfitBattle(Unfit.NO_LOG)
        case _:
            raise UnfitBattle(Unfit.NEITHER)


def _replay(document: Mapping[str, Any], log: str, stem: str) -> Replay:
    lines = lines_of(log)
    inputlog = document.get("inputlog")
    named, shown, rating = document.get("formatid"), str(document.get("format")), document.get("rating")
    return Replay(
        id=_id_of(document.get("id")) or stem,
        format=format_id(named + shown.partition(CUSTOM)[1]) if isinstance(named, str) and named else format_of(lines),
        log=lines,
        inputlog=lines_of(inputlog) if isinstance(inputlog, str) and inputlog else None,
        rating=rating if isinstance(rating, int) and not isinstance(rating, bool) and 0 <= rating < 10_000 else None,
    )


def _bare_log(text: str, stem: str) -> Replay:
    if not any(line.startswith("|") for line in text.split("\n", 50)):
        raise UnfitBattle(Unfit.NEITHER)
    lines = lines_of(text)
    ratings = [int(found[1]) for line in lines if (found := _NEW_RATING.match(line))]
    return Replay(id=stem, format=format_of(lines), log=lines, rating=min(ratings) if len(ratings) == 2 else None)


def _page(text: str, stem: str) -> Replay:
    found = _PAGE_LOG.search(text)
    if found is None:
        raise UnfitBattle(Unfit.PAGE_WITHOUT_LOG)
    named = _REPLAY_ID.search(text)
    # The client writes `\/` for `/`, so that no `</script>` stands in it.
    return _bare_log(found[1].replace("\\/", "/"), _id_of(named[1] if named else None) or stem)


def _id_of(given: object) -> str:
    """What a battle calls itself, on one line; empty where it does not."""
    return one_line(given, MAX_ID_CHARACTERS).strip() if isinstance(given, str) else ""


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnfitBattle(Unfit.NOT_TEXT) from None
    if "\0" in text:
        raise UnfitBattle(Unfit.NOT_TEXT)
    return text


def _why_no_json(raw: bytes) -> Unfit:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        # Cut off in the middle of a character is cut off, and no wrong encoding.
        return Unfit.NOT_JSON if error.start >= len(raw) - 3 else Unfit.NOT_TEXT
    return Unfit.NOT_JSON
