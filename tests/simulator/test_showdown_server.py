"""How the official Showdown server starts, where it listens, and how it ends."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.errors import SimulatorError
from shared.simulator.showdown_server import ShowdownServer

LOOPBACK = "0100007F"
"""127.0.0.1 as /proc/net/tcp writes it."""
PARENT = """
import time
from shared.simulator.showdown_server import ShowdownServer

with ShowdownServer(processes="several") as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""


def listening_on(port: int) -> set[str]:
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {row[1].split(":")[0] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}


def folder_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/cwd").readlink()


def processes_in(folder: Path) -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.add(int(process.name))
        except OSError:
            continue
    return found


def test_it_listens_on_loopback_only_and_leaves_nothing_behind() -> None:
    with ShowdownServer() as server:
        folder = folder_of(server.pid)
        assert processes_in(folder) == {server.pid}
        assert listening_on(server.port) == {LOOPBACK}

    assert not processes_in(folder)
    assert not listening_on(server.port)
    assert not folder.exists()


def test_a_port_that_is_taken_is_named_in_the_error() -> None:
    with ShowdownServer() as server, pytest.raises(SimulatorError, match=f"port {server.port} is taken"):
        ShowdownServer(port=server.port).__enter__()


def test_a_server_that_cannot_start_says_what_it_said_last(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.write_text('#!/bin/sh\n[ "$1" = --version ] && echo v20.0.0 && exit\necho "out of memory" >&2\nexit 7\n')
    node.chmod(0o755)

    with pytest.raises(SimulatorError, match="ended with status 7: out of memory"):
        ShowdownServer(node=node).__enter__()


def test_it_ends_with_its_parent_even_when_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    folder = folder_of(pid)
    assert processes_in(folder) > {pid}, "the server has children"
    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 30
    while processes_in(folder) or folder.exists():
        assert time.monotonic() < deadline, "the server outlives its parent"
        time.sleep(0.05)
