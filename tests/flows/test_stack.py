"""The local stack leaves nothing behind, however it ends."""

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.client import MATCHUPS, ApiClient, find_api, find_redis
from deploy.stack import QUIET_SECONDS, LocalStack, Restarts
from shared.errors import NotFound, Unreachable, UsageError
from shared.jobs.queue import Queues, connect
from shared.process import Child
from shared.records import NewMatchup
from shared.settings import Settings, child_environment
from shared.work import State
from tests.flows.conftest import eventually, make_stack
from tests.flows.processes import running

ROOT = Path(__file__).parents[2]
UP = """
import sys
from pathlib import Path
from tests.flows.conftest import make_stack
with make_stack(Path(sys.argv[1]), arena_workers=int(sys.argv[2])) as stack:
    print("ready", flush=True)
    stack.wait()
"""


class Up:
    """A stack in a process of its own, all of whose processes bear a mark."""

    def __init__(self, folder: Path, *, arena_workers: int = 0) -> None:
        self.mark = f"MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-c", UP, str(folder), str(arena_workers)],
            cwd=ROOT,
            env=child_environment(**{name: value}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def await_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def await_nothing_left(self) -> None:
        eventually(lambda: not running(self.mark))


def test_on_the_way_out_every_process_ends_and_the_address_goes(tmp_path: Path) -> None:
    up = Up(tmp_path, arena_workers=1)
    up.await_ready()
    commands = " ".join(running(up.mark).values())
    url = find_api(Settings(api_url=None), tmp_path)
    assert ApiClient(url).health()["status"] == "ok"
    Queues(connect(find_redis(Settings(redis_url=None), tmp_path))).ping()
    assert all(
        part in commands for part in ("deploy.api", "deploy.worker arena", "deploy.worker reporter", "redis-server")
    )
    up.process.send_signal(signal.SIGINT)
    up.process.wait(30)
    assert running(up.mark) == {}
    with pytest.raises(Unreachable, match="alphastral up"):
        find_api(Settings(api_url=None), tmp_path)


def test_sigterm_ends_it_as_an_interrupt_does(tmp_path: Path) -> None:
    up = Up(tmp_path)
    up.await_ready()
    up.process.terminate()
    up.process.wait(30)
    assert running(up.mark) == {}


def test_killed_it_takes_every_process_along(tmp_path: Path) -> None:
    up = Up(tmp_path, arena_workers=1)
    up.await_ready()
    assert len(running(up.mark)) >= 5
    up.process.kill()
    up.process.wait()
    up.await_nothing_left()


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_interrupted_while_it_starts_it_leaves_nothing(tmp_path: Path, processes: int) -> None:
    """Before it has started any other, with Redis and its runner, and with one or both of its own."""
    up = Up(tmp_path)
    eventually(lambda: len(running(up.mark)) >= processes)
    up.process.send_signal(signal.SIGINT)
    up.process.wait(30)
    up.await_nothing_left()


def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"cannot listen on 127.0.0.1, port {port}"):
            make_stack(tmp_path, arena_workers=0, api_port=port).__enter__()


def test_whatever_dies_is_started_again_where_it_was(tmp_path: Path) -> None:
    with make_stack(tmp_path, arena_workers=1) as stack, stack.client() as client:
        assert stack._redis is not None
        children = {**stack._children, "redis": stack._redis}
        asked = client.ask(MATCHUPS, NewMatchup(p1="random", p2="random", battles=4))
        for child in children.values():
            os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: stack._redis and stack._redis.pid != children["redis"].pid)
        eventually(lambda: all(child.pid != children[name].pid for name, child in stack._children.items()))
        pids = {stack._children[name].pid for name in ("arena-1", "reporter")}
        eventually(lambda: pids <= _workers_of(client))
        eventually(lambda: client.get(MATCHUPS, asked.id).state is State.FINISHED)


def _workers_of(client: ApiClient) -> set[int]:
    with suppress(Unreachable):
        return {worker["pid"] for worker in client.health()["workers"]}
    return set()


def test_what_ends_again_and_again_is_started_ever_more_slowly_until_it_has_run_for_a_while() -> None:
    child = Child("short-lived", [sys.executable, "-c", ""])
    child.wait()
    restarts, now, pauses = Restarts(0.0), QUIET_SECONDS, []
    for runs_for in (0, 0, 0, 0, 0, 0, QUIET_SECONDS, 0):
        now += runs_for
        ended = now
        while not restarts.is_due(child, now):
            now += 0.5
        pauses.append(now - ended)
    assert pauses == [1, 2, 4, 8, 10, 10, 1, 2]


def test_a_closed_terminal_ends_it_as_sigterm_does(tmp_path: Path) -> None:
    up = Up(tmp_path)
    up.await_ready()
    up.process.send_signal(signal.SIGHUP)
    up.process.wait(30)
    assert running(up.mark) == {}


def test_a_redis_that_does_not_answer_is_told_before_anything_starts(tmp_path: Path) -> None:
    stack = make_stack(tmp_path, redis_url="redis://127.0.0.1:9")
    with pytest.raises(Unreachable, match="Redis does not answer"):
        stack.__enter__()
    assert stack._children == {}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack for tests that leave it whole; its API wants a token."""
    token = SecretStr("geheimnisträger")
    with make_stack(tmp_path_factory.mktemp("standing"), arena_workers=0, api_token=token) as stack:
        yield stack


def test_a_second_stack_in_the_same_folder_is_refused(standing: LocalStack) -> None:
    with pytest.raises(UsageError, match=r"a stack runs in .* already"):
        make_stack(standing._folder, arena_workers=0).__enter__()
    assert find_api(Settings(api_url=None), standing._folder) == standing.url


# ── the client ──────────────────────────────────────────────────────────────────────────────────────


def test_the_client_raises_what_the_api_meant(standing: LocalStack) -> None:
    with standing.client() as client:
        with pytest.raises(NotFound, match="no matchup nothing"):
            client.get(MATCHUPS, "nothing")
        with pytest.raises(UsageError, match="p1: unknown policy 'me'") as raised:
            client.ask(MATCHUPS, NewMatchup(p1="me", p2="random"))
        assert raised.value.field == "p1"
    with ApiClient("http://127.0.0.1:9") as nobody, pytest.raises(Unreachable, match="does not answer"):
        nobody.get(MATCHUPS, "nothing")


def test_the_client_says_that_a_token_is_wanted(standing: LocalStack) -> None:
    with standing.client() as client:
        assert client.list(MATCHUPS).items == []
    with ApiClient(standing.url) as stranger, pytest.raises(UsageError, match="ALPHASTRAL_API_TOKEN"):
        stranger.list(MATCHUPS)
