"""A context for tasks that a test runs itself: a real store, and a list in place of the queues."""

from pathlib import Path

from services.arena.matchups import MatchupWork, Progress
from services.arena.tournaments import TournamentWork
from shared.jobs import Context
from shared.jobs.routes import Payload
from shared.matchups import Matchups
from shared.records import MatchupRequest
from shared.settings import Settings
from shared.store import Store
from shared.work import resume


class Recording:
    """A store, and what is enqueued. As on the queues, the same job is there once."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder))
        self.enqueued: list[Payload] = []
        self.context = Context(Settings(store=str(folder)), self.store, self.enqueue, lambda: False, "w")

    def enqueue(self, payload: Payload) -> bool:
        if payload in self.enqueued:
            return False
        self.enqueued.append(payload)
        return True

    def ping(self) -> None:
        """It always takes jobs."""

    def resume(self, *, retry_failed: bool = False) -> int:
        settings = self.context.settings
        kinds = (MatchupWork(self.store, settings), TournamentWork(self.store, settings))
        return resume(kinds, self, retry_failed=retry_failed)


class OneMatchup(Recording):
    """With the matchup `m` in its store."""

    def __init__(self, folder: Path, request: MatchupRequest) -> None:
        super().__init__(folder)
        Matchups(self.store).create("m", request)

    @property
    def progress(self) -> Progress:
        return Progress.of(self.store, "m")
