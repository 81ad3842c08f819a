"""Where results live: a folder or a bucket, reached through fsspec.

    matchups/ID/request.json            what was asked for
    matchups/ID/battles/NNNNN.json.gz   one file a battle, written once and never changed
    matchups/ID/failures/START.txt      why a shard failed
    matchups/ID/cancelled               empty, or why: a budget was spent
    matchups/ID/looks/NNNNN.json        what the first NNNNN battles say, where a matchup is played until decided
    matchups/ID/run.json.gz, report.html
    tournaments/                        what many matchups belong to: see shared/tournaments.py
    models/                             what was published: see shared/registry

The state of a matchup is computed from what is here, never from the queue.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import BrokenRecord, Conflict, NotFound, broken
from shared.records import BattleRecord, MatchupRequest, Run, parse_run
from shared.store import Store, is_id
from shared.verdicts.scores import Played
from shared.verdicts.until import SequentialTest

_Model = TypeVar("_Model", bound=BaseModel)


class MatchupStore(Store):
    """The store at `url`: a folder's path or anything that fsspec opens. Made on first write.

    Writing raises Unreachable where the disk or the bucket does not take it.
    """

    # ── matchups ────────────────────────────────────────────────────────────────────────────────────

    def create_matchup(self, matchup_id: str, request: MatchupRequest) -> bool:
        """Store a new matchup's request. False when the same one is there already.

        Raises Conflict when another request is stored under that id.
        """
        # Two may ask under the same key at once, in one process of the API or in two.
        if self.create(self._of_matchup(matchup_id, "request.json"), request.model_dump_json(indent=2).encode()):
            return True
        if self.request(matchup_id) != request:
            raise Conflict(f"matchup {matchup_id} was asked for with another body")
        return False

    def matchup_ids(self) -> list[str]:
        """All matchups, newest first: ids begin with their time."""
        return sorted(self.folders("matchups"), reverse=True)

    def request(self, matchup_id: str) -> MatchupRequest:
        """What was asked for. Raises NotFound for an unknown matchup."""
        path = self._matchup(matchup_id, "request.json")
        return _parsed(MatchupRequest, self._read(path, f"no matchup {matchup_id}"), path)

    def created_at(self, matchup_id: str) -> datetime:
        """When it was asked for, UTC. Raises NotFound for an unknown matchup."""
        return self.modified(self._of_matchup(matchup_id, "request.json"), f"no matchup {matchup_id}")

    def cancel(self, matchup_id: str, why: str = "") -> None:
        """Mark a matchup as cancelled, and say why where it was not a person's wish; no shard starts another battle."""
        self.request(matchup_id)
        self._write(self._matchup(matchup_id, "cancelled"), why.encode())

    def is_cancelled(self, matchup_id: str) -> bool:
        """Whether somebody cancelled it."""
        return bool(self._files.exists(self._matchup(matchup_id, "cancelled")))

    def cancelled_because(self, matchup_id: str) -> str | None:
        """Why it was cancelled; None where it was not, or nobody said why."""
        path = self._matchup(matchup_id, "cancelled")
        if not self._files.exists(path):
            return None
        return self._read(path, path).decode(errors="replace") or None

    # ── battles ─────────────────────────────────────────────────────────────────────────────────────

    def record_battle(self, matchup_id: str, record: BattleRecord) -> None:
        """Store one battle, atomically. A second record of the same battle replaces the first."""
        self._write(
            self._matchup(matchup_id, f"battles/{record.index:05d}.json.gz"),
            gzip.compress(record.model_dump_json().encode(), compresslevel=6, mtime=0),
        )

    def recorded(self, matchup_id: str) -> frozenset[int]:
        """Indices of the battles that have a record."""
        return frozenset(int(name.split(".", 1)[0]) for name in self._names(matchup_id, "battles"))

    def battle(self, matchup_id: str, index: int) -> BattleRecord:
        """One battle's record. Raises NotFound or BrokenRecord."""
        path = self._matchup(matchup_id, f"battles/{index:05d}.json.gz")
        raw = self._read(path, f"matchup {matchup_id} has no record of battle {index}")
        try:
            return _parsed(BattleRecord, gzip.decompress(raw), path)
        except (OSError, EOFError, zlib.error) as error:
            raise BrokenRecord(f"{path} cannot be read: {error}") from error

    def battles(self, matchup_id: str) -> Iterator[BattleRecord]:
        """All recorded battles, in order of their index."""
        return (self.battle(matchup_id, index) for index in sorted(self.recorded(matchup_id)))

    def played(self, matchup_id: str) -> dict[int, Played]:
        """Index → pair and winner of every recorded battle. Reads no more of a record than that."""
        found: dict[int, Played] = {}
        for index in self.recorded(matchup_id):
            path = self._matchup(matchup_id, f"battles/{index:05d}.json.gz")
            try:
                document = json.loads(gzip.decompress(self._read(path, f"{path} is gone")))
                found[index] = Played(document["pair"], document["winner"])
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                raise BrokenRecord(f"{path} cannot be read: {error}") from error
        return found

    # ── looks ───────────────────────────────────────────────────────────────────────────────────────

    def record_look(self, matchup_id: str, test: SequentialTest) -> None:
        """Store what a look found. The same battles always give the same look, so it does not matter who writes it."""
        self._write(self._matchup(matchup_id, f"looks/{test.battles:05d}.json"), test.model_dump_json().encode())

    def latest_look(self, matchup_id: str) -> SequentialTest | None:
        """The look at the most battles; None before the first."""
        names = self._names(matchup_id, "looks")
        if not names:
            return None
        path = self._matchup(matchup_id, f"looks/{max(names)}")
        return _parsed(SequentialTest, self._read(path, f"{path} is gone"), path)

    # ── failures ────────────────────────────────────────────────────────────────────────────────────

    def record_failure(self, matchup_id: str, start: int, sentence: str) -> None:
        """Say why the shard that begins at battle `start` failed for good."""
        self._write(self._matchup(matchup_id, f"failures/{start:05d}.txt"), sentence.encode())

    def forget_failure(self, matchup_id: str, start: int) -> None:
        """The shard gets another try."""
        path = self._matchup(matchup_id, f"failures/{start:05d}.txt")
        if self._files.exists(path):
            self._files.rm_file(path)

    def failures(self, matchup_id: str) -> dict[int, str]:
        """First battle of each shard that failed for good → why."""
        return {
            int(name.split(".", 1)[0]): self._read(self._matchup(matchup_id, f"failures/{name}"), name).decode(
                errors="replace"
            )
            for name in self._names(matchup_id, "failures")
        }

    # ── results ─────────────────────────────────────────────────────────────────────────────────────

    def write_run(self, matchup_id: str, run: Run) -> None:
        """Store the run, atomically."""
        raw = run.model_dump_json(exclude_none=False).encode()
        self._write(self._matchup(matchup_id, "run.json.gz"), gzip.compress(raw, compresslevel=6, mtime=0))

    def run_json(self, matchup_id: str) -> bytes:
        """The run's JSON text. Raises NotFound before the report was written."""
        self.request(matchup_id)
        path = self._matchup(matchup_id, "run.json.gz")
        return gzip.decompress(self._read(path, f"matchup {matchup_id} has no run yet"))

    def run(self, matchup_id: str) -> Run:
        """The run. Raises NotFound before the report was written."""
        return parse_run(self.run_json(matchup_id), f"the run of matchup {matchup_id}")

    def write_report(self, matchup_id: str, html: str) -> None:
        """Store the report, atomically."""
        self._write(self._matchup(matchup_id, "report.html"), html.encode())

    def report(self, matchup_id: str) -> bytes:
        """The report's HTML. Raises NotFound before it was written."""
        self.request(matchup_id)
        return self._read(self._matchup(matchup_id, "report.html"), f"matchup {matchup_id} has no report yet")

    def has_report(self, matchup_id: str) -> bool:
        """Whether the report was written."""
        return bool(self._files.exists(self._matchup(matchup_id, "report.html")))

    # ── files ───────────────────────────────────────────────────────────────────────────────────────

    def _of_matchup(self, matchup_id: str, name: str) -> str:
        if not is_id(matchup_id):
            raise NotFound(f"no matchup {matchup_id!r}")
        return f"matchups/{matchup_id}/{name}"

    def _matchup(self, matchup_id: str, name: str) -> str:
        return f"{self._root}/{self._of_matchup(matchup_id, name)}"

    def _names(self, matchup_id: str, folder: str) -> list[str]:
        path = self._matchup(matchup_id, folder)
        if not self._files.exists(path):
            return []
        names = (entry.rsplit("/", 1)[-1] for entry in self._files.ls(path, detail=False, refresh=True))
        return [name for name in names if name[:1].isdigit()]


def _parsed(model: type[_Model], raw: bytes, name: str) -> _Model:
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise broken(name, error) from error
