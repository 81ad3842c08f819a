"""The API as the command line uses it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2

from services.arena.views import MatchupLine, MatchupStatus, TournamentLine, TournamentStatus
from services.scraper.views import DatasetStatus, NewDataset
from services.trainer.trainings import NewTraining, TrainingStatus
from shared.errors import AlphaStralError, Conflict, NotFound, Unreachable, UsageError
from shared.records import NewMatchup, Run, parse_run
from shared.settings import Settings
from shared.tournaments import NewTournament
from shared.work import ListOf, State

ADDRESS_FILE = "api.json"
_ENDED = (State.FINISHED, State.FAILED, State.CANCELLED)


def find_api(settings: Settings, folder: Path) -> str:
    """The API's address: from the settings, else where the local stack wrote it. Raises Unreachable without one."""
    if settings.api_url is not None:
        return settings.api_url
    try:
        return str(json.loads((folder / ADDRESS_FILE).read_text())["url"])
    except (OSError, ValueError, KeyError) as error:
        raise Unreachable("no API is known: start one with `alphastral up`, or set ALPHASTRAL_API_URL") from error


def find_redis(settings: Settings, folder: Path) -> str:
    """Redis's address: from the settings, else the local stack's own. Raises Unreachable without one."""
    if settings.redis_url is not None:
        return settings.redis_url
    try:
        return str(json.loads((folder / ADDRESS_FILE).read_text())["redis_url"])
    except (OSError, ValueError, KeyError) as error:
        raise Unreachable("no Redis is known: start the stack with `alphastral up`, or set REDIS_URL") from error


class ApiClient:
    """Speaks to one API. Raises what the API's own process would have raised, and Unreachable when it is silent."""

    def __init__(self, url: str, *, token: str | None = None, transport: httpx2.BaseTransport | None = None) -> None:
        # As bytes, since a token need not be ASCII.
        headers = {b"Authorization": f"Bearer {token}".encode()} if token else {}
        self.url = url.rstrip("/")
        self._http = httpx2.Client(base_url=self.url, headers=headers, timeout=30, transport=transport, trust_env=False)

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def enqueue(self, asked: NewMatchup, *, idempotency_key: str | None = None) -> MatchupStatus:
        """Ask for a matchup."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = asked.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return MatchupStatus.model_validate(self._ask("POST", "/matchups", json=body, headers=headers).json())

    def matchups(self, *, limit: int = 50, cursor: str | None = None) -> ListOf[MatchupLine]:
        """A page of matchups, newest first."""
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        return ListOf[MatchupLine].model_validate(self._ask("GET", "/matchups", params=params).json())

    def matchup(self, matchup_id: str) -> MatchupStatus:
        """How a matchup stands."""
        return MatchupStatus.model_validate(self._ask("GET", _path(matchup_id)).json())

    def cancel(self, matchup_id: str) -> MatchupStatus:
        """Cancel a matchup."""
        return MatchupStatus.model_validate(self._ask("DELETE", _path(matchup_id)).json())

    def run(self, matchup_id: str) -> Run:
        """A matchup's run."""
        return parse_run(self._ask("GET", f"{_path(matchup_id)}/run").content, f"the run of {matchup_id}")

    def report(self, matchup_id: str) -> str:
        """A matchup's report, an HTML page."""
        return self._ask("GET", f"{_path(matchup_id)}/report").text

    def enqueue_tournament(self, asked: NewTournament, *, idempotency_key: str | None = None) -> TournamentStatus:
        """Ask for a tournament."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = asked.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return TournamentStatus.model_validate(self._ask("POST", "/tournaments", json=body, headers=headers).json())

    def tournaments(self, *, limit: int = 50, cursor: str | None = None) -> ListOf[TournamentLine]:
        """A page of tournaments, newest first."""
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        return ListOf[TournamentLine].model_validate(self._ask("GET", "/tournaments", params=params).json())

    def tournament(self, tournament_id: str) -> TournamentStatus:
        """How a tournament stands."""
        return TournamentStatus.model_validate(self._ask("GET", _path(tournament_id, "tournaments")).json())

    def cancel_tournament(self, tournament_id: str) -> TournamentStatus:
        """Cancel a tournament."""
        return TournamentStatus.model_validate(self._ask("DELETE", _path(tournament_id, "tournaments")).json())

    def leaderboard(self, tournament_id: str) -> str:
        """A tournament's leaderboard, an HTML page."""
        return self._ask("GET", f"{_path(tournament_id, 'tournaments')}/leaderboard").text

    def health(self) -> dict[str, Any]:
        """What waits on the queues, and who works."""
        answer: dict[str, Any] = self._ask("GET", "/health").json()
        return answer

    def build_dataset(self, asked: NewDataset) -> DatasetStatus:
        """Ask for a dataset; asking again for the same gives the same."""
        body = asked.model_dump(mode="json", exclude_defaults=True)
        return DatasetStatus.model_validate(self._ask("POST", "/datasets", json=body).json())

    def dataset(self, name: str) -> DatasetStatus:
        """How a dataset stands."""
        return DatasetStatus.model_validate(self._ask("GET", f"/datasets/{quote(name, safe='')}").json())

    def train(self, asked: NewTraining, *, idempotency_key: str | None = None) -> TrainingStatus:
        """Ask for a training."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = asked.model_dump(mode="json", by_alias=True)
        return TrainingStatus.model_validate(self._ask("POST", "/trainings", json=body, headers=headers).json())

    def training(self, training_id: str) -> TrainingStatus:
        """How a training stands."""
        return TrainingStatus.model_validate(self._ask("GET", f"/trainings/{quote(training_id, safe='')}").json())

    def wait(
        self,
        matchup_id: str,
        on_progress: Callable[[MatchupStatus], None] = lambda status: None,
        *,
        poll_seconds: float = 0.25,
    ) -> MatchupStatus:
        """Wait until a matchup has ended, one way or another, and call `on_progress` with each answer.

        A cancelled one has ended when its report is there: it tells what was played.
        """
        while True:
            status = self.matchup(matchup_id)
            on_progress(status)
            if status.state in _ENDED and (status.state is not State.CANCELLED or status.links.report):
                return status
            time.sleep(poll_seconds)

    def _ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            response = self._http.request(method, path, **more)
        except httpx2.TransportError as error:
            raise Unreachable(f"the API at {self.url} does not answer: {error}") from error
        if response.is_success:
            return response
        raise _as_raised(response, self.url)


def _path(name: str, kind: str = "matchups") -> str:
    return f"/{kind}/{quote(name, safe='')}"


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
