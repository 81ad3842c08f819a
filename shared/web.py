"""The FastAPI factory: the same routes for every kind of work, errors → status, who may ask, and whether all is well.

Every error has the same body: {"errors": [{"field": "battles", "reason": "Input should be …"}, …]}, where `field` is
null when no field of the request is at fault.
"""

import hmac
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel, SecretStr
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import AlphaStralError, BrokenRecord, Conflict, NotFound, Unreachable, UsageError
from shared.jobs.queue import Queues, WorkerSeen
from shared.work import AnyKind, ListOf, TakesJobs, WorkStatus, ask, cancel

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024

STATUS: Sequence[tuple[type[AlphaStralError], int]] = (
    (UsageError, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Unreachable, 503),
    (AlphaStralError, 500),
)


class Fault(BaseModel):
    """One thing that is wrong."""

    field: str | None
    reason: str


class Faults(BaseModel):
    """The body of every error."""

    errors: list[Fault]


class Health(BaseModel):
    """What an operator wants to know at a glance."""

    status: str
    queues: dict[str, int]
    """Queue → jobs that wait."""
    workers: list[WorkerSeen]


def _printable(key: str) -> str:
    if not key.isprintable():
        raise ValueError("a key is made of printable characters")
    return key


IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200), AfterValidator(_printable)]


def routes_of(kind: AnyKind, queues: TakesJobs) -> APIRouter:
    """POST, GET, GET one and DELETE of a kind of work, which are the same for all."""
    routes, path, noun = APIRouter(tags=[kind.name]), f"/{kind.name}", kind.asked.noun

    @routes.post(path, status_code=202, response_model=kind.status, summary=f"Ask for a {noun}.")
    def post(body: kind.body, response: Response, idempotency_key: IdempotencyKey = None) -> Any:  # type: ignore[name-defined]
        """With the header Idempotency-Key, asking again for the same gives the same; for another thing, a 409."""
        id = ask(kind, body, queues, key=idempotency_key)
        response.headers["Location"] = f"{path}/{id}"
        return kind.standing(id)

    @routes.get(path, response_model=ListOf[kind.line], summary=f"All {kind.name}, newest first.")  # type: ignore[name-defined]
    def get_all(
        limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Annotated[str | None, Query(max_length=120)] = None
    ) -> Any:
        """What cannot be read is left out, and named in the API's log."""
        # A cursor is the place of the last one shown, so that new ones shift nothing.
        places = sorted(filter(None, map(place, kind.asked.ids())), reverse=True)
        after = [each for each in places if cursor is None or each < cursor]
        shown = [line for each in after[:limit] if (line := listed(each.partition("_")[2]))]
        return {"items": shown, "next": after[limit - 1] if len(after) > limit else None}

    @routes.get(f"{path}/{{id}}", response_model=kind.status, summary=f"One {noun}, and how it stands.")
    def get(id: str) -> Any:
        return kind.standing(id)

    @routes.delete(f"{path}/{{id}}", response_model=kind.status, summary=f"Cancel a {noun}.")
    def delete(id: str) -> Any:
        """Nothing more of it is begun; what there is stays. 409 where it has ended already."""
        cancel(kind, id, queues)
        return kind.standing(id)

    def place(id: str) -> str | None:
        try:
            return f"{kind.asked.created_at(id):%Y%m%dT%H%M%S%f}_{id}"
        except NotFound:
            return None  # A folder that a process left behind that died before it wrote the request.

    def listed(id: str) -> WorkStatus | None:
        try:
            return kind.listed(id)
        except (BrokenRecord, NotFound) as error:
            log.warning("%s %s is not listed: %s", noun.capitalize(), id, error)
            return None

    return routes


def create_app(
    routers: Sequence[APIRouter],
    queues: Queues,
    *,
    host: str,
    token: SecretStr | None,
    on_start: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The app that serves `routers`. Raises UsageError where `host` is not loopback and there is no token."""
    if token is None and not is_loopback(host):
        raise UsageError(f"to listen on {host}, beyond this machine, set ALPHASTRAL_API_TOKEN")
    app = FastAPI(
        title="alphaStral",
        description="Policies fight each other on the Pokémon Showdown simulator; who won, and how sure are we?",
        lifespan=_lifespan(on_start),
        responses={status: {"model": Faults} for status in (401, 404, 409, 413, 422, 503)},
    )
    for router in routers:
        app.include_router(router, dependencies=[Depends(_bearer(token))] if token else [])

    @app.get("/health", tags=["health"])
    def health() -> Health:
        """Whether Redis answers, what waits, and who works. 503 when Redis does not answer."""
        return Health(status="ok", queues=queues.depths(), workers=queues.workers())

    app.add_exception_handler(AlphaStralError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(BoundedBody, max_bytes=MAX_BODY_BYTES)
    if token is None:
        app.add_middleware(OwnPagesOnly, host=host)
    return app


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class BoundedBody:
    """Reads a request's body, whole or in chunks, before anything parses it, and answers 413 when it is too long."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._max_bytes:
                answer = _answer(413, [Fault(field=None, reason=f"more than {self._max_bytes} bytes were sent")])
                await answer(scope, receive, send)
                return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def read_again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, read_again, send)


class OwnPagesOnly:
    """Without a token, refuses what a web page elsewhere made a browser ask: by its own name, or as its own origin."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI defines it."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if not self._is_ours(f"//{headers.get('host', '')}") or (origin and not self._is_ours(origin)):
                reason = "this API answers on this machine only, unless ALPHASTRAL_API_TOKEN is set"
                await _answer(403, [Fault(field=None, reason=reason)])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, url: str) -> bool:
        try:
            name = urlsplit(url).hostname or ""
        except ValueError:
            return False
        return name == self._host or is_loopback(name)


def _bearer(token: SecretStr) -> Callable[..., None]:
    scheme = HTTPBearer(auto_error=False)
    expected = token.get_secret_value().encode()  # HTTP's headers are bytes, which arrive here read as Latin-1.

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode("latin-1"), expected):
            raise HTTPException(401, "a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})

    return check


def _lifespan(on_start: Callable[[], None]) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        on_start()
        yield

    return lifespan


# ── errors → answers ────────────────────────────────────────────────────────────────────────────────


def _answer(status: int, faults: Sequence[Fault], headers: Any = None) -> Response:
    return JSONResponse(Faults(errors=list(faults)).model_dump(), status, headers)


async def _expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, AlphaStralError)
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    if status == 500:
        log.error("%s %s: %s", request.method, request.url.path, error.message)
    return _answer(status, [Fault(field=error.field, reason=error.message)])


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # A location begins with where the field is: body, query, path or header.
    return _answer(
        422,
        [
            Fault(field=".".join(str(part) for part in fault["loc"][1:]) or None, reason=fault["msg"])
            for fault in error.errors()
        ],
    )


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return _answer(error.status_code, [Fault(field=None, reason=error.detail)], error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _answer(500, [Fault(field=None, reason="something went wrong here; the API's log says what")])
