"""The trainer's job: published once, sent where it is to be sent; what is broken in the store harms nothing else."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.trainer.api import router
from services.trainer.resume import resume
from services.trainer.tasks import train_model
from services.trainer.trainings import NewTraining, Trainings, TrainingState
from shared.errors import Unreachable, UsageError
from shared.jobs.payloads import Payload, TrainModel
from shared.jobs.queue import Queues, connect
from shared.jobs.worker import Context
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from tests.language.tiny import save_tiny
from tests.standins.hub import hub
from tests.trainer.learned import as_toml, dataset, recipe

KEY = "hf_only-for-this-hub"


def context(folder: Path, hub_url: str, key: str | None = KEY) -> Context:
    settings = Settings(
        store=str(folder / "store"), recipes=folder / "recipes", hub_url=hub_url, hf_token=key, _env_file=None
    )
    return Context(settings, Store(settings.store), lambda payload: True, lambda: False, "w")


def asked(folder: Path) -> str:
    """A training that is to be sent to the Hub."""
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tiny.toml").write_text(as_toml(recipe(save_tiny(folder / "base"))))
    dataset(folder / "store" / "datasets" / "small")
    new = NewTraining(recipe="tiny", dataset="small", name="mine", push="me/mine")
    return Trainings(Store(str(folder / "store"))).create(new, "once")


def test_what_could_not_be_sent_is_sent_later_and_published_once(tmp_path: Path) -> None:
    payload = TrainModel(training_id=asked(tmp_path))
    with pytest.raises(UsageError, match="HF_TOKEN"):
        train_model(payload, context(tmp_path, "http://127.0.0.1:9", key=None))
    with pytest.raises(Unreachable):
        train_model(payload, context(tmp_path, "http://127.0.0.1:9"))
    with hub(KEY) as there:
        train_model(payload, context(tmp_path, there.url))

    store = Store(str(tmp_path / "store"))
    [version] = Registry(store).versions("mine")
    status = Trainings(store).status("once")
    assert status.state is TrainingState.FINISHED and status.result is not None
    assert (status.result.version, "me/mine" in (status.result.pushed_to or "")) == (version, True)
    assert "adapter_model.safetensors" in there.repos["models", "me/mine"].files


def test_a_broken_training_keeps_no_other_from_its_work(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    trainings, new = Trainings(store), NewTraining(recipe="tiny", dataset="small", name="mine")
    for training_id in ("good", "halved", "torn"):
        trainings.create(new, training_id)
    store.write("trainings/torn/standing.json", b'{"step": ')
    (tmp_path / "store/trainings/halved/request.json").unlink()
    trainings.fail("good", "the disk was full")
    enqueued: list[Payload] = []

    def enqueue(payload: Payload) -> bool:
        enqueued.append(payload)
        return True

    assert (resume(store, enqueue), enqueued) == (0, [])
    assert resume(store, enqueue, retry_failed=True) == 1
    assert enqueued == [TrainModel(training_id="good")]


def test_a_broken_training_is_missing_from_the_list(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    for training_id in ("good", "torn"):
        Trainings(store).create(NewTraining(recipe="tiny", dataset="small", name="mine"), training_id)
    store.write("trainings/torn/request.json", b"{")
    app = FastAPI()
    # Nothing is enqueued, so that no Redis is asked.
    app.include_router(router(store, Queues(connect("redis://127.0.0.1:9"))))

    listed = TestClient(app).get("/trainings")

    assert [training["id"] for training in listed.json()] == ["good"]
