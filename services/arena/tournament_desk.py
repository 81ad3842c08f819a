"""The API's tournaments: ask for one, see how it stands, cancel it. Its leaderboard is the reporter's route."""

import logging
import secrets
from contextlib import suppress

from fastapi import Response

from services.arena.paging import Newest
from services.arena.parameters import IdempotencyKey, PageCursor, PageLimit, named_by
from services.arena.progress import Progress
from services.arena.standings import Standings
from services.arena.tournament import Check, TournamentProgress, check_suite, pinned_suite
from services.arena.tournament_schemas import NewTournament, TournamentLine, TournamentPage, TournamentStatus
from shared.errors import BrokenRecord, Conflict, NotFound, Unreachable
from shared.jobs.queue import Queues
from shared.matchups import Matchups
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store, new_matchup_id
from shared.tournaments import Suite, Tournaments

log = logging.getLogger(__name__)


class TournamentDesk:
    """Answers what is asked about tournaments, from the store, and puts work on the queues."""

    def __init__(self, store: Store, queues: Queues, settings: Settings, may_be_asked: Check) -> None:
        self._store = store
        self._queues = queues
        self._settings = settings
        self._may_be_asked = may_be_asked
        self._tournaments = Tournaments(store)
        self._registry = Registry(store)
        self._standings = Standings(store)
        self._newest = Newest(self._tournaments.created_at)

    def ask(self, asked: NewTournament, response: Response, idempotency_key: IdempotencyKey = None) -> TournamentStatus:
        """Ask for a tournament. With the header Idempotency-Key, asking again gives the same one."""
        name, seed = named_by(idempotency_key) if idempotency_key else (new_matchup_id(), secrets.randbits(32))
        suite = asked.suite(seed)
        check_suite(suite, self._may_be_asked)
        before = self._asked_before(name) if idempotency_key else None
        suite = pinned_suite(suite, self._registry, self._settings, before=before)
        self._queues.ping()
        self._tournaments.create(name, suite)
        progress = self._read(name)
        for job in progress.jobs():
            self._queues.enqueue(job)
        log.info("Tournament %s: %s policies, %s battles.", name, len(suite.policies), suite.budget.battles)
        response.headers["Location"] = f"/tournaments/{name}"
        return self._status(progress)

    def tournaments(self, limit: PageLimit = 50, cursor: PageCursor = None) -> TournamentPage:
        """The tournaments, newest first."""
        shown, after = self._newest.page(self._tournaments.ids(), limit, cursor)
        lines = []
        for name in shown:
            try:
                lines.append(TournamentLine.of(self._read(name), self._newest.created_at(name)))
            except (BrokenRecord, NotFound) as error:
                log.warning("Tournament %s is not listed: %s", name, error)
        return TournamentPage(tournaments=lines, next=after)

    def tournament(self, tournament_id: str) -> TournamentStatus:
        """One tournament, and how it stands."""
        return self._status(self._read(tournament_id))

    def cancel(self, tournament_id: str) -> TournamentStatus:
        """Cancel a tournament and its matchups in play. What is recorded stays, and the leaderboard tells of it."""
        progress = self._read(tournament_id)
        if progress.settled and progress.has_table and not progress.cancelled:
            raise Conflict(f"tournament {tournament_id} has {progress.state} already")
        self._tournaments.cancel(tournament_id)
        for matchup in progress.open.values():
            Matchups(self._store).cancel(matchup.matchup_id)
        ended = [Progress.of(self._store, matchup.matchup_id) for matchup in progress.open.values()]
        progress = self._read(tournament_id)
        try:
            for job in (*(matchup.report() for matchup in ended), progress.look()):
                self._queues.enqueue(job)
        except Unreachable as error:
            log.warning("Tournament %s is cancelled, but its leaderboard must wait: %s", tournament_id, error)
        return self._status(progress)

    def _read(self, tournament_id: str) -> TournamentProgress:
        return TournamentProgress.of(self._store, tournament_id, self._standings)

    def _status(self, progress: TournamentProgress) -> TournamentStatus:
        return TournamentStatus.standing(progress, self._newest.created_at(progress.tournament_id))

    def _asked_before(self, tournament_id: str) -> Suite | None:
        with suppress(NotFound):
            return self._tournaments.suite(tournament_id)
        return None
