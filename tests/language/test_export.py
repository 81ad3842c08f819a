"""Published folders are read alike by transformers 5 and by the transformers 4.51 that TGI is built on."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from shared.errors import BrokenRecord
from shared.language.chat import prompt_ids
from shared.language.load import load, make_loadable, save
from shared.registry import Registry
from shared.store import Store
from tests.language.old import Answer, ask, install
from tests.language.tiny import tiny_model, tiny_tokenizer
from tests.standins.registry import card

LLAMA3 = {
    "rope_theta": 500_000.0,
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def test_what_is_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(rope_parameters={"rope_theta": 1e5, "rope_type": "default"})

    save(model, tokenizer, tmp_path / "saved")
    again = load(tmp_path / "saved", dtype="float32")

    chat = [{"role": "user", "content": "Turn 3"}]
    ids = torch.tensor([prompt_ids(tokenizer, chat)])
    assert prompt_ids(again.tokenizer, chat) == prompt_ids(tokenizer, chat)
    assert torch.equal(again.model(ids).logits, model(ids).logits)


def test_the_fields_that_the_older_version_looks_for_are_there(tmp_path: Path) -> None:
    save(tiny_model(rope_parameters=LLAMA3), tiny_tokenizer(), tmp_path)
    once = (tmp_path / "config.json").read_text(), (tmp_path / "tokenizer_config.json").read_text()

    make_loadable(tmp_path)

    config, tokenizer = json.loads(once[0]), json.loads(once[1])
    assert (config["rope_theta"], config["torch_dtype"]) == (500_000.0, "float32")
    assert config["rope_scaling"] == {name: value for name, value in LLAMA3.items() if name != "rope_theta"}
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast" and "<|im_start|>" in tokenizer["chat_template"]
    assert ((tmp_path / "config.json").read_text(), (tmp_path / "tokenizer_config.json").read_text()) == once


def test_a_configuration_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")

    with pytest.raises(BrokenRecord, match=r"config\.json is no JSON object"):
        make_loadable(tmp_path)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Answer, Answer]]:
    """Folder → what transformers 5 and transformers 4.51 make of it. One process each: they start slowly."""
    made = tmp_path_factory.mktemp("both")
    plain = {"rope_theta": 1e5, "rope_type": "default"}
    smollm2 = load("smollm2", dtype="float32")
    save(tiny_model(rope_parameters=plain), tiny_tokenizer(), made / "plain")
    save(tiny_model(rope_parameters=LLAMA3), tiny_tokenizer(), made / "llama3")
    save(smollm2.model, smollm2.tokenizer, made / "smollm2")
    registry = Registry(Store(str(made / "store")))
    names = ("plain", "llama3", "smollm2")
    folders = {name: registry.fetch(name, registry.publish(name, made / name, card()), made) for name in names}
    tiny_model(rope_parameters=plain).save_pretrained(made / "plain")
    folders["as it was saved"] = made / "plain"
    ours = ask(list(folders.values()), made / "ours")
    theirs = ask(list(folders.values()), made / "theirs", install())
    return dict(zip(folders, zip(ours, theirs, strict=True), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["plain", "llama3", "smollm2"])
def test_a_published_model_has_the_same_logits_in_both_versions(
    both: Mapping[str, tuple[Answer, Answer]], name: str
) -> None:
    ours, theirs = both[name]

    assert (ours.version, theirs.version) == ("5.23.0", "4.51.3")
    assert (theirs.text, theirs.ids, theirs.dtype, theirs.end) == (ours.text, ours.ids, ours.dtype, ours.end)
    assert torch.equal(ours.logits, theirs.logits)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_without_those_fields_the_older_version_computes_something_else(
    both: Mapping[str, tuple[Answer, Answer]],
) -> None:
    ours, theirs = both["as it was saved"]

    assert ours.logits.shape == theirs.logits.shape
    assert not torch.allclose(ours.logits, theirs.logits, atol=1e-3)
