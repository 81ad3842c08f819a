"""What a worker guarantees, with a real Redis and real processes."""

import signal
import time
from contextlib import suppress
from math import log2
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from deploy.stack import private_redis
from shared.jobs.leases import WORKER_SEEN_SECONDS
from shared.jobs.worker import BEAT_SECONDS
from tests.jobs.conftest import Yard, eventually, order, tell
from tests.jobs.errands import SICK


def is_running(pid: int) -> bool:
    with suppress(OSError):
        # A zombie has ended; who started it has only not looked yet.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def test_a_job_is_done_once_and_leaves_nothing_in_redis(yard: Yard) -> None:
    yard.send("one")
    yard.start_worker()
    yard.await_line("one ends")
    eventually(lambda: not yard.redis.keys("rq:job:*"))
    assert len(yard.journal) == 2
    assert yard.redis.zcard("rq:wip:errands") == 0
    assert yard.redis.llen("rq:queue:errands:intermediate") == 0


def test_a_job_that_fails_waits_behind_no_other_is_tried_again_and_then_given_up(yard: Yard) -> None:
    yard.send("bad", kind="fail")
    yard.send("next")
    yard.start_worker()
    yard.await_line("bad given up")
    assert [line.split(" in ")[0] for line in yard.journal] == [
        "bad begins",
        "next begins",
        "next ends",
        "bad begins",
        "bad given up: RuntimeError: it cannot be done",
    ]


def test_what_the_store_is_to_blame_for_is_tried_ever_more_slowly_and_uses_up_no_attempt(yard: Yard) -> None:
    yard.send("patient", kind="away")
    yard.start_worker()
    yard.await_line("patient begins", times=2)
    (yard.folder / "back").touch()
    yard.await_line("patient ends")
    assert not [line for line in yard.journal if "given up" in line], "it has two attempts, and was tried three times"


def test_a_job_of_an_unfit_host_is_handed_to_another_and_the_host_says_why_and_rests(yard: Yard) -> None:
    began = time.monotonic()
    sick = yard.start_worker(environment={SICK: "yes"})
    yard.send("lift", kind="unfit")
    yard.await_line("lift begins")
    eventually(lambda: "this host has no arms" in [worker.fault for worker in yard.queues.workers()])
    assert [worker.pid for worker in yard.queues.workers() if worker.fault] == [sick.pid]
    yard.start_worker()
    yard.await_line("lift ends")
    yard.send("carry", kind="unfit")
    yard.await_line("carry ends")
    assert not [line for line in yard.journal if "given up" in line]
    by_the_sick = sum("begins" in line for line in yard.journal) - 2
    assert by_the_sick <= 1 + log2(2 + time.monotonic() - began), "it rests for 2 s, then for 4 s, then for 8 s, …"


def test_a_job_that_plays_on_without_its_worker_ends_once_another_has_it(yard: Yard) -> None:
    yard.send("long", kind="tick")
    stopped = yard.start_worker()
    job = int(yard.await_line("long begins").rpartition(" ")[2])
    tell(stopped, signal.SIGSTOP)
    yard.let_leases_run_out()
    yard.start_worker()
    yard.await_line("long begins", times=2)
    eventually(lambda: not yard.journal[-1].endswith(f" {job}") and not is_running(job))
    told = sum(line.endswith(f" {job}") for line in yard.journal)
    tell(stopped, signal.SIGCONT)
    (yard.folder / "enough").touch()
    yard.await_line("long ends")
    assert sum(line.endswith(f" {job}") for line in yard.journal) == told
    eventually(lambda: not yard.redis.keys("rq:job:*"))


def test_a_redis_that_forgets_everything_interrupts_no_job_and_none_is_done_twice(yard: Yard) -> None:
    (yard.folder / "todo").write_text("long short")
    yard.send("long", kind="tick")
    yard.start_worker()
    yard.await_line("long ticks")
    yard.redis.flushall()
    yard.start_worker()
    yard.await_line("short ends")
    (yard.folder / "todo").write_text("")
    eventually(lambda: yard.redis.zcard("rq:wip:errands") == 1 and not yard.waiting())
    (yard.folder / "enough").touch()
    yard.await_line("long ends")
    assert sum(line.startswith("long begins") for line in yard.journal) == 1


def test_what_no_queue_holds_is_found_by_workers_alone(yard: Yard) -> None:
    (yard.folder / "todo").write_text("forgotten")
    yard.start_worker()
    yard.await_line("forgotten ends")


def test_a_worker_waits_for_a_redis_that_refuses(tmp_path: Path) -> None:
    with private_redis() as (url, _):
        yard = Yard(url, tmp_path)
        worker = yard.start_worker()
        eventually(lambda: len(yard.queues.workers()) == 1)
        order(yard.redis, "REPLICAOF", "127.0.0.1", "1")
        [seen] = yard.redis.keys("rq:worker:*")
        eventually(lambda: yard.redis.ttl(seen) < WORKER_SEEN_SECONDS - 2 * BEAT_SECONDS)
        order(yard.redis, "REPLICAOF", "NO", "ONE")
        yard.send("after")
        yard.await_line("after ends")
        worker.terminate()
        worker.join(20)
        assert worker.exitcode == 0


def test_a_job_that_nobody_could_do_is_given_up_at_once(yard: Yard) -> None:
    yard.send("no", kind="impossible")
    yard.start_worker()
    yard.await_line("no given up: nobody could do it")
    assert len(yard.journal) == 2


def test_a_job_past_its_time_is_ended_whatever_it_catches(yard: Yard) -> None:
    yard.send("loop", kind="deaf", timeout_seconds=2)
    yard.start_worker()
    yard.await_line("loop given up: it took longer than 2 s")
    assert len(yard.journal) == 3


def test_a_job_whose_process_is_killed_costs_one_attempt(yard: Yard) -> None:
    yard.send("dies", kind="suicide")
    yard.start_worker()
    yard.await_line("dies given up: its process was ended by signal 9")
    assert len(yard.journal) == 3


def test_what_a_job_leaves_running_ends_with_it(yard: Yard) -> None:
    yard.send("leaves", kind="orphan")
    yard.send("next")
    yard.start_worker()
    child = int(yard.await_line("leaves has child").rpartition(" ")[2])
    yard.await_line("next ends")
    eventually(lambda: not is_running(child))


def test_a_job_that_has_cost_too_many_workers_is_not_begun_again(yard: Yard) -> None:
    yard.send("deadly", kind="stubborn")
    yard.redis.hset("rq:job:errand-deadly", mapping={"retries_left": -1, "last_failure": "its worker died"})
    yard.start_worker()
    yard.await_line("deadly given up: its worker died")
    assert len(yard.journal) == 1


def test_a_failure_that_cannot_be_recorded_stops_nobody_and_is_recorded_later(yard: Yard) -> None:
    yard.send("unspeakable", kind="impossible")
    yard.send("next")
    yard.start_worker()
    yard.await_line("next ends")
    assert yard.redis.exists("rq:job:errand-unspeakable")
    (yard.folder / "speakable").touch()
    yard.await_line("unspeakable given up: nobody could do it")
    eventually(lambda: not yard.redis.keys("rq:job:*"))


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_its_processes_along_and_another_takes_its_job(yard: Yard) -> None:
    yard.send("family", kind="parent")
    killed = yard.start_worker()
    job = int(yard.await_line("family begins").rpartition(" ")[2])
    child = int(yard.await_line("family has child").rpartition(" ")[2])
    killed.kill()
    killed.join()
    eventually(lambda: not is_running(job) and not is_running(child))
    yard.start_worker()
    yard.await_line("family begins", times=2)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop_a_worker_lets_its_job_hand_itself_back(yard: Yard, told: signal.Signals) -> None:
    yard.send("kind", kind="polite")
    worker = yard.start_worker()
    yard.await_line("kind begins")
    tell(worker, told)
    worker.join(20)
    assert worker.exitcode == 0
    assert yard.waiting() == [b"errand-kind"]
    assert yard.queues.workers() == []
    yard.start_worker()
    yard.await_line("kind begins", times=2)


def test_told_to_stop_a_worker_takes_back_a_job_that_does_not_listen(yard: Yard) -> None:
    yard.send("deaf", kind="stubborn")
    worker = yard.start_worker(grace_seconds=0.5)
    yard.await_line("deaf begins")
    tell(worker, signal.SIGTERM)
    worker.join(20)
    assert worker.exitcode == 0
    assert yard.waiting() == [b"errand-deaf"]
    assert yard.redis.hget("rq:job:errand-deaf", "retries_left") == b"1", "being told to stop is no failure"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_a_worker_stops_at_once(yard: Yard, second: signal.Signals) -> None:
    yard.send("deaf", kind="parent")
    worker = yard.start_worker(grace_seconds=600)
    child = int(yard.await_line("deaf has child").rpartition(" ")[2])
    tell(worker, signal.SIGTERM)
    eventually(lambda: ends_told_again(worker, second))
    assert worker.exitcode == 0
    assert yard.waiting() == [b"errand-deaf"]
    eventually(lambda: not is_running(child))


def ends_told_again(worker: ForkProcess, number: signal.Signals) -> bool:
    """Two equal signals that are sent one after the other may arrive as one, so one more is sent each time."""
    worker.join(0.05)
    if worker.exitcode is None:
        tell(worker, number)
    return worker.exitcode is not None


def test_an_idle_worker_stops_once_it_has_waited_for_a_job(yard: Yard) -> None:
    worker = yard.start_worker()
    eventually(lambda: len(yard.queues.workers()) == 1)
    tell(worker, signal.SIGTERM)
    worker.join(20)
    assert worker.exitcode == 0
    assert BEAT_SECONDS <= 1, "as long as it waits for a job, it does not look"
