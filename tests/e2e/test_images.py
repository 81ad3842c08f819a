"""What the images hold, what they must not hold, and as whom they run."""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import CANARY, ROOT, System, docker, eventually

OURS = 10001
MEGABYTE = 10**6
LARGEST = {
    "alphastral-api": 375,
    "alphastral-arena": 375,
    "alphastral-reporter": 375,
    "alphastral-scraper": 375,
    "alphastral-redis": 1,
}
"""Megabytes on top of the base image, whose public build weighs about 125: together under 500."""
SECRETS = [
    re.compile(pattern)
    for pattern in (
        rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{100}",
        rb"_authToken=",
        rb"AKIA[0-9A-Z]{16}",
        rb"hf_[A-Za-z]{34}",
        rb"gh[pousr]_[A-Za-z0-9]{36}",
        rb"sk-[A-Za-z0-9]{40}",
    )
]
"""Each begins with its own letters, which makes the search a hundred times quicker than one for all of them."""
FORBIDDEN_FILES = re.compile(r"(^|/)(\.env|\.netrc|\.pypirc|pip\.conf|redis_password|id_rsa)$")


@pytest.fixture(scope="session")
def engine(images: System) -> str:
    """The image of an engine under our supervisor; a Python image stands for the engine's own."""
    images.build_engine("python:3.11-slim-bookworm", "alphastral-e2e-engine")
    return "alphastral-e2e-engine"


@pytest.fixture(scope="session")
def names(images: System, engine: str) -> list[str]:
    """All images that are built here."""
    shown = json.loads(images.compose("--profile", "watch", "config", "--format", "json"))
    return [*sorted({service["image"] for service in shown["services"].values() if "build" in service}), engine]


def ours(name: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file in the layers that an image has on top of its base."""
    base = "redis:7-bookworm" if name == "alphastral-redis" else "python:3.11-slim-bookworm"
    known = set(json.loads(docker("inspect", base))[0]["RootFS"]["Layers"])
    layers = json.loads(docker("inspect", name))[0]["RootFS"]["Layers"]
    assert known <= set(layers)
    docker("save", "--output", str(folder / "image.tar"), name)
    with tarfile.open(folder / "image.tar") as image:
        described = image.extractfile("manifest.json")
        assert described is not None
        [manifest] = json.load(described)
        for digest, layer in zip(layers, manifest["Layers"], strict=True):
            if digest in known:
                continue
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                for file in files:
                    if file.isfile():
                        content = files.extractfile(file)
                        assert content is not None
                        yield file.name, content.read()


def has_secret(content: bytes) -> bool:
    found = (match.start() for pattern in SECRETS for match in pattern.finditer(content))
    return any(start == 0 or not content[start - 1 : start].isalnum() for start in found)


@pytest.mark.parametrize(
    "secret",
    [
        b"-----BEGIN RSA PRIVATE KEY-----\n" + b"MIIEow" * 17,
        b"//registry/:_authToken=x",
        b"key = AKIA" + b"Q" * 16,
        b" hf_" + b"a" * 34,
        b"token: ghp_" + b"a" * 36,
        b'"sk-' + b"a" * 40 + b'"',
    ],
)
def test_a_secret_is_recognised(secret: bytes) -> None:
    assert has_secret(secret)
    assert not has_secret(secret[:-10])


def test_no_layer_holds_a_secret(images: System, names: list[str], tmp_path: Path) -> None:
    planted = (CANARY.encode(), images.password.encode())
    found, files = [], 0
    for name in names:
        for path, content in ours(name, tmp_path):
            files += 1
            if FORBIDDEN_FILES.search(path) or has_secret(content) or any(one in content for one in planted):
                found.append(f"{name}: {path}")
        history = docker("history", "--no-trunc", name) + docker("inspect", name)
        assert not any(one.decode() in history for one in planted)

    assert found == []
    assert files > 1000


def test_packages_agree_in_every_image(names: list[str], engine: str) -> None:
    for name in names:
        if name == "alphastral-redis":
            continue
        python = "/opt/supervisor/bin/python" if name == engine else "/opt/venv/bin/python"
        checked = docker("run", "--rm", "--network", "none", name, "pip", "--python", python, "check")
        assert checked.strip() == "No broken requirements found."


def test_torch_and_the_simulator_are_only_where_they_are_needed(names: list[str]) -> None:
    with_torch = {name for name in names if finds(name, "test -d /opt/venv/lib/python3*/site-packages/torch")}
    with_simulator = {name for name in names if finds(name, "test -x /usr/local/bin/node")}

    assert with_torch <= {"alphastral-inference", "alphastral-trainer"}
    assert with_simulator <= {"alphastral-arena", "alphastral-scraper", "alphastral-trainer"}
    assert "alphastral-arena" in with_simulator


def finds(name: str, question: str) -> bool:
    return docker("run", "--rm", "--network", "none", name, "sh", "-c", f"{question} && echo yes || true") == "yes\n"


def test_an_engine_s_own_image_takes_the_supervisor_beside_it(engine: str, tmp_path: Path) -> None:
    """A program that answers to the engine's name stands for it. Nobody says as whom it runs: the image does."""
    (tmp_path / "behaviour.json").write_text('{"start": "ok"}')
    program = tmp_path / "text-generation-launcher"
    program.write_text('#!/bin/sh\nexec python3 /standin/engine.py "$0" "$@"\n')
    program.chmod(0o755)
    (tmp_path / "engine.py").write_bytes((ROOT / "tests/standins/engine.py").read_bytes())
    tmp_path.chmod(0o755)
    supervisor = ["/opt/supervisor/bin/python", "-m", "services.inference.supervisor", "smol", "--engine=tgi"]
    shown = ["run", "--detach", "--rm", "--network", "none", "--read-only"]
    mounted = ["--volume", f"{tmp_path}:/standin:ro", "--tmpfs", "/tmp", "--env", "PATH=/standin:/usr/local/bin:/bin"]
    command = [*supervisor, "--stand-in=/standin", "--folder=/tmp/engine"]
    container = docker(*shown, *mounted, engine, *command).strip()
    try:
        ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8081/status').read().decode())"

        def status() -> dict[str, object]:
            asked = docker("exec", container, "sh", "-c", f'python3 -c "{ask}" 2>/dev/null || echo "{{}}"')
            told: dict[str, object] = json.loads(asked)
            return told

        eventually(lambda: status().get("state") == "serving", 60)
        assert (status()["serves"], status()["engine"], status()["version"]) == ("/standin", "tgi", None)
        assert users(container) == {str(OURS)}
        unseen = docker("exec", container, "python3", "-c", "import importlib.util as u; print(u.find_spec('shared'))")
        assert unseen == "None\n"
    finally:
        docker("kill", container)


@pytest.mark.parametrize("name", LARGEST)
def test_an_image_stays_small(images: System, name: str) -> None:
    sizes = docker("history", "--human=false", "--format", "{{.Size}}", name).split()
    base = "redis:7-bookworm" if name == "alphastral-redis" else "python:3.11-slim-bookworm"
    below = len(docker("history", "--quiet", base).split())

    assert sum(map(int, sizes[:-below])) / MEGABYTE < LARGEST[name]


@pytest.fixture
def showdown(system: System) -> Iterator[None]:
    """The official server runs too."""
    system.compose("--profile", "watch", "up", "--detach", "--wait", "showdown")
    yield
    system.compose("--profile", "watch", "rm", "--stop", "--force", "showdown")


@pytest.mark.usefixtures("showdown")
def test_every_process_is_nobody_in_particular_and_can_write_nowhere(system: System) -> None:
    looked_at = set()
    for container in system.containers():
        described = system.inspect(container)
        looked_at.add(described["Config"]["Labels"]["com.docker.compose.service"])
        host = described["HostConfig"]
        hardened = (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"], host["SecurityOpt"])
        assert hardened == (True, ["ALL"], False, ["no-new-privileges:true"])
        assert host["Memory"] > 0
        assert host["LogConfig"]["Config"]["max-size"]
        assert users(container) == {str(OURS)}
        refused = docker("exec", container, "sh", "-c", "touch /usr/x /opt/x /etc/x 2>&1 || true")
        assert refused.count("Read-only file system") == 3
    assert looked_at == set(system.compose("--profile", "watch", "config", "--services").split())


def users(container: str) -> set[str]:
    """As whom the processes of a container run."""
    return {line.split()[1] for line in docker("top", container, "-eo", "pid,uid").splitlines()[1:]}
