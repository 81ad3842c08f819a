"""Names of the registry in what is asked for: which version they become, and who answers for it."""

from pathlib import Path

import pytest

from deploy.cli.bench import read_bench
from services.arena.checks import pin, pinned
from shared.errors import UnknownPolicy, UsageError
from shared.records import MatchupRequest
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from tests.standins.registry import promote, publish

ENDPOINTS = """
[registry]
url = "http://gpu1:8080"
[small]
url = "http://gpu2:8080"
["smol@2"]
url = "http://gpu3:8080"
"""


class Place:
    """A registry, and settings that name three endpoints."""

    def __init__(self, folder: Path, endpoints: str = ENDPOINTS) -> None:
        self.folder = folder
        publish(folder, "smol", "1")
        publish(folder, "smol", "2")
        publish(folder, "new", "1")
        promote(folder, "smol", "1")
        (folder / "endpoints.toml").write_text(endpoints)
        self.registry = Registry(Store(str(folder)))
        self.settings = Settings(store=str(folder), endpoints_file=folder / "endpoints.toml", _env_file=None)

    def pin(self, text: str) -> str:
        return pin(text, self.registry, self.settings)

    def pinned(self, before: MatchupRequest | None = None, **asked: str) -> MatchupRequest:
        return pinned(MatchupRequest.model_validate(asked), self.registry, self.settings, before=before)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("tgi:smol", "tgi:smol@1"),
        ("tgi:smol?contract=v1&asks=3", "tgi:smol@1?contract=v1&asks=3"),
        ("tgi:smol@2?asks=3", "tgi:smol@2?asks=3"),
        ("tgi:small", "tgi:small"),
        ("tgi:small@7", "tgi:small@7"),
        ("tgi:http://gpu9", "tgi:http://gpu9"),
        ("tgi:smol@http://gpu9", "tgi:smol@http://gpu9"),
        ("mistral:smol", "mistral:smol"),
        ("random", "random"),
    ],
)
def test_a_name_of_the_registry_becomes_a_version_and_nothing_else_changes(
    place: Place, written: str, meant: str
) -> None:
    assert place.pin(written) == meant


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("tgi:other", "no endpoint is called 'other'; .*; the registry's models are: new, smol"),
        ("tgi:other@1", "no endpoint is called 'other@1'"),
        ("tgi:../smol", "no endpoint is called"),
        ("tgi:smol@3", "the model 'smol' has no version '3'; its versions are: 1, 2"),
        ("tgi:new", "no version of the model 'new' is promoted; its versions are: 1"),
    ],
)
def test_a_name_that_nobody_knows_is_refused_with_those_that_exist(place: Place, written: str, reason: str) -> None:
    with pytest.raises(UnknownPolicy, match=reason) as refused:
        place.pinned(p1="random", p2=written)
    assert refused.value.field == "p2"


def test_a_version_is_served_at_its_own_endpoint_or_at_the_registrys(place: Place) -> None:
    assert place.settings.serving("smol@1").url == "http://gpu1:8080"
    assert place.settings.serving("smol@2").url == "http://gpu3:8080"
    assert place.settings.serving("small@7").url == "http://gpu2:8080"


def test_a_version_without_a_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no endpoint is called 'smol@1'") as refused:
        Place(tmp_path, "").pinned(p1="tgi:smol", p2="random")
    assert refused.value.field == "p1"


def test_what_was_asked_before_stays_at_the_version_of_then(place: Place) -> None:
    before = place.pinned(p1="tgi:smol", p2="tgi:smol@2")
    promote(place.folder, "smol", "2")

    assert place.pinned(p1="tgi:smol", p2="tgi:smol@2", before=before) == before
    assert place.pinned(p1="tgi:smol?asks=3", p2="random", before=before).p1 == "tgi:smol@2?asks=3"
    assert place.pinned(p1="tgi:smol", p2="random").p1 == "tgi:smol@2"


def test_a_suite_is_played_at_the_versions_of_its_reading(place: Place) -> None:
    suite = place.folder / "suite.toml"
    suite.write_text('title = "s"\n[[matchup]]\np1 = "tgi:smol"\np2 = "random"\n')

    def read() -> MatchupRequest:
        return read_bench(suite, lambda asked: pinned(asked, place.registry, place.settings)).rows[0].request

    assert read().p1 == "tgi:smol@1"
    promote(place.folder, "smol", "2")
    assert read().p1 == "tgi:smol@2"
