"""Builds a dataset: battles to rows on all cores, the split, the files and the card.

The same inputs give the same rows. Rows lie in a temporary file until all battles are read, since only then is it known
which belong together. The folder appears whole, by renaming, or not at all.
"""

import asyncio
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.scraper.card import readme
from services.scraper.collect import Collected, Read
from services.scraper.raw_logs import Unusable
from services.scraper.replay import Replay
from services.scraper.rerun.builds import Simulators
from services.scraper.samples import Wanted, rows_of
from services.scraper.sources import BattleSource
from shared.datasets import DatasetCard
from shared.errors import AlphaStralError, UsageError
from shared.process import cores, in_processes

log = logging.getLogger(__name__)

BROKE = "it broke what reads it"
_TOGETHER_BYTES = 400_000
"""About this much is handed to a process at once."""
_FEW_BYTES = 300_000
"""Less than this is read faster than a second process starts."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads battles, in whatever process."""

    wanted: Wanted
    builds: tuple[Path, ...] = ()
    """Further builds of the simulator."""
    node: Path | None = None

    def __call__(self, sources: Sequence[BattleSource]) -> list[Read]:
        """The rows of every battle of these sources."""
        return asyncio.run(self._read(sources))

    async def _read(self, sources: Sequence[BattleSource]) -> list[Read]:
        async with Simulators(self.builds, node=self.node) as simulators:
            return [
                found if isinstance(found, Unusable) else await self._rows(found, simulators)
                for source in sources
                for found in source.read()
            ]

    async def _rows(self, replay: Replay, simulators: Simulators) -> Read:
        try:
            return await rows_of(replay, self.wanted, simulators)
        except Exception:
            # The one broad catch: a stranger's log that breaks what reads it costs itself, and no other battle.
            log.warning("Replay %s could not be read.", replay.id, exc_info=True)
            return Unusable(replay.id, BROKE)


def build(
    sources: Sequence[BattleSource],
    reader: Reader,
    out: Path,
    *,
    val_fraction: float,
    command: str,
    advance: Callable[[int, Mapping[str, int]], None] = lambda done, counts: None,
    processes: int | None = None,
) -> DatasetCard:
    """Write the dataset of these sources to the folder `out`, in place of an earlier one.

    `advance` is told how many sources are done, and outcome → battles. Raises UsageError where `out` holds anything but
    a dataset, and where no row comes of the sources.
    """
    check_out(out)
    Simulators(reader.builds)  # Says now what is wrong with a build.
    temporary = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        with (
            (temporary / "rows").open("w+b") as rows,
            (temporary / "dropped.jsonl").open("w", encoding="utf-8") as left,
        ):
            collected = Collected(rows, left)
            done = 0
            together = list(_batches(sources))
            if sum(source.weight for source in sources) < _FEW_BYTES:
                processes = 1
            processes = max(1, min(processes or cores(), len(together)))
            for batch, read in zip(together, in_processes(reader, together, processes), strict=True):
                collected.add(read)
                done += len(batch)
                advance(done, collected.outcomes)
            card = collected.write(temporary, reader.wanted.contract, val_fraction, command)
        (temporary / "rows").unlink()
        (temporary / "card.json").write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(readme(card, out.name), encoding="utf-8")
        _replace(temporary, out)
    except OSError as error:
        raise AlphaStralError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


def check_out(out: Path) -> None:
    """Raises UsageError where a dataset can't be written to `out` without losing something else."""
    if out.exists() and not (out / "card.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} holds something else already", field="out")


def _replace(new: Path, out: Path) -> None:
    old = new.with_name(f"{new.name}.old")
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _batches(sources: Sequence[BattleSource]) -> Iterator[list[BattleSource]]:
    batch: list[BattleSource] = []
    weight = 0
    for source in sources:
        if batch and weight + source.weight > _TOGETHER_BYTES:
            yield batch
            batch, weight = [], 0
        batch.append(source)
        weight += source.weight
    if batch:
        yield batch
