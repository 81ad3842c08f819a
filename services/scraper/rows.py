"""Battles as rows of a dataset: run again where that is possible, otherwise rebuilt from their public logs."""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from services.scraper.rebuild import rebuild
from services.scraper.replay import (
    BattleRead,
    MadeDecision,
    Replay,
    Unfit,
    UnfitBattle,
    Unusable,
    action_kind,
    has_custom_rules,
)
from services.scraper.rerun import Differs, Simulators, Why, rerun
from services.scraper.sources import BattleSource
from shared.battle.action import Pass
from shared.battle.completion import render
from shared.battle.contract import CONTRACTS
from shared.battle.pokedex import to_id
from shared.datasets import ActionKind, Row, RowAdvice
from shared.policies import FORMATS
from shared.store import replace_file

log = logging.getLogger(__name__)

UNRATED = "not rated"
RATED_LOWER = "rated lower"
OTHER_FORMAT = "another format"
BROKE = "it broke what reads it"
NOT_ADVISED = "without its teacher's advice"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions become rows, and in which words."""

    contract: str = "v2"
    min_rating: int | None = None
    """Of replays; battles of our own have no rating and pass."""
    winner_only: bool = False
    side: Literal["p1", "p2", "both"] = "both"


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """What is counted of a row, and how many bytes it takes up in the text of its battle."""

    length: int
    prompt: bytes
    """A digest."""
    sample: bytes
    """A digest of prompt and completion."""
    kind: ActionKind
    complete: bool
    source: str
    teacher: str | None = None
    advice: RowAdvice | None = None


@dataclass(frozen=True, slots=True)
class BattleRows:
    """What a battle gave."""

    battle: str
    log: bytes
    """A digest of its log but for the clock and the room, so that a battle found twice counts once."""
    together: str
    """Battles of which this is the same stay on one side of a split."""
    format: str
    rating: int | None
    exact: bool
    rebuilt_because: str | None
    rows: tuple[WrittenRow, ...]
    text: bytes
    """The rows, one a line, as JSON."""
    logs: bytes
    """The battle itself, as a site tells it: a line of JSON."""
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads battles, in whatever process: fit for pickle."""

    wanted: Wanted
    builds: tuple[Path, ...] = ()
    """Further builds of the simulator."""
    node: Path | None = None
    kept: Path | None = None
    """A folder where what was read of sources is kept, so that whoever goes on reads only what is missing."""

    def __post_init__(self) -> None:
        """Raises UsageError for what is no build of the simulator."""
        Simulators(self.builds)

    def __call__(self, sources: Sequence[BattleSource]) -> list[BattleRows | Unusable]:
        """The rows of every battle of these sources."""
        if self.kept is None:
            return asyncio.run(self._read(sources))
        path = self.kept / f"{_same(self.wanted, sources)}.json"
        with suppress(OSError, ValidationError):
            return _READ.validate_json(path.read_bytes())
        read = asyncio.run(self._read(sources))
        self.kept.mkdir(parents=True, exist_ok=True)
        replace_file(path, _READ.dump_json(read))
        return read

    async def _read(self, sources: Sequence[BattleSource]) -> list[BattleRows | Unusable]:
        async with Simulators(self.builds, node=self.node) as simulators:
            return [
                found if isinstance(found, Unusable) else await self._rows(found, simulators)
                for source in sources
                for found in source.read()
            ]

    async def _rows(self, replay: Replay, simulators: Simulators) -> BattleRows | Unusable:
        try:
            return await rows_of(replay, self.wanted, simulators)
        except Exception:
            # The one broad catch: a stranger's log that breaks what reads it costs itself, and no other battle.
            log.warning("Replay %s could not be read.", replay.id, exc_info=True)
            return Unusable(replay.id, BROKE)


_READ = TypeAdapter(list[BattleRows | Unusable], config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))


def _same(wanted: Wanted, sources: Sequence[BattleSource]) -> str:
    """Names what is read: the same for the same rows. Of files, as they are; of prompts, as the contract words them."""
    changed = [
        part.stat().st_mtime_ns
        for source in sources
        for part in source.where
        if isinstance(part, Path) and part.exists()
    ]
    told = [(source.reader.__name__, source.where, source.weight) for source in sources]
    return hashlib.sha256(repr((wanted, CONTRACTS[wanted.contract].hash, told, changed)).encode()).hexdigest()


async def rows_of(replay: Replay, wanted: Wanted, simulators: Simulators) -> BattleRows | Unusable:
    """The rows of a battle, or why it is left out."""
    if has_custom_rules(replay):
        return Unusable(replay.id, str(Unfit.CUSTOM_RULES))
    if replay.format not in FORMATS:
        return Unusable(replay.id, OTHER_FORMAT)
    if wanted.min_rating is not None and replay.source == "replay":
        if replay.rating is None:
            return Unusable(replay.id, UNRATED)
        if replay.rating < wanted.min_rating:
            return Unusable(replay.id, RATED_LOWER)
    exact, because = True, None
    try:
        try:
            reading = await rerun(replay, simulators)
        except Differs as difference:
            exact, because = False, None if difference.reason is Why.NO_INPUT_LOG else str(difference.reason)
            reading = rebuild(replay.log)
    except UnfitBattle as unreadable:
        return Unusable(replay.id, str(unreadable.reason))
    dropped: Counter[str] = Counter(reading.unknown)
    rows: list[WrittenRow] = []
    text = bytearray()
    for made in reading.decisions:
        row = _left_out(made, reading, replay, wanted) or _row(made, replay, wanted, exact=exact)
        if isinstance(row, str):
            dropped[row] += 1
            continue
        line = row.model_dump_json().encode() + b"\n"
        sample = digest(row.prompt, row.completion)
        told = (row.kind, row.complete, row.source, row.teacher, row.advice)
        rows.append(WrittenRow(len(line), digest(row.prompt), sample, *told))
        text += line
    return BattleRows(
        battle=replay.id,
        log=digest(*(line for line in replay.log if line[:1] == "|" and line[1:3] not in _NO_BATTLE)),
        together=_together(replay, reading),
        format=replay.format,
        rating=replay.rating,
        exact=exact,
        rebuilt_because=because,
        rows=tuple(rows),
        text=bytes(text),
        logs=_written(replay),
        dropped=dropped,
    )


def _written(replay: Replay) -> bytes:
    document = {
        "id": replay.id,
        "formatid": replay.format,
        # What people said to one another in the room is nobody's business.
        "log": "\n".join(line for line in replay.log if line[:1] == "|" and line[1:3] not in _ROOM),
        "inputlog": "\n".join(line for line in replay.inputlog or () if not line.startswith(">chat")),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass") + b"\n"


_ROOM = ("c|", "c:", "j|", "l|", "n|", "J|", "L|", "N|", "in")
"""How the lines begin that a room adds to a log, beside what it says of ratings and rules."""
_NO_BATTLE = (*_ROOM, "t:", "ra")
"""The same with those, and the clock's."""


def _left_out(made: MadeDecision, reading: BattleRead, replay: Replay, wanted: Wanted) -> str | None:
    if wanted.side not in ("both", made.seat):
        return "of the other side"
    if wanted.winner_only and made.seat != reading.winner:
        return "not the winner's"
    if made.seat in replay.teachers:
        # The label is the teacher's, whoever played.
        return None if made.advice else NOT_ADVISED
    name = "" if isinstance(made.action, Pass) else made.action.name
    if (made.seat, made.turn, name) in replay.substituted:
        return "a substitute's, not the policy's own"
    return None


def _row(made: MadeDecision, replay: Replay, wanted: Wanted, *, exact: bool) -> Row | str:
    contract = CONTRACTS[wanted.contract]
    completions = contract.completions(made.state)
    completion = render(made.action, completions)
    if completion is None:
        return f"{made.kind} that {wanted.contract} cannot express"
    if len(completions) == 1:
        return f"the only action that {wanted.contract} can express"
    policy = replay.policies.get(made.seat)
    kind, advised = made.kind, {}
    if made.advice:
        said = dict(zip(made.state.legal, made.advice, strict=True))
        told = [said[action] for action in completions.values()]
        taken = sum(each.probability for each in told)
        if not taken:
            return f"of which the teacher advises nothing that {wanted.contract} can express"
        advised = {
            "teacher": replay.teachers[made.seat],
            "probabilities": tuple(round(each.probability / taken, 6) for each in told),
            "values": tuple(each.value for each in told),
            "played": completion,
        }
        completion, action = max(completions.items(), key=lambda one: (said[one[1]].probability, said[one[1]].value))
        kind = action_kind(action, made.state)
    return Row(
        prompt=contract.prompt(made.state),
        completion=completion,
        legal=tuple(completions),
        complete=made.complete,
        kind=kind,
        battle=replay.id,
        turn=made.turn,
        side=made.seat,
        rating=replay.rating,
        source=f"{replay.source}:{policy}" if policy else replay.source,
        exact=exact,
        contract=wanted.contract,
        **advised,
    )


def _together(replay: Replay, reading: BattleRead) -> str:
    """The same two players meet again in a rematch, and our own battles may have teams in common."""
    if replay.teams_seeds is not None:
        return replay.teams_seeds
    if replay.source == "run":
        return replay.id
    return "|".join(sorted(map(to_id, reading.players.values())))


def digest(*texts: str) -> bytes:
    """What stands for these texts where many are compared."""
    return hashlib.blake2b("\0".join(texts).encode(errors="surrogatepass"), digest_size=12).digest()
