"""The trainer's job: train a model and publish it, into the registry and where that is asked for on the Hub."""

import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from services.trainer.recipes import Recipe
from services.trainer.trainings import TrainingRequest, TrainingResult, Trainings, TrainingStanding, stored_dataset
from shared.asked import now_and_then
from shared.battle.contract import CONTRACTS
from shared.errors import NotFound, UsageError
from shared.hub import Hub
from shared.jobs import Context, HandedBack
from shared.jobs.routes import TrainModel
from shared.registry import DatasetUsed, ModelCard, RecipeUsed, Registry
from shared.registry.exchange import push
from shared.settings import is_first_process
from shared.store import Store
from shared.work import ENDED

if TYPE_CHECKING:
    from services.trainer.sft import Trained

TOLD_EVERY_SECONDS = 1.0
SOFTWARE = ("accelerate", "alphastral", "peft", "torch", "transformers", "trl")


def train_model(payload: TrainModel, context: Context) -> None:
    """Train, from the last checkpoint on where there is one, and publish. A training that has ended is left alone.

    Raises HandedBack when the worker is told to stop, after a checkpoint was written.
    """
    # Imported in the job's own process: neither torch's threads nor CUDA survive a fork.
    from services.trainer.sft import train

    trainings, id = Trainings(context.store), payload.training_id
    if trainings.standing(id).state in ENDED:
        return
    asked = trainings.request(id)
    recipe = asked.resolved(context.settings.recipes)
    if asked.push is not None and context.settings.hf_token is None:
        raise UsageError("pushing needs a key that may write: set HF_TOKEN where the trainer runs", field="push")
    told = 0.0

    def tell(standing: TrainingStanding) -> None:
        nonlocal told
        context.tell(standing)
        if time.monotonic() - told >= TOLD_EVERY_SECONDS or standing.step == standing.steps:
            told = time.monotonic()
            trainings.tell(id, standing)

    given_up = now_and_then(lambda: trainings.cancelled(id) is not None)
    with tempfile.TemporaryDirectory(prefix="alphastral-dataset-") as copy:
        try:
            trained = train(
                recipe,
                *_places(asked, trainings, id, Path(copy)),
                adapter=_begun_from(recipe, Registry(Store(context.settings.store)), Path(copy)),
                on_standing=tell,
                tell=context.tell,
                stopping=lambda: given_up() or context.stopping(),
                given_up=given_up,
            )
        except NotFound as error:
            raise UsageError(error.message, field="dataset") from error
        except HandedBack:
            if given_up():
                return
            raise
        if is_first_process():
            _publish(asked, recipe, trained, trainings, id, context)


def _publish(
    asked: TrainingRequest, recipe: Recipe, trained: "Trained", trainings: Trainings, id: str, context: Context
) -> None:
    if trainings.cancelled(id) is not None:
        return
    # What a command asks for is kept in a store of its own; the models lie in the one of the settings.
    registry = Registry(Store(context.settings.store))
    became = trainings.version(id)
    if became is None:
        became = publish(registry, asked.name, recipe, trained)
        trainings.published(id, became)
    where = None
    if asked.push is not None:
        hub = Hub(context.settings.hub_url, context.settings.hf_token)
        where = push(registry, asked.name, became, hub, asked.push, private=not asked.public)
    trainings.finish(id, TrainingResult(version=became, metrics=trained.metrics, pushed_to=where))


def publish(registry: Registry, name: str, recipe: Recipe, trained: "Trained") -> str:
    """Publish and promote; which version it became. Raises what `Registry.publish` raises."""
    from shared.language.load import make_loadable

    card = trained.splits.card
    for page in trained.folder.glob("README.md"):
        # What peft writes there knows nothing; the registry writes a page from the card.
        page.unlink()
    make_loadable(trained.folder)
    became = registry.publish(
        name,
        trained.folder,
        ModelCard(
            base=recipe.base,
            kind="merged" if recipe.merge else "adapter",
            contract={recipe.contract: CONTRACTS[recipe.contract].hash},
            architecture=trained.architecture,
            recipe=RecipeUsed(name=recipe.name, values=recipe.model_dump(mode="json") | {"dtype": trained.dtype}),
            dataset=DatasetUsed(
                name=trained.splits.name,
                hash=trained.splits.digest,
                rows=dict(card.rows),
                counts=dict(card.counts),
                left_out=trained.too_long,
            ),
            metrics=trained.metrics,
            parameters=trained.size.parameters,
            trained_parameters=trained.size.trained,
            software={package: version(package) for package in SOFTWARE},
        ),
    )
    registry.promote(name, became)
    return became


def _begun_from(recipe: Recipe, registry: Registry, copy: Path) -> Path | None:
    """The folder of the adapter that is trained on. Raises UsageError where there is none over the recipe's base."""
    if recipe.begin_from is None:
        return None
    name, _, version = recipe.begin_from.partition("@")
    try:
        card = registry.card(name, version)
    except NotFound as error:
        raise UsageError(error.message, field="set") from error
    if (card.kind, card.base) != ("adapter", recipe.base):
        raise UsageError(f"{recipe.begin_from} is no adapter over {recipe.base}", field="set")
    return registry.fetch(name, version, copy)


def _places(asked: TrainingRequest, trainings: Trainings, id: str, copy: Path) -> tuple[Path, Path]:
    """The dataset, and where checkpoints go: what a command named, else both of the store."""
    if asked.output is not None:
        return Path(asked.dataset), asked.output
    return stored_dataset(trainings.files, asked.dataset, copy), trainings.checkpoints(id)


def give_up_train_model(payload: TrainModel, context: Context, reason: str) -> None:
    """Record that a training failed for good."""
    Trainings(context.store).fail(payload.training_id, reason)
