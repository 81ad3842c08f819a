"""The arena's routes: ask for a matchup or a tournament, see how it stands, cancel it, fetch its run."""

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress

from fastapi import APIRouter, Response

from services.arena.asked import check_request
from services.arena.paging import Newest
from services.arena.parameters import IdempotencyKey, PageCursor, PageLimit, named_by
from services.arena.pinning import pinned
from services.arena.progress import Progress, State
from services.arena.schemas import Known, MatchupLine, MatchupStatus, Page
from services.arena.standings import Standings
from services.arena.tournament import look_after
from services.arena.tournament_desk import TournamentDesk
from shared.errors import BrokenRecord, Conflict, NotFound, Unreachable, UsageError
from shared.jobs.queue import Queues
from shared.matchups import Matchups
from shared.policies import PolicySpec, check_over_api
from shared.records import MatchupRequest, NewMatchup
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store, new_matchup_id

log = logging.getLogger(__name__)


def router(store: Store, queues: Queues, settings: Settings) -> APIRouter:
    """The routes, over this store and these queues. The settings say which endpoints the operator named."""
    desk = Desk(store, queues, settings)
    routes = APIRouter(tags=["arena"])
    routes.add_api_route("/matchups", desk.ask, methods=["POST"], status_code=202)
    routes.add_api_route("/matchups", desk.matchups)
    routes.add_api_route("/matchups/{matchup_id}", desk.matchup)
    routes.add_api_route("/matchups/{matchup_id}", desk.cancel, methods=["DELETE"])
    routes.add_api_route("/matchups/{matchup_id}/run", desk.run)
    tournaments = TournamentDesk(store, queues, settings, desk.may_be_asked)
    routes.add_api_route(
        "/tournaments", tournaments.ask, methods=["POST"], status_code=202, summary="Ask for a tournament."
    )
    routes.add_api_route("/tournaments", tournaments.tournaments)
    routes.add_api_route("/tournaments/{tournament_id}", tournaments.tournament)
    routes.add_api_route(
        "/tournaments/{tournament_id}", tournaments.cancel, methods=["DELETE"], summary="Cancel a tournament."
    )
    routes.add_api_route("/policies", Known.here, name="policies", summary="The policies and the formats.")
    return routes


class Desk:
    """Answers what is asked about matchups, from the store, and puts work on the queues."""

    def __init__(self, store: Store, queues: Queues, settings: Settings) -> None:
        self._store = store
        self._queues = queues
        self._settings = settings
        self._registry = Registry(store)
        self._standings = Standings(store)
        self._newest = Newest(Matchups(store).created_at)

    def ask(
        self,
        asked: NewMatchup,
        response: Response,
        idempotency_key: IdempotencyKey = None,
    ) -> MatchupStatus:
        """Ask for a matchup. With the header Idempotency-Key, asking again gives the same matchup."""
        matchup_id, seed = named_by(idempotency_key) if idempotency_key else (new_matchup_id(), secrets.randbits(32))
        request = asked.request(seed)
        _check(request, self.may_be_asked)
        before = self._asked_before(matchup_id) if idempotency_key else None
        request = pinned(request, self._registry, self._settings, before=before)
        self._queues.ping()
        Matchups(self._store).create(matchup_id, request)
        progress = Progress.of(self._store, matchup_id)
        added = sum(self._queues.enqueue(job) for job in progress.jobs())
        log.info("Matchup %s: %s against %s, %s jobs enqueued.", matchup_id, request.p1, request.p2, added)
        response.headers["Location"] = f"/matchups/{matchup_id}"
        return self._status(progress)

    def matchups(self, limit: PageLimit = 50, cursor: PageCursor = None) -> Page:
        """The matchups, newest first."""
        places, after = self._newest.page(Matchups(self._store).ids(), limit, cursor)
        shown = filter(None, map(self._readable, places))
        return Page(
            matchups=[MatchupLine.of(progress, self._newest.created_at(progress.matchup_id)) for progress in shown],
            next=after,
        )

    def matchup(self, matchup_id: str) -> MatchupStatus:
        """One matchup, and how it stands."""
        return self._status(Progress.of(self._store, matchup_id))

    def cancel(self, matchup_id: str) -> MatchupStatus:
        """Cancel a matchup. Battles in play end; what is recorded stays, and the report tells of it."""
        progress = Progress.of(self._store, matchup_id)
        if progress.state in (State.FINISHED, State.FAILED):
            raise Conflict(f"matchup {matchup_id} has {progress.state} already")
        Matchups(self._store).cancel(matchup_id)
        progress = Progress.of(self._store, matchup_id)
        try:
            self._queues.enqueue(progress.report())
            if look := look_after(self._store, progress):
                self._queues.enqueue(look)
        except Unreachable as error:
            log.warning("Matchup %s is cancelled, but its report must wait: %s", matchup_id, error)
        return self._status(progress)

    def run(self, matchup_id: str) -> Response:
        """The run's JSON, as `alphastral report` reads it. 404 until it is written."""
        return Response(Matchups(self._store).run_json(matchup_id), media_type="application/json")

    def _status(self, progress: Progress) -> MatchupStatus:
        standing = self._standings.of(progress.matchup_id, progress.recorded)
        return MatchupStatus.standing(progress, self._newest.created_at(progress.matchup_id), standing)

    def may_be_asked(self, policy: PolicySpec) -> None:
        """Raises UsageError for a policy that the API does not take, or whose endpoint nobody named."""
        check_over_api(policy)
        if policy.url is not None:
            self._settings.endpoint(policy.url)

    def _asked_before(self, matchup_id: str) -> MatchupRequest | None:
        with suppress(NotFound):
            return Matchups(self._store).request(matchup_id)
        return None

    def _readable(self, matchup_id: str) -> Progress | None:
        try:
            return Progress.of(self._store, matchup_id)
        except (BrokenRecord, NotFound) as error:
            log.warning("Matchup %s is not listed: %s", matchup_id, error)
            return None


def _check(request: MatchupRequest, also: Callable[[PolicySpec], None]) -> None:
    try:
        check_request(request, also=also)
    except UsageError as error:
        # Here the two teams are one field.
        field = {"team1": "teams.0", "team2": "teams.1"}.get(error.field or "", error.field)
        raise type(error)(error.message, field=field) from error
