"""How a matchup's battle records become its run: the summary, a row a battle, a row a decision. And the way back.

A run of many battles is never in memory: RunWriter takes it battle by battle.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from pydantic import TypeAdapter, ValidationError

from services.reporter.sums import RunSums
from shared.battle.decision import Outcome
from shared.battle.protocol import Seat
from shared.errors import BrokenRecord, first_fault
from shared.matchups import Matchups
from shared.records import (
    AnyBattle,
    AnyDecision,
    BattleRecord,
    BattleReview,
    MatchupRequest,
    Run,
    RunBattle,
    TurnStat,
)

TURN_STATS = TypeAdapter(list[TurnStat])
_IN_MEMORY_BYTES = 4 << 20
_PIECE_BYTES = 1 << 20
_ZEROS = memoryview(bytes(_PIECE_BYTES))
_MAX_NAME_CHARACTERS = 60
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def assemble(
    request: MatchupRequest,
    battles: Iterable[BattleRecord],
    *,
    reviews: Mapping[int, BattleReview] | None = None,
    matchup_id: str,
    created_at: str,
    cancelled: bool = False,
    stopped: str | None = None,
    failures: Iterable[str] = (),
) -> Run:
    """The run of a matchup, from the records and reviews there are, in the order of their index. Pure."""
    sums = RunSums(request)
    rows: list[RunBattle] = []
    stats: list[TurnStat] = []
    for record in sorted(battles, key=lambda record: record.index):
        review = (reviews or {}).get(record.index)
        sums.add(record, review)
        row, of_battle = rows_of(record, request, review)
        rows.append(row)
        stats += of_battle
    run = sums.run(matchup_id, created_at, cancelled=cancelled, stopped=stopped, failures=failures)
    return run.model_copy(update={"battles": tuple(rows), "turn_stats": tuple(stats)})


def run_of(matchups: Matchups, matchup_id: str) -> Run:
    """The run of what is recorded of a matchup, all of it in memory."""
    request = matchups.request(matchup_id)
    told, reviews = told_of(matchups, matchup_id), matchups.reviews(matchup_id)
    return assemble(request, matchups.battles(matchup_id), reviews=reviews, matchup_id=matchup_id, **told)


def told_of(matchups: Matchups, matchup_id: str) -> dict[str, Any]:
    """What a run says of its matchup beside the battles."""
    failures = matchups.failures(matchup_id)
    failures.pop(matchups.request(matchup_id).battles, None)
    cancelled = matchups.cancelled(matchup_id)
    return {
        "created_at": matchups.created_at(matchup_id).isoformat(timespec="seconds"),
        "cancelled": cancelled == "",
        "stopped": cancelled or None,
        "failures": tuple(dict.fromkeys(failures.values())),
    }


def file_stem(run: Run) -> str:
    """`<p1>_vs_<p2>_n<battles played>_<id>`: a file name without its extension, safe on every file system."""
    summary = run.summary
    names = "_vs_".join(map(_safe, (summary.p1_agent, summary.p2_agent)))
    return f"{names}_n{summary.n_games + summary.broken}_{_safe(run.matchup_id or '')}"


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name)[:_MAX_NAME_CHARACTERS].strip("._-") or "policy"


def rows_of(
    record: BattleRecord, request: MatchupRequest, review: BattleReview | None = None
) -> tuple[RunBattle, list[TurnStat]]:
    """A battle's row in a run, and a row for each of its decisions."""
    agents: Mapping[Seat, str] = {"p1": request.p1, "p2": request.p2}
    battle = {
        **vars(record),
        "game_id": record.index + 1,
        "n_turns": record.turns,
        "timestamp": record.started_at,
        "p1_agent": request.p1,
        "p2_agent": request.p2,
        "review": review,
    }
    stats = [
        {
            **vars(decision),
            "used_fallback": decision.outcome is Outcome.SUBSTITUTED,
            "agent": agents[decision.policy],
            "battle_tag": record.battle_tag,
        }
        for decision in record.decisions
    ]
    return RunBattle.model_validate(battle), TURN_STATS.validate_python(stats)


class RunWriter:
    """A run's JSON, gzipped, from one pass over its battles.

    The summary stands first and decisions after all battles, so the rows of both wait in a file each, compressed, and
    are joined to one gzip stream as they are (RFC 1951: blocks of which none looks back, and a checksum of the whole).
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder` is where large rows wait while this is open; None for the system's own place."""
        self._battles, self._stats = _Deflated(folder), _Deflated(folder)

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self._battles, self._stats):
            part.file.close()

    def add(self, battle: RunBattle, stats: list[TurnStat]) -> None:
        """The next battle's rows, as `rows_of` gives them."""
        self._battles.add(battle.model_dump_json().encode())
        if stats:
            self._stats.add(TURN_STATS.dump_json(stats)[1:-1])

    def pieces(self, run: Run) -> Iterator[bytes]:
        """The whole file: `run`, which has no rows of its own, with those that were added."""
        head, tail = run.model_dump_json().encode().split(b'"battles":[],"turn_stats":[]', 1)
        around = [_Deflated(None) for _ in range(3)]
        for part, text in zip(around, (head + b'"battles":[', b'],"turn_stats":[', b"]" + tail), strict=True):
            part.add(text)
        yield b"\x1f\x8b\x08" + bytes(6) + b"\xff"
        crc = size = 0
        for part in (around[0], self._battles, around[1], self._stats, around[2]):
            yield from part.pieces(last=part is around[2])
            # A checksum is linear: what stood before counts as if so many zeros had followed it.
            crc = part.crc ^ _crc_of_zeros(part.size, crc) ^ _crc_of_zeros(part.size, 0)
            size += part.size
        yield struct.pack("<LL", crc, size & 0xFFFF_FFFF)


class _Deflated:
    """Rows, with commas between them, as a part of a gzip stream."""

    def __init__(self, folder: Path | None) -> None:
        self.file = SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(folder) if folder else None)  # noqa: SIM115 - RunWriter closes it
        self.crc = self.size = 0
        self._packing = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)

    def add(self, row: bytes) -> None:
        raw = b"," + row if self.size else row
        self.crc, self.size = zlib.crc32(raw, self.crc), self.size + len(raw)
        self.file.write(self._packing.compress(raw))

    def pieces(self, *, last: bool) -> Iterator[bytes]:
        self.file.write(self._packing.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH))
        self.file.seek(0)
        yield from iter(lambda: self.file.read(_PIECE_BYTES), b"")


def _crc_of_zeros(count: int, crc: int) -> int:
    whole, rest = divmod(count, _PIECE_BYTES)
    for size in (*repeat(_PIECE_BYTES, whole), rest):
        crc = zlib.crc32(_ZEROS[:size], crc)
    return crc


def records_of(run: Run) -> list[BattleRecord]:
    """The battle records that a run was assembled from, so that every figure can be made again.

    Raises BrokenRecord when the run lacks what every run of ours has, as the original project's files do, or when its
    rows do not belong together.
    """
    decisions: dict[str | None, list[TurnStat]] = {battle.battle_tag: [] for battle in run.battles}
    if len(decisions) < len(run.battles):
        raise BrokenRecord("two battles of this run have the same tag, or none")
    for stat in run.turn_stats:
        if stat.battle_tag not in decisions:
            raise BrokenRecord(f"a decision belongs to the battle {stat.battle_tag}, which is not in the run")
        decisions[stat.battle_tag].append(stat)
    try:
        return [_record(run, battle, decisions[battle.battle_tag]) for battle in run.battles]
    except ValidationError as error:
        where, _ = first_fault(error)
        raise BrokenRecord(f"this run lacks what its battles could be played again from: {where}") from error


def _record(run: Run, battle: RunBattle, stats: Iterable[TurnStat]) -> BattleRecord:
    other = {"p1": "p2", "p2": "p1"}.get(battle.p1_seat or "")
    seats = {"p1": battle.p1_seat, "p2": other}
    told = {name: getattr(battle, name) for name in AnyBattle.model_fields}
    own = {"turns": battle.n_turns, "started_at": battle.timestamp, "versions": run.versions or {}}
    decisions = tuple(
        {name: getattr(stat, name) for name in AnyDecision.model_fields} | {"seat": seats.get(stat.policy or "")}
        for stat in stats
    )
    return BattleRecord.model_validate(told | own | {"contract": run.contract or {}, "decisions": decisions})
