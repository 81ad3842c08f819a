"""Tournaments as a kind of work: many policies, a budget, and which of them meet next.

What is played next is a function of the suite and of the results so far, taken in order. So it does not matter who
asks, how often, on how many workers or after which interruption: a tournament goes on as if nothing had happened.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from services.arena.checks import check_matchup, named_by_the_operator, pin
from services.arena.matchups import Progress
from services.arena.views import TournamentLine, TournamentLinks, TournamentMatchup, TournamentStatus
from shared.errors import UsageError, at_field
from shared.jobs.routes import LookAtTournament, Payload, WriteLeaderboard
from shared.matchups import Matchups
from shared.policies import PolicySpec
from shared.records import MatchupRequest
from shared.registry import Registry
from shared.settings import Settings
from shared.standings import Standings
from shared.store import Store
from shared.tournaments import Ended, How, NewTournament, RatingTable, Suite, Tournaments, matchup_id, revision
from shared.verdicts.ratings import most_worth
from shared.work import State, WorkKind

Pairing = tuple[str, str]
Check = Callable[[PolicySpec], object]

AHEAD = 2
"""Matchups that are in play at once, so that no worker idles while the last battles of one end."""


@dataclass(frozen=True, slots=True)
class Over:
    """No further matchup begins."""

    why: str


def next_matchup(suite: Suite, begun: Sequence[Pairing], ended: Mapping[int, Ended]) -> MatchupRequest | Over | None:
    """The matchup to begin after those `begun`; None while too many of them are still in play.

    Of the latest AHEAD - 1 the results are not looked at, even where they are there: so nothing hangs on who was quick.
    With a budget in money, one is played at a time, since what it costs is what the next one has left.
    """
    number = len(begun)
    if number >= suite.matchups:
        return Over(f"the budget of {suite.budget.battles:,} battles is used up")
    certain = max(0, number + 1 - (1 if suite.budget.cost_usd else AHEAD))
    if not all(earlier in ended for earlier in range(certain)):
        return None
    results = [ended[earlier] for earlier in range(certain)]
    left = _money_left(suite, results)
    if isinstance(left, Over):
        return left
    given_up = {frozenset((each.result.p1, each.result.p2)) for each in results if _in_vain(each)}
    candidates = [pairing for pairing in suite.pairings if frozenset(pairing) not in given_up]
    if not candidates:
        return Over("no two policies are left that can be played")
    chosen = most_worth(
        candidates, [each.result.meeting for each in results], battles=suite.battles, in_play=begun[certain:]
    )
    return _request(suite, number, *chosen, max_cost_usd=left if suite.asks_a_model(chosen) else None)


def check_suite(suite: Suite, also: Check = lambda policy: None) -> None:
    """Raises UsageError, with the field, where a policy or the format does not exist. `also` checks each policy."""
    for place, name in enumerate(suite.policies):
        try:
            check_matchup(_request(suite, 0, name, name), also=also)
        except UsageError as error:
            error.field = f"policies.{place}" if error.field in ("p1", "p2") else error.field
            raise


def pinned_suite(suite: Suite, registry: Registry, settings: Settings, *, before: Suite | None = None) -> Suite:
    """The suite with every name of the registry's at the version that it stands for, as `pinned` does for a matchup.

    Where the same was asked `before`, at the version that it stood for then.
    """
    versions: dict[str, str] = {}
    for place, name in enumerate(suite.policies):
        with at_field(f"policies.{place}"):
            versions[name] = pin(name, registry, settings, before=before.policies if before else ())
    if len(set(versions.values())) < len(versions):
        raise UsageError("two of the policies are the same version of one model", field="policies")
    changes = {"policies": tuple(versions.values()), "anchors": tuple(versions[name] for name in suite.anchors)}
    return suite.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class TournamentProgress:
    """What the store says of a tournament."""

    tournament_id: str
    suite: Suite
    begun: tuple[Pairing, ...]
    ended: Mapping[int, Ended]
    open: Mapping[int, Progress]
    """The matchups in play."""
    cancelled: bool
    table: RatingTable | None

    @classmethod
    def of(cls, store: Store, tournament_id: str, standings: Standings | None = None) -> "TournamentProgress":
        """Read it. Raises NotFound for an unknown tournament."""
        tournaments, standings = Tournaments(store), standings or Standings(store)
        suite = tournaments.request(tournament_id)
        # What is finished stays so. What failed or was cancelled may have got another try since, or a last battle.
        ended = {each.number: each for each in tournaments.results(tournament_id) if each.how is How.FINISHED}
        begun: list[Pairing] = []
        still_open: dict[int, Progress] = {}
        for number, name in enumerate(tournaments.matchup_ids(tournament_id)):
            if number not in ended:
                progress = Progress.of(store, name, standings.recorded(name))
                if progress.settled:
                    ended[number] = _ended(number, progress, standings)
                else:
                    still_open[number] = progress
            known = ended[number].result if number in ended else still_open[number].request
            begun.append((known.p1, known.p2))
        return cls(
            tournament_id,
            suite,
            tuple(begun),
            dict(sorted(ended.items())),
            still_open,
            tournaments.cancelled(tournament_id) is not None,
            tournaments.table(tournament_id),
        )

    @property
    def next(self) -> MatchupRequest | Over | None:
        if self.cancelled:
            return Over("it was cancelled")
        return next_matchup(self.suite, self.begun, self.ended)

    @property
    def results(self) -> tuple[Ended, ...]:
        """Of the matchups that have ended, in order."""
        return tuple(self.ended.values())

    @property
    def settled(self) -> bool:
        """Whether nothing more will be played."""
        return not self.open and isinstance(self.next, Over)

    @property
    def has_table(self) -> bool:
        """Whether the table is there, and of all that has ended."""
        return self.table is not None and self.table.revision == revision(self.results)

    @property
    def state(self) -> State:
        """A tournament is finished when its table is there, and failed when it is and has no line."""
        if self.cancelled:
            return State.CANCELLED
        if not (self.settled and self.has_table):
            in_play = any(progress.recorded for progress in self.open.values())
            return State.RUNNING if self.ended or in_play else State.QUEUED
        return State.FINISHED if self.table and self.table.lines else State.FAILED

    def jobs(self) -> Iterator[Payload]:
        """What has to be on the queues for this tournament to go on."""
        if not self.settled or not self.has_table:
            yield self.look()

    def look(self) -> LookAtTournament:
        played = sum(len(progress.recorded) for progress in self.open.values())
        now = f"{len(self.begun)}-{revision(self.results)}-{played}"
        return LookAtTournament(tournament_id=self.tournament_id, revision=now)

    def leaderboard(self) -> WriteLeaderboard:
        """The job that writes the table of what is there now."""
        return WriteLeaderboard(tournament_id=self.tournament_id, revision=revision(self.results))


def go_on(store: Store, tournament_id: str) -> TournamentProgress:
    """Write down what has ended, and begin the matchups that come next, as far as they are not there yet."""
    tournaments, standings = Tournaments(store), Standings(store)
    progress, seen = TournamentProgress.of(store, tournament_id, standings), None
    while seen != (progress.begun, progress.results):
        # Looked at again afterwards, so that a slow look at less never covers a later one at more.
        seen = progress.begun, progress.results
        if progress.results != tournaments.results(tournament_id):
            tournaments.write_results(tournament_id, progress.results)
        if isinstance(request := progress.next, MatchupRequest):
            Matchups(store).create(matchup_id(tournament_id, len(progress.begun)), request)
        progress = TournamentProgress.of(store, tournament_id, standings)
    return progress


def _request(suite: Suite, number: int, p1: str, p2: str, max_cost_usd: float | None = None) -> MatchupRequest:
    return MatchupRequest(
        p1=p1,
        p2=p2,
        battles=suite.battles,
        format=suite.format,
        seed=int(sha256(f"alphastral/tournament/{suite.seed}/{number}".encode()).hexdigest()[:8], 16),
        concurrency=suite.concurrency,
        max_cost_usd=max_cost_usd,
    )


def _money_left(suite: Suite, results: Sequence[Ended]) -> float | Over | None:
    """What the next matchup may cost; None where there is no budget in money."""
    stopped = next((each for each in results if each.how is How.STOPPED), None)
    if stopped is not None:
        return Over(stopped.why or "a budget is spent")
    budget = suite.budget.cost_usd
    if budget is None:
        return None
    spent = 0.0
    for each in results:
        if each.result.cost_usd is None:
            return Over(f"a budget of {budget:,g} USD cannot be kept, since it is unknown what was spent")
        spent += each.result.cost_usd
    return budget - spent if spent < budget else Over(f"the budget of {budget:,g} USD is spent")


def _in_vain(ended: Ended) -> bool:
    """Whether these two had better not be tried again."""
    return ended.how is not How.FINISHED or not ended.result.as_played.battles


def _ended(number: int, progress: Progress, standings: Standings) -> Ended:
    how, why = How.FINISHED, None
    if progress.cancelled:
        how, why = (How.STOPPED, progress.stopped) if progress.stopped else (How.CANCELLED, "it was cancelled")
    elif failures := {start: said for start, said in progress.failures.items() if start < progress.request.battles}:
        how, why = How.FAILED, "; ".join(dict.fromkeys(failures.values()))
    standing = standings.of(progress.matchup_id, progress.recorded)
    return Ended(number=number, how=how, why=why, result=standing.result(progress.matchup_id, progress.request))


class TournamentWork(WorkKind[NewTournament, Suite]):
    """Many policies that meet, and their ratings."""

    body, line, status = NewTournament, TournamentLine, TournamentStatus

    def __init__(self, store: Store, settings: Settings) -> None:
        self.asked: Tournaments = Tournaments(store)
        self._store = store
        self._settings = settings
        self._also = named_by_the_operator(settings)
        self._standings = Standings(store)

    def accept(self, body: NewTournament, seed: int, before: Suite | None) -> Suite:
        suite = body.suite(seed)
        check_suite(suite, self._also)
        return pinned_suite(suite, Registry(self._store), self._settings, before=before)

    def jobs(self, id: str) -> Iterator[Payload]:
        return self._progress(id).jobs()

    def after_cancelling(self, id: str) -> Iterator[Payload]:
        """Its matchups in play end, too."""
        progress, matchups = self._progress(id), Matchups(self._store)
        for each in progress.open:
            matchups.cancel(progress.open[each].matchup_id)
        for matchup in progress.open.values():
            yield Progress.of(self._store, matchup.matchup_id).report()
        yield self._progress(id).look()

    def listed(self, id: str) -> TournamentLine:
        return TournamentLine.model_validate(self._line(self._progress(id)))

    def standing(self, id: str) -> TournamentStatus:
        progress = self._progress(id)
        costs = [each.result.cost_usd for each in progress.results]
        known = [cost for cost in costs if cost is not None]
        matchups = {number: _told_of_ended(each) for number, each in progress.ended.items()}
        matchups |= {number: _told_of_open(each) for number, each in progress.open.items()}
        coming = progress.next
        return TournamentStatus(
            **self._line(progress),
            suite=progress.suite,
            cost_usd=sum(known) if len(known) == len(costs) else None,
            over=coming.why if isinstance(coming, Over) else None,
            table=progress.table,
            played=[matchups[number] for number in sorted(matchups)],
        )

    def _progress(self, id: str) -> TournamentProgress:
        return TournamentProgress.of(self._store, id, self._standings)

    def _line(self, progress: TournamentProgress) -> dict[str, Any]:
        own = f"/tournaments/{progress.tournament_id}"
        has_page = progress.table is not None and bool(progress.table.lines)
        recorded = sum(each.result.battles for each in progress.results)
        return {
            "id": progress.tournament_id,
            "state": progress.state,
            "created_at": self.asked.created_at(progress.tournament_id),
            "policies": list(progress.suite.policies),
            "format": progress.suite.format,
            "matchups": len(progress.begun),
            "battles": recorded + sum(len(each.recorded) for each in progress.open.values()),
            "budget": progress.suite.budget,
            "links": TournamentLinks(self=own, leaderboard=f"{own}/leaderboard" if has_page else None),
        }


def _told_of_open(progress: Progress) -> TournamentMatchup:
    return TournamentMatchup(
        id=progress.matchup_id,
        state=progress.state.value,
        p1=progress.request.p1,
        p2=progress.request.p2,
        recorded=len(progress.recorded),
        p1_win_rate=None,
        cost_usd=None,
        why=None,
    )


def _told_of_ended(ended: Ended) -> TournamentMatchup:
    result = ended.result
    return TournamentMatchup(
        id=result.matchup_id,
        state=ended.how.value,
        p1=result.p1,
        p2=result.p2,
        recorded=result.battles,
        p1_win_rate=result.as_played.win_rate,
        cost_usd=result.cost_usd,
        why=ended.why,
    )
