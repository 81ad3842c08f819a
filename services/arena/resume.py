"""What a start of the API, and `alphastral resume`, put on the queues again: unfinished work, as the store tells."""

import logging
from collections.abc import Callable, Iterator

from services.arena.progress import Progress
from services.arena.tournament import TournamentProgress
from shared.errors import BrokenRecord, NotFound
from shared.jobs.payloads import Payload
from shared.matchups import Matchups
from shared.store import Store
from shared.tournaments import Tournaments

log = logging.getLogger(__name__)


def resume(store: Store, enqueue: Callable[[Payload], bool], *, retry_failed: bool = False) -> int:
    """Put the unfinished work of every open matchup and tournament on the queues; how many jobs were not there yet.

    Harmless at any time: a job that waits or runs already is left alone. With `retry_failed`, shards that failed
    for good get another try. What cannot be read keeps nothing else from its work.
    """
    return sum(enqueue(job) for job in (*_of_matchups(store, retry_failed=retry_failed), *_of_tournaments(store)))


def _of_matchups(store: Store, *, retry_failed: bool) -> Iterator[Payload]:
    for matchup_id in Matchups(store).ids():
        try:
            progress = Progress.of(store, matchup_id)
        except (BrokenRecord, NotFound) as error:
            log.warning("Matchup %s is passed over: %s", matchup_id, error)
            continue
        if retry_failed and progress.failures and not progress.cancelled:
            for start in progress.failures:
                Matchups(store).forget(matchup_id, start)
            progress = Progress.of(store, matchup_id)
        yield from progress.jobs()


def _of_tournaments(store: Store) -> Iterator[Payload]:
    for tournament_id in Tournaments(store).ids():
        try:
            yield from TournamentProgress.of(store, tournament_id).jobs()
        except (BrokenRecord, NotFound) as error:
            log.warning("Tournament %s is passed over: %s", tournament_id, error)
