"""The supervisor over engines that are real processes at real ports: it serves what was promoted, whatever happens."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.inference import engines
from services.inference.engines import COMMANDS, Command, Place, Published
from services.inference.status import SupervisorStatus
from services.inference.supervisor import Supervisor, Timing
from shared.errors import UsageError
from shared.registry import Registry
from shared.settings import child_environment
from shared.store import Store
from tests.standins.bucket import serving
from tests.standins.registry import card, trained

ROOT = Path(__file__).parents[2]
ENGINE = [sys.executable, "-P", str(ROOT / "tests/standins/engine.py")]
QUICK = Timing(
    poll_seconds=0.02,
    start_seconds=40.0,
    look_seconds=0.1,
    answer_seconds=2.0,
    bad_looks=2,
    first_pause_seconds=0.05,
    longest_pause_seconds=0.2,
    grace_seconds=1.0,
)
PROMOTE = """
import sys
from shared.store import Store
from shared.registry import Registry
Registry(Store(sys.argv[1])).promote("smol", sys.argv[2])
"""


def standing_in(command: Command) -> Command:
    """The command of the table, with our stand-in as its program."""
    return lambda *model: [*ENGINE, *command(*model)]


STANDING_IN: Mapping[str, Command] = {name: standing_in(command) for name, command in COMMANDS.items()}


class Site:
    """A registry, a supervisor in a thread of its own, and the port of its engine."""

    def __init__(
        self,
        folder: Path,
        timing: Timing = QUICK,
        commands: Mapping[str, Command] = STANDING_IN,
        *,
        bucket: str | None = None,
        engine: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.registry = Registry(Store(bucket or str(self.store)))
        self.clock, self.engine = clock, engine
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = int(taken.getsockname()[1])
        self.timing, self.commands = timing, commands
        self._stopping = threading.Event()
        self.supervisor = self.made()

    def made(self, stand_in: str | None = None) -> Supervisor:
        engine = self.engine or ("tgi" if stand_in else None)
        place = Place(self.folder / "engine", port=self.port, engine=engine, stand_in=stand_in)
        return Supervisor(self.registry, "smol", place, self.timing, self.commands, self.clock)

    def publish(self, second: int, start: str = "ok", **changes: object) -> str:
        behaviour = json.dumps({"start": start}).encode()
        made = trained(self.folder / f"trained-{second}", behaviour__json=behaviour)
        return self.registry.publish("smol", made, card(second, **changes))

    def promote(self, second: int, start: str = "ok") -> str:
        version = self.publish(second, start)
        self.registry.promote("smol", version)
        return version

    def start(self) -> None:
        self._thread = threading.Thread(target=self.supervisor.run, args=(self._stopping,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def until(self, condition: Callable[[SupervisorStatus], object]) -> SupervisorStatus:
        deadline = time.monotonic() + 60
        while not condition(status := self.supervisor.status()):
            assert time.monotonic() < deadline, f"waited in vain: {status}"
            time.sleep(0.01)
        return status

    def until_serving(self, version: str) -> SupervisorStatus:
        return self.until(lambda status: status.state == "serving" and status.version == version)

    def served(self) -> Any:
        return httpx2.get(f"http://127.0.0.1:{self.port}/v1/models").json()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


def test_what_is_promoted_is_served_under_its_name(site: Site) -> None:
    site.start()
    site.until(lambda status: status.state == "waiting" and "no model 'smol'" in (status.failure or ""))

    first = site.promote(1)
    status = site.until_serving(first)

    assert site.served()["data"] == [{"id": f"smol@{first}"}]
    assert (status.engine, status.current, status.last_healthy, status.failure) == ("tgi", first, first, None)
    second = site.promote(2)
    site.until_serving(second)
    assert site.served()["data"] == [{"id": f"smol@{second}"}]


def test_nothing_is_said_to_be_served_while_one_engine_replaces_another(tmp_path: Path) -> None:
    told: list[tuple[str, str | None]] = []

    def clock() -> float:
        status = ours.supervisor.status()
        if told[-1:] != [(status.state, status.version)]:
            told.append((status.state, status.version))
        return time.monotonic()

    ours = Site(tmp_path, clock=clock)
    versions = []
    for second in (1, 2):
        version = ours.promote(second)
        while (status := ours.supervisor.status()).state != "serving" or status.version != version:
            ours.supervisor.step()
        versions.append(version)
    ours.start()
    ours.stop()

    whole = [("waiting", None), ("starting", versions[0]), ("serving", versions[0])]
    whole += [("waiting", None), ("starting", versions[1])]
    assert told[: len(whole)] == whole


def test_what_the_engine_cannot_serve_disturbs_nobody(tmp_path: Path) -> None:
    site = Site(tmp_path, engine="tgi")
    good = site.promote(1)
    site.start()
    before = site.until_serving(good)
    adapter = trained(tmp_path / "adapter", adapter_config__json=b'{"r": 4}')
    site.registry.promote("smol", site.registry.publish("smol", adapter, card(2, kind="adapter")))

    site.until(lambda now: "publish it merged" in (now.failure or "") and now.current == good)
    after = site.supervisor.status()
    assert (after.pid, after.version, after.state, after.restarts) == (before.pid, good, "serving", 0)
    site.stop()


def test_something_stands_in_until_a_version_comes_up(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "behaviour.json").write_text('{"start": "ok"}')
    site = Site(tmp_path)
    site.supervisor = site.made(stand_in=str(theirs))
    site.start()
    try:
        status = site.until(lambda now: now.state == "serving")
        assert (status.version, status.serves, status.last_healthy) == (None, str(theirs), None)
        assert site.served()["data"] == [{"id": str(theirs)}]

        site.promote(1, "die")
        site.until(lambda now: now.state == "serving" and "given up" in (now.failure or ""))
        assert site.served()["data"] == [{"id": str(theirs)}]

        good = site.promote(2)
        assert site.until_serving(good).serves == f"smol@{good}"
    finally:
        site.stop()


def test_an_engine_that_is_killed_while_it_answers_is_started_again(site: Site) -> None:
    version = site.promote(1)
    site.start()
    status = site.until_serving(version)
    assert status.pid

    with httpx2.stream("GET", f"http://127.0.0.1:{site.port}/slow", timeout=30) as answer:
        os.kill(status.pid, signal.SIGKILL)
        with pytest.raises(httpx2.RemoteProtocolError):
            answer.read()

    again = site.until(lambda now: now.state == "serving" and now.pid != status.pid)
    assert again.restarts == 1 and again.version == site.registry.current("smol") == version
    assert site.served()["data"] == [{"id": f"smol@{version}"}]


def test_an_engine_that_no_longer_answers_is_started_again(site: Site) -> None:
    version = site.promote(1)
    site.start()
    status = site.until_serving(version)
    assert status.pid

    os.kill(status.pid, signal.SIGSTOP)

    again = site.until(lambda now: now.state == "serving" and now.pid != status.pid)
    assert again.restarts == 1


@pytest.mark.parametrize("start", ["die", "hang"])
def test_a_version_that_does_not_come_up_is_rolled_back(tmp_path: Path, start: str) -> None:
    waited_for: set[int | None] = set()
    site = Site(tmp_path, clock=lambda: time.monotonic() + (QUICK.start_seconds + 1) * len(waited_for))
    good = site.promote(1)
    site.start()
    site.until_serving(good)

    bad = site.promote(2, start)

    def is_back(now: SupervisorStatus) -> bool:
        if start == "hang" and now.state == "starting" and now.version == bad:
            waited_for.add(now.pid)
        return site.registry.current("smol") == good

    site.until(is_back)
    status = site.until_serving(good)
    assert status.last_healthy == good != bad
    third = site.promote(3)
    site.until_serving(third)
    site.stop()


def test_a_damaged_version_disturbs_nobody_and_is_rolled_back(site: Site) -> None:
    good = site.promote(1)
    site.start()
    before = site.until_serving(good)
    bad = site.publish(2)
    (site.store / "models/smol/versions" / bad / "model.safetensors").write_bytes(b"rot")

    # The registry promotes no such version: it went bad behind its back.
    (site.store / "models/smol/current").write_text(f"{bad}\n{good}\n")

    site.until(lambda now: "is given up" in (now.failure or "") and now.current == good)
    after = site.supervisor.status()
    assert (after.pid, after.version, after.state) == (before.pid, good, "serving")
    assert "model.safetensors is not what was published" in (after.failure or "")
    assert site.registry.promoted("smol") == [good]


def test_the_last_version_that_was_healthy_is_served_where_the_registry_cannot_be_written(tmp_path: Path) -> None:
    site = Site(tmp_path)
    good = site.promote(1)
    bad = site.publish(2, "die")
    site.start()
    site.until_serving(good)
    # Whoever is root may write anywhere, but not open a folder as a file.
    (site.store / "models/smol/current.lock").unlink()
    (site.store / "models/smol/current.lock").mkdir()
    (site.store / "models/smol/current").write_text(f"{bad}\n")

    site.until(lambda now: now.state == "serving" and now.current == bad and "given up" in (now.failure or ""))
    assert site.supervisor.status().version == good
    site.stop()


def test_what_runs_goes_on_while_the_bucket_answers_with_errors(tmp_path: Path) -> None:
    with serving() as bucket:
        site = Site(tmp_path, bucket="s3://models")
        version = site.promote(1)
        site.start()
        before = site.until_serving(version)
        bucket.failing["HEAD"] = 503
        during = site.until(lambda now: "503 Service Unavailable" in (now.failure or ""))
        bucket.failing.clear()
        after = site.until(lambda now: now.failure is None)
        site.stop()

    assert before.pid == during.pid == after.pid and during.state == "serving"


def test_copies_of_a_bucket_s_versions_are_kept_no_longer_than_they_may_be_served(tmp_path: Path) -> None:
    site = Site(tmp_path, bucket=f"memory://{uuid.uuid4().hex}")
    copies = tmp_path / "engine/models/smol"
    (copies / ".20261122-120000-abcdef.half").mkdir(parents=True)
    (copies / "mine").mkdir()
    site.start()
    versions = []
    for second in (1, 2, 3):
        versions.append(site.promote(second))
        site.until_serving(versions[-1])
    site.stop()

    assert {copy.name for copy in copies.iterdir()} == {"mine", *versions[1:]}


def test_two_promotions_at_once_end_with_one_of_them_served(site: Site) -> None:
    site.promote(1)
    site.start()
    versions = [site.publish(second) for second in (2, 3)]

    promoting = [
        subprocess.Popen([sys.executable, "-c", PROMOTE, str(site.store), version], cwd=ROOT) for version in versions
    ]
    assert [process.wait(30) for process in promoting] == [0, 0]

    current = site.registry.current("smol")
    site.until_serving(current)
    assert current in versions and site.served()["data"] == [{"id": f"smol@{current}"}]


def test_a_publisher_whose_disk_is_full_disturbs_nobody(site: Site) -> None:
    version = site.promote(1)
    site.start()
    before = site.until_serving(version)
    behaviour = json.dumps({"start": "ok"}).encode()
    made = trained(site.folder / "big", b"\0" * 100_000, behaviour__json=behaviour)
    publish = (
        "import resource, sys; from pathlib import Path; from shared.store import Store\n"
        "from shared.registry import Registry; from tests.standins.registry import card\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, -1))\n"
        "Registry(Store(sys.argv[1])).publish('smol', Path(sys.argv[2]), card(9))"
    )

    failed = subprocess.run(
        [sys.executable, "-c", publish, str(site.store), str(made)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    time.sleep(0.3)

    after = site.supervisor.status()
    assert failed.returncode == 1 and "cannot be written" in failed.stderr
    assert (after.pid, after.version, after.state) == (before.pid, version, "serving")
    assert site.registry.versions("smol") == [version]


def test_a_supervisor_that_is_started_again_remembers_what_was_healthy(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = site.promote(1)
    site.start()
    site.until_serving(first)
    site.stop()

    assert site.made().status().last_healthy == first


def test_no_engine_outlives_its_supervisor(tmp_path: Path) -> None:
    site = Site(tmp_path)
    version = site.promote(1)
    site.start()
    pid = site.until_serving(version).pid
    site.stop()

    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_port_that_is_taken_is_told_and_waited_for(tmp_path: Path) -> None:
    site = Site(tmp_path)
    version = site.promote(1)
    with socket.create_server(("127.0.0.1", site.port)):
        site.start()
        site.until(lambda now: now.state == "failing" and "somebody else listens" in (now.failure or ""))
    site.until_serving(version)
    site.stop()


@pytest.mark.parametrize(
    ("architecture", "kind", "engine"),
    [
        ("llama", "merged", "tgi"),
        ("mistral", "merged", "tgi"),
        ("ministral3", "merged", "vllm"),
        ("mistral3", "adapter", "vllm"),
        ("llama", "adapter", "builtin"),
        ("qwen3", "merged", "builtin"),
        (None, "merged", "tgi"),
    ],
)
def test_the_engine_goes_by_the_architecture(tmp_path: Path, architecture: str | None, kind: str, engine: str) -> None:
    published = Published(card(architecture=architecture, kind=kind), trained(tmp_path))

    assert engines.choose(published) == engine


def test_a_configuration_that_nobody_can_read_chooses_no_engine_and_no_rank(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    whole = Published(card(architecture=None), trained(tmp_path / "whole", config__json=deep))
    folder = trained(tmp_path / "adapter", adapter_config__json=b'{"r": "--trust-remote-code"}')
    adapter = engines.vllm("smol@1", Published(card(kind="adapter", base="them/big"), folder), Place(tmp_path))

    assert engines.choose(whole) == "builtin"
    assert "16" in adapter and "--trust-remote-code" not in adapter


def test_each_engine_is_told_the_models_name(tmp_path: Path) -> None:
    folder = trained(tmp_path, adapter_config__json=b'{"r": 32}')
    whole = "smol@1", Published(card(), folder), Place(folder, "0.0.0.0", 80, "cpu", more=("--more", "1"))
    adapter = "smol@1", Published(card(kind="adapter", base="them/big"), folder), Place(folder, "::", 80)
    theirs = "them/big", None, Place(folder, "::", 80)

    where = ["0.0.0.0", "--port", "80"]
    assert engines.tgi(*whole)[1:] == ["--model-id", "smol@1", "--hostname", *where, "--more", "1"]
    assert engines.vllm(*whole)[:3] == ["vllm", "serve", str(folder)]
    assert engines.vllm(*whole)[3:] == ["--served-model-name", "smol@1", "--host", *where, "--more", "1"]
    assert engines.vllm(*adapter)[2] == "them/big"
    assert engines.vllm(*adapter)[-4:] == ["--max-lora-rank", "32", "--lora-modules", f"smol@1={folder}"]
    assert engines.builtin(*whole)[3:] == ["smol@1", "--host", *where, "--device", "cpu", "--more", "1"]
    assert engines.builtin(*adapter)[3:5] == ["them/big", "smol@1"]
    assert engines.choose(None) == "builtin" and engines.builtin(*theirs)[3:5] == ["them/big", "--host"]
    assert engines.vllm(*theirs)[2:4] == ["them/big", "--host"] and "them/big" in engines.tgi(*theirs)
    with pytest.raises(UsageError, match="publish it merged"):
        engines.tgi(*adapter)


def test_the_container_s_command_runs_an_engine_from_path_and_tells_its_status(tmp_path: Path) -> None:
    site = Site(tmp_path)
    version = site.promote(1)
    program = tmp_path / "bin/text-generation-launcher"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(ENGINE)} "$0" "$@"\n')
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment = child_environment(
        PATH=f"{program.parent}:/usr/bin:/bin",
        ALPHASTRAL_STORE=str(site.store),
        ALPHASTRAL_ENGINE_ARGUMENTS="--dtype x",
    )
    command = [sys.executable, "-m", "services.inference.supervisor", "smol", "--port", str(site.port)]
    command += ["--status-port", str(port), "--folder", str(tmp_path / "engine")]
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        status = eventually_serving(f"http://127.0.0.1:{port}", running)
        told = site.served()
    finally:
        running.terminate()
        _, said = running.communicate(timeout=20)

    assert (status["version"], status["engine"], running.returncode) == (version, "tgi", 0), said
    assert told["data"] == [{"id": f"smol@{version}"}] and told["arguments"][-2:] == ["--dtype", "x"]
    with pytest.raises(ProcessLookupError):
        os.kill(status["pid"], 0)


def test_the_supervisor_needs_nothing_of_its_image_but_obstore_and_pydantic() -> None:
    script = "import sys, services.inference.supervisor; print(*{name.partition('.')[0] for name in sys.modules})"

    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    ours = {"shared", "services"}
    small = {"obstore", "pydantic", "pydantic_core", "pydantic_settings", "dotenv"}
    beneath = {"annotated_types", "typing_extensions", "typing_inspection"}
    others = {name for name in loaded.split() if not name.startswith("_")} - set(sys.stdlib_module_names)
    assert others - ours - small - beneath <= {"distutils-precedence"}


def eventually_serving(url: str, running: "subprocess.Popen[str]") -> Any:
    deadline = time.monotonic() + 60
    while True:
        assert running.poll() is None and time.monotonic() < deadline
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{url}/health").status_code == 200:
                return httpx2.get(f"{url}/status").json()
        time.sleep(0.05)
