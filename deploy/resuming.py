"""All the services' unfinished work, put on the queues again."""

import services.arena.resume
import services.scraper.resume
import services.trainer.resume
from shared.jobs.queue import Queues
from shared.store import Store


def resume(store: Store, queues: Queues, *, retry_failed: bool = False) -> int:
    """Put it there; how many jobs were not there yet. With `retry_failed`, what failed for good gets another try."""
    every = (services.arena.resume.resume, services.scraper.resume.resume, services.trainer.resume.resume)
    return sum(each(store, queues.enqueue, retry_failed=retry_failed) for each in every)
