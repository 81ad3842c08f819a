"""The FastAPI factory: the same routes for every kind of work, errors → status, and whether all is well."""

import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import AfterValidator, BaseModel, Field, SecretStr
from starlette.exceptions import HTTPException as StarletteHTTPException

from shared.errors import AlphaStralError, BrokenRecord, Conflict, NotFound, Unreachable, UsageError
from shared.guards import (
    ALIVE,
    BODY_SECONDS,
    MAX_BODY_BYTES,
    SESSION,
    SESSION_COOKIE,
    BoundedBody,
    Fault,
    Faults,
    OwnPagesOnly,
    TokenOnly,
    answer_with,
    is_loopback,
    session_of,
)
from shared.jobs.queue import Queues, WorkerSeen
from shared.work import AnyKind, ListOf, TakesJobs, WorkStatus, ask, cancel

log = logging.getLogger(__name__)

STATUS: Sequence[tuple[type[AlphaStralError], int]] = (
    (UsageError, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Unreachable, 503),
    (AlphaStralError, 500),
)


class Alive(BaseModel):
    """That there is an API."""

    status: str = "alive"


class Given(BaseModel):
    """What a browser was given to show."""

    token: str = Field(max_length=1_000)


class Health(BaseModel):
    """What an operator wants to know at a glance."""

    status: str
    """`ok`, or `degraded` where a worker's machine cannot do what it was given."""
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
    pages: APIRouter | None = None,
    host: str,
    token: SecretStr | None,
    beside: Callable[[], AbstractContextManager[None]] = nullcontext,
    body_seconds: float = BODY_SECONDS,
) -> FastAPI:
    """The app that serves `routers`, within the context `beside`.

    Raises UsageError where `host` is not loopback and there is no token.
    """
    if token is None and not is_loopback(host):
        raise UsageError(f"to listen on {host}, beyond this machine, set ALPHASTRAL_API_TOKEN")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with beside():
            yield

    app = FastAPI(
        title="alphaStral",
        description="Policies fight each other on the Pokémon Showdown simulator; who won, and how sure are we?",
        lifespan=lifespan,
        docs_url=None,  # Its pages load their scripts from elsewhere.
        redoc_url=None,
        responses={status: {"model": Faults} for status in (401, 404, 408, 409, 413, 422, 503)},
    )
    # The token is asked for before this app is reached; here it is for whoever reads the document.
    asked_for = [Depends(HTTPBearer(auto_error=False))] if token else []
    for router in routers:
        app.include_router(router, dependencies=asked_for)
    if pages is not None:
        app.include_router(pages)

    @app.get(ALIVE, tags=["health"])
    def alive() -> Alive:
        """Whether this API answers at all; whether all is well says /health."""
        return Alive()

    @app.get("/health", tags=["health"], dependencies=asked_for)
    def health() -> Health:
        """Whether Redis takes jobs, what waits, and who works. 503 when Redis does not answer, or takes nothing."""
        queues.ping()
        workers = queues.workers()
        status = "degraded" if any(worker.fault for worker in workers) else "ok"
        return Health(status=status, queues=queues.depths(), workers=workers)

    @app.post(SESSION, status_code=204, include_in_schema=False)
    def session(given: Given, request: Request, response: Response) -> None:
        """A browser's cookie for the token."""
        if token is None or not hmac.compare_digest(given.token.encode(), token.get_secret_value().encode()):
            raise HTTPException(401, "that is not this API's token")
        secure = request.url.scheme == "https"
        response.set_cookie(SESSION_COOKIE, session_of(token), httponly=True, samesite="strict", secure=secure)

    app.add_exception_handler(AlphaStralError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    # What is added last is asked first: nothing is read of whoever may not ask.
    app.add_middleware(BoundedBody, max_bytes=MAX_BODY_BYTES, seconds=body_seconds)
    if token is None:
        app.add_middleware(OwnPagesOnly, host=host)
    else:
        app.add_middleware(TokenOnly, token=token)
    return app


# ── errors → answers ────────────────────────────────────────────────────────────────────────────────


async def _expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, AlphaStralError)
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    if status == 500:
        log.error("%s %s: %s", request.method, request.url.path, error.message)
    return answer_with(status, [Fault(field=error.field, reason=error.message)])


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer_with(422, [_fault(fault) for fault in error.errors()])


def _fault(fault: Mapping[str, Any]) -> Fault:
    # A location begins with where the field is: body, query, path or header.
    _, *inside = fault["loc"]
    if fault["type"] == "json_invalid":
        return Fault(field=None, reason=f"the body is no JSON: {fault['ctx']['error']}, at character {inside[0]}")
    return Fault(field=".".join(map(str, inside)) or None, reason=fault["msg"])


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return answer_with(error.status_code, [Fault(field=None, reason=error.detail)], error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    return answer_with(500, [Fault(field=None, reason="something went wrong here; the API's log says what")])
