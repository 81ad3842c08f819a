"""What a server says it serves: the route `/models`, which all chat APIs have alike."""

from collections.abc import Mapping

from pydantic import BaseModel, Field, ValidationError

from services.arena.backends.base import ServedModel
from services.arena.backends.transport import Transport
from shared.errors import Unreachable

LISTING_SECONDS = 30.0


class _Card(BaseModel):
    contract: Mapping[str, str] | None = None


class _Line(BaseModel):
    id: str = Field(max_length=500)
    card: _Card | None = None
    """Only the built-in server shows one."""


class _Listing(BaseModel):
    data: tuple[_Line, ...]


async def served_models(transport: Transport, route: str) -> tuple[ServedModel, ...]:
    """The models that the endpoint names under `route`. Raises Unreachable when it does not."""

    async def ask() -> bytes:
        return (await transport.http.get(f"{transport.endpoint.url}{route}")).content

    delivery = await transport.deliver(ask, LISTING_SECONDS)
    try:
        listing = _Listing.model_validate_json(delivery.value or b"")
    except ValidationError:
        why = delivery.detail or "its answer is no list of models"
        raise Unreachable(f"{transport.endpoint.name} does not say what it serves: {why}") from None
    return tuple(ServedModel(line.id, line.card.contract if line.card else None) for line in listing.data)
