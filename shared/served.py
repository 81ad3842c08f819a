"""Which servers of models run on this machine, so that a model that is served here is found by its name.

    FOLDER/PID-PORT.json     {"url": "http://127.0.0.1:8080", "models": ["smollm2", "mine@20261128-…"], …}

A server holds a lock on its entry until it ends, however that comes about: an entry that nobody holds is stale, is
passed over and taken away. In a folder that several machines share, each reads its own.
"""

import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ServedHere(BaseModel):
    """A server of models on this machine, from when it is ready until it ends."""

    model_config = ConfigDict(frozen=True)

    url: str
    models: tuple[str, ...]
    """As it is asked for them; those of the registry as NAME@VERSION."""
    health: str
    """An address that answers 200 while it is well."""
    machine: str = Field(default_factory=socket.gethostname)
    pid: int = Field(default_factory=os.getpid)
    since: datetime = Field(default_factory=lambda: datetime.now(UTC))


@contextmanager
def announced(path: Path, url: str, models: Sequence[str]) -> Iterator[None]:
    """The server's entry, in a file of its own, while the context lasts. Raises OSError."""
    entry = ServedHere(url=url, models=tuple(models), health=f"{url}/health")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{entry.pid}")
    try:
        with temporary.open("w", encoding="utf-8") as held:
            # Held before it is there to be read: nobody sees it unheld.
            fcntl.flock(held, fcntl.LOCK_EX)
            held.write(entry.model_dump_json())
            held.flush()
            temporary.replace(path)
            yield
    finally:
        temporary.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def servers(folder: Path) -> list[ServedHere]:
    """Those that live, the newest last."""
    found = (_read(path) for path in folder.glob("*.json"))
    return sorted((each for each in found if each), key=lambda each: each.since)


def _read(path: Path) -> ServedHere | None:
    with suppress(OSError, ValidationError), path.open("rb") as file:
        entry = ServedHere.model_validate_json(file.read())
        if entry.machine != socket.gethostname():
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return entry
        path.unlink(missing_ok=True)
    return None
