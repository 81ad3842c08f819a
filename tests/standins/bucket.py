"""A bucket of fsspec's whose library raises errors of its own, as s3fs lets botocore's through: no OSError."""

from io import BytesIO
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class EndpointConnectionError(Exception):
    """As botocore has one."""


class Bucket(MemoryFileSystem):  # type: ignore[misc]
    """`bucket://NAME`: in memory, and every operation in `failing` raises what stands there."""

    protocol = "bucket"
    failing: ClassVar[dict[str, Exception]] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return MemoryFileSystem._strip_protocol(path.removeprefix("bucket://"))

    def info(self, path: str, **more: Any) -> Any:
        """Of a file or a folder."""
        return self._or_fail("info", path, **more)

    def exists(self, path: str, **more: Any) -> Any:
        """Whether there is one."""
        return self._or_fail("exists", path, **more)

    def cat_file(self, path: str, **more: Any) -> Any:
        """What is in a file."""
        return self._or_fail("cat_file", path, **more)

    def open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        """To read it piece by piece. Who opens it twice has two places in it, which fsspec's own memory has not."""
        opened = self._or_fail("open", path, mode=mode, **more)
        if "read" in self.failing:
            return Cut(self.failing["read"])
        return BytesIO(opened.getvalue()) if mode == "rb" else opened

    def _or_fail(self, operation: str, path: str, **more: Any) -> Any:
        if operation in self.failing:
            raise self.failing[operation]
        return getattr(super(), operation)(path, **more)


class Cut(BytesIO):
    """A file that breaks off."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        """Fails."""
        raise self._error


fsspec.register_implementation("bucket", Bucket, clobber=True)
