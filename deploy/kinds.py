"""Every kind of work there is, and all its unfinished jobs put on the queues again."""

from collections.abc import Callable, Mapping

from services.arena.matchups import MatchupWork
from services.arena.tournaments import TournamentWork
from services.scraper.datasets import Datasets
from services.scraper.scrapes import Scrapes
from services.trainer.trainings import TrainingWork
from shared import work
from shared.jobs.queue import Queues
from shared.settings import Settings
from shared.store import Store
from shared.work import AnyKind

KINDS: Mapping[str, Callable[[Store, Settings], AnyKind]] = {
    "matchups": MatchupWork,
    "tournaments": TournamentWork,
    "scrapes": lambda store, settings: Scrapes(store),
    "datasets": lambda store, settings: Datasets(store),
    "trainings": TrainingWork,
}


def kinds(store: Store, settings: Settings) -> list[AnyKind]:
    """What can be asked for over the API, in this store."""
    return [kind(store, settings) for kind in KINDS.values()]


def resume(store: Store, queues: Queues, settings: Settings, *, retry_failed: bool = False) -> int:
    """Put it there; how many jobs were not there yet. With `retry_failed`, what failed for good gets another try."""
    return work.resume(kinds(store, settings), queues, retry_failed=retry_failed)
