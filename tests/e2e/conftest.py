"""Containers for the tests of this folder, which are skipped where no engine answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.engine import no_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            # All in one process, one after another: they share the containers.
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(900))
            item.add_marker(pytest.mark.xdist_group("e2e"))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> System:
    """The images are built; nothing runs."""
    if why := no_engine():
        pytest.skip(f"no container engine: {why}")
    made = System(tmp_path_factory.mktemp("e2e"))
    made.compose("--profile", "watch", "build")
    return made


@pytest.fixture(scope="session")
def system(images: System) -> Iterator[System]:
    """Everything runs, with one arena worker."""
    images.compose("--profile", "watch", "down", "--volumes")
    try:
        images.up()
        yield images
    finally:
        images.compose("--profile", "watch", "down", "--volumes", "--timeout", "5")
