"""The unfinished trainings that a start of the API, and `alphastral resume`, put on the queue again."""

import logging
from collections.abc import Callable, Iterator

from services.trainer.trainings import Trainings
from shared.errors import BrokenRecord, NotFound
from shared.jobs.payloads import Payload, TrainModel
from shared.store import Store

log = logging.getLogger(__name__)


def resume(store: Store, enqueue: Callable[[Payload], bool], *, retry_failed: bool = False) -> int:
    """Put the open trainings on their queue; how many jobs were not there yet."""
    return sum(map(enqueue, _open(Trainings(store), retry_failed=retry_failed)))


def _open(trainings: Trainings, *, retry_failed: bool) -> Iterator[Payload]:
    for training_id in trainings.ids():
        try:
            if retry_failed:
                trainings.forget_failure(training_id)
            if trainings.is_open(training_id):
                yield TrainModel(training_id=training_id)
        except (BrokenRecord, NotFound) as error:
            log.warning("Training %s is passed over: %s", training_id, error)
