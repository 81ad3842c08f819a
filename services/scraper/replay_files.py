"""Reads battles from files: replays as the site serves them, bare logs, the client's pages, and runs of our own.

A file is a stranger's. How much of it is read is bounded before it is unpacked or parsed, and what cannot be used comes
back as Unusable, with one of a fixed list of reasons. Nothing here believes what a log says.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from services.scraper.own_runs import read_record, read_run
from services.scraper.raw_logs import (
    MAX_ID_CHARACTERS,
    Unfit,
    UnfitBattle,
    Unusable,
    format_of,
    id_of,
    lines_of,
    whole,
)
from services.scraper.replay import Replay
from shared.battle.pokedex import to_id
from shared.text import one_line

SUFFIXES = (".json", ".log", ".html", ".htm")
"""Each may have `.gz` behind it."""
MAX_REPLAY_BYTES = 8 << 20
"""Unpacked. A thousand turns, where the simulator ends a battle, take about one megabyte."""
MAX_RUN_BYTES = 256 << 20
_RUN_BEGINS = re.compile(rb'\s*\{\s*"summary"')
_REPLAY_ID = re.compile(r'name="replayid"\s+value="([^"]{1,100})"')
_PAGE_LOG = re.compile(r'<script[^>]*class="battle-log-data"[^>]*>(.*?)</script>', re.DOTALL)
_NEW_RATING = re.compile(r"\|raw\|.*'s rating: \d+ &rarr; <strong>(\d{1,5})</strong>")


def is_battle_file(path: Path) -> bool:
    """Whether a file in a folder of battles is looked at, going by its name."""
    return path.name.removesuffix(".gz").endswith(SUFFIXES) and not path.name.startswith(".")


def read_file(path: Path) -> Iterator[Replay | Unusable]:
    """The battles in a file, plain or gzipped: one of a replay, many of a run."""
    name = path.name.removesuffix(".gz")
    stem = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
    try:
        with path.open("rb") as opened:
            packed = opened.read(2) == b"\x1f\x8b"
            opened.seek(0)
            with gzip.GzipFile(fileobj=opened) if packed else opened as unpacked:
                raw = _bounded(unpacked)
    except UnfitBattle as refused:
        yield Unusable(stem, refused.reason)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        yield Unusable(stem, Unfit.BROKEN_GZIP)
    except OSError:
        yield Unusable(stem, Unfit.UNREADABLE)
    else:
        yield from read_bytes(raw, stem)


def read_packed(raw: bytes, stem: str) -> Iterator[Replay | Unusable]:
    """The battles in a gzipped file's content."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpack.decompress(raw, MAX_REPLAY_BYTES + 1)
    except zlib.error:
        yield Unusable(stem, Unfit.BROKEN_GZIP)
        return
    if len(unpacked) > MAX_REPLAY_BYTES:
        yield Unusable(stem, Unfit.TOO_LARGE)
    elif not unpack.eof:
        yield Unusable(stem, Unfit.BROKEN_GZIP)
    else:
        yield from read_bytes(unpacked, stem)


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


def parse_replay(raw: bytes) -> Mapping[str, Any] | None:
    """A replay's JSON as the site serves it; None where it is none."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and isinstance(document.get("log"), str) else None


# ── documents ───────────────────────────────────────────────────────────────────────────────────────


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
    format_id = document.get("formatid")
    return Replay(
        id=id_of(document.get("id")) or stem,
        format=to_id(format_id)[:60] if isinstance(format_id, str) and format_id else format_of(lines),
        log=lines,
        inputlog=lines_of(inputlog) if isinstance(inputlog, str) and inputlog else None,
        rating=whole(document.get("rating"), 10_000),
        uploaded_at=whole(document.get("uploadtime"), 1 << 40),
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
    return _bare_log(found[1].replace("\\/", "/"), id_of(named[1] if named else None) or stem)


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
