"""How far a matchup is, computed from the store alone, and what is still to be enqueued for it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from services.arena.shards import shards_of
from shared.jobs.payloads import LookAtMatchup, Payload, PlayShard, WriteReport
from shared.matchups import Matchups
from shared.policies import asks_a_model
from shared.records import MatchupRequest
from shared.store import Store
from shared.verdicts.sequential import Decided, SequentialTest
from shared.verdicts.until import latest_look

SECONDS_PER_BATTLE = 600.0
"""Far more than a battle takes: the bound only ends what hangs."""
SHARDS_AHEAD = 2
"""How many shards of a matchup played until decided may be begun from the first one that is open: more would keep more
workers busy, and play more battles that turn out not to be needed."""
SECONDS_PER_BATTLE_OF_MODELS = 7_200.0
"""A model may take a minute for a decision, and its server be away for a while."""
TURNS_AT_MOST = 1_000
"""Showdown ends a battle as a draw there."""


class State(StrEnum):
    """Where a matchup stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """What the store says of a matchup."""

    matchup_id: str
    request: MatchupRequest
    recorded: frozenset[int]
    failures: dict[int, str]
    """First battle of a shard → why it failed; a report that failed stands at the number of battles."""
    cancelled: bool
    has_report: bool
    stopped: str | None = None
    """Why it was cancelled, where that was not a person's wish."""
    test: SequentialTest | None = None
    """The latest look at a matchup that is played until decided."""

    @classmethod
    def of(cls, store: Store, matchup_id: str) -> "Progress":
        """Read it. Raises NotFound for an unknown matchup."""
        return cls(
            matchup_id,
            Matchups(store).request(matchup_id),
            Matchups(store).recorded(matchup_id),
            Matchups(store).failures(matchup_id),
            Matchups(store).cancelled(matchup_id) is not None,
            Matchups(store).has_report(matchup_id),
            (Matchups(store).cancelled(matchup_id) or None),
            Matchups(store).latest_look(matchup_id),
        )

    @property
    def state(self) -> State:
        """A matchup is finished when its report is there, and failed when it never will be whole."""
        if self.cancelled:
            return State.CANCELLED
        if self.failures and (self.has_report or self.request.battles in self.failures) and not self._open_shards():
            return State.FAILED
        if self.has_report and not self._open_shards():
            return State.FINISHED
        return State.RUNNING if self.recorded or self.failures else State.QUEUED

    @property
    def settled(self) -> bool:
        """Whether no shard will change it any more: each is complete or has failed, or somebody cancelled."""
        return self.cancelled or not self._open_shards()

    @property
    def decided(self) -> bool:
        """Whether a look has found a verdict."""
        return self.test is not None and self.test.decided is not Decided.UNDECIDED

    def jobs(self) -> Iterator[Payload]:
        """What has to be on the queues for this matchup to end."""
        if not self.settled and self.request.until_decided:
            yield self.look()
        elif not self.settled:
            yield from (self.shard(shard) for shard in self._open_shards())
        elif not self.has_report and self.request.battles not in self.failures:
            yield self.report()

    def shard(self, shard: range) -> PlayShard:
        """The job that plays a shard."""
        models = any(asks_a_model(name) for name in (self.request.p1, self.request.p2))
        seconds = (
            SECONDS_PER_BATTLE_OF_MODELS if models else SECONDS_PER_BATTLE
        ) + TURNS_AT_MOST * self.request.move_delay
        return PlayShard(matchup_id=self.matchup_id, start=shard.start, stop=shard.stop, seconds_per_battle=seconds)

    def next_shards(self) -> list[PlayShard]:
        """The shards to play before a matchup that is played until decided is looked at again.

        Where the second has ended before the first, nothing is begun after it: the first may decide.
        """
        still_open = self._open_shards()
        if not still_open:
            return []
        cut = shards_of(self.request)
        first = cut.index(still_open[0])
        return [self.shard(shard) for shard in cut[first : first + SHARDS_AHEAD] if shard in still_open]

    def look(self) -> LookAtMatchup:
        """The job that looks whether the matchup is decided."""
        return LookAtMatchup(matchup_id=self.matchup_id, revision=f"{len(self.recorded)}-{len(self.failures)}")

    def report(self) -> WriteReport:
        """The job that writes the report of what is there now."""
        revision = f"{len(self.recorded)}-{len(self.failures)}" + ("-cancelled" if self.cancelled else "")
        return WriteReport(matchup_id=self.matchup_id, revision=revision)

    def _open_shards(self) -> list[range]:
        cut = shards_of(self.request)
        if self.request.until_decided and (self.decided or any(shard.start in self.failures for shard in cut)):
            # Looks go in order, so after a shard that failed there is nothing to be found out any more.
            return []
        return [shard for shard in cut if shard.start not in self.failures and not self.recorded.issuperset(shard)]


def look_again(store: Store, matchup_id: str) -> Progress:
    """Look at a matchup that is played until decided, and write down what is found where it is new."""
    progress = Progress.of(store, matchup_id)
    request = progress.request
    if request.until_decided and not progress.decided:
        played = Matchups(store).played(matchup_id)
        test = latest_look(played, request.until_decided, most=request.battles, pairs=request.pairs)
        if test.battles:
            Matchups(store).record_look(matchup_id, test)
            # Not read again: a battle recorded meanwhile would count as played, and the look has not seen it.
            progress = replace(progress, test=test)
    return progress
