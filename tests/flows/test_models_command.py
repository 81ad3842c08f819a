"""`alphastral models` and `alphastral train`, as they are typed: what they say, what they leave, what they refuse."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.registry import Registry
from shared.store import Store
from tests.flows.conftest import alphastral
from tests.language.tiny import save_tiny
from tests.standins.hub import hub
from tests.standins.registry import card, trained
from tests.trainer.learned import as_toml, dataset, recipe

KEY = "hf_secret"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two versions of `smol`, the second hostile in what its card says."""
    made = Registry(Store(str(tmp_path / "store")))
    for second, base in ((1, "smollm2"), (2, "[red]evil[/red]\x1b[2J")):
        version = made.publish("smol", trained(tmp_path / f"trained-{second}"), card(second, base=base))
        made.promote("smol", version)
    return made


def models(*arguments: str, folder: Path, status: int = 0, at: Mapping[str, str] | None = None) -> str:
    ended = alphastral("models", *arguments, folder=folder, ALPHASTRAL_STORE=str(folder / "store"), **(at or {}))
    assert ended.status == status, ended.stderr
    return ended.stdout + ended.stderr


def test_an_empty_registry_says_how_to_fill_it(tmp_path: Path) -> None:
    assert "alphastral train" in models(folder=tmp_path)


def test_versions_are_listed_shown_promoted_and_rolled_back(registry: Registry, tmp_path: Path) -> None:
    first, second = registry.versions("smol")

    listed = models(folder=tmp_path).splitlines()
    shown = models("show", "smol", folder=tmp_path)
    assert [line[: len(first) + 7] for line in listed] == [f"  smol@{first}", f"* smol@{second}"]
    assert f"smol@{second}, which the name stands for now" in shown and "v2 " in shown
    assert "[red]evil" in shown and "\x1b" not in shown + "".join(listed)

    assert f"smol@{first} again" in models("rollback", "smol", folder=tmp_path)
    assert registry.current("smol") == first
    assert f"now stands for smol@{second}" in models("promote", f"smol@{second}", folder=tmp_path)
    assert registry.current("smol") == second


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("show", "other"), 1, "no model 'other'"),
        (("show", "smol@9"), 1, "no model smol@9"),
        (("promote", "smol"), 2, "which version of smol?"),
        (("promote", "smol@../x"), 1, "no model smol@../x"),
        (("rollback", "other"), 1, "no model 'other'"),
        (("push", "smol", "me/smol"), 2, "HF_TOKEN"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    registry: Registry, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    before = registry.current("smol")

    assert said in models(*arguments, folder=tmp_path, status=status)
    assert registry.current("smol") == before


def test_a_version_goes_to_the_hub_and_comes_back_as_one_that_nobody_promoted(
    registry: Registry, tmp_path: Path
) -> None:
    with hub(KEY) as there:
        at = {"ALPHASTRAL_HUB_URL": there.url, "ALPHASTRAL_HF_TOKEN": KEY}
        sent = models("push", "smol", "me/smol", folder=tmp_path, at=at)
        came = models("pull", "me/smol", "again", folder=tmp_path, at=at)

    assert "me/smol" in sent and there.repos["models", "me/smol"].private
    assert KEY not in sent + came
    [version] = registry.versions("again")
    assert f"alphastral models promote again@{version}" in came
    assert list(registry.promoted("again")) == []


@pytest.mark.slow
def test_what_was_trained_is_published_and_sent_to_the_hub(tmp_path: Path) -> None:
    base, data = save_tiny(tmp_path / "base", max_position_embeddings=2048), dataset(tmp_path / "data")
    (tmp_path / "tiny.toml").write_text(as_toml(recipe(base)))
    asked = ("--recipe", "tiny.toml", "--dataset", str(data), "--name", "mine", "--push", "me/mine")
    store = str(tmp_path / "store")

    refused = alphastral("train", *asked, folder=tmp_path, ALPHASTRAL_STORE=store)
    with hub(KEY) as there:
        at = {"ALPHASTRAL_HUB_URL": there.url, "ALPHASTRAL_HF_TOKEN": KEY, "ALPHASTRAL_STORE": store}
        ended = alphastral("train", *asked, folder=tmp_path, **at)

    assert (refused.status, "HF_TOKEN" in refused.stderr) == (2, True)
    assert ended.status == 0, ended.stderr
    version = Registry(Store(store)).current("mine")
    assert f"mine@{version} is in the registry" in ended.stdout and "me/mine" in ended.stdout
    repository = there.repos["models", "me/mine"]
    assert repository.private and {"README.md", "card.json", "adapter_model.safetensors"} <= set(repository.files)
    assert b"## How good it is" in repository.files["README.md"]
