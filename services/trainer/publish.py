"""Publishes what came of a training: into the registry with its card, and on the Hub where that is asked for."""

from importlib.metadata import version

from services.trainer.recipes import Recipe
from services.trainer.sft import Trained
from shared.battle.contract import CONTRACTS
from shared.language.load import make_loadable
from shared.registry import DatasetUsed, ModelCard, RecipeUsed, Registry

SOFTWARE = ("accelerate", "alphastral", "peft", "torch", "transformers", "trl")


def publish(registry: Registry, name: str, recipe: Recipe, trained: Trained, *, promote: bool = True) -> str:
    """Publish and promote; which version it became. Raises what `Registry.publish` raises."""
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
    if promote:
        registry.promote(name, became)
    return became
