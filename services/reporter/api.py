"""The reporter's routes: a matchup's report, its battles, how they are played now, and a tournament's leaderboard."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from services.reporter.films import Document, document
from services.reporter.live import Shows
from shared.jobs.live import MAX_WISHED, Watch
from shared.matchups import Matchups
from shared.settings import Settings
from shared.store import Store
from shared.tournaments import Tournaments

# The page brings its own policy of what may run in it. Here it is also kept from this API's origin: a script that
# got into a report could ask nothing in the reader's name.
_HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts allow-downloads; connect-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def router(store: Store, settings: Settings) -> APIRouter:
    """The routes, over this store and its Redis."""
    routes, matchups, tournaments = APIRouter(tags=["reporter"]), Matchups(store), Tournaments(store)
    shows = Shows(lambda matchup_id: Watch(matchup_id, settings))

    @routes.get("/matchups/{matchup_id}/report")
    def report(matchup_id: str) -> Response:
        """The report's HTML. 404 until it is written."""
        return Response(matchups.report(matchup_id), media_type="text/html; charset=utf-8", headers=_HEADERS)

    @routes.get("/matchups/{matchup_id}/battles/{index}")
    def battle(matchup_id: str, index: int) -> Document:
        """A recorded battle as pages show it: each step with the position, what was said, every decision; once it is
        reviewed, who was likely to win.
        """
        record = matchups.battle(matchup_id, index)
        found = matchups.review(matchup_id, index), matchups.choices(matchup_id, index)
        return document(matchups.request(matchup_id), record, record.decisions, *found)

    @routes.get("/matchups/{matchup_id}/events")
    async def events(
        matchup_id: str, battle: Annotated[list[int] | None, Query(max_length=MAX_WISHED)] = None
    ) -> StreamingResponse:
        """Server-sent events of the battles in play: of these, or of a few that the API chooses."""
        request = await run_in_threadpool(matchups.request, matchup_id)
        shows.check()
        told: AsyncIterator[str] = shows.events(matchup_id, request, battle or [])
        return StreamingResponse(told, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @routes.get("/tournaments/{tournament_id}/leaderboard")
    def leaderboard(tournament_id: str) -> Response:
        """A tournament's leaderboard, as it stands. 404 before the first matchup has ended."""
        page = tournaments.leaderboard(tournament_id)
        return Response(page, media_type="text/html; charset=utf-8", headers=_HEADERS)

    return routes
