"""The builds of the simulator at hand, found by the commit that they were built from."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from shared.errors import UsageError
from shared.simulator.simulator import Simulator

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_BYTES = 1_000_000


class Simulators:
    """One process for each build, started when it is first needed.

    The pinned simulator has no commit: it is a package, and leaves none in the input logs of its battles.
    """

    def __init__(self, builds: Sequence[Path] = (), *, node: Path | None = None) -> None:
        """Raises UsageError for a folder that is no build of the simulator, or that does not say of which commit."""
        self._pinned = Simulator(node)
        self._by_commit = {commit_of(build): Simulator(node, build=build) for build in builds}

    async def __aenter__(self) -> "Simulators":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for simulator in (self._pinned, *self._by_commit.values()):
            await simulator.__aexit__(kind, error, trace)

    def find(self, commits: Sequence[str]) -> Simulator | None:
        """The build of one of these commits; the pinned one where none is named."""
        if not commits:
            return self._pinned
        return next((self._by_commit[commit] for commit in commits if commit in self._by_commit), None)


def commit_of(build: Path) -> str:
    """The commit that a folder was built from: of its git checkout, or named in a file COMMIT or in package.json.

    Raises UsageError.
    """
    if not (build / "package.json").is_file() or not (build / "dist" / "sim").is_dir():
        raise UsageError(f"{build} is no build of the simulator: it should hold package.json and dist/sim")
    for found in (_written(build), _checked_out(build), _published(build)):
        if found is not None and _COMMIT.fullmatch(found):
            return found
    raise UsageError(
        f"{build} does not say from which commit it was built; write the commit's full hash into {build / 'COMMIT'}"
    )


def _written(build: Path) -> str | None:
    return _text(build / "COMMIT")


def _published(build: Path) -> str | None:
    try:
        head = json.loads(_text(build / "package.json") or "{}").get("gitHead")
    except (ValueError, AttributeError):
        return None
    return head if isinstance(head, str) else None


def _checked_out(build: Path) -> str | None:
    git = build / ".git"
    pointer = _text(git)
    if pointer is not None and pointer.startswith("gitdir: "):
        git = build / pointer.removeprefix("gitdir: ")
    head = _text(git / "HEAD")
    if head is None or not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    common = git / (_text(git / "commondir") or ".")
    packed = (line.split(" ") for line in (_text(common / "packed-refs") or "").splitlines())
    return _text(common / name) or next((line[0] for line in packed if line[1:] == [name]), None)


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
