"""A folder or a bucket, reached through fsspec: small files read and replaced whole, and folders that appear whole."""

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec

from shared.errors import AlphaStralError, Conflict, NotFound, Unreachable, UsageError

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def is_id(text: str) -> bool:
    """Whether a matchup, a model or a version may be called so: it becomes a folder's name."""
    return _ID.fullmatch(text) is not None


def new_matchup_id() -> str:
    """An id that sorts by time: 20261122-142501-3f9c2a."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


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


@contextmanager
def _reached(url: str) -> Iterator[None]:
    """What a bucket's own library raises (no connection, no credentials) is no OSError: it becomes Unreachable."""
    try:
        yield
    except (OSError, AlphaStralError):
        raise
    except Exception as error:
        if type(error).__module__ == "builtins":
            raise
        raise Unreachable(f"the store {url} cannot be reached: {error}") from error


class _Backend:
    """One of fsspec's filesystems, each of its methods within `_reached`."""

    def __init__(self, files: Any, url: str) -> None:
        self._files = files
        self._url = url

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._files, name)

        def reach(*given: Any, **named: Any) -> Any:
            with _reached(self._url):
                return method(*given, **named)

        return reach


class Opened:
    """A large file that is read piece by piece, within `_reached`, and closed by its context."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        self._file = file
        self._url = url

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        with _reached(self._url):
            self._file.close()

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or all. Raises OSError, and Unreachable."""
        with _reached(self._url):
            return self._file.read(size)


class Store:
    """What lies at `url`: a folder's path or anything that fsspec opens. Made on first write.

    Paths are relative to it. Writing raises Unreachable where the disk or the bucket does not take it. Reading raises
    OSError, and Unreachable where the bucket's own library gives up.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise UsageError(f"cannot open the store {url}: {error}") from error
        self._files = _Backend(files, url)
        self._root = self._root.rstrip("/")
        self._local = urlsplit(url).scheme in ("", "file", "local")
        self._turns = Lock()

    def folders(self, path: str) -> list[str]:
        """What the folders below `path` are called, those that can be ids."""
        folder = f"{self._root}/{path}"
        if not self._files.exists(folder):
            return []
        entries = self._files.ls(folder, detail=True, refresh=True)
        names = (entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")
        return [name for name in names if is_id(name)]

    def files(self, path: str) -> list[str]:
        """What the files in the folder `path` are called."""
        folder = f"{self._root}/{path}"
        if not self._files.exists(folder):
            return []
        entries = self._files.ls(folder, detail=True, refresh=True)
        return [entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"]

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return bool(self._files.exists(f"{self._root}/{path}"))

    def read(self, path: str, absent: str) -> bytes:
        """A small file. Raises NotFound, with the sentence `absent`."""
        return self._read(f"{self._root}/{path}", absent)

    def write(self, path: str, raw: bytes) -> None:
        """Write or replace a small file, atomically."""
        self._write(f"{self._root}/{path}", raw)

    def remove(self, path: str) -> None:
        """Take a file away, where there is one."""
        with suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{path}")

    def create(self, path: str, raw: bytes) -> bool:
        """Write a small file where there is none. False where there is, whichever process was first."""
        try:
            if self._local:
                self._link_into_place(Path(self._root, path), raw)
            else:
                self._files.pipe_file(f"{self._root}/{path}", raw, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            raise Unreachable(f"the store {self.url} cannot be written: {error.strerror or error}") from error
        return True

    def modified(self, path: str, absent: str) -> datetime:
        """When a file was written last, UTC. Raises NotFound, with the sentence `absent`."""
        try:
            written: datetime = self._files.modified(f"{self._root}/{path}")
        except FileNotFoundError as error:
            raise NotFound(absent) from error
        return written.astimezone(UTC)

    def open(self, path: str) -> Opened:
        """A large file, to be read piece by piece. Raises FileNotFoundError."""
        return Opened(self._files.open(f"{self._root}/{path}", "rb"), self.url)

    def on_disk(self, path: str) -> Path | None:
        """Where a path lies on this machine; None in a bucket."""
        return Path(self._root, path) if self._local else None

    def add_folder(self, path: str, files: Mapping[str, Path | bytes], last: str) -> None:
        """Store files (name → where it is, or what is in it) as one new folder.

        On a disk the folder is renamed into place, whole. In a bucket the file `last` is written last, so that a folder
        without it is none. Raises Conflict where the folder is there already.
        """
        if self.exists(f"{path}/{last}"):
            raise Conflict(f"{path} is in the store {self.url} already")
        try:
            if self._local:
                self._rename_into_place(Path(self._root, path), files)
            else:
                self._put(f"{self._root}/{path}", files, last)
        except OSError as error:
            raise Unreachable(f"the store {self.url} cannot be written: {error.strerror or error}") from error

    @contextmanager
    def turn(self, path: str) -> Iterator[None]:
        """One at a time reads and then writes `path`: of all processes on a disk, of our threads in a bucket."""
        with self._turns:
            if not self._local:
                yield
                return
            lock = Path(self._root, f"{path}.lock")
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
                held = lock.open("w")
            except OSError as error:
                raise Unreachable(f"the store {self.url} cannot be written: {error.strerror or error}") from error
            with held:
                fcntl.flock(held, fcntl.LOCK_EX)
                yield

    def _rename_into_place(self, folder: Path, files: Mapping[str, Path | bytes]) -> None:
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            for name, content in files.items():
                copy = temporary / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                with copy.open("xb") as target:
                    if isinstance(content, bytes):
                        target.write(content)
                    else:
                        with content.open("rb") as source:
                            shutil.copyfileobj(source, target, 1 << 20)
                    target.flush()
                    # What is renamed before it is on the disk may be empty after a power cut.
                    os.fsync(target.fileno())
            temporary.rename(folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _link_into_place(self, path: Path, raw: bytes) -> None:
        # A link is made only where nothing is, and what it shows is whole.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with suppress(FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(raw)
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _put(self, folder: str, files: Mapping[str, Path | bytes], last: str) -> None:
        try:
            for name in sorted(files, key=lambda name: name == last):
                content = files[name]
                if isinstance(content, bytes):
                    self._files.pipe_file(f"{folder}/{name}", content)
                else:
                    self._files.put_file(str(content), f"{folder}/{name}")
        except (OSError, Unreachable):
            with suppress(OSError, Unreachable):
                self._files.rm(folder, recursive=True)
            raise

    def _read(self, path: str, absent: str) -> bytes:
        try:
            raw: bytes = self._files.cat_file(path)
        except FileNotFoundError as error:
            raise NotFound(absent) from error
        return raw

    def _write(self, path: str, raw: bytes) -> None:
        # A bucket's put is atomic by itself; on a disk, a rename within the folder is.
        folder, name = path.rsplit("/", 1)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex}"
        try:
            self._files.makedirs(folder, exist_ok=True)
            if not self._local:
                self._files.pipe_file(path, raw)
                return
            try:
                self._files.pipe_file(temporary, raw)
                self._files.mv(temporary, path)
            except OSError:
                # A full disk should not be filled with halves.
                if self._files.exists(temporary):
                    self._files.rm_file(temporary)
                raise
        except OSError as error:
            raise Unreachable(f"the store {self.url} cannot be written: {error.strerror or error}") from error
