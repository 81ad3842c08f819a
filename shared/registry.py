"""The models that were published, as they lie in the store. Published folders never change; `current` is replaced.

models/NAME/versions/VERSION/card.json   among what it says: {"contract": {"v2": "the contract's hash"}}
models/NAME/current                      the version that NAME stands for now
"""

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from shared.errors import BrokenRecord, NotFound
from shared.store import Store, is_id


class _Card(BaseModel):
    contract: Mapping[str, str]


class Registry:
    """Looks models up in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self) -> list[str]:
        """The models, in order."""
        return sorted(self._store.folders("models"))

    def versions(self, name: str) -> list[str]:
        """The versions of a model, in order. Raises NotFound for an unknown model."""
        found = sorted(self._store.folders(f"models/{name}/versions")) if is_id(name) else []
        if not found:
            raise NotFound(f"no model {name!r} is in the registry")
        return found

    def current(self, name: str) -> str:
        """The version that a name stands for now.

        Raises NotFound for an unknown model and for one that nobody promoted, BrokenRecord where it names no version.
        """
        versions = self.versions(name)
        path = f"models/{name}/current"
        version = self._store.read(path, f"no version of the model {name!r} is promoted").decode(errors="replace")
        if version.strip() not in versions:
            raise BrokenRecord(f"{path} names no version of the model")
        return version.strip()

    def contract(self, name: str, version: str) -> Mapping[str, str]:
        """Contract version → hash, of what a version was trained for. Raises NotFound, and BrokenRecord."""
        if not (is_id(name) and is_id(version)):
            raise NotFound(f"no model {name}@{version} is in the registry")
        path = f"models/{name}/versions/{version}/card.json"
        try:
            card = _Card.model_validate_json(self._store.read(path, f"no model {name}@{version} is in the registry"))
        except ValidationError as error:
            raise BrokenRecord(
                f"{path} is broken: {error.errors(include_url=False, include_input=False)[0]['msg']}"
            ) from error
        return card.contract
