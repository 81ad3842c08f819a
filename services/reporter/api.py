"""The reporter's routes: a matchup's report, a tournament's leaderboard."""

from fastapi import APIRouter, Response

from shared.matchups import Matchups
from shared.store import Store
from shared.tournaments import Tournaments

# The page brings its own policy of what may run in it. Here it is also kept from this API's origin: a script that
# got into a report could ask nothing in the reader's name.
_HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts; connect-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def router(store: Store) -> APIRouter:
    """The routes, over this store."""
    routes, tournaments = APIRouter(tags=["reporter"]), Tournaments(store)

    @routes.get("/matchups/{matchup_id}/report")
    def report(matchup_id: str) -> Response:
        """The report's HTML. 404 until it is written."""
        return Response(Matchups(store).report(matchup_id), media_type="text/html; charset=utf-8", headers=_HEADERS)

    @routes.get("/tournaments/{tournament_id}/leaderboard")
    def leaderboard(tournament_id: str) -> Response:
        """A tournament's leaderboard, as it stands. 404 before the first matchup has ended."""
        page = tournaments.leaderboard(tournament_id)
        return Response(page, media_type="text/html; charset=utf-8", headers=_HEADERS)

    return routes
