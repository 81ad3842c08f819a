"""The arena's own routes, beside those that all kinds of work have: a matchup's run, and what can be played."""

from fastapi import APIRouter, Response

from services.arena.budget import read_prices
from services.arena.estimates import Estimate, estimate
from services.arena.views import Playable
from shared.matchups import Matchups
from shared.records import NewMatchup
from shared.settings import Settings
from shared.store import Store


def router(store: Store, settings: Settings) -> APIRouter:
    """The routes, over this store."""
    routes, matchups = APIRouter(tags=["arena"]), Matchups(store)
    prices = read_prices(settings.prices_file)

    @routes.get("/matchups/{id}/run")
    def run(id: str) -> Response:
        """The run's JSON, as `alphastral report` reads it. 404 until it is written."""
        return Response(matchups.run_json(id), media_type="application/json")

    @routes.post("/estimates", summary="What a matchup will probably take.")
    def estimates(asked: NewMatchup) -> Estimate:
        """Battles, time and money. Nothing is asked for by it."""
        return estimate(asked, matchups, prices)

    @routes.get("/policies", summary="The policies and the formats.")
    def policies() -> Playable:
        """What a matchup can be made of."""
        return Playable.here()

    return routes
