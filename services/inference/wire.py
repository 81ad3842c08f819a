"""Between an HTTP request and the engine's events: bodies in, streams out, who hangs up, and what else goes wrong."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from services.inference import answers
from services.inference.decoding import Token
from services.inference.validation import Invalid
from services.inference.work import Finished, GenerationFailed, Ticket
from shared.errors import first_fault

MAX_BODY_BYTES = 2_000_000
"""TGI's own limit."""

R = TypeVar("R", bound=BaseModel)


class Streamed(StreamingResponse):
    """A stream that gives its place back even when it was never begun."""

    def __init__(self, body: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        super().__init__(body, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI defines it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def paired(ticket: Ticket) -> AsyncIterator[tuple[int, Token, Finished | None]]:
    """Every token with its number, the last one together with what came of it all."""
    held: Token | None = None
    index = 0
    async with aclosing(ticket.events()) as events:
        async for event in events:
            if held is not None:
                index += 1
                yield index, held, event if isinstance(event, Finished) else None
            held = event if isinstance(event, Token) else None


async def collected(ticket: Ticket) -> tuple[list[Token], Finished]:
    """The whole answer. Raises GenerationFailed."""
    said: list[Token] = []
    async with aclosing(ticket.events()) as events:
        async for event in events:
            if isinstance(event, Finished):
                return said, event
            said.append(event)
    raise GenerationFailed("the answer broke off")


async def hangs_up(request: Request) -> None:
    """Until the client has gone. Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def body_of(request: Request, kind: type[R]) -> R:
    """The request's body as it must be. Raises Invalid, and HTTPException where it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"more than {MAX_BODY_BYTES} bytes were sent")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        where, why = first_fault(error)
        raise Invalid(f"{where}: {why}" if where else why) from error


async def refused(request: Request, error: Exception) -> Response:
    """A route that does not exist, a method that it does not take, a body that is too long."""
    assert isinstance(error, HTTPException)
    kind = "not_found" if error.status_code == 404 else "validation"
    return JSONResponse(answers.error(error.detail, kind), error.status_code, headers=error.headers)


async def gone(request: Request, error: Exception) -> Response:
    """Nobody reads it; the status is what proxies log for a client that hung up."""
    return Response(status_code=499)


async def unexpected(request: Request, error: Exception) -> Response:
    """A mistake of ours."""
    return JSONResponse(answers.error("something went wrong here; the server's log says what", "internal"), 500)
