"""Trainings as a kind of work: what may be asked for, and how each stands, told from the store alone. Needs no torch.

Beside what was asked for (shared/asked.py):

trainings/ID/standing.json   how far it is, replaced while it runs
trainings/ID/version.txt     what was published, before it is sent anywhere else
trainings/ID/result.json     the version that it became
"""

import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.trainer import recipes
from services.trainer.recipes import Recipe
from shared.asked import Asked
from shared.document import Strict
from shared.errors import Conflict, NotFound, UsageError
from shared.jobs.routes import TrainModel
from shared.store import Store, is_id
from shared.work import ENDED, WorkKind, WorkStatus

_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
"""On the Hub."""
_Short = Annotated[str, Field(max_length=200)]


class NewTraining(Strict):
    """What is asked for."""

    recipe: str = Field(pattern=_NAME)
    dataset: str = Field(pattern=_NAME)
    """A folder below `datasets/` in the store."""
    name: str = Field(pattern=_NAME)
    """What the model is to be called in the registry."""
    base: str | None = Field(default=None, max_length=200, pattern=rf"^(smollm2|{_REPOSITORY})$")
    """`smollm2`, or a model's name on the Hub; the recipe's own when not given."""
    changes: dict[_Short, _Short] = Field(default_factory=dict, max_length=40, alias="set")
    """Values of the recipe that are to be others: `{"max_steps": "40"}`."""
    push: str | None = Field(default=None, max_length=200, pattern=rf"^{_REPOSITORY}$")
    """The repository on the Hub that it is sent to, too. The trainer needs a key that may write there."""
    public: bool = False
    """Whether a repository that is made for it is public."""

    def resolved(self, own: Path | None) -> Recipe:
        """The recipe with these changes; `own` is the folder of the operator's recipes. Raises UsageError."""
        changed = recipes.load(self.recipe, self.changes, own)
        return changed if self.base is None else changed.model_copy(update={"base": self.base})

    def check(self, own: Path | None) -> None:
        """Raises UsageError for what the API does not take: a recipe by its path, or a base that stands elsewhere."""
        known = recipes.names(own)
        if self.recipe not in known:
            raise UsageError(
                f"no recipe is called {self.recipe!r}; the recipes are: {', '.join(known)}", field="recipe"
            )
        if "base" in self.changes:
            raise UsageError("the base is given as `base`", field="set")


class TrainingRequest(NewTraining):
    """What is stored of it. A command asks for more: recipe, dataset and base may be paths of this machine."""

    recipe: str
    """A recipe by name, or a TOML file."""
    dataset: str
    """Where `output` is given, a folder."""
    base: str | None = None
    changes: dict[str, str] = Field(default_factory=dict, alias="set")
    push: str | None = None
    output: Path | None = None
    """Checkpoints and metrics; where it is not given, beside the request. See Trainings.checkpoints."""
    resume: bool = Field(default=False, exclude=True)
    """Whether it may go on with what another call left in `output`. It goes on with its own in any case."""

    def check(self, own: Path | None) -> None:
        """On this machine, all of that may be asked for."""


class TrainingStanding(Strict):
    """How far a training is."""

    step: int
    steps: int
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None


class TrainingResult(Strict):
    """What a training came to."""

    version: str
    metrics: dict[str, float]
    pushed_to: str | None = None
    """Where on the Hub it is, too."""


class TrainingStatus(WorkStatus):
    """A training, and how it stands."""

    request: NewTraining
    standing: TrainingStanding | None
    result: TrainingResult | None
    failure: str | None


class Trainings(Asked[TrainingRequest], WorkKind[NewTraining, TrainingRequest]):
    """The trainings of a store: each is one job."""

    folder = "trainings"
    noun = "training"
    model = TrainingRequest
    body = NewTraining
    line = status = TrainingStatus
    earlier_failures = "failure.txt"

    def __init__(self, store: Store, own_recipes: Path | None = None) -> None:
        super().__init__(store)
        self.asked, self._own_recipes = self, own_recipes

    def accept(self, body: NewTraining, seed: int, before: TrainingRequest | None) -> TrainingRequest:
        body.check(self._own_recipes)
        body.resolved(self._own_recipes)
        if isinstance(body, TrainingRequest) and body.output is not None:
            if not (Path(body.dataset) / "card.json").is_file():
                raise NotFound(f"there is no dataset in {body.dataset}: card.json cannot be read")
            if before is None and not body.resume and any(body.output.glob("checkpoint-*")):
                raise Conflict(
                    f"{body.output} holds a training already: go on with it by --resume, or choose another --output"
                )
        elif not self.files.exists(f"datasets/{body.dataset}/card.json"):
            raise UsageError(f"no dataset {body.dataset!r} is in the store", field="dataset")
        return TrainingRequest.model_validate(body.model_dump(by_alias=True))

    def jobs(self, id: str) -> list[TrainModel]:
        return [] if self.standing(id).state in ENDED else [TrainModel(training_id=id)]

    def tell(self, id: str, standing: TrainingStanding) -> None:
        self.files.write(self.path(id, "standing.json"), standing.model_dump_json().encode())

    def version(self, id: str) -> str | None:
        """The version that was published of it, where one was."""
        return self._text(id, "version.txt")

    def published(self, id: str, version: str) -> None:
        """Store which version was published of it."""
        self.files.write(self.path(id, "version.txt"), version.encode())

    def finish(self, id: str, result: TrainingResult) -> None:
        self.files.write(self.path(id, "result.json"), result.model_dump_json().encode())

    def standing(self, id: str) -> TrainingStatus:
        request = self.request(id)
        standing = self.read(id, "standing.json", TrainingStanding)
        result = self.read(id, "result.json", TrainingResult)
        return TrainingStatus(
            id=id,
            state=self.state(id, finished=result is not None, begun=standing is not None),
            created_at=self.created_at(id),
            request=request,
            standing=standing,
            result=result,
            failure=self.failures(id).get(0),
        )

    def checkpoints(self, id: str) -> Path:
        """Where it keeps its checkpoints: beside its request on a disk; where the store is a bucket, on this machine,
        in the folder that TMPDIR names. A container's working directory has no room for them.
        """
        on_disk = self.files.on_disk(self.path(id, "work"))
        return on_disk or Path(tempfile.gettempdir()) / "alphastral-trainings" / id


def stored_dataset(store: Store, name: str, into: Path) -> Path:
    """A folder with the dataset `name`, copied to `into` from a bucket. Raises NotFound."""
    if not is_id(name) or not store.exists(f"datasets/{name}/card.json"):
        raise NotFound(f"no dataset {name!r} is in the store")
    here = store.on_disk(f"datasets/{name}")
    if here is not None:
        return here
    files = {file: f"datasets/{name}/{file}" for file in ("card.json", "train.jsonl", "validation.jsonl")}
    contents = {file: store.pieces(path, f"{path} is gone") for file, path in files.items()}
    Store(str(into)).add_folder(name, contents, last="card.json")
    return into / name
