"""Datasets: the rows of battles split, counted, and written as a folder with a card; and the datasets of a store.

The same inputs give the same rows. Rows lie in a temporary file until all battles are read, since only then is it known
which belong together. The folder appears whole, by renaming, or not at all.

    builds/NAME/request.json   what was asked for, and beside it what all work has (shared/asked.py)
    builds/NAME/read/          what was read so far, until the dataset is there (see Reader)
    datasets/NAME/             the dataset itself, whole or not there: see shared/datasets.py
"""

import gzip
import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING

from services.scraper.replay import Unusable
from services.scraper.views import DatasetRequest, DatasetStatus, NewDataset
from shared.asked import Asked
from shared.battle.contract import CONTRACTS
from shared.battle.pokedex import LATEST_GENERATION, pokedex
from shared.datasets import ADVISED, BATTLES, AdviceFigures, DatasetCard, Dropped, Row, RowAdvice
from shared.document import parsed
from shared.errors import AlphaStralError, Conflict, NotFound, UsageError
from shared.jobs.routes import BuildDataset
from shared.process import cores, in_processes
from shared.store import Store
from shared.text import one_line
from shared.work import State, WorkKind

if TYPE_CHECKING:
    # The API tells of datasets and makes none: it carries nothing of what reads battles.
    from services.scraper.rows import BattleRows, Reader, WrittenRow
    from services.scraper.sources import BattleSource

SPLITS = ("train", "validation")
TWICE = "the same battle came before"
NOTHING = "no decision of it became a row"
SAID_BEFORE = "the same prompt and completion came before"
ASKED_BEFORE = "its prompt stands in the training split"
_COUNTED = ("format", "rating", "source", "exact", "complete", "kind", "teacher")
_TOGETHER_BYTES = 400_000
"""About this much is handed to a process at once."""
_FEW_BYTES = 300_000
"""Less than this is read faster than a second process starts."""


class Datasets(Asked[DatasetRequest], WorkKind[NewDataset, DatasetRequest]):
    """The datasets of a store, and those that were asked for and are being built. One is called as who asks says."""

    name = "datasets"
    folder = "builds"
    noun = "dataset"
    model = DatasetRequest
    body = NewDataset
    line = status = DatasetStatus
    earlier_failures = "failed.txt"

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked = self

    def called(self, body: NewDataset) -> str:
        return body.name

    def accept(self, body: NewDataset, seed: int, before: DatasetRequest | None) -> DatasetRequest:
        request = DatasetRequest.model_validate(body.model_dump())
        if request.out is not None:
            check_out(request.out)
        elif self.files.exists(f"datasets/{body.name}") and not self.files.exists(f"builds/{body.name}"):
            raise Conflict(f"a dataset {body.name!r} is stored already")
        return request

    def ids(self) -> list[str]:
        """Those that were asked for, and those that were stored otherwise."""
        return sorted({*super().ids(), *self.files.folders("datasets")})

    def created_at(self, id: str) -> datetime:
        try:
            return super().created_at(id)
        except NotFound as error:
            return self.files.modified(f"datasets/{id}/card.json", error.message)

    def card(self, id: str) -> DatasetCard | None:
        """What a dataset says of itself; None where it is not there yet. Raises NotFound, and BrokenRecord."""
        self.path(id, "")
        path = f"datasets/{id}/card.json"
        with suppress(NotFound):
            return parsed(DatasetCard, self.files.read(path, path), path)
        return None

    def jobs(self, id: str) -> list[BuildDataset]:
        return [BuildDataset(name=id)] if self.standing(id).state is State.RUNNING else []

    def standing(self, id: str) -> DatasetStatus:
        card, failures = self.card(id), self.failures(id)
        request: NewDataset | None = None
        try:
            request = self.request(id)
        except NotFound:
            if card is None:
                raise
        return DatasetStatus(
            id=id,
            state=self.state(id, finished=card is not None),
            created_at=self.created_at(id),
            name=id,
            request=request,
            failure=None if card else next(iter(failures.values()), None),
            card=card,
        )


def build(
    sources: "Sequence[BattleSource]",
    reader: "Reader",
    out: Path,
    *,
    val_fraction: float,
    command: str,
    advance: Callable[[int, Mapping[str, int]], None] = lambda done, counts: None,
    processes: int | None = None,
) -> DatasetCard:
    """Write the dataset of these sources to the folder `out`, in place of an earlier one.

    `advance` is told how many sources are done, and outcome → battles; what it raises ends the building. Raises
    UsageError where `out` holds anything but a dataset, and where no row comes of the sources.
    """
    check_out(out)
    temporary = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        with (
            (temporary / "rows").open("w+b") as rows,
            (temporary / "dropped.jsonl").open("w", encoding="utf-8") as left,
            (temporary / BATTLES).open("wb") as packed,
            gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as battles,
        ):
            collected = _Collected(rows, left, battles)
            done = 0
            together = list(batches(sources))
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


def batches(sources: "Iterable[BattleSource]") -> "Iterator[list[BattleSource]]":
    """The sources in lists, each of which is work for a process."""
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


@dataclass(slots=True)
class _Collected:
    """What was read so far: rows in a temporary file, and everything else that decides where they go."""

    rows: IO[bytes]
    left: IO[str]
    battles: gzip.GzipFile
    outcomes: Counter[str] = field(default_factory=Counter)
    kept: "list[tuple[int, BattleRows]]" = field(default_factory=list)
    """Where in the temporary file a battle's rows begin; and the battle, without their text."""
    replays: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    rebuilt_because: Counter[str] = field(default_factory=Counter)
    seen: set[str | bytes] = field(default_factory=set)
    """Ids and digests of the battles."""
    samples: set[bytes] = field(default_factory=set)
    """Digests of the rows that were written."""
    prompts: set[bytes] = field(default_factory=set)
    """Digests of the training split's."""

    def add(self, read: "Sequence[BattleRows | Unusable]") -> None:
        """Take in some battles."""
        for found in read:
            if isinstance(found, Unusable):
                self._leave_out(found.name, found.reason)
            elif found.battle in self.seen or found.log in self.seen:
                self._leave_out(found.battle, TWICE)
            else:
                self.seen.update((found.battle, found.log))
                self._keep(found)

    def _keep(self, found: "BattleRows") -> None:
        self.decisions.update(found.dropped)
        if found.rebuilt_because is not None:
            self.rebuilt_because[found.rebuilt_because] += 1
        if not found.rows:
            self._leave_out(found.battle, NOTHING)
            return
        self.outcomes["exact" if found.exact else "rebuilt"] += 1
        self.kept.append((self.rows.tell(), replace(found, text=b"", logs=b"")))
        self.rows.write(found.text)
        self.battles.write(found.logs)

    def _leave_out(self, name: str, reason: str) -> None:
        self.outcomes["left out"] += 1
        self.replays[reason] += 1
        self.left.write(json.dumps({"replay": name, "reason": reason}, ensure_ascii=False) + "\n")

    def write(self, folder: Path, contract: str, val_fraction: float, command: str) -> DatasetCard:
        """Write the splits, and make the card. Raises UsageError where there is no row."""
        if not self.kept:
            raise UsageError("no row comes of these battles: " + _told(self.replays), field="sources")
        back = validation_groups([battle.together for _, battle in self.kept], val_fraction)
        rows, battles = Counter(dict.fromkeys(SPLITS, 0)), Counter(dict.fromkeys(SPLITS, 0))
        counts = {name: Counter[str]() for name in _COUNTED}
        advice: list[RowAdvice] = []
        for split in SPLITS:
            with (folder / f"{split}.jsonl").open("wb") as file:
                for start, battle in self.kept:
                    if (battle.together in back) == (split == "validation"):
                        self.rows.seek(start)
                        texts = [self.rows.read(row.length) for row in battle.rows]
                        new = [
                            (row, text) for row, text in zip(battle.rows, texts, strict=True) if self._new(row, split)
                        ]
                        file.writelines(text for _, text in new)
                        rows[split] += len(new)
                        battles[split] += bool(new)
                        for row, _ in new:
                            _count(counts, battle, row)
                        advice += [row.advice for row, _ in new if row.advice is not None]
                file.flush()
                os.fsync(file.fileno())
        if not advice:
            del counts["teacher"]
        return DatasetCard(
            contract=contract,
            contract_hash=CONTRACTS[contract].hash,
            pokedex_hash=pokedex(LATEST_GENERATION).hash,
            rows=rows,
            battles=battles,
            files={split: sha256_of(folder / f"{split}.jsonl") for split in SPLITS},
            counts={name: dict(sorted(values.items())) for name, values in counts.items()},
            advice=AdviceFigures.of(advice),
            dropped=Dropped(replays=_sorted(self.replays), decisions=_sorted(self.decisions)),
            rebuilt_because=_sorted(self.rebuilt_because),
            command=command,
            created_at=datetime.now(UTC),
            software={name: version(name) for name in ("alphastral", "poke-env")},
        )

    def _new(self, row: "WrittenRow", split: str) -> bool:
        """Whether a row says something new, and asks nothing that the training split has answered."""
        if row.sample in self.samples:
            self.decisions[SAID_BEFORE] += 1
            return False
        if split == "train":
            self.prompts.add(row.prompt)
        elif row.prompt in self.prompts:
            self.decisions[ASKED_BEFORE] += 1
            return False
        self.samples.add(row.sample)
        return True


def _count(counts: Mapping[str, Counter[str]], battle: "BattleRows", row: "WrittenRow") -> None:
    rating = "none" if battle.rating is None else f"{battle.rating // 100:02d}00 to {battle.rating // 100:02d}99"
    exact, complete = str(battle.exact).lower(), str(row.complete).lower()
    for values, value in zip(
        counts.values(),
        (battle.format, rating, row.source, exact, complete, row.kind, row.teacher or "none"),
        strict=True,
    ):
        values[value] += 1


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in _sorted(counts).items())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def validation_groups(groups: Sequence[str], fraction: float) -> frozenset[str]:
    """The groups to keep back, so that about `fraction` of the battles are; `groups` names each battle's own.

    Groups are taken in an order that their names alone decide, and one that would be too many is passed over. With two
    groups or more and a fraction above 0, at least one is kept back and at least one is not.
    """
    sizes = Counter(groups)
    if fraction <= 0 or len(sizes) < 2:
        return frozenset()
    wanted = max(1, round(fraction * len(groups)))
    taken: set[str] = set()
    battles = 0
    for group in sorted(sizes, key=_rank):
        if battles + sizes[group] <= wanted and len(taken) < len(sizes) - 1:
            taken.add(group)
            battles += sizes[group]
    return frozenset(taken or {min(sizes, key=lambda group: (sizes[group], _rank(group)))})


def _rank(group: str) -> bytes:
    return hashlib.blake2b(f"alphastral/split/{group}".encode(errors="surrogatepass")).digest()


# ── the card for people ─────────────────────────────────────────────────────────────────────────────


_TYPES: Mapping[str, str] = {
    "legal": "list: string",
    **dict.fromkeys(("complete", "exact"), "dtype: bool"),
    **dict.fromkeys(("turn", "rating"), "dtype: int64"),
    **dict.fromkeys(("probabilities", "values"), "list: float64"),
}
"""Columns of other types than strings, as the head of a README.md names them."""


def readme(card: DatasetCard, name: str) -> str:
    """The README.md. Its head tells `datasets.load_dataset` where the splits are and of which types the columns."""
    splits = [split for split in ("train", "validation") if card.rows.get(split)]
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in splits)
    fields = [name for name in Row.model_fields if name not in ADVISED or card.advice]
    features = "".join(f"  - name: {name}\n    {_TYPES.get(name, 'dtype: string')}\n" for name in fields)
    head = (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}"
        f"dataset_info:\n- config_name: default\n  features:\n{features}---\n"
    )
    parts = [
        f"# {_plain(name)}",
        "Decisions in Pokémon Showdown battles as prompts and completions, made by alphaStral.",
        f"Contract {card.contract} (`{card.contract_hash[:16]}`), pokedex `{card.pokedex_hash[:16]}`.",
        "No battle, and no two battles that belong together, stand on both sides of the split.",
        _table("Rows", card.rows),
        _table("Battles", card.battles),
        *(_table(f"Rows by {name}", counts) for name, counts in card.counts.items()),
        f"{card.advice}" if card.advice else "",
        _table("Battles rebuilt although they have an input log", card.rebuilt_because),
        _table("Battles left out", card.dropped.replays),
        _table("Decisions left out", card.dropped.decisions),
        f"Made with:\n\n```\n{_plain(card.command)}\n```",
    ]
    return head + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    rows = "\n".join(f"| {_plain(name).replace('|', '/')} | {count:,} |" for name, count in counts.items())
    return f"## {title}\n\n| | |\n|---|---:|\n{rows}"


def _plain(text: str) -> str:
    # What policies and formats are called is foreign text, and Markdown lets markup through.
    return one_line(text, 500).replace("`", "'").replace("<", "&lt;")
