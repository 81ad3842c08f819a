"""The trainer's routes: ask for a training, and see how it stands."""

import hashlib
import logging
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from services.trainer.trainings import NewTraining, Trainings, TrainingStatus
from shared.errors import BrokenRecord, Conflict, NotFound, UsageError
from shared.jobs.payloads import TrainModel
from shared.jobs.queue import Queues
from shared.store import Store

log = logging.getLogger(__name__)


def router(store: Store, queues: Queues, own_recipes: Path | None = None) -> APIRouter:
    """The routes, over this store and these queues."""
    routes = APIRouter(tags=["trainer"])
    trainings = Trainings(store)

    @routes.post("/trainings", status_code=202)
    def train(
        asked: NewTraining,
        response: Response,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> TrainingStatus:
        """Ask for a training. 422 where the recipe or a changed value cannot be, or the dataset is not in the store.

        The same `Idempotency-Key` is answered by the same training, whatever became of it.
        """
        asked.resolved(own_recipes)
        if not store.exists(f"datasets/{asked.dataset}/card.json"):
            raise UsageError(f"no dataset {asked.dataset!r} is in the store", field="dataset")
        training_id = trainings.create(asked, _named_by(idempotency_key) if idempotency_key else None)
        if trainings.request(training_id) != asked:
            raise Conflict(f"training {training_id} was asked for with another body")
        if trainings.is_open(training_id):
            queues.enqueue(TrainModel(training_id=training_id))
        response.headers["Location"] = f"/trainings/{training_id}"
        return trainings.status(training_id)

    @routes.get("/trainings")
    def list_trainings(limit: int = 50) -> list[TrainingStatus]:
        """Trainings, newest first."""
        found = []
        for training_id in trainings.ids()[: max(1, min(limit, 200))]:
            try:
                found.append(trainings.status(training_id))
            except (BrokenRecord, NotFound) as error:
                log.warning("Training %s is passed over: %s", training_id, error)
        return found

    @routes.get("/trainings/{training_id}")
    def training(training_id: str) -> TrainingStatus:
        """How a training stands."""
        return trainings.status(training_id)

    return routes


def _named_by(idempotency_key: str) -> str:
    return f"key-{hashlib.sha256(idempotency_key.encode()).hexdigest()[:20]}"
