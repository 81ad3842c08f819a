"""The trainer's job: train a model and publish it, or record that it cannot be done."""

import tempfile
import time
from pathlib import Path

from services.trainer.trainings import TrainingResult, Trainings, TrainingStanding
from shared.errors import NotFound, UsageError
from shared.hub import Hub
from shared.jobs.payloads import TrainModel
from shared.jobs.worker import Context
from shared.registry import Registry
from shared.registry.exchange import push

TOLD_EVERY_SECONDS = 1.0


def train_model(payload: TrainModel, context: Context) -> None:
    """Train, from the last checkpoint on where there is one, and publish. A training that has ended is left alone.

    Raises HandedBack when the worker is told to stop, after a checkpoint was written.
    """
    # Imported in the horse: neither torch's threads nor CUDA survive a fork.
    from services.trainer.progress import Standing
    from services.trainer.publishing import publish
    from services.trainer.sft import train

    trainings, training_id = Trainings(context.store), payload.training_id
    if not trainings.is_open(training_id):
        return
    asked = trainings.request(training_id)
    recipe, folder = asked.resolved(context.settings.recipes), trainings.folder(training_id)
    registry = Registry(context.store)
    if asked.push is not None and context.settings.hf_token is None:
        raise UsageError("pushing needs a key that may write: set HF_TOKEN where the trainer runs", field="push")
    told = 0.0

    def tell(standing: Standing) -> None:
        nonlocal told
        if time.monotonic() - told >= TOLD_EVERY_SECONDS or standing.step == standing.steps:
            told = time.monotonic()
            trainings.tell(
                training_id,
                TrainingStanding(
                    step=standing.step,
                    steps=standing.steps,
                    loss=standing.loss,
                    learning_rate=standing.learning_rate,
                    tokens_per_second=standing.tokens_per_second,
                    seconds_left=standing.seconds_left,
                ),
            )

    with tempfile.TemporaryDirectory(prefix="alphastral-dataset-") as copy:
        try:
            dataset = trainings.dataset(asked.dataset, Path(copy))
        except NotFound as error:
            raise UsageError(error.message, field="dataset") from error
        trained = train(recipe, dataset, folder, resume=True, on_standing=tell, stopping=context.stopping)
        version = trainings.version(training_id)
        if version is None:
            version = publish(registry, asked.name, recipe, trained)
            trainings.published(training_id, version)
    where = None
    if asked.push is not None:
        hub = Hub(context.settings.hub_url, context.settings.hf_token)
        where = push(registry, asked.name, version, hub, asked.push, private=not asked.public)
    trainings.finish(training_id, TrainingResult(version=version, metrics=trained.metrics, pushed_to=where))


def give_up_training(payload: TrainModel, context: Context, reason: str) -> None:
    """Record that a training failed for good."""
    Trainings(context.store).fail(payload.training_id, reason)
