"""The models that were published, as they lie in the store. Published folders never change; `current` is replaced.

models/NAME/versions/VERSION/card.json   a `ModelCard`, with the digest of every other file
models/NAME/versions/VERSION/…           weights (safetensors), tokenizer, configuration
models/NAME/current                      the version that NAME stands for now; below it, those that it stood for before

It needs obstore and pydantic and no more, so that it fits into any engine's image.
"""

from shared.registry.card import DatasetUsed, ModelCard, PublishedFile, RecipeUsed
from shared.registry.models import Registry

__all__ = ["DatasetUsed", "ModelCard", "PublishedFile", "RecipeUsed", "Registry"]
