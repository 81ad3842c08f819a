"""Datasets in the store, and those that were asked for and are being built.

builds/NAME/request.json, failed.txt
datasets/NAME/                        the dataset itself, whole or not there: see shared/datasets.py
"""

from contextlib import suppress

from pydantic import ValidationError

from services.scraper.schemas import DatasetStatus, NewDataset
from shared.datasets import DatasetCard
from shared.errors import BrokenRecord, Conflict, NotFound
from shared.store import Store, is_id


class Builds:
    """The datasets of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, asked: NewDataset) -> bool:
        """Store what was asked for. False where it is there already; Conflict where something else is."""
        if self._store.exists(f"datasets/{asked.name}") and not self._store.exists(f"builds/{asked.name}"):
            raise Conflict(f"a dataset {asked.name!r} is stored already")
        path = f"builds/{asked.name}/request.json"
        if self._store.create(path, asked.model_dump_json(indent=1).encode()):
            return True
        if self.request(asked.name) != asked:
            raise Conflict(f"the dataset {asked.name!r} was asked for with another body")
        return False

    def names(self) -> list[str]:
        """The datasets that were asked for or are stored otherwise, in order."""
        return sorted({*self._store.folders("builds"), *self._store.folders("datasets")})

    def request(self, name: str) -> NewDataset:
        """What was asked for. Raises NotFound."""
        _check(name)
        path = f"builds/{name}/request.json"
        try:
            return NewDataset.model_validate_json(self._store.read(path, f"no dataset {name!r} was asked for"))
        except ValidationError as error:
            raise BrokenRecord(f"{path} is broken") from error

    def card(self, name: str) -> DatasetCard | None:
        """What a dataset says of itself; None where it is not there yet."""
        _check(name)
        path = f"datasets/{name}/card.json"
        try:
            return DatasetCard.model_validate_json(self._store.read(path, path))
        except NotFound:
            return None
        except ValidationError as error:
            raise BrokenRecord(f"{path} is broken") from error

    def fail(self, name: str, why: str) -> None:
        """Say why a dataset can't be built."""
        self._store.write(f"builds/{name}/failed.txt", why.encode())

    def forget_failure(self, name: str) -> None:
        """It gets another try."""
        self._store.remove(f"builds/{name}/failed.txt")

    def status(self, name: str) -> DatasetStatus:
        """How it stands. Raises NotFound."""
        card = self.card(name)
        request: NewDataset | None = None
        failure: str | None = None
        with suppress(NotFound):
            failure = self._store.read(f"builds/{name}/failed.txt", "none").decode(errors="replace")
        try:
            request = self.request(name)
        except NotFound:
            if card is None:
                raise
        state = "finished" if card else "failed" if failure else "running"
        return DatasetStatus(name=name, state=state, request=request, failure=None if card else failure, card=card)


def _check(name: str) -> None:
    if not is_id(name):
        raise NotFound(f"no dataset {name!r}")
