"""The trainer's job: published once, sent where it is to be sent; what is broken in the store harms nothing else."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from deploy.cli import main
from services.trainer.tasks import train_model
from services.trainer.trainings import TrainingRequest, Trainings, TrainingStanding
from shared.errors import Unreachable, UsageError
from shared.jobs import Context
from shared.jobs.queue import Queues, connect
from shared.jobs.routes import Payload, TrainModel
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.web import routes_of
from shared.work import State, resume
from tests.language.tiny import save_tiny
from tests.standins.hub import hub
from tests.trainer.learned import as_toml, dataset, recipe

KEY = "hf_only-for-this-hub"


@dataclass
class Heap:
    """A queue that keeps what it is given."""

    jobs: list[Payload] = field(default_factory=list)

    def ping(self) -> None: ...

    def enqueue(self, payload: Payload) -> bool:
        self.jobs.append(payload)
        return True


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
    new = TrainingRequest(recipe="tiny", dataset="small", name="mine", push="me/mine")
    Trainings(Store(str(folder / "store"))).create("once", new)
    return "once"


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
    status = Trainings(store).standing("once")
    assert status.state is State.FINISHED and status.result is not None
    assert (status.result.version, "me/mine" in (status.result.pushed_to or "")) == (version, True)
    assert "adapter_model.safetensors" in there.repos["models", "me/mine"].files


def test_a_broken_training_keeps_no_other_from_its_work(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    trainings, new = Trainings(store), TrainingRequest(recipe="tiny", dataset="small", name="mine")
    for training_id in ("good", "halved", "torn"):
        trainings.create(training_id, new)
    store.write("trainings/torn/standing.json", b'{"step": ')
    (tmp_path / "store/trainings/halved/request.json").unlink()
    trainings.fail("good", "the disk was full")
    queue, kinds = Heap(), [Trainings(store)]

    # How far a training is can be told anew; without its request nothing can be done for it.
    assert (resume(kinds, queue), queue.jobs) == (1, [TrainModel(training_id="torn")])
    resume(kinds, queue, retry_failed=True)
    assert TrainModel(training_id="good") in queue.jobs and TrainModel(training_id="halved") not in queue.jobs


def test_what_failed_before_failures_had_a_folder_has_failed_and_may_be_tried_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    trainings = Trainings(store)
    trainings.create("old", TrainingRequest(recipe="tiny", dataset="small", name="mine"))
    store.write("trainings/old/failure.txt", b"the disk was full")

    assert (trainings.standing("old").state, trainings.failures("old")) == (State.FAILED, {0: "the disk was full"})
    trainings.forget("old")
    assert trainings.standing("old").state is State.QUEUED


def test_a_training_that_is_cancelled_while_it_runs_ends_early_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.tasks.TOLD_EVERY_SECONDS", 0)
    monkeypatch.setattr("shared.asked.LOOK_SECONDS", 0)
    training, store = asked(tmp_path), Store(str(tmp_path / "store"))

    def cancel_and_go_on() -> bool:
        Trainings(store).cancel(training)
        return False

    train_model(
        TrainModel(training_id=training), replace(context(tmp_path, "http://127.0.0.1:9"), stopping=cancel_and_go_on)
    )

    status = Trainings(store).standing(training)
    assert status.state is State.CANCELLED and status.standing is not None
    assert status.standing.step < status.standing.steps and Registry(store).names() == []


def test_a_training_that_is_cancelled_ends_where_it_is_and_publishes_nothing(tmp_path: Path) -> None:
    training = asked(tmp_path)
    store = Store(str(tmp_path / "store"))
    where = context(tmp_path, "http://127.0.0.1:9")

    Trainings(store).cancel(training)
    train_model(TrainModel(training_id=training), where)

    status = Trainings(store).standing(training)
    assert status.state is State.CANCELLED and status.standing is None
    assert Registry(store).names() == []


def test_a_broken_training_is_missing_from_the_list(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    for training_id in ("good", "torn"):
        Trainings(store).create(training_id, TrainingRequest(recipe="tiny", dataset="small", name="mine"))
    store.write("trainings/torn/request.json", b"{")
    app = FastAPI()
    # Nothing is enqueued, so that no Redis is asked.
    app.include_router(routes_of(Trainings(store), Queues(connect("redis://127.0.0.1:9"))))

    listed = TestClient(app).get("/trainings")

    assert [training["id"] for training in listed.json()["items"]] == ["good"]


def test_a_command_goes_on_where_it_was_interrupted_and_leaves_what_is_whole_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHASTRAL_STORE", str(tmp_path / "store"))
    Path("tiny.toml").write_text(as_toml(recipe(save_tiny(tmp_path / "base"))))
    dataset(tmp_path / "data")

    def command(*more: str) -> int:
        call = ["train", "--recipe", "tiny.toml", "--dataset", "data", "--name", "mine", "--output", "run", *more]
        monkeypatch.setattr("sys.argv", ["alphastral", *call])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    def interrupt(trainings: Trainings, id: str, standing: TrainingStanding) -> None:
        if standing.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("services.trainer.tasks.TOLD_EVERY_SECONDS", 0)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Trainings, "tell", interrupt)
        assert command() == 1
    assert "the same command goes on" in capsys.readouterr().err and (tmp_path / "run" / "checkpoint-2").is_dir()
    assert command() == 0
    assert "is in the registry" in capsys.readouterr().out and (tmp_path / "run" / "checkpoint-4").is_dir()
    assert not list(Path("var/train/trainings").iterdir())

    assert command() == 1
    assert "--resume" in capsys.readouterr().err
    assert command("--resume") == 0
    assert len(Registry(Store(str(tmp_path / "store"))).versions("mine")) == 2
