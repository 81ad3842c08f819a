"""The arena's own routes, beside those that all kinds of work have: a matchup's run, and what can be played."""

from fastapi import APIRouter, Response

from services.arena.views import Playable
from shared.matchups import Matchups
from shared.store import Store


def router(store: Store) -> APIRouter:
    """The routes, over this store."""
    routes, matchups = APIRouter(tags=["arena"]), Matchups(store)

    @routes.get("/matchups/{id}/run")
    def run(id: str) -> Response:
        """The run's JSON, as `alphastral report` reads it. 404 until it is written."""
        return Response(matchups.run_json(id), media_type="application/json")

    @routes.get("/policies", summary="The policies and the formats.")
    def policies() -> Playable:
        """What a matchup can be made of."""
        return Playable.here()

    return routes
