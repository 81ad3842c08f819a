"""The containers as a test drives them: a compose project of its own, with its own ports, volumes and password."""

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.client import MATCHUPS, ApiClient
from shared.records import NewMatchup, Run, parse_run
from shared.work import State

ROOT = Path(__file__).parents[2]
PROJECT = "alphastral-e2e"
CANARY = "canary-5f1d0c3b9a7e4628"
"""Stands in a build's secret, and may stand in no image."""
SLOWLY = 0.03
"""Seconds before each order: a battle is then in play long enough for something to happen to it."""
START_SECONDS = 600


def eventually(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.25)


class System:
    """A compose project over the repository's own files."""

    def __init__(self, folder: Path) -> None:
        self.password = secrets.token_urlsafe(32)
        self.port, showdown_port = free_ports(2)
        (folder / "redis_password").write_text(f"{self.password}\n")
        for key in ("alphastral_api_token", "mistral_api_key", "hf_token", "openai_api_key"):
            (folder / key).write_text("")
        (folder / "pip.conf").write_text(f"# {CANARY}\n[global]\ntimeout = 60\n")
        self._environment = os.environ | {
            "CONTAINERS_API_PORT": str(self.port),
            "CONTAINERS_SHOWDOWN_PORT": str(showdown_port),
            "CONTAINERS_REDIS_PASSWORD_FILE": str(folder / "redis_password"),
            "CONTAINERS_SECRETS": str(folder),
            "CONTAINERS_BUILD_PIP_CONF": str(folder / "pip.conf"),
            # What pip trusts here, builds trust too.
            "CONTAINERS_BUILD_CA": os.environ.get("CONTAINERS_BUILD_CA") or os.environ.get("PIP_CERT", ""),
        }

    def compose(self, *arguments: str, check: bool = True) -> str:
        """What `docker compose …` prints."""
        command = ["docker", "compose", "--project-name", PROJECT, *arguments]
        ran = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        assert not check or ran.returncode == 0, f"{' '.join(command)}: {ran.stderr[-3000:]}"
        return ran.stdout

    def build_engine(self, image: str, name: str) -> None:
        """The supervisor on top of an image."""
        ca = self._environment["CONTAINERS_BUILD_CA"] or "/dev/null"
        network = self._environment.get("CONTAINERS_BUILD_NETWORK", "default")
        pip_conf = self._environment["CONTAINERS_BUILD_PIP_CONF"]
        docker(
            *("build", "--quiet", "--file", str(ROOT / "deploy/containers/engine.Dockerfile"), "--tag", name),
            *("--network", network, "--secret", f"id=ca,src={ca}", "--secret", f"id=pip_conf,src={pip_conf}"),
            *("--build-arg", f"ENGINE_IMAGE={image}", str(ROOT)),
        )

    def up(self, *, arena: int = 1) -> None:
        self.compose("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), "--scale", f"arena={arena}")

    def containers(self, *services: str) -> list[str]:
        """The ids of running containers, Showdown's too while it runs."""
        return self.compose("--profile", "watch", "ps", "--quiet", *services).split()

    def inspect(self, container: str) -> Any:
        return json.loads(docker("inspect", container))[0]

    def client(self) -> ApiClient:
        return ApiClient(f"http://127.0.0.1:{self.port}")

    def ask(
        self, *, seed: int, p1: str = "random", p2: str = "random", move_delay: float = 0.0, battles: int = 40
    ) -> str:
        """The id of a new matchup."""
        asked = NewMatchup(p1=p1, p2=p2, battles=battles, seed=seed, concurrency=4, move_delay=move_delay)
        with self.client() as client:
            return client.ask(MATCHUPS, asked).id

    def recorded(self, matchup_id: str) -> int:
        with self.client() as client:
            return client.get(MATCHUPS, matchup_id).recorded

    def await_recorded(self, matchup_id: str, battles: int) -> None:
        eventually(lambda: self.recorded(matchup_id) >= battles)

    def await_run(self, matchup_id: str, *, seconds: float = 240) -> Run:
        """The run of a matchup, once it is finished."""
        with self.client() as client:
            eventually(lambda: client.get(MATCHUPS, matchup_id).state is State.FINISHED, seconds)
            return parse_run(client.read(MATCHUPS, matchup_id, "run"), f"the run of {matchup_id}")


def assert_whole(run: Run, battles: int = 40) -> None:
    """Every battle was played to its end, and none stands there twice."""
    assert [battle.index for battle in run.battles] == list(range(battles))
    assert len({battle.battle_tag for battle in run.battles}) == battles
    assert [battle.broken for battle in run.battles if battle.broken] == []
    assert run.summary.n_games == battles


def hosts(run: Run) -> set[str]:
    """The containers whose workers played a run's battles."""
    return {(battle.worker or "").split("-")[0] for battle in run.battles}


def docker(*arguments: str) -> str:
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"docker {' '.join(arguments)}: {ran.stderr[-3000:]}"
    return ran.stdout


def logs(container: str) -> str:
    """What a container has written."""
    return subprocess.run(
        ["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
