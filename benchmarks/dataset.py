"""How fast battles become rows: run again (exact) and from their public logs alone (rebuilt).

    python benchmarks/dataset.py                         plays the battles first, heuristic against heuristic
    python benchmarks/dataset.py DATA_DIR --samples 100000

DATA_DIR is a folder of replays and runs as `dataset build` reads them. First each grade is read in one process, and its
CPU seconds (the simulator's among them) are set beside what it costs to read the same logs and split their lines. Then
a dataset is built on all cores, from the public logs alone, the battles repeated under other names until at least
`--samples` rows are made; those that say the same again are dropped at the end, as in any dataset. Prints the figures
and, last, one line of JSON.
"""

import argparse
import asyncio
import gzip
import json
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

from services.arena.play import play
from services.scraper.datasets import ASKED_BEFORE, SAID_BEFORE, build
from services.scraper.rebuild import rebuild
from services.scraper.replay import Replay, Unusable
from services.scraper.rerun import Simulators
from services.scraper.rows import BattleRows, Reader, Wanted, rows_of
from services.scraper.sources import BattleSource, find_sources
from shared.process import cores
from shared.records import BattleRecord, MatchupRequest
from shared.store import Store

_T = TypeVar("_T")
_TICK_SECONDS = 0.01
"""CPU time is told no finer."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What reading some replays took, in CPU seconds, and gave."""

    replays: int
    samples: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.replays / self.seconds:7.1f} replays a second, {self.samples / self.seconds:8.1f} samples a second "
            f"and core ({self.replays} replays, {self.samples:,} samples, {self.seconds:.1f} CPU s)"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA_DIR")
    parser.add_argument("--battles", type=int, default=100, help="to play where no folder is given")
    parser.add_argument("--samples", type=int, default=20_000, help="of the dataset that is built on all cores")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="alphastral-benchmark-") as folder:
        data = arguments.data or _play(Path(folder) / "battles", arguments.battles)
        _measure(find_sources([str(data)], Store(folder)), Path(folder), arguments.samples)


def _play(folder: Path, battles: int) -> Path:
    folder.mkdir()

    def keep(record: BattleRecord) -> None:
        (folder / f"{record.index}.json").write_text(record.model_dump_json(), encoding="utf-8")

    asked = MatchupRequest(p1="heuristic", p2="heuristic", battles=battles, pairs=False)
    asyncio.run(play(asked, range(battles), matchup_id="benchmark", worker="benchmark", on_record=keep))
    return folder


def _measure(sources: Sequence[BattleSource], folder: Path, samples: int) -> None:
    replays = [found for source in sources for found in source.read() if not isinstance(found, Unusable)]
    bare = [replace(replay, inputlog=None, source="replay", policies={}, teams_seeds=None) for replay in replays]
    files = _write(folder / "bare", bare)
    battles, splitting = _cpu(lambda: [_split(source) for source in find_sources([str(files)], Store(str(folder)))])
    print(f"reading and splitting: {splitting:.2f} CPU s for {len(battles)} logs")
    rebuilding, rebuilding_seconds = _cpu(lambda: [_rebuilt(replay) for replay in bare])
    rebuilt = _rows(find_sources([str(files)], Store(str(folder))))
    print(f"rebuilt: {rebuilt}")
    print(f"         of it without prompts and files: {rebuilding_seconds:.1f} CPU s for {sum(rebuilding):,} decisions")
    exact = _rows_of([replay for replay in replays if replay.inputlog], exact=True)
    if exact is not None:
        print(f"exact:   {exact}")
    copies = _copies(bare, folder / "copies", samples, rebuilt.samples / max(1, rebuilt.replays))
    began = perf_counter()
    card = build(
        find_sources([str(copies)], Store(str(folder))),
        Reader(Wanted()),
        folder / "dataset",
        val_fraction=0.05,
        command="benchmark",
    )
    seconds = perf_counter() - began
    made = sum(card.rows.values()) + card.dropped.decisions.get(SAID_BEFORE, 0)
    made += card.dropped.decisions.get(ASKED_BEFORE, 0)
    print(
        f"built:   {made:,} rebuilt rows in {seconds:.1f} s on {cores()} cores: 100,000 take "
        f"{seconds * 100_000 / made / 60:.1f} minutes"
    )
    figures = {
        "samples_per_second_per_core": {
            "exact": round(exact.samples / exact.seconds, 1) if exact else None,
            "rebuilt": round(rebuilt.samples / rebuilt.seconds, 1),
        },
        "cpu_over_splitting": round(rebuilt.seconds / splitting, 1),
        "replays_per_second_per_core": {
            "exact": round(exact.replays / exact.seconds, 2) if exact else None,
            "rebuilt": round(rebuilt.replays / rebuilt.seconds, 2),
        },
        "minutes_for_100000_rebuilt": round(seconds * 100_000 / made / 60, 2),
        "cores": cores(),
    }
    print(json.dumps(figures))


def _split(source: BattleSource) -> int:
    return sum(len(line.split("|")) for found in source.read() if isinstance(found, Replay) for line in found.log)


def _rebuilt(replay: Replay) -> int:
    try:
        return len(rebuild(replay.log).decisions)
    except Exception as error:  # noqa: BLE001 - what is not read is counted elsewhere
        print(f"{replay.id}: {error}")
        return 0


def _rows(sources: Sequence[BattleSource]) -> Measured:
    read, seconds = _cpu(lambda: Reader(Wanted())(sources))
    kept = [found for found in read if isinstance(found, BattleRows)]
    return Measured(len(kept), sum(len(found.rows) for found in kept), seconds)


def _rows_of(replays: Sequence[Replay], *, exact: bool) -> Measured | None:
    async def read() -> list[BattleRows | Unusable]:
        async with Simulators() as simulators:
            return [await rows_of(replay, Wanted(), simulators) for replay in replays]

    found, seconds = _cpu(lambda: asyncio.run(read()))
    kept = [rows for rows in found if isinstance(rows, BattleRows) and rows.exact is exact]
    return Measured(len(kept), sum(len(rows.rows) for rows in kept), seconds) if kept else None


def _copies(replays: Sequence[Replay], folder: Path, samples: int, samples_a_replay: float) -> Path:
    """The replays again and again, each time between other players, so that none is the same battle."""
    folder.mkdir()
    wanted = round(samples / max(1.0, samples_a_replay)) + 1
    for number in count():
        for replay in replays:
            if wanted == 0:
                return folder
            wanted -= 1
            log = tuple(_between_others(line, number) for line in replay.log)
            _write(folder, [replace(replay, id=f"{replay.id}-{number}", log=log)])
    return folder


def _between_others(line: str, number: int) -> str:
    if line.startswith(("|player|p1|", "|player|p2|")):
        head, name, rest = line[:11], *line[11:].partition("|")[::2]
        return f"{head}{name} {number}|{rest}" if name else line
    return f"{line} {number}" if line.startswith("|win|") else line


def _write(folder: Path, replays: Sequence[Replay]) -> Path:
    folder.mkdir(exist_ok=True)
    for replay in replays:
        document = {"id": replay.id, "formatid": replay.format, "log": "\n".join(replay.log), "rating": replay.rating}
        packed = gzip.compress(json.dumps(document).encode(), compresslevel=1)
        (folder / f"{replay.id}.json.gz").write_bytes(packed)
    return folder


def _cpu(work: Callable[[], _T]) -> tuple[_T, float]:
    """What it gives, and the CPU seconds of this process and of those that it waited for."""
    began = _spent()
    result = work()
    return result, max(_TICK_SECONDS, _spent() - began)


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = os.times()
    return times.user + times.system + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
