"""Training for real, with tiny models: killed and gone on with, adapted where it should be, merged without a change."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from services.trainer.adapters import lora_config
from services.trainer.data import tokens
from services.trainer.machine import Size, check_base, check_room
from services.trainer.sft import read_metrics, train
from services.trainer.tasks import publish
from services.trainer.trainings import TrainingStanding
from shared.battle.contract import CONTRACTS
from shared.errors import Conflict, UsageError
from shared.jobs import HandedBack
from shared.language.load import load
from shared.registry import Registry
from shared.settings import child_environment
from shared.store import Store
from tests.language.tiny import save_tiny, save_tiny_mistral3, tiny_mistral3, tiny_tokenizer
from tests.trainer.learned import LAYERS, as_toml, dataset, recipe, rows

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """As good as kill -9: nothing in the training expects it."""


def killed_at(step: int) -> Callable[[TrainingStanding], None]:
    def kill(standing: TrainingStanding) -> None:
        if standing.step == step:
            raise Killed

    return kill


def told(run: Path, figure: str) -> dict[float, float]:
    """What a run's metrics say of a figure at each step, once."""
    lines = [line for line in read_metrics(run / "metrics.jsonl") if figure in line]
    by_step = {line["step"]: line[figure] for line in lines}
    assert len(by_step) == len(lines)
    return by_step


def test_killed_at_step_25_of_40_and_resumed_it_ends_at_the_same_loss(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    # Twelve steps an epoch: it is killed, and goes on, in mid-epoch, and not in the first.
    forty = recipe(base, max_steps=40, evaluate_every=10, save_every=10)

    train(forty, data, tmp_path / "whole")
    with pytest.raises(Killed):
        train(forty, data, tmp_path / "killed", on_standing=killed_at(25))
    train(forty, data, tmp_path / "killed")

    assert list(told(tmp_path / "killed", "eval_loss")) == [10, 20, 30, 40]
    for figure in ("eval_loss", "loss"):
        assert told(tmp_path / "killed", figure) == pytest.approx(told(tmp_path / "whole", figure), abs=1e-4)


def test_killed_while_it_wrote_a_checkpoint_it_goes_on_from_the_one_before(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    six = recipe(base, max_steps=6)

    train(six, data, tmp_path / "whole")
    with pytest.raises(Killed):
        train(six, data, tmp_path / "killed", on_standing=killed_at(5))
    half = tmp_path / "killed" / "checkpoint-4"
    state = half / "trainer_state.json"
    state.write_text(state.read_text()[:-20])
    (tmp_path / "killed" / "checkpoint-5").mkdir()
    train(six, data, tmp_path / "killed")

    assert told(tmp_path / "killed", "eval_loss") == pytest.approx(told(tmp_path / "whole", "eval_loss"), abs=1e-4)


def test_whoever_goes_on_does_so_in_the_number_type_that_it_was_begun_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")

    monkeypatch.setenv("ALPHASTRAL_DTYPE", "float32")
    with pytest.raises(Killed):
        train(recipe(base), data, tmp_path / "run", on_standing=killed_at(3))
    monkeypatch.setenv("ALPHASTRAL_DTYPE", "bfloat16")
    trained = train(recipe(base), data, tmp_path / "run")

    registry = Registry(Store(str(tmp_path / "store")))
    card = registry.card("mine", publish(registry, "mine", recipe(base), trained))
    assert trained.dtype == "float32"
    assert card.recipe is not None and card.recipe.values["dtype"] == "float32"


def test_killed_after_its_last_step_it_is_not_trained_any_further(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    whole = train(recipe(base), data, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in whole.folder.iterdir()}
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    shutil.rmtree(whole.folder)

    again = train(recipe(base), data, tmp_path / "run")

    assert again.metrics == whole.metrics
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == before
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics


def test_given_up_it_ends_in_the_middle_of_an_evaluation(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    seen: list[int] = []

    with pytest.raises(HandedBack):
        train(
            recipe(base),
            data,
            tmp_path / "run",
            on_standing=lambda standing: seen.append(standing.step),
            given_up=lambda: seen[-1:] == [2],
        )

    assert seen == [1, 2]
    assert told(tmp_path / "run", "eval_loss") == {} and not (tmp_path / "run" / "checkpoint-2").exists()


def test_told_to_stop_it_leaves_a_checkpoint_and_hands_itself_back(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    seen: list[int] = []

    with pytest.raises(HandedBack):
        train(
            recipe(base),
            data,
            tmp_path / "run",
            on_standing=lambda standing: seen.append(standing.step),
            stopping=lambda: len(seen) >= 3,
        )

    assert (tmp_path / "run" / "checkpoint-3").is_dir()
    assert train(recipe(base), data, tmp_path / "run").metrics["steps"] == 4


def test_what_was_trained_is_published_with_its_card(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    registry = Registry(Store(str(tmp_path / "store")))

    trained = train(recipe(base), data, tmp_path / "run")
    version = publish(registry, "tiny", recipe(base), trained)

    card = registry.check("tiny", version)
    assert registry.current("tiny") == version
    assert (card.kind, card.base, card.contract) == ("adapter", str(base), {"v2": CONTRACTS["v2"].hash})
    assert card.recipe is not None and card.recipe.values["max_steps"] == 4
    assert 0 <= card.metrics["decision_accuracy"] <= 1
    assert "uniform_guess_accuracy" in card.metrics
    folder = registry.fetch("tiny", version, tmp_path)
    assert load(base, adapters={"tiny": folder}).adapters


def test_merged_and_unmerged_say_the_same(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    merging = recipe(base, merge=True, dtype="float32")

    trained = train(merging, data, tmp_path / "run")

    assert not (trained.folder / "adapter_config.json").exists()
    apart = train(recipe(base, dtype="float32"), data, tmp_path / "apart")
    ids = torch.tensor([tokens(rows("held", 1), tiny_tokenizer(), loss="all", max_length=2000).input_ids[0]])
    adapted = load(base, adapters={"own": apart.folder}, dtype="float32")
    adapted.use_adapter("own")
    with torch.inference_mode():
        expected = adapted.model(input_ids=ids).logits
        found = load(trained.folder, dtype="float32").model(input_ids=ids).logits
    assert torch.allclose(found, expected, atol=1e-3)


def test_a_model_with_a_vision_tower_is_trained_merged_and_loaded_again(tmp_path: Path) -> None:
    base, data = save_tiny_mistral3(tmp_path / "base"), dataset(tmp_path / "data")

    trained = train(recipe(base, merge=True, dtype="float32"), data, tmp_path / "run")

    assert trained.architecture == "mistral3"
    ids = torch.tensor([tokens(rows("held", 1), tiny_tokenizer(), loss="all", max_length=2000).input_ids[0]])
    with torch.inference_mode():
        found, untrained = (
            load(folder, dtype="float32").model(input_ids=ids).logits for folder in (trained.folder, base)
        )
    assert not torch.allclose(found, untrained, atol=1e-2)


def test_no_layer_of_the_vision_tower_is_adapted(tmp_path: Path) -> None:
    from peft import get_peft_model

    model = tiny_mistral3()
    bears_the_names = {name for name, _ in model.named_modules() if name.endswith(("q_proj", "gate_proj"))}
    adapted = get_peft_model(model, lora_config(recipe(tmp_path), model))

    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert any("vision_tower" in name for name in bears_the_names)
    assert trained and all(".language_model." in name for name in trained)
    assert len(trained) == 2 * 2 * len(LAYERS)


def test_a_folder_of_another_training_is_left_alone(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    train(recipe(base), data, tmp_path / "run")

    with pytest.raises(Conflict, match="another recipe"):
        train(recipe(base, seed=1), data, tmp_path / "run")


def test_a_training_that_was_refused_leaves_its_folder_to_the_next_one(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    with pytest.raises(UsageError, match="cannot load"):
        train(recipe(tmp_path / "mistyped"), data, tmp_path / "run")

    assert train(recipe(base), data, tmp_path / "run").metrics["steps"] == 4


@pytest.mark.slow
def test_several_processes_train_one_model(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base"), dataset(tmp_path / "data")
    own = tmp_path / "tiny.toml"
    own.write_text(as_toml(recipe(base)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(Path(sys.executable).parent / "alphastral"), "train", "--recipe", str(own), "--name", "mine"]
    command += ["--dataset", str(data), "--output", str(tmp_path / "run")]
    environment = child_environment(ALPHASTRAL_STORE=str(tmp_path / "store"))

    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    registry = Registry(Store(str(tmp_path / "store")))
    assert len(registry.versions("mine")) == 1 and ended.stdout.count("is in the registry") == 1
    assert list(told(tmp_path / "run", "eval_loss")) == [2, 4]


@pytest.mark.parametrize(("room", "named"), [({"memory": 1}, "GB of memory"), ({"disk": 1}, "checkpoints and model")])
def test_too_little_room_is_said_before_anything_begins(tmp_path: Path, room: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        check_room(
            recipe(tmp_path), Size(10**9, 10**7, 576, 30), tmp_path, **{"memory": 1 << 60, "disk": 1 << 60, **room}
        )


def test_a_base_that_memory_cannot_hold_is_not_loaded(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    parameters = sum(each.numel() for each in load(base).model.parameters())

    check_base(recipe(base, dtype="float32"), memory=4 * parameters)
    with pytest.raises(UsageError, match=r"needs about 0\.0 GB of memory"):
        check_base(recipe(base, dtype="float32"), memory=4 * parameters - 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: no CUDA device is here")
@pytest.mark.parametrize("name", ["t4-qlora", "a100-lora"])
def test_the_recipes_for_cuda_train_for_real(tmp_path: Path, name: str) -> None:
    from services.trainer import recipes

    if name == "t4-qlora":
        pytest.importorskip("bitsandbytes", reason="t4-qlora needs bitsandbytes: pip install 'alphastral[qlora]'")
    base, data = save_tiny_mistral3(tmp_path / "base"), dataset(tmp_path / "data")
    changes = {"max_steps": 4, "evaluate_every": 2, "save_every": 2, "max_length": 2000, "contract": "v2"}

    trained = train(recipes.load(name).model_copy(update={"base": str(base), **changes}), data, tmp_path / "run")

    assert trained.metrics["steps"] == 4
