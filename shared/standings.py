"""How matchups stand: the sums of their battles, for those who ask again and again.

matchups/ID/sums/NNNNN.json   what BLOCK battles from NNNNN on sum up to, and which of them those are

They are kept beside the records, so that a process that has just begun need not read all of those. They can be made
again from the records, and are, wherever they cannot be read or are not of the battles that are recorded. A block cuts
no pair, so that the sums of blocks add up.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from threading import Lock

from pydantic import ValidationError

from shared.battle.protocol import Seat
from shared.document import Strict
from shared.errors import NotFound, Unreachable
from shared.matchups import SUMMED_TOGETHER, Matchups
from shared.records import BattleRecord, MatchupRequest
from shared.store import Store
from shared.tournaments import DecisionTotals, MatchupResult
from shared.verdicts.scores import Played, Scores, Tally, own_choices

BLOCK = SUMMED_TOGETHER
KEPT_BATTLES, KEPT_MATCHUPS = 500_000, 1_000
"""Of so many matchups, and of those with so many battles together, this process remembers how they stand."""
PATIENCE_SECONDS = 3.0
"""So long others wait while somebody reads the records of a matchup. Longer, and they would take up all threads."""
_WORTH_KEEPING = 128
"""The records of fewer battles are read as quickly."""
_MANY_BATTLES, _LISTED_AGAIN_SECONDS = 10_000, 1.0
"""So many take a while to be listed, so what was found counts for a while."""
_SETTLED_NS = 2_000_000_000
"""What changes a folder later than that changes its time, too, whatever the clock's grain."""


class Standing(Strict):
    """A matchup so far, or some of its battles. What is summed up of a battle in `of` must add up in `__add__`."""

    tally: Tally = Tally()
    scores: Scores = Scores()
    own_choices: Scores = Scores()
    """Of the battles in which nobody's decision was substituted."""
    p1: DecisionTotals = DecisionTotals()
    p2: DecisionTotals = DecisionTotals()

    @classmethod
    def of(cls, battles: Iterable["BattleSums"]) -> "Standing":
        """The sums over battles, with both of a pair where both are there."""
        every = list(battles)
        return cls(
            tally=Tally.of(battle.played.winner for battle in every),
            scores=Scores.of(battle.played for battle in every),
            own_choices=Scores.of(own_choices(battle.played for battle in every)),
            p1=sum((battle.p1 for battle in every), DecisionTotals()),
            p2=sum((battle.p2 for battle in every), DecisionTotals()),
        )

    def __add__(self, other: "Standing") -> "Standing":
        return Standing(
            tally=self.tally + other.tally,
            scores=self.scores + other.scores,
            own_choices=self.own_choices + other.own_choices,
            p1=self.p1 + other.p1,
            p2=self.p2 + other.p2,
        )

    def result(self, matchup_id: str, request: MatchupRequest) -> MatchupResult:
        """What it says in a table of ratings."""
        return MatchupResult(
            matchup_id=matchup_id,
            p1=request.p1,
            p2=request.p2,
            format=request.format,
            as_played=self.scores,
            own_choices=self.own_choices,
            broken=self.tally.broken,
            p1_decisions=self.p1,
            p2_decisions=self.p2,
        )

    @property
    def cost_usd(self) -> float | None:
        """What the models of both sides cost so far; None where that is not known of every ask."""
        both = self.p1 + self.p2
        return None if both.asks_without_cost else both.cost_usd


@dataclass(frozen=True, slots=True)
class BattleSums:
    """What of one battle is summed up."""

    played: Played
    p1: DecisionTotals
    p2: DecisionTotals

    @classmethod
    def of(cls, record: BattleRecord) -> "BattleSums":
        p1, p2 = _decisions(record, "p1"), _decisions(record, "p2")
        return cls(Played(record.pair, record.winner, bool(p1.substituted or p2.substituted)), p1, p2)


def _decisions(record: BattleRecord, policy: Seat) -> DecisionTotals:
    return DecisionTotals.of(decision for decision in record.decisions if decision.policy == policy)


class KeptSums(Strict):
    """A file of sums."""

    battles: frozenset[int]
    standing: Standing


@dataclass(frozen=True, slots=True)
class _Block:
    """What is known of the battles that are summed up together."""

    summed: frozenset[int]
    standing: Standing
    battles: Mapping[int, BattleSums]
    """Each by itself, while others are still to come."""


@dataclass(slots=True)
class _Known:
    """What this process remembers of a matchup."""

    lock: Lock = field(default_factory=Lock)
    locked: float = 0.0
    """Since when, while it is."""
    recorded: frozenset[int] = frozenset()
    changed_ns: int | None = None
    """When the folder of `recorded` had changed last; None where that does not tell of later changes."""
    listed: float = 0.0
    blocks: dict[int, _Block] = field(default_factory=dict)
    summed: frozenset[int] = frozenset()
    standing: Standing = field(default_factory=Standing)


class Standings:
    """The standings of a store's matchups. Whoever asks for one waits for no other."""

    def __init__(self, store: Store) -> None:
        self._matchups = Matchups(store)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = Lock()

    def recorded(self, matchup_id: str) -> frozenset[int]:
        """Indices of the battles that have a record; where there are many, as they were a moment ago."""
        known = self._of(matchup_id)
        changed_ns = self._matchups.battles_changed_ns(matchup_id)
        if changed_ns is not None and changed_ns == known.changed_ns:
            return known.recorded
        if len(known.recorded) >= _MANY_BATTLES and time.monotonic() < known.listed + _LISTED_AGAIN_SECONDS:
            return known.recorded
        now = time.time_ns()
        found = self._matchups.recorded(matchup_id)
        known.recorded = known.recorded if found == known.recorded else found
        known.changed_ns = changed_ns if changed_ns is not None and changed_ns < now - _SETTLED_NS else None
        known.listed = time.monotonic()
        return known.recorded

    def of(self, matchup_id: str, recorded: frozenset[int]) -> Standing:
        """The standing after the battles `recorded`. Raises Unreachable where another has read records for too long."""
        known = self._of(matchup_id)
        while not known.lock.acquire(timeout=0.1):
            if time.monotonic() - known.locked > PATIENCE_SECONDS:
                raise Unreachable(f"the battles of matchup {matchup_id} are being read; ask again in a while")
        known.locked = time.monotonic()
        try:
            # Of as many battles, even a look at whether they are the same takes a while.
            if known.summed is not recorded and known.summed != recorded:
                blocks = {
                    number: self._block(matchup_id, number, frozenset(battles), known.blocks.get(number))
                    for number, battles in groupby(sorted(recorded), lambda index: index // BLOCK)
                }
                known.blocks, known.summed = blocks, recorded
                known.standing = sum((block.standing for block in blocks.values()), Standing())
            return known.standing
        finally:
            known.lock.release()

    def keep(self, matchup_id: str, start: int, stop: int, battles: int) -> None:
        """Keep the sums of the blocks that are whole now that battles `start` … `stop` - 1, of so many, are there."""
        recorded = self.recorded(matchup_id)
        for number in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            block = frozenset(range(number * BLOCK, min((number + 1) * BLOCK, battles)))
            if block <= recorded:
                self._block(matchup_id, number, block, None)

    def _of(self, matchup_id: str) -> _Known:
        with self._lock:
            known = self._known.setdefault(matchup_id, _Known())
            self._known.move_to_end(matchup_id)
            while len(self._known) > 1 and (
                len(self._known) > KEPT_MATCHUPS
                or sum(len(each.recorded) for each in self._known.values()) > KEPT_BATTLES
            ):
                self._known.popitem(last=False)
            return known

    def _block(self, matchup_id: str, number: int, wanted: frozenset[int], before: _Block | None) -> _Block:
        if before is not None and before.summed == wanted:
            return before
        is_whole = len(wanted) == BLOCK
        if (before is None or is_whole) and (kept := kept_sums(self._matchups, matchup_id, number, wanted)):
            return _Block(wanted, kept, {})
        battles = {index: sums for index, sums in before.battles.items() if index in wanted} if before else {}
        unread = sorted(wanted - battles.keys())
        for index in unread:
            with suppress(NotFound):
                battles[index] = BattleSums.of(self._matchups.battle(matchup_id, index))
        standing = Standing.of(battles[index] for index in sorted(battles))
        if battles.keys() == wanted and (is_whole or len(unread) >= _WORTH_KEEPING):
            keep_sums(self._matchups, matchup_id, number, wanted, standing)
        return _Block(wanted, standing, {} if is_whole else battles)


def kept_sums(matchups: Matchups, matchup_id: str, number: int, wanted: frozenset[int]) -> Standing | None:
    """The sums of a block that are kept, where they are of these battles."""
    with suppress(NotFound, ValidationError):
        kept = KeptSums.model_validate_json(matchups.sums(matchup_id, number))
        return kept.standing if kept.battles == wanted else None
    return None


def keep_sums(matchups: Matchups, matchup_id: str, number: int, battles: frozenset[int], standing: Standing) -> None:
    """Keep the sums of a block, where that is worth it and the store takes them."""
    if len(battles) >= _WORTH_KEEPING:
        with suppress(Unreachable):
            kept = KeptSums(battles=frozenset(battles), standing=standing)
            matchups.write_sums(matchup_id, number, kept.model_dump_json().encode())


class KeepsSums:
    """Keeps the sums of all blocks, for who reads the records in their order anyway."""

    def __init__(self, matchups: Matchups, matchup_id: str) -> None:
        self._matchups = matchups
        self._id = matchup_id
        self._number = 0
        self._battles: dict[int, BattleSums] = {}

    def add(self, record: BattleRecord) -> None:
        if record.index // BLOCK != self._number:
            self.end()
            self._number = record.index // BLOCK
        self._battles[record.index] = BattleSums.of(record)

    def end(self) -> None:
        wanted = frozenset(self._battles)
        if wanted and kept_sums(self._matchups, self._id, self._number, wanted) is None:
            keep_sums(self._matchups, self._id, self._number, wanted, Standing.of(self._battles.values()))
        self._battles = {}


class Lucky:
    """The reviewed battles of a store's matchups, with their luck. A review is written once, and read once."""

    def __init__(self, store: Store) -> None:
        self._matchups = Matchups(store)
        self._known: OrderedDict[str, dict[int, Played]] = OrderedDict()
        self._lock = Lock()

    def of(self, matchup_id: str, reviewed: frozenset[int]) -> list[Played]:
        """The battles `reviewed`, in order."""
        with self._lock:
            known = self._known.setdefault(matchup_id, {})
            self._known.move_to_end(matchup_id)
            while len(self._known) > 1 and sum(map(len, self._known.values())) > KEPT_BATTLES:
                self._known.popitem(last=False)
            for index in reviewed - known.keys():
                if (review := self._matchups.review(matchup_id, index)) is not None:
                    known[index] = review.played
            return [known[index] for index in sorted(known)]
