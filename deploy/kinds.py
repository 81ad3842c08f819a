"""Every kind of work there is, and how the queues are kept to what the store says of it."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from services.arena.matchups import MatchupWork
from services.arena.tournaments import TournamentWork
from services.scraper.datasets import Datasets
from services.scraper.scrapes import Scrapes
from services.trainer.trainings import Trainings
from shared.errors import AlphaStralError
from shared.jobs.queue import Queues
from shared.settings import Settings
from shared.store import Store
from shared.work import AnyKind, restore

log = logging.getLogger(__name__)

KINDS: Mapping[str, Callable[[Store, Settings], AnyKind]] = {
    "matchups": MatchupWork,
    "tournaments": TournamentWork,
    "scrapes": lambda store, settings: Scrapes(store),
    "datasets": lambda store, settings: Datasets(store),
    "trainings": lambda store, settings: Trainings(store, settings.recipes),
}
_LOOK_SECONDS = 1.0


def kinds(store: Store, settings: Settings) -> list[AnyKind]:
    """What can be asked for over the API, in this store."""
    return [kind(store, settings) for kind in KINDS.values()]


@contextmanager
def restoring(all_kinds: Sequence[AnyKind], queues: Queues) -> Iterator[None]:
    """While the context lasts, a thread takes its turn at enqueuing what no queue holds, as every worker does."""
    ending = threading.Event()

    def take_turns() -> None:
        said = ""
        while not ending.wait(_LOOK_SECONDS):
            try:
                if queues.is_turn("the API") and (added := restore(all_kinds, queues)):
                    log.info("%s unfinished jobs are on their queues again.", added)
                said = ""
            except AlphaStralError as error:
                if said != error.message:
                    log.warning("The queues could not be held against the store: %s", error)
                said = error.message

    thread = threading.Thread(target=take_turns, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
