"""The API as the command line uses it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel

from services.arena.views import MatchupLine, MatchupStatus, TournamentLine, TournamentStatus
from shared.errors import AlphaStralError, Conflict, NotFound, Unreachable, UsageError
from shared.settings import Settings
from shared.work import ENDED, ListOf, WorkStatus

ADDRESS_FILE = "api.json"
_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 30.0

L = TypeVar("L", bound=WorkStatus)
S = TypeVar("S", bound=WorkStatus)


@dataclass(frozen=True, slots=True)
class ApiKind(Generic[L, S]):
    """A kind of work as the API shows it: where it is, a page of its list, and how one stands."""

    path: str
    page: type[ListOf[L]]
    status: type[S]


MATCHUPS = ApiKind("matchups", ListOf[MatchupLine], MatchupStatus)
TOURNAMENTS = ApiKind("tournaments", ListOf[TournamentLine], TournamentStatus)


def find_api(settings: Settings, folder: Path) -> str:
    """The API's address: from the settings, else where the local stack wrote it. Raises Unreachable without one."""
    return settings.api_url or _published(
        folder, "url", "no API is known: start one with `alphastral up`, or set ALPHASTRAL_API_URL"
    )


def find_redis(settings: Settings, folder: Path) -> str:
    """Redis's address: from the settings, else the local stack's own. Raises Unreachable without one."""
    return settings.redis_url or _published(
        folder, "redis_url", "no Redis is known: start the stack with `alphastral up`, or set REDIS_URL"
    )


def _published(folder: Path, name: str, otherwise: str) -> str:
    try:
        return str(json.loads((folder / ADDRESS_FILE).read_text())[name])
    except (OSError, ValueError, KeyError) as error:
        raise Unreachable(otherwise) from error


class ApiClient:
    """Speaks to one API. Raises what the API's own process would have raised, and Unreachable when it is silent."""

    def __init__(self, url: str, *, token: str | None = None, transport: httpx2.BaseTransport | None = None) -> None:
        # As bytes, since a token need not be ASCII.
        headers = {b"Authorization": f"Bearer {token}".encode()} if token else {}
        self.url = url.rstrip("/")
        self._http = httpx2.Client(base_url=self.url, headers=headers, timeout=30, transport=transport, trust_env=False)

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, kind: ApiKind[L, S], asked: BaseModel, *, idempotency_key: str | None = None) -> S:
        """Ask for work; asking again under the same key gives the same."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = asked.model_dump(mode="json", exclude_unset=True, exclude_none=True, by_alias=True)
        return kind.status.model_validate_json(self._send("POST", kind.path, json=body, headers=headers))

    def list(self, kind: ApiKind[L, S], *, limit: int = 50) -> ListOf[L]:
        """The newest of a kind."""
        return kind.page.model_validate_json(self._send("GET", kind.path, params={"limit": limit}))

    def get(self, kind: ApiKind[L, S], id: str) -> S:
        return kind.status.model_validate_json(self.read(kind, id))

    def read(self, kind: ApiKind[L, S], id: str, *below: str) -> bytes:
        """What lies at the address of some work, or below it: a matchup's `run` or `report`, a `leaderboard`."""
        return self._send("GET", "/".join((kind.path, quote(id, safe=""), *below)))

    def cancel(self, kind: ApiKind[L, S], id: str) -> S:
        return kind.status.model_validate_json(self._send("DELETE", f"{kind.path}/{quote(id, safe='')}"))

    def wait(
        self,
        kind: ApiKind[L, S],
        id: str,
        on_progress: Callable[[S], None] = lambda status: None,
        ended: Callable[[S], bool] = lambda status: status.state in ENDED,
    ) -> S:
        """Wait until work has ended, one way or another, and call `on_progress` with each answer.

        An API that is started again meanwhile is waited for, too.
        """
        answered = time.monotonic()
        while True:
            try:
                status = self.get(kind, id)
            except Unreachable:
                if time.monotonic() - answered > _PATIENCE_SECONDS:
                    raise
                time.sleep(_POLL_SECONDS)
                continue
            answered = time.monotonic()
            on_progress(status)
            if ended(status):
                return status
            time.sleep(_POLL_SECONDS)

    def health(self) -> dict[str, Any]:
        """What waits on the queues, and who works."""
        answer: dict[str, Any] = json.loads(self._send("GET", "health"))
        return answer

    def _send(self, method: str, path: str, **more: Any) -> bytes:
        try:
            response = self._http.request(method, f"/{path}", **more)
        except httpx2.TransportError as error:
            raise Unreachable(f"the API at {self.url} does not answer: {error}") from error
        if response.is_success:
            return response.content
        raise _as_raised(response, self.url)


def _as_raised(response: httpx2.Response, url: str) -> AlphaStralError:
    try:
        faults = [(fault["field"], fault["reason"]) for fault in response.json()["errors"]]
    except (ValueError, KeyError, TypeError):
        return Unreachable(f"what answers at {url} is not this API (status {response.status_code})")
    message = "; ".join(f"{field}: {reason}" if field else reason for field, reason in faults)
    match response.status_code:
        case 401:
            return UsageError(f"the API at {url} wants its token: set ALPHASTRAL_API_TOKEN")
        case 404:
            return NotFound(message)
        case 409:
            return Conflict(message)
        case 413 | 422:
            return UsageError(message, field=faults[0][0] if faults else None)
        case 503:
            return Unreachable(message)
    return AlphaStralError(message)
