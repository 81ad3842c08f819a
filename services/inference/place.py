"""What a supervisor is told: where engines listen and files go, how often it looks, and how long it waits."""

import shutil
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from shared.registry.folders import CARD


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a supervisor looks, and how long it waits."""

    poll_seconds: float = 1.0
    start_seconds: float = 900.0
    """Until an engine must be healthy; loading a model takes minutes."""
    look_seconds: float = 5.0
    """Between two looks at an engine that is healthy."""
    answer_seconds: float = 10.0
    """For one answer of /health."""
    bad_looks: int = 3
    """So many in a row, and the engine hangs."""
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    """Before another start; doubled each time, and short again after an engine was healthy for as long."""
    grace_seconds: float = 20.0
    """For an engine that is told to end."""
    starts: int = 2
    """So many in vain, and a version is given up."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where engines listen and files go."""

    folder: Path
    """For copies of a bucket's versions, and to remember which version was healthy last."""
    host: str = "127.0.0.1"
    port: int = 8080
    device: str = "cuda"
    engine: str | None = None
    """The one to use, whatever the architecture."""
    stand_in: str | None = None
    """What is served until the name stands for a version: `smollm2`, or a model of the Hub."""
    more: Sequence[str] = ()
    """Arguments for the engine."""

    @property
    def copies(self) -> Path:
        """Where the copies of a bucket's versions are."""
        return self.folder / "models"

    def prune(self, name: str, keep: Set[str | None]) -> None:
        """Delete the copies of a model's versions but those, and what is left of downloads that never ended."""
        for copy in sorted((self.copies / name).glob("*")):
            is_copy = (copy / CARD).is_file() or copy.name.startswith(".")
            if is_copy and copy.is_dir() and not copy.is_symlink() and copy.name not in keep:
                shutil.rmtree(copy, ignore_errors=True)
