"""Trainings in the store: what was asked for, how far each is, and how it ended. Needs no torch.

trainings/ID/request.json    what was asked for
trainings/ID/standing.json   how far it is, replaced while it runs
trainings/ID/version.txt     what was published, before it is sent anywhere else
trainings/ID/result.json     the version that it became
trainings/ID/failure.txt     why it failed for good
"""

import tempfile
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.trainer import recipes
from services.trainer.recipes import Recipe
from shared.errors import BrokenRecord, NotFound, UsageError
from shared.store import Store, is_id

_Model = TypeVar("_Model", bound=BaseModel)
_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
"""On the Hub."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NewTraining(_Frozen):
    """What is asked for."""

    recipe: str = Field(pattern=_NAME)
    dataset: str = Field(pattern=_NAME)
    """A folder below `datasets/` in the store."""
    name: str = Field(pattern=_NAME)
    """What the model is to be called in the registry."""
    base: str | None = Field(default=None, max_length=200, pattern=rf"^(smollm2|{_REPOSITORY})$")
    """`smollm2`, or a model's name on the Hub; the recipe's own when not given."""
    changes: dict[str, str] = Field(default_factory=dict, max_length=40, alias="set")
    """Values of the recipe that are to be others: `{"max_steps": "40"}`."""
    push: str | None = Field(default=None, max_length=200, pattern=rf"^{_REPOSITORY}$")
    """The repository on the Hub that it is sent to, too. The trainer needs a key that may write there."""
    public: bool = False
    """Whether a repository that is made for it is public."""

    def resolved(self, own: Path | None) -> Recipe:
        """The recipe with these changes; `own` is the folder of the operator's recipes. Raises UsageError."""
        known = recipes.names(own)
        if self.recipe not in known:
            raise UsageError(
                f"no recipe is called {self.recipe!r}; the recipes are: {', '.join(known)}", field="recipe"
            )
        if "base" in self.changes:
            raise UsageError("the base is given as `base`", field="set")
        changed = recipes.load(self.recipe, self.changes, own)
        return changed if self.base is None else changed.model_copy(update={"base": self.base})


class TrainingStanding(_Frozen):
    """How far a training is."""

    step: int
    steps: int
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None


class TrainingResult(_Frozen):
    """What a training came to."""

    version: str
    metrics: dict[str, float]
    pushed_to: str | None = None
    """Where on the Hub it is, too."""


class TrainingState(StrEnum):
    """How a training stands."""

    OPEN = "open"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class TrainingStatus(BaseModel):
    """A training, and how it stands."""

    id: str
    state: TrainingState
    request: NewTraining
    standing: TrainingStanding | None
    result: TrainingResult | None
    failure: str | None


class Trainings:
    """The trainings of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, asked: NewTraining, training_id: str | None = None) -> str:
        """Store what was asked for, under a new id or again under a given one."""
        training_id = training_id or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        path = _path(training_id, "request.json")
        if not self._store.exists(path):
            self._store.write(path, asked.model_dump_json(indent=2, by_alias=True).encode())
        return training_id

    def ids(self) -> list[str]:
        """All trainings, newest first."""
        return sorted(self._store.folders("trainings"), reverse=True)

    def request(self, training_id: str) -> NewTraining:
        """What was asked for. Raises NotFound, and BrokenRecord."""
        path = _path(training_id, "request.json")
        try:
            return NewTraining.model_validate_json(self._store.read(path, f"no training {training_id}"))
        except ValidationError as error:
            raise BrokenRecord(f"{path} is broken") from error

    def status(self, training_id: str) -> TrainingStatus:
        """How it stands. Raises NotFound, and BrokenRecord."""
        request = self.request(training_id)
        standing = self._read(training_id, "standing.json", TrainingStanding)
        result = self._read(training_id, "result.json", TrainingResult)
        failure = self._text(training_id, "failure.txt")
        state = (
            TrainingState.FINISHED
            if result
            else TrainingState.FAILED
            if failure is not None
            else TrainingState.RUNNING
            if standing
            else TrainingState.OPEN
        )
        return TrainingStatus(
            id=training_id, state=state, request=request, standing=standing, result=result, failure=failure
        )

    def is_open(self, training_id: str) -> bool:
        """Whether it neither came to an end nor failed for good."""
        return self.status(training_id).state in (TrainingState.OPEN, TrainingState.RUNNING)

    def tell(self, training_id: str, standing: TrainingStanding) -> None:
        """Store how far it is."""
        self._store.write(_path(training_id, "standing.json"), standing.model_dump_json().encode())

    def version(self, training_id: str) -> str | None:
        """The version that was published of it, where one was."""
        return self._text(training_id, "version.txt")

    def published(self, training_id: str, version: str) -> None:
        """Store which version was published of it."""
        self._store.write(_path(training_id, "version.txt"), version.encode())

    def finish(self, training_id: str, result: TrainingResult) -> None:
        """Store what it came to."""
        self._store.write(_path(training_id, "result.json"), result.model_dump_json().encode())

    def fail(self, training_id: str, reason: str) -> None:
        """Store why it failed for good."""
        self._store.write(_path(training_id, "failure.txt"), reason.encode())

    def forget_failure(self, training_id: str) -> None:
        """Open a training again that failed for good."""
        self._store.remove(_path(training_id, "failure.txt"))

    def folder(self, training_id: str) -> Path:
        """Where it keeps its checkpoints: beside its request on a disk; where the store is a bucket, on this machine,
        in the folder that TMPDIR names. A container's working directory has no room for them.
        """
        on_disk = self._store.on_disk(f"trainings/{training_id}/work")
        return on_disk or Path(tempfile.gettempdir()) / "alphastral-trainings" / training_id

    def dataset(self, name: str, into: Path) -> Path:
        """A folder with the dataset `name`, copied to `into` from a bucket. Raises NotFound."""
        if not is_id(name) or not self._store.exists(f"datasets/{name}/card.json"):
            raise NotFound(f"no dataset {name!r} is in the store")
        here = self._store.on_disk(f"datasets/{name}")
        if here is not None:
            return here
        copy = into / name
        copy.mkdir(parents=True, exist_ok=True)
        for file in ("card.json", "train.jsonl", "validation.jsonl"):
            path = f"datasets/{name}/{file}"
            (copy / file).write_bytes(b"".join(self._store.pieces(path, f"{path} is gone")))
        return copy

    def _text(self, training_id: str, name: str) -> str | None:
        path = _path(training_id, name)
        return self._store.read(path, path).decode(errors="replace") if self._store.exists(path) else None

    def _read(self, training_id: str, name: str, model: type[_Model]) -> _Model | None:
        path = _path(training_id, name)
        try:
            return model.model_validate_json(self._store.read(path, path)) if self._store.exists(path) else None
        except ValidationError as error:
            raise BrokenRecord(f"{path} is broken") from error


def _path(training_id: str, name: str) -> str:
    if not is_id(training_id):
        raise NotFound(f"no training {training_id!r}")
    return f"trainings/{training_id}/{name}"
