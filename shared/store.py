"""A folder or a bucket, reached through obstore: small files read and replaced whole, and folders that appear whole."""

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Lock
from typing import ClassVar, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from shared.errors import Conflict, NotFound, Unreachable, UsageError
from shared.settings import forget_empty

Content = bytes | Path | Iterable[bytes]
"""What is to be in a file, or where it lies."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_PIECE_BYTES = 1 << 20


def is_id(text: str) -> bool:
    """Whether a matchup, a model or a version may be called so: it becomes a folder's name."""
    return _ID.fullmatch(text) is not None


def replace_file(path: Path, raw: bytes) -> None:
    """Write or replace a file of this machine: whoever reads it sees all of it, or what was there before.

    Its folder has to be there. Raises OSError, and leaves no half behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(raw)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class Store:
    """What lies at `url`: a folder's path, or what lies at s3://, gs://, az:// or memory://. Made on first write.

    Paths are relative to it. What a disk or a bucket refuses or does not answer is raised as Unreachable.
    """

    _used_by: ClassVar[int | None] = None
    """The process whose threads obstore works with. They do not survive a fork, and it would wait for them for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._turns = Lock()
        scheme, _, rest = url.rpartition("://")
        self._local = scheme in ("", "file", "local")
        # A disk's paths are told from its root on, so that a folder that is not there yet is an empty store.
        self._root = f"{Path(rest).expanduser().resolve()}/" if self._local else ""
        self._objects = LocalStore() if self._local else _memory(url) if scheme == "memory" else _bucket(url)

    def folders(self, path: str) -> list[str]:
        """What the folders below `path` are called, those that can be ids."""
        return list(filter(is_id, self._list(path)[0]))

    def files(self, path: str) -> list[str]:
        """What the files in the folder `path` are called."""
        return self._list(path)[1]

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        with self._reached("reached"):
            if on_disk := self.on_disk(path):
                return on_disk.exists()
            with suppress(FileNotFoundError):
                obstore.head(self._objects, path)
                return True
        return any(self._list(path))

    def read(self, path: str, absent: str) -> bytes:
        """A small file. Raises NotFound, with the sentence `absent`."""
        with self._reached("reached", absent):
            if on_disk := self.on_disk(path):
                return on_disk.read_bytes()  # Three times as fast.
            return bytes(obstore.get(self._objects, path).bytes())

    def pieces(self, path: str, absent: str) -> Iterator[bytes]:
        """A large file, piece by piece. Raises NotFound, with the sentence `absent`."""
        with self._reached("reached", absent):
            for piece in obstore.get(self._objects, self._root + path).stream(min_chunk_size=_PIECE_BYTES):
                yield bytes(piece)

    def modified(self, path: str, absent: str) -> datetime:
        """When a file was written last, UTC. Raises NotFound, with the sentence `absent`."""
        with self._reached("reached", absent):
            return obstore.head(self._objects, self._root + path)["last_modified"].astimezone(UTC)

    def write(self, path: str, raw: bytes) -> None:
        """Write or replace a small file, atomically."""
        with self._reached("written"):
            obstore.put(self._objects, self._root + path, raw)

    def create(self, path: str, raw: bytes) -> bool:
        """Write a small file where there is none. False where there is, whichever process was first."""
        try:
            with self._reached("written"):
                obstore.put(self._objects, self._root + path, raw, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def remove(self, path: str) -> None:
        """Take a file away, where there is one."""
        with self._reached("written"), suppress(FileNotFoundError):
            obstore.delete(self._objects, self._root + path)

    def on_disk(self, path: str) -> Path | None:
        """Where a path lies on this machine; None in a bucket."""
        return Path(self._root, path) if self._local else None

    def add_folder(self, path: str, files: Mapping[str, Content], last: str) -> None:
        """Store files (name → what is in it) as one new folder.

        On a disk the folder is renamed into place, whole. In a bucket the file `last` is written last, so that a folder
        without it is none. Raises Conflict where the folder is there already.
        """
        if self.exists(f"{path}/{last}"):
            raise Conflict(f"{path} is in the store {self.url} already")
        with self._reached("written"):
            if folder := self.on_disk(path):
                _rename_into_place(folder, files)
                return
            try:
                for name in sorted(files, key=lambda name: name == last):
                    obstore.put(self._objects, f"{path}/{name}", files[name])
            except BaseError:
                with suppress(BaseError, OSError):
                    obstore.delete(self._objects, [f"{path}/{name}" for name in files])
                raise

    @contextmanager
    def turn(self, path: str) -> Iterator[None]:
        """One at a time reads and then writes `path`: of all processes on a disk, of our threads in a bucket."""
        with self._turns, ExitStack() as held:
            if lock := self.on_disk(f"{path}.lock"):
                with self._reached("written"):
                    lock.parent.mkdir(parents=True, exist_ok=True)
                    fcntl.flock(held.enter_context(lock.open("w")), fcntl.LOCK_EX)
            yield

    def _list(self, path: str) -> tuple[list[str], list[str]]:
        """The names of the folders in a folder, and of its files."""
        with self._reached("reached"):
            found = obstore.list_with_delimiter(self._objects, self._root + path)
        paths = (found["common_prefixes"], [file["path"] for file in found["objects"]])
        folders, files = ([path.rsplit("/", 1)[-1] for path in listed] for listed in paths)
        return folders, files

    @contextmanager
    def _reached(self, done: Literal["reached", "written"], absent: str = "") -> Iterator[None]:
        """Errors of the disk and of obstore as ours, but for AlreadyExistsError; FileNotFoundError as `absent`."""
        if Store._used_by not in (None, os.getpid()):
            raise RuntimeError("a process was forked after it had used a store")
        Store._used_by = os.getpid()
        try:
            yield
        except AlreadyExistsError:
            raise
        except (BaseError, OSError) as error:
            if absent and isinstance(error, FileNotFoundError):
                raise NotFound(absent) from error
            raise Unreachable(f"the store {self.url} cannot be {done}: {_why(error)}") from error


def _rename_into_place(folder: Path, files: Mapping[str, Content]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            with (temporary / name).open("xb") as target:
                if isinstance(content, Path):
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, target, _PIECE_BYTES)
                else:
                    target.writelines([content] if isinstance(content, bytes) else content)
                target.flush()
                # What is renamed before it is on the disk may be empty after a power cut.
                os.fsync(target.fileno())
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _bucket(url: str) -> ObjectStore:
    forget_empty("AWS_")
    try:
        return from_url(
            url,
            # For servers that the operator names by http://; Amazon's are asked by HTTPS.
            client_options={"allow_http": True},
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
        )
    except (BaseError, ValueError) as error:
        raise UsageError(f"cannot open the store {url}: {_why(error)}") from error


@cache
def _memory(url: str) -> MemoryStore:
    """One for all of this process that name the same URL."""
    return MemoryStore()


def _why(error: Exception) -> str:
    """The reason alone where the system gave one, else the first line: obstore adds the inside of the error to it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = str(error).partition("\n")[0]
    by_system = re.search(r"([^:]+) \(os error \d+\)", said)
    return by_system[1].strip() if by_system else said
