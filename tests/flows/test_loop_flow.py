"""The whole loop in miniature, and a training whose worker is killed: the real queue, real processes, tiny models."""

import json
import os
import signal
from pathlib import Path

import pytest

from deploy.cli.loop import Plan, run, sizes_for
from deploy.client import ApiKind
from deploy.stack import LocalStack
from services.scraper.datasets import Datasets
from services.trainer.sft import read_metrics
from services.trainer.trainings import NewTraining, Trainings, TrainingStatus
from shared.battle.pokedex import SNAPSHOT
from shared.errors import UsageError
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.work import ENDED, ListOf, State
from tests.flows.conftest import eventually
from tests.language.tiny import tiny_model, tiny_tokenizer
from tests.trainer.learned import dataset

TRAININGS = ApiKind("trainings", ListOf[TrainingStatus], TrainingStatus)

TEACHER = "race"

RECIPE = """
base = "{base}"
contract = "v2"
device = "cpu"
loss = "completion"
max_steps = {steps}
learning_rate = 1e-2
warmup_steps = 1
batch_size = 2
optimizer = "adamw_torch"
evaluate_every = {every}
save_every = {every}
scored_decisions = 4
max_length = 2000
[lora]
r = 8
alpha = 8
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""


def operator(folder: Path, *, steps: int, every: int) -> Settings:
    """Settings of an operator who has a recipe of their own for a tiny model of their own."""
    base = folder / "tiny-base"
    tokenizer = tiny_tokenizer()
    # A name is one token: all actions are of a length, and a model that knows nothing has no liking for short ones.
    snapshot = json.loads(SNAPSHOT.read_bytes())
    generations = [*snapshot["species"].values(), *snapshot["moves"].values()]
    names = sorted({facts[0] for generation in generations for facts in generation.values()})
    tokenizer.add_tokens([f" {name}" for name in names])
    tiny_model(max_position_embeddings=4096, vocab_size=len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tiny.toml").write_text(RECIPE.format(base=base, steps=steps, every=every))
    return Settings(
        store=str(folder / "store"),
        redis_url=None,
        api_port=None,
        scraper_workers=1,
        recipes=folder / "recipes",
        _env_file=None,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_loop_goes_from_self_play_to_one_report_and_is_not_done_twice(tmp_path: Path) -> None:
    # Enough to learn that one attacks more often than one switches: otherwise battles would last for ever.
    settings = operator(tmp_path, steps=25, every=25)
    plan = Plan(
        rounds=2,
        selfplay_battles=4,
        steps=24,
        teacher=TEACHER,
        opponents=(),
        recipe="tiny",
        base=str(tmp_path / "tiny-base"),
        name="tiny-tuned",
        battles=2,
        held_out_decisions=5,
        dtype="float32",
        concurrency=2,
    )

    report = run(plan, tmp_path / "loop", settings)

    figures = json.loads((tmp_path / "loop" / "report.json").read_text())
    questions = ["tuned vs base", f"tuned vs {TEACHER}", "base vs random"]
    questions += ["tuned vs round 1", "round 1 vs heuristic"]
    assert {question: line["battles"] for question, line in figures["matchups"].items()} == dict.fromkeys(questions, 2)
    assert {"round 1", "round 2", "heuristic"} <= figures["ratings"].keys()
    assert figures["decision_cost"].keys() == {"tuned", "base"}
    assert {"tuned", "base", "a uniform guess", "most power times effectiveness"} <= figures["decision_accuracy"].keys()
    html = report.read_text()
    store = tmp_path / "loop" / "store"
    done = {path: path.read_bytes() for path in (store / "matchups").rglob("*") if path.is_file()}
    versions = Registry(Store(str(store))).versions("tiny-tuned")
    # As where it was interrupted before its last step, after a training that somebody's full disk had ended.
    report.unlink()
    first, training = Trainings(Store(str(store))).ids()
    asked = [Trainings(Store(str(store))).request(id).changes for id in (first, training)]
    assert sorted(changes.get("begin_from", "") for changes in asked) == ["", f"tiny-tuned@{versions[0]}"]
    learned_from = [Datasets(Store(str(store))).request(id).sources for id in Datasets(Store(str(store))).ids()]
    assert sorted(map(len, learned_from)) == [1, 2]
    Trainings(Store(str(store))).fail(training, "no space left on device")

    assert run(plan, tmp_path / "loop", settings).read_text() == html
    assert {path: path.read_bytes() for path in (store / "matchups").rglob("*") if path.is_file()} == done
    assert Registry(Store(str(store))).versions("tiny-tuned") == versions
    assert Trainings(Store(str(store))).failures(training) == {}
    assert "tuned vs base" in html and "most power times effectiveness" in html
    with pytest.raises(UsageError, match="asked for otherwise"):
        run(plan.model_copy(update={"battles": 4}), tmp_path / "loop", settings)
    for changes in ({"merge": "true"}, {"base": "other/one"}, {"device": "cuda"}):
        with pytest.raises(UsageError):
            run(plan.model_copy(update={"changes": changes}), tmp_path / "refused", settings)
    assert not (tmp_path / "refused").exists()


def test_hours_choose_rounds_battles_and_steps_by_the_pace() -> None:
    half, two = (sizes_for(Plan(hours=hours), battle_seconds=10, step_seconds=2.5, batch_size=4) for hours in (0.5, 2))

    assert (half["rounds"], two["rounds"]) == (1, 4)
    assert half["selfplay_battles"] * 10 + half["steps"] * 2.5 <= 0.5 * 3600 * 0.8
    for more in ("steps", "selfplay_battles", "battles"):
        assert two["rounds"] * two[more] >= 2 * half[more]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    settings = operator(tmp_path, steps=60, every=5)
    store = Store(settings.store)
    dataset(tmp_path / "store" / "datasets" / "small")
    with LocalStack(settings, trainers=1, arena_workers=1, folder=tmp_path) as stack, stack.client() as client:
        status = client.ask(TRAININGS, NewTraining(recipe="tiny", dataset="small", name="mine"), idempotency_key="once")
        work = Trainings(store).checkpoints(status.id)
        eventually(lambda: (work / "checkpoint-10").is_dir(), 120)
        [worker] = [each for each in client.health()["workers"] if each["queue"] == "train"]

        os.kill(worker["pid"], signal.SIGKILL)
        before = read_metrics(work / "metrics.jsonl")

        eventually(lambda: client.get(TRAININGS, status.id).state in ENDED, 120)
        ended = client.get(TRAININGS, status.id)
        assert ended.state is State.FINISHED, ended.failure
        again = client.ask(TRAININGS, NewTraining(recipe="tiny", dataset="small", name="mine"), idempotency_key="once")
    assert ended.result is not None and again.result == ended.result
    # Begun anew, its first lines would tell other speeds. The checkpoint of the tenth step may be half.
    kept = [line for line in before if line["step"] <= 5]
    metrics = read_metrics(work / "metrics.jsonl")
    assert kept and metrics[: len(kept)] == kept
    assert [line["step"] for line in metrics if "loss" in line] == list(range(5, 61, 5))
    assert Registry(store).current("mine") == ended.result.version
    with pytest.raises(UsageError, match="no recipe is called"):
        NewTraining(recipe="other", dataset="small", name="mine").resolved(settings.recipes)
