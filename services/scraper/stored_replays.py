"""Replays as they lie in the store: `replays/FORMAT/ID.json.gz`, the site's own JSON, compressed."""

import gzip
import re

from shared.errors import NotFound
from shared.store import Store

_ENDING = ".json.gz"
_FORMAT = re.compile(r"[a-z0-9]{1,60}")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


def is_replay_id(text: str) -> bool:
    """Whether a replay may be called so: it becomes the name of a file."""
    return _ID.fullmatch(text) is not None


def is_format(text: str) -> bool:
    """Whether a format may be called so: it becomes the name of a folder."""
    return _FORMAT.fullmatch(text) is not None


class StoredReplays:
    """The replays of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def formats(self) -> list[str]:
        """The formats that there are replays of, in order."""
        return sorted(name for name in self._store.folders("replays") if is_format(name))

    def ids(self, format_id: str) -> frozenset[str]:
        """The replays of a format."""
        if not is_format(format_id):
            return frozenset()
        names = self._store.files(f"replays/{format_id}")
        return frozenset(
            name.removesuffix(_ENDING)
            for name in names
            if name.endswith(_ENDING) and is_replay_id(name.removesuffix(_ENDING))
        )

    def read(self, format_id: str, replay_id: str) -> bytes:
        """A replay, compressed as it lies there. Raises NotFound."""
        if not (is_format(format_id) and is_replay_id(replay_id)):
            raise NotFound(f"no replay {replay_id!r}")
        return self._store.read(f"replays/{format_id}/{replay_id}{_ENDING}", f"no replay {replay_id} is stored")

    def write(self, format_id: str, replay_id: str, raw: bytes) -> None:
        """Store a replay, atomically. Raises Unreachable."""
        self._store.write(f"replays/{format_id}/{replay_id}{_ENDING}", gzip.compress(raw, compresslevel=6, mtime=0))
