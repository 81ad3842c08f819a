"""The reporter's route: a matchup's report."""

from fastapi import APIRouter, Response

from shared.store import Store

# The page brings its own policy of what may run in it. Here it is also kept from this API's origin: a script that
# got into a report could ask nothing in the reader's name.
_HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts; connect-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def router(store: Store) -> APIRouter:
    """The route, over this store."""
    routes = APIRouter(tags=["reporter"])

    @routes.get("/matchups/{matchup_id}/report")
    def report(matchup_id: str) -> Response:
        """The report's HTML. 404 until it is written."""
        return Response(store.report(matchup_id), media_type="text/html; charset=utf-8", headers=_HEADERS)

    return routes
