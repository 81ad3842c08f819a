"""What stands before an app: who may ask, and how much, settled before anything of a request is read or parsed.

Every refusal has the body of every error: {"errors": [{"field": "battles", "reason": "Input should be …"}, …]}, where
`field` is null when no field of the request is at fault.
"""

import asyncio
import hmac
import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 * 1024
BODY_SECONDS = 10.0
"""For all of a request's body to come."""
ALIVE, CONSOLE, SESSION, STATIC = "/alive", "/", "/session", "/static/"
"""What is open to those who have no token, where there is one: whether the API is alive, and the page that asks for
the token. Neither tells anything else.
"""
SESSION_COOKIE = "alphastral_session"


class Fault(BaseModel):
    """One thing that is wrong."""

    field: str | None
    reason: str


class Faults(BaseModel):
    """The body of every error."""

    errors: list[Fault]


def answer_with(status: int, faults: Sequence[Fault], headers: Any = None) -> Response:
    """An error, as all of them are told."""
    return JSONResponse(Faults(errors=list(faults)).model_dump(), status, headers)


def _refused(status: int, reason: str, headers: Any = None) -> Response:
    """An answer to what was not read to its end: there is no asking again on such a connection."""
    return answer_with(status, [Fault(field=None, reason=reason)], {"Connection": "close", **(headers or {})})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class BoundedBody:
    """Reads a request's body, whole or in chunks, before anything parses it.

    Answers 413 when it is too long, 408 when it does not come in time.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(receive)
        except TimeoutError:
            await _refused(408, f"the body did not come within {self._seconds:g} s")(scope, receive, send)
            return
        except ClientDisconnect:
            return
        if len(body) > self._max_bytes:
            await _refused(413, f"more than {self._max_bytes} bytes were sent")(scope, receive, send)
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def read_again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, read_again, send)

    async def _body(self, receive: Receive) -> bytes:
        """All of it, or as much as is too much."""
        body, more = bytearray(), True
        while more and len(body) <= self._max_bytes:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body)


class TokenOnly:
    """Answers nobody who does not show the token, or the cookie that a browser got for it, whatever was asked for."""

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        # HTTP's headers are bytes, which arrive here read as Latin-1.
        self._token = token.get_secret_value().encode()
        self._session = session_of(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._may(scope["path"], Headers(scope=scope)):
            reason = "a bearer token is needed"
            await _refused(401, reason, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may(self, path: str, headers: Headers) -> bool:
        if path in (ALIVE, CONSOLE, SESSION) or path.startswith(STATIC):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.encode("latin-1"), self._token):
            return True
        # A browser sends the cookie along with what pages of other sites make it ask: those are refused.
        try:
            if (origin := headers.get("origin")) and urlsplit(origin).netloc != headers.get("host"):
                return False
        except ValueError:
            return False
        cookie = cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE, "")
        return hmac.compare_digest(cookie.encode("latin-1", "replace"), self._session.encode())


def session_of(token: SecretStr) -> str:
    """What a browser keeps in place of the token: good for this API alone, and the token cannot be read from it."""
    return hmac.new(token.get_secret_value().encode(), b"alphastral session", "sha256").hexdigest()


class OwnPagesOnly:
    """Without a token, refuses what a web page elsewhere made a browser ask: by its own name, or as its own origin."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if not self._is_ours(f"//{headers.get('host', '')}") or (origin and not self._is_ours(origin)):
                answer = _refused(403, "this API answers on this machine only, unless ALPHASTRAL_API_TOKEN is set")
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, url: str) -> bool:
        try:
            name = urlsplit(url).hostname or ""
        except ValueError:
            return False
        return name == self._host or is_loopback(name)
