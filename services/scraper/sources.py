"""Where battles come from: files and folders, replays in the store, and battles of our own in the store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.scraper.own_runs import replay_of
from services.scraper.raw_logs import Unfit, UnfitBattle, Unusable
from services.scraper.replay import Replay
from services.scraper.replay_files import is_battle_file, read_file, read_packed
from services.scraper.stored_replays import StoredReplays
from shared.errors import BrokenRecord, NotFound, UsageError
from shared.matchups import Matchups
from shared.store import Store

STORE = "store:"
"""Begins a source that lies in the store: `store:replays`, `store:replays/FORMAT`, `store:matchups/ID`."""


class BattleSource(Protocol):
    """One piece of work: what is opened at once. Fit for pickle, since other processes read it."""

    @property
    def weight(self) -> int:
        """About how many bytes there are to read."""
        ...

    def read(self) -> Iterator[Replay | Unusable]:
        """Its battles."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on this machine."""

    path: Path
    weight: int

    def read(self) -> Iterator[Replay | Unusable]:
        """The battles in it."""
        return read_file(self.path)


@dataclass(frozen=True, slots=True)
class StoredReplay:
    """A replay that was fetched from the site."""

    store: str
    format: str
    id: str
    weight: int = 8_000

    def read(self) -> Iterator[Replay | Unusable]:
        """The one battle."""
        try:
            raw = StoredReplays(Store(self.store)).read(self.format, self.id)
        except NotFound:
            yield Unusable(self.id, Unfit.UNREADABLE)
            return
        yield from read_packed(raw, self.id)


@dataclass(frozen=True, slots=True)
class StoredBattle:
    """A battle of our own, as a worker recorded it."""

    store: str
    matchup_id: str
    index: int
    weight: int = 8_000

    def read(self) -> Iterator[Replay | Unusable]:
        """The one battle."""
        name = f"{self.matchup_id}-{self.index:05d}"
        matchups = Matchups(Store(self.store))
        try:
            request = matchups.request(self.matchup_id)
            yield replay_of(matchups.battle(self.matchup_id, self.index), name, {"p1": request.p1, "p2": request.p2})
        except UnfitBattle as refused:
            yield Unusable(name, refused.reason)
        except (BrokenRecord, NotFound):
            yield Unusable(name, Unfit.BROKEN_RUN)


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
        return [FileSource(each, each.stat().st_size) for each in files]
    except OSError as error:
        raise UsageError(f"cannot look into {path}: {error.strerror}", field="sources") from error


def _in_store(path: str, store: Store) -> list[BattleSource]:
    match path.strip("/").split("/"):
        case ["replays", *formats] if len(formats) <= 1:
            replays = StoredReplays(store)
            return [
                StoredReplay(store.url, format_id, replay_id)
                for format_id in formats or replays.formats()
                for replay_id in sorted(replays.ids(format_id))
            ]
        case ["matchups", matchup_id]:
            recorded = sorted(Matchups(store).recorded(matchup_id))
            return [StoredBattle(store.url, matchup_id, index) for index in recorded]
        case _:
            raise UsageError(
                f"{STORE}{path} is no source; sources in the store are {STORE}replays, {STORE}replays/FORMAT and "
                f"{STORE}matchups/ID",
                field="sources",
            )
