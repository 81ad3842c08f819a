"""A folder or a bucket, reached through obstore: small files read and replaced whole, and folders that appear whole."""

import errno
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
from shared.settings import complete_environment

Content = bytes | Path | Iterable[bytes]
"""What is to be in a file, or where it lies."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_PIECE_BYTES = 1 << 20


def is_id(text: str) -> bool:
    """Whether a matchup, a model or a version may be called so: it becomes a folder's name."""
    return _ID.fullmatch(text) is not None


def replace_file(path: Path, raw: bytes | Iterable[bytes], *, new: bool = False) -> None:
    """Write or replace a file of this machine: whoever reads it sees all of it, or what was there before.

    So too after a power cut, since it is on the disk before it has its name. Its folder has to be there. Raises
    OSError, FileExistsError where the file must be `new` and is not, and leaves no half behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        _write(temporary, raw)
        if new:
            os.link(temporary, path)
        else:
            temporary.replace(path)
        _keep_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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

    def changed_ns(self, path: str) -> int | None:
        """When a name was added to a folder or taken away last, in nanoseconds; None in a bucket, and of no folder."""
        with self._reached("reached"):
            return on_disk.stat().st_mtime_ns if (on_disk := self.on_disk(path)) and on_disk.exists() else None

    def write(self, path: str, raw: bytes | Iterator[bytes]) -> None:
        """Write or replace a file, atomically; a large one comes piece by piece."""
        with self._reached("written"):
            if on_disk := self.on_disk(path):
                _make_folder(on_disk.parent)
                replace_file(on_disk, raw)
            else:
                obstore.put(self._objects, path, raw)

    def create(self, path: str, raw: bytes) -> bool:
        """Write a small file where there is none. False where there is, whichever process was first."""
        with self._reached("written"):
            if on_disk := self.on_disk(path):
                _make_folder(on_disk.parent)
            try:
                if on_disk:
                    replace_file(on_disk, raw, new=True)
                else:
                    obstore.put(self._objects, path, raw, mode="create")
            except (AlreadyExistsError, FileExistsError):
                return False
        return True

    def rename(self, path: str, name: str) -> None:
        """Give a file another name in its folder, where it is still there."""
        with self._reached("written"), suppress(FileNotFoundError):
            if on_disk := self.on_disk(path):
                on_disk.rename(on_disk.with_name(name))
                _keep_names(on_disk.parent)
            else:
                obstore.rename(self._objects, path, f"{path.rpartition('/')[0]}/{name}")

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
            if on_disk := self.on_disk(path):
                return _list_on_disk(on_disk)
            found = obstore.list_with_delimiter(self._objects, path)
        paths = (found["common_prefixes"], [file["path"] for file in found["objects"]])
        folders, files = ([path.rsplit("/", 1)[-1] for path in listed] for listed in paths)
        return folders, files

    @contextmanager
    def _reached(self, done: Literal["reached", "written"], absent: str = "") -> Iterator[None]:
        """Errors of the disk and of obstore as ours; FileNotFoundError as `absent`."""
        if Store._used_by not in (None, os.getpid()):
            raise RuntimeError("a process was forked after it had used a store")
        Store._used_by = os.getpid()
        try:
            yield
        except (BaseError, OSError) as error:
            if absent and isinstance(error, FileNotFoundError):
                raise NotFound(absent) from error
            raise Unreachable(f"the store {self.url} cannot be {done}: {_why(error)}") from error


def _rename_into_place(folder: Path, files: Mapping[str, Content]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            _write(temporary / name, content)
        _keep_names(temporary)
        temporary.rename(folder)
        _keep_names(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, content: Content) -> None:
    """A new file, on the disk when this returns: what has its name before that may be empty after a power cut."""
    with path.open("xb") as target:
        if not isinstance(content, Path):
            target.writelines([content] if isinstance(content, bytes) else content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, target, _PIECE_BYTES)
        target.flush()
        os.fsync(target.fileno())


def _make_folder(folder: Path) -> None:
    """A folder and those above it, on the disk when this returns."""
    if folder.is_dir():
        return
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    _keep_names(folder.parent)


def _keep_names(folder: Path) -> None:
    """Have the names in a folder on the disk, where its file system can do that."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(opened)


def _list_on_disk(folder: Path) -> tuple[list[str], list[str]]:
    """Its folders and its files. What begins with a dot is ours for a moment, or was left behind by a dead process."""
    folders: list[str] = []
    files: list[str] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        for each in found:
            if not each.name.startswith("."):
                (folders if each.is_dir() else files).append(each.name)
    return folders, files


def _bucket(url: str) -> ObjectStore:
    complete_environment("AWS_")
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
