"""One battle as rows of a dataset: run again where that is possible, otherwise rebuilt from its public log."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.scraper.raw_logs import Unusable
from services.scraper.reading import BattleRead, MadeDecision
from services.scraper.rebuild import UnreadableReplay, rebuild
from services.scraper.replay import Replay
from services.scraper.rerun import Differs, Simulators, Why, rerun
from shared.battle.action import Pass
from shared.battle.completion import render
from shared.battle.contract import CONTRACTS
from shared.battle.pokedex import to_id
from shared.datasets import ActionKind, Row
from shared.policies import FORMATS

UNRATED = "not rated"
RATED_LOWER = "rated lower"
OTHER_FORMAT = "another format"


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
    """A row as it is written, and what is counted of it."""

    text: bytes
    prompt: bytes
    """A digest."""
    sample: bytes
    """A digest of prompt and completion."""
    kind: ActionKind
    complete: bool
    source: str


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
    lines: tuple[WrittenRow, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)


async def rows_of(replay: Replay, wanted: Wanted, simulators: Simulators) -> BattleRows | Unusable:
    """The rows of a battle, or why it is left out."""
    if replay.format not in FORMATS:
        return Unusable(replay.id, OTHER_FORMAT)
    if wanted.min_rating is not None and replay.source == "replay":
        if replay.rating is None:
            return Unusable(replay.id, UNRATED)
        if replay.rating < wanted.min_rating:
            return Unusable(replay.id, RATED_LOWER)
    because: str | None = None
    try:
        try:
            reading = await rerun(replay, simulators)
        except Differs as difference:
            because = None if difference.reason is Why.NO_INPUT_LOG else str(difference.reason)
            reading = rebuild(replay.log)
            exact = False
        else:
            exact = True
    except UnreadableReplay as unreadable:
        return Unusable(replay.id, str(unreadable.reason))
    dropped: Counter[str] = Counter(reading.unknown)
    lines: list[WrittenRow] = []
    for made in reading.decisions:
        why_not = _left_out(made, reading, replay, wanted)
        line = _line(made, replay, wanted, exact=exact) if why_not is None else why_not
        if isinstance(line, WrittenRow):
            lines.append(line)
        else:
            dropped[line] += 1
    return BattleRows(
        battle=replay.id,
        log=_digest(*(line for line in replay.log if line[:1] == "|" and line[1:3] not in _NO_BATTLE)),
        together=_together(replay, reading),
        format=replay.format,
        rating=replay.rating,
        exact=exact,
        rebuilt_because=because,
        lines=tuple(lines),
        dropped=dropped,
    )


_NO_BATTLE = ("t:", "c|", "c:", "j|", "l|", "n|", "J|", "L|", "N|", "ra", "in")
"""How the lines begin that a room adds to a log, and the clock's."""


def _left_out(made: MadeDecision, reading: BattleRead, replay: Replay, wanted: Wanted) -> str | None:
    if wanted.side not in ("both", made.seat):
        return "of the other side"
    if wanted.winner_only and made.seat != reading.winner:
        return "not the winner's"
    name = "" if isinstance(made.action, Pass) else made.action.name
    if (made.seat, made.turn, name) in replay.substituted:
        return "a substitute's, not the policy's own"
    return None


def _line(made: MadeDecision, replay: Replay, wanted: Wanted, *, exact: bool) -> WrittenRow | str:
    contract = CONTRACTS[wanted.contract]
    completions = contract.completions(made.state)
    completion = render(made.action, completions)
    if completion is None:
        return f"{made.kind} that {wanted.contract} cannot express"
    if len(completions) == 1:
        return f"the only action that {wanted.contract} can express"
    policy = replay.policies.get(made.seat)
    row = Row(
        prompt=contract.prompt(made.state),
        completion=completion,
        legal=tuple(completions),
        complete=made.complete,
        kind=made.kind,
        battle=replay.id,
        turn=made.turn,
        side=made.seat,
        rating=replay.rating,
        source=f"{replay.source}:{policy}" if policy else replay.source,
        exact=exact,
        contract=wanted.contract,
    )
    return WrittenRow(
        text=row.model_dump_json().encode() + b"\n",
        prompt=_digest(row.prompt),
        sample=_digest(row.prompt, row.completion),
        kind=row.kind,
        complete=row.complete,
        source=row.source,
    )


def _together(replay: Replay, reading: BattleRead) -> str:
    """The same two players meet again in a rematch, and our own battles may have teams in common."""
    if replay.teams_seeds is not None:
        return replay.teams_seeds
    if replay.source == "run":
        return replay.id
    return "|".join(sorted(map(to_id, reading.players.values())))


def _digest(*texts: str) -> bytes:
    return hashlib.blake2b("\n".join(texts).encode(errors="surrogatepass"), digest_size=12).digest()
