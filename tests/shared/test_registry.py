"""The registry: what was published, read back with clear errors."""

from pathlib import Path

import pytest

from shared.errors import BrokenRecord, NotFound
from shared.registry import Registry
from shared.store import Store
from tests.standins.registry import OWN, promote, publish


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    publish(tmp_path, "smol", "1")
    publish(tmp_path, "smol", "2", {"v1": "a" * 64})
    publish(tmp_path, "new", "1")
    promote(tmp_path, "smol", "1")
    return Registry(Store(str(tmp_path)))


def test_a_name_stands_for_the_version_that_was_promoted_last(registry: Registry, tmp_path: Path) -> None:
    assert (registry.names(), registry.versions("smol")) == (["new", "smol"], ["1", "2"])
    assert registry.current("smol") == "1"
    promote(tmp_path, "smol", "2")
    assert registry.current("smol") == "2"


def test_a_card_names_the_contract(registry: Registry) -> None:
    assert registry.contract("smol", "1") == OWN
    assert registry.contract("smol", "2") == {"v1": "a" * 64}


def test_a_store_without_models_has_none(tmp_path: Path) -> None:
    assert Registry(Store(str(tmp_path / "nowhere"))).names() == []


@pytest.mark.parametrize("name", ["nobody", "new", "", "..", "../matchups", "smol/versions", "/etc", "Smol"])
def test_a_name_without_a_promoted_version_has_no_current_one(registry: Registry, name: str) -> None:
    with pytest.raises(NotFound):
        registry.current(name)


@pytest.mark.parametrize("version", ["3", "", "..", "../../new/versions/1", "1/../2"])
def test_a_version_that_was_not_published_has_no_card(registry: Registry, version: str) -> None:
    with pytest.raises(NotFound):
        registry.contract("smol", version)


def test_what_is_broken_is_said_so(registry: Registry, tmp_path: Path) -> None:
    promote(tmp_path, "smol", "../../new")
    with pytest.raises(BrokenRecord, match="names no version"):
        registry.current("smol")

    (tmp_path / "models/smol/versions/1/card.json").write_text("{")
    with pytest.raises(BrokenRecord, match=r"card\.json is broken"):
        registry.contract("smol", "1")
