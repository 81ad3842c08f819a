"""Gathers the rows of all battles, splits them, and counts what was written and what was left out."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from services.scraper.raw_logs import Unusable
from services.scraper.samples import BattleRows, WrittenRow
from services.scraper.split import validation_groups
from shared.battle.contract import CONTRACTS
from shared.battle.pokedex import LATEST_GENERATION, pokedex
from shared.datasets import DatasetCard, Dropped
from shared.errors import UsageError

SPLITS = ("train", "validation")
TWICE = "the same battle came before"
NOTHING = "no decision of it became a row"
SAID_BEFORE = "the same prompt and completion came before"
ASKED_BEFORE = "its prompt stands in the training split"

Read = BattleRows | Unusable


@dataclass(frozen=True, slots=True)
class _Kept:
    """A battle whose rows wait in the temporary file."""

    rows: BattleRows
    """Without the rows' text."""
    start: int
    lengths: tuple[int, ...]


@dataclass(slots=True)
class Collected:
    """What was read so far: rows in a temporary file, and everything else that decides where they go."""

    rows: IO[bytes]
    left: IO[str]
    outcomes: Counter[str] = field(default_factory=Counter)
    kept: list[_Kept] = field(default_factory=list)
    replays: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    rebuilt_because: Counter[str] = field(default_factory=Counter)
    seen: set[str | bytes] = field(default_factory=set)
    """Ids and digests of the battles."""

    def add(self, read: Sequence[Read]) -> None:
        """Take in some battles."""
        for found in read:
            if isinstance(found, Unusable):
                self._leave_out(found.name, found.reason)
            elif found.battle in self.seen or found.log in self.seen:
                self._leave_out(found.battle, TWICE)
            else:
                self.seen.update((found.battle, found.log))
                self._keep(found)

    def _keep(self, found: BattleRows) -> None:
        self.decisions.update(found.dropped)
        if found.rebuilt_because is not None:
            self.rebuilt_because[found.rebuilt_because] += 1
        if not found.lines:
            self._leave_out(found.battle, NOTHING)
            return
        self.outcomes["exact" if found.exact else "rebuilt"] += 1
        start = self.rows.tell()
        self.rows.writelines(line.text for line in found.lines)
        lines = tuple(
            WrittenRow(b"", line.prompt, line.sample, line.kind, line.complete, line.source) for line in found.lines
        )
        bare = BattleRows(found.battle, found.log, found.together, found.format, found.rating, found.exact, None, lines)
        self.kept.append(_Kept(bare, start, tuple(len(line.text) for line in found.lines)))

    def _leave_out(self, name: str, reason: str) -> None:
        self.outcomes["left out"] += 1
        self.replays[reason] += 1
        self.left.write(json.dumps({"replay": name, "reason": reason}, ensure_ascii=False) + "\n")

    def write(self, folder: Path, contract: str, val_fraction: float, command: str) -> DatasetCard:
        """Write the splits, and make the card. Raises UsageError where there is no row."""
        if not self.kept:
            raise UsageError("no row comes of these battles: " + _told(self.replays), field="sources")
        back = validation_groups([kept.rows.together for kept in self.kept], val_fraction)
        tally = _Tally()
        for split in SPLITS:
            with (folder / f"{split}.jsonl").open("wb") as file:
                for kept in self.kept:
                    if (kept.rows.together in back) == (split == "validation"):
                        self._write_battle(kept, split, file, tally)
                file.flush()
                os.fsync(file.fileno())
        return DatasetCard(
            contract=contract,
            contract_hash=CONTRACTS[contract].hash,
            pokedex_hash=pokedex(LATEST_GENERATION).hash,
            rows=tally.rows,
            battles=tally.battles,
            files={split: sha256_of(folder / f"{split}.jsonl") for split in SPLITS},
            counts={name: dict(sorted(counts.items())) for name, counts in tally.counts.items()},
            dropped=Dropped(replays=_sorted(self.replays), decisions=_sorted(self.decisions + tally.repeated)),
            rebuilt_because=_sorted(self.rebuilt_because),
            command=command,
            created_at=datetime.now(UTC),
            software={name: version(name) for name in ("alphastral", "poke-env")},
        )

    def _write_battle(self, kept: _Kept, split: str, file: IO[bytes], tally: "_Tally") -> None:
        self.rows.seek(kept.start)
        written = 0
        for line, length in zip(kept.rows.lines, kept.lengths, strict=True):
            text = self.rows.read(length)
            if tally.takes(line, split):
                file.write(text)
                written += 1
                tally.count(kept.rows, line, split)
        tally.battles[split] += bool(written)


@dataclass(slots=True)
class _Tally:
    """What was written so far."""

    rows: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(SPLITS, 0)))
    battles: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(SPLITS, 0)))
    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {
            name: Counter() for name in ("format", "rating", "source", "exact", "complete", "kind")
        }
    )
    repeated: Counter[str] = field(default_factory=Counter)
    samples: set[bytes] = field(default_factory=set)
    prompts: set[bytes] = field(default_factory=set)
    """Of the training split."""

    def takes(self, line: WrittenRow, split: str) -> bool:
        """Whether a row is new, and asks nothing that the training split has answered."""
        if line.sample in self.samples:
            self.repeated[SAID_BEFORE] += 1
            return False
        if split == "train":
            self.prompts.add(line.prompt)
        elif line.prompt in self.prompts:
            self.repeated[ASKED_BEFORE] += 1
            return False
        self.samples.add(line.sample)
        return True

    def count(self, battle: BattleRows, line: WrittenRow, split: str) -> None:
        """Count a row that was written."""
        self.rows[split] += 1
        for name, value in (
            ("format", battle.format),
            ("rating", _hundred(battle.rating)),
            ("source", line.source),
            ("exact", str(battle.exact).lower()),
            ("complete", str(line.complete).lower()),
            ("kind", line.kind),
        ):
            self.counts[name][value] += 1


def _hundred(rating: int | None) -> str:
    return "none" if rating is None else f"{rating // 100 * 100:04d} to {rating // 100 * 100 + 99:04d}"


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in _sorted(counts).items())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
