"""What runs on this machine, as Linux tells it."""

import os
from contextlib import suppress
from pathlib import Path


def running(marker: str) -> dict[int, str]:
    """Process → command line, of every process with `marker` in its environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            if marker.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def descendants(pid: int) -> set[int]:
    """All that a process started, and what that started."""
    children = {int(child) for task in _tasks(pid) for child in _read(task / "children").split()}
    return children.union(*(descendants(child) for child in children))


def alive(pids: set[int]) -> set[int]:
    """Those that still run; a zombie has ended."""
    return {pid for pid in pids if "\nState:" in (status := _read(Path(f"/proc/{pid}/status"))) and "\tZ" not in status}


def _tasks(pid: int) -> list[Path]:
    with suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""
