"""How processes are started, waited for and ended, by real ones."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shared.errors import Unreachable, UsageError
from shared.process import Child, in_processes, listen

ROOT = Path(__file__).parents[2]
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
FAMILY = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {DEAF!r}])
print(child.pid, flush=True)
child.wait()
"""


def python(code: str, log: Path) -> Child:
    return Child("the child", [sys.executable, "-c", code], log=log)


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_what_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    child = python("import sys; sys.exit('there is no room')", tmp_path / "log")
    with child.running(1), pytest.raises(Unreachable, match=r"(?s)the child did not start: status 1.*no room"):
        child.wait_until(lambda: False, 60)


def test_what_is_not_ready_in_time_says_what_it_said(tmp_path: Path) -> None:
    child = python(DEAF, tmp_path / "log")
    with child.running(0.1):
        child.wait_until(lambda: child.said() == ["deaf"], 30)
        with pytest.raises(Unreachable, match=r"(?s)was not ready after 0 s: status None.*deaf"):
            child.wait_until(lambda: False, 0.1)

    assert child.returncode == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    child = python(FAMILY, tmp_path / "log")
    with child.running(0.1):
        eventually(child.said)
        grandchild = int(child.said()[0])
        assert is_running(grandchild)

    eventually(lambda: not is_running(grandchild))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_watches_nothing_ends_with_the_process_that_runs_it(number: signal.Signals) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    command = [sys.executable, "-m", "shared.process", sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        program = int(runner.stdout.readline())
        os.kill(runner.pid, number)
        runner.wait(30)

    eventually(lambda: not is_running(program))


def test_a_program_that_watches_nothing_ends_when_the_input_of_what_runs_it_does() -> None:
    command = [sys.executable, "-m", "shared.process", sys.executable, "-c", DEAF]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runner:
        assert runner.stdin is not None
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"deaf\n"
        runner.stdin.close()
        assert runner.wait(30) != 0, "told twice, it is killed"


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_processes(abs, [-3, 2, -1], processes=2)) == [3, 2, 1]


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as listening:
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            listen("127.0.0.1", port)
