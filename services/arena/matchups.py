"""Matchups as a kind of work: how one is accepted, cut into jobs, and how far it is, computed from the store alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from services.arena.checks import check_matchup, luck_asked, named_by_the_operator, pinned
from services.arena.views import BySide, MatchupLine, MatchupLinks, MatchupStatus, ProbablyLeft
from shared.errors import UsageError
from shared.jobs.routes import LookAtMatchup, LookAtTournament, Payload, PlayShard, ReviewBattles, WriteReport
from shared.matchups import Matchups
from shared.policies import PolicySpec, asks_a_model
from shared.records import MatchupRequest, NewMatchup, luck_of
from shared.registry import Registry
from shared.settings import Settings
from shared.standings import Lucky, Standings
from shared.store import Store
from shared.tournaments import Tournaments
from shared.verdicts.intervals import win_rate
from shared.verdicts.sequential import Decided, SequentialTest, latest_look, look_ranges, probably_left
from shared.work import State, WorkKind

SECONDS_PER_BATTLE = 600.0
"""Far more than a battle takes: the bound only ends what hangs."""
SHARDS_AHEAD = 2
"""How many shards of a matchup played until decided may be begun from the first one that is open: more would keep more
workers busy, and play more battles that turn out not to be needed."""
SECONDS_PER_BATTLE_OF_MODELS = 7_200.0
"""A model may take a minute for a decision, and its server be away for a while."""
TURNS_AT_MOST = 1_000
"""Showdown ends a battle as a draw there."""
SHARD_BATTLES = range(2, 65)
"""How many battles a shard may have."""


def shards(battles: int, *, pairs: bool) -> tuple[range, ...]:
    """Cut battles 0 … `battles` - 1 into ranges of about an eighth each, 2 to 64 battles, in order.

    With pairs (battles 2k and 2k + 1), no shard cuts one: every range begins at an even index.
    """
    size = min(SHARD_BATTLES[-1], max(SHARD_BATTLES[0], -(-battles // 8)))
    if pairs and size % 2:
        size += 1
    return tuple(range(start, min(start + size, battles)) for start in range(0, battles, size))


def shards_of(request: MatchupRequest) -> tuple[range, ...]:
    """The shards of a matchup. One that is played until decided is looked at after each of them."""
    cut = look_ranges if request.until_decided else shards
    return cut(request.battles, pairs=request.pairs)


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
    reviewed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, store: Store, matchup_id: str, recorded: frozenset[int] | None = None) -> "Progress":
        """Read it, but for what is known to be `recorded`. Raises NotFound for an unknown matchup."""
        matchups = Matchups(store)
        cancelled = matchups.cancelled(matchup_id)
        return cls(
            matchup_id,
            matchups.request(matchup_id),
            matchups.recorded(matchup_id) if recorded is None else recorded,
            matchups.failures(matchup_id),
            cancelled is not None,
            matchups.has_report(matchup_id),
            cancelled or None,
            matchups.latest_look(matchup_id),
            matchups.reviewed(matchup_id),
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
        elif not self.has_report and (reviews := self.reviews()):
            yield from reviews
        elif not self.has_report and self.request.battles not in self.failures:
            yield self.report()

    def shard(self, shard: range) -> PlayShard:
        models = any(asks_a_model(name) for name in (self.request.p1, self.request.p2))
        seconds = (
            SECONDS_PER_BATTLE_OF_MODELS if models else SECONDS_PER_BATTLE
        ) + TURNS_AT_MOST * self.request.move_delay
        return PlayShard(matchup_id=self.matchup_id, start=shard.start, stop=shard.stop, seconds_per_battle=seconds)

    def reviews(self) -> list[ReviewBattles]:
        """The jobs that review what was played and is not reviewed yet, a shard each once it is over.

        None for a matchup that was cancelled: its report does not wait.
        """
        missing = self.recorded - self.reviewed
        if self.request.luck is None or self.cancelled or not missing:
            return []
        still_open = self._open_shards()
        return [
            ReviewBattles(matchup_id=self.matchup_id, start=shard.start, stop=shard.stop, revision=self._revision)
            for shard in shards_of(self.request)
            if shard not in still_open and not missing.isdisjoint(shard)
        ]

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
        return LookAtMatchup(matchup_id=self.matchup_id, revision=self._revision)

    def report(self) -> WriteReport:
        """The job that writes the report of what is there now."""
        revision = self._revision + ("-cancelled" if self.cancelled else "")
        return WriteReport(matchup_id=self.matchup_id, revision=revision)

    @property
    def _revision(self) -> str:
        return f"{len(self.recorded)}-{len(self.failures)}" + (f"-{len(self.reviewed)}" if self.reviewed else "")

    def _open_shards(self) -> list[range]:
        if len(self.recorded) == self.request.battles:
            return []
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
        if request.luck is not None:
            played = Matchups(store).lucky(matchup_id, played)
        test = latest_look(
            played, request.until_decided, most=request.battles, pairs=request.pairs, luck=request.luck is not None
        )
        if test.battles:
            Matchups(store).record_look(matchup_id, test)
            # Not read again: a battle recorded meanwhile would count as played, and the look has not seen it.
            progress = replace(progress, test=test)
    return progress


class MatchupWork(WorkKind[NewMatchup, MatchupRequest]):
    """Two policies that meet."""

    body, line, status = NewMatchup, MatchupLine, MatchupStatus

    def __init__(self, store: Store, settings: Settings, *, on_command_line: bool = False) -> None:
        """Over the API, addresses are those that the settings name; on the command line, whoever asks names them."""
        self.asked: Matchups = Matchups(store)
        self._store = store
        self._settings = settings
        self._on_command_line = on_command_line
        self._also: Callable[[PolicySpec], object] = (
            (lambda policy: None) if on_command_line else named_by_the_operator(settings)
        )
        self._registry = Registry(Store(settings.store) if on_command_line else store)
        self._standings = Standings(store)
        self._lucky = Lucky(store)

    def accept(self, body: NewMatchup, seed: int, before: MatchupRequest | None) -> MatchupRequest:
        request = body.request(seed)
        try:
            check_matchup(request, person_may_play=self._on_command_line, also=self._also)
        except UsageError as error:
            if body.teams and error.field in ("team1", "team2"):
                error.field = f"teams.{error.field == 'team2':d}"
            raise
        luck = before.luck if before else luck_asked(body, request, by_default=self._settings.luck)
        return pinned(request.model_copy(update={"luck": luck}), self._registry, self._settings, before=before)

    def jobs(self, id: str) -> Iterator[Payload]:
        return self._progress(id).jobs()

    def after_cancelling(self, id: str) -> Iterator[Payload]:
        yield Progress.of(self._store, id).report()
        if look := look_after(self._store, id):
            yield look

    def listed(self, id: str) -> MatchupLine:
        return MatchupLine.model_validate(self._line(self._progress(id)))

    def standing(self, id: str) -> MatchupStatus:
        # First: what cannot be read when it is summed up is recorded no more.
        standing = self._standings.of(id, self._standings.recorded(id))
        progress = self._progress(id)
        tally, rate = standing.tally, win_rate(standing.scores)
        return MatchupStatus(
            **self._line(progress),
            request=progress.request,
            finished=tally.finished,
            broken=tally.broken,
            p1_wins=tally.p1_wins,
            p2_wins=tally.p2_wins,
            draws=tally.draws,
            p1_win_rate=tally.p1_win_rate,
            p1_win_rate_interval=(rate.interval.low, rate.interval.high) if rate else None,
            luck=luck_of(progress.request, self._lucky.of(id, progress.reviewed)),
            decisions=BySide(p1=standing.p1.asked, p2=standing.p2.asked),
            substitutions=BySide(p1=standing.p1.substituted, p2=standing.p2.substituted),
            cost_usd=standing.cost_usd,
            stopped=progress.stopped,
            failures=list(dict.fromkeys(progress.failures.values())),
            sequential_test=progress.test,
            probably_left=self._left(progress, standing.cost_usd),
        )

    def _progress(self, id: str) -> Progress:
        return Progress.of(self._store, id, self._standings.recorded(id))

    def _line(self, progress: Progress) -> dict[str, Any]:
        own, request = f"/matchups/{progress.matchup_id}", progress.request
        return {
            "id": progress.matchup_id,
            "state": progress.state,
            "created_at": self.asked.created_at(progress.matchup_id),
            **request.model_dump(include={"p1", "p2", "format", "battles"}),
            "recorded": len(progress.recorded),
            "links": MatchupLinks(
                self=own,
                run=f"{own}/run" if progress.has_report else None,
                report=f"{own}/report" if progress.has_report else None,
            ),
        }

    def _left(self, progress: Progress, cost_usd: float | None) -> ProbablyLeft | None:
        if progress.test is None or progress.settled:
            return None
        played = len(progress.recorded)
        left = probably_left(progress.test, played)
        if left is None or not played:
            return ProbablyLeft(battles=None, seconds=None, cost_usd=None)
        elapsed = (datetime.now(UTC) - self.asked.created_at(progress.matchup_id)).total_seconds()
        return ProbablyLeft(
            battles=left,
            seconds=round(elapsed / played * left, 1),
            cost_usd=None if cost_usd is None else cost_usd / played * left,
        )


def look_after(store: Store, matchup_id: str) -> LookAtTournament | None:
    """The job that sees what comes after a matchup that has ended; None where it belongs to no tournament."""
    tournament_id = Tournaments(store).of_matchup(matchup_id)
    if tournament_id is None:
        return None
    number, revision = matchup_id.rpartition("-")[2], Progress.of(store, matchup_id).report().revision
    return LookAtTournament(tournament_id=tournament_id, revision=f"after-{number}-{revision}")
