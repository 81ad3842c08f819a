"""The arena's own routes, beside those that all kinds of work have: a matchup's run, and what can be played."""

from contextlib import suppress
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import JSONResponse, StreamingResponse

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

    @routes.get("/matchups/{id}/run", response_class=JSONResponse)
    def run(id: str, accept_encoding: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """The run's JSON, as `alphastral report` reads it; gzipped where that is accepted. 404 until it is written."""
        gzipped = takes_gzip(accept_encoding)
        pieces = matchups.run_pieces(id, gzipped=gzipped)
        # Before the answer begins: after that, there is no 404 any more.
        first = next(pieces)
        headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if gzipped else {})
        return StreamingResponse(chain([first], pieces), media_type="application/json", headers=headers)

    @routes.post("/estimates", summary="What a matchup will probably take.")
    def estimates(asked: NewMatchup) -> Estimate:
        """Battles, time and money. Nothing is asked for by it."""
        return estimate(asked, matchups, prices)

    @routes.get("/policies", summary="The policies and the formats.")
    def policies() -> Playable:
        """What a matchup can be made of."""
        return Playable.here()

    return routes


def takes_gzip(accepted: str) -> bool:
    """Whether the header Accept-Encoding permits gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, float] = {}
    for each in accepted.lower().split(","):
        coding, _, weight = each.replace(" ", "").partition(";q=")
        with suppress(ValueError):
            weights[coding] = float(weight or 1)
    return weights.get("gzip", weights.get("*", 0.0)) > 0
