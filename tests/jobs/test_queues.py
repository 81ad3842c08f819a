"""What is on the queues, and who holds it, on a real Redis."""

import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from deploy.stack import find_redis_server, private_redis
from shared.errors import Unreachable, UsageError
from shared.jobs.leases import LEASE_SECONDS, SECOND_LOOK_SECONDS, Lease, Leases
from shared.jobs.queue import Queues, connect, reaching_redis
from tests.jobs.conftest import Yard, eventually, order
from tests.jobs.errands import ROUTES, Errand


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def leases(yard: Yard, clock: Clock | None = None) -> Leases:
    return Leases(yard.redis, "errands", ROUTES, clock or Clock())


def taken(by: Leases) -> Lease:
    lease = by.take(1)
    assert lease is not None
    return lease


def let_run_out(yard: Yard, lease: Lease) -> None:
    yard.redis.zincrby("rq:wip:errands", -LEASE_SECONDS - 1, lease.member)


def test_the_same_job_is_on_the_queue_once(yard: Yard) -> None:
    assert yard.send("a") is True
    assert yard.send("a") is False
    lease = taken(leases(yard))
    assert yard.send("a") is False, "it runs"
    leases(yard).finish(lease)
    assert yard.send("a") is True
    assert yard.queues.depths() == {"errands": 1}


def test_a_job_that_was_set_aside_does_not_stand_in_the_way(yard: Yard) -> None:
    yard.redis.hset("rq:job:errand-a", mapping={"status": "failed", "data": b"?"})
    assert yard.send("a") is True
    assert taken(leases(yard)).job.id == "errand-a"


def test_a_lease_that_ran_out_is_taken_away_at_the_second_look(yard: Yard) -> None:
    yard.send("a")
    let_run_out(yard, taken(leases(yard)))
    clock = Clock()
    another = leases(yard, clock)
    assert another.recover() == []
    clock.now = SECOND_LOOK_SECONDS
    assert another.recover() == ["errand-a"]
    job = taken(another).job
    assert (job.retries_left, job.last_failure) == (0, "its worker died")


def test_a_lease_that_is_renewed_in_time_stays(yard: Yard) -> None:
    yard.send("a")
    owner, clock = leases(yard), Clock()
    lease = taken(owner)
    let_run_out(yard, lease)
    another = leases(yard, clock)
    another.recover()
    owner.beat(lease)
    clock.now = SECOND_LOOK_SECONDS
    assert another.recover() == []
    assert yard.waiting() == []


def test_two_workers_that_find_the_same_dead_one_put_its_job_back_once(yard: Yard) -> None:
    yard.send("a")
    let_run_out(yard, taken(leases(yard)))
    clock = Clock()
    finders = [leases(yard, clock), leases(yard, clock)]
    for finder in finders:
        finder.recover()
    clock.now = SECOND_LOOK_SECONDS
    assert [finder.recover() for finder in finders] == [["errand-a"], []]
    assert yard.waiting() == [b"errand-a"]


@pytest.mark.parametrize("ending", ["finish", "hand back", "fail"])
def test_who_was_taken_for_dead_changes_nothing_when_it_ends(yard: Yard, ending: str) -> None:
    yard.send("a")
    late, clock = leases(yard), Clock()
    lease = taken(late)
    let_run_out(yard, lease)
    another = leases(yard, clock)
    another.recover()
    clock.now = SECOND_LOOK_SECONDS
    another.recover()
    if ending == "finish":
        late.finish(lease)
    elif ending == "hand back":
        late.put_back(lease)
    else:
        late.postpone(lease, "late", 1, 0)
    assert yard.waiting() == [b"errand-a"]
    assert taken(another).job.retries_left == 0


def test_who_was_taken_for_dead_learns_that_another_has_its_job(yard: Yard) -> None:
    yard.send("a")
    late, clock = leases(yard), Clock()
    lease = taken(late)
    assert (late.beat(lease), late.is_lost(lease)) == (True, False)
    let_run_out(yard, lease)
    another = leases(yard, clock)
    another.recover()
    clock.now = SECOND_LOOK_SECONDS
    another.recover()
    assert (late.beat(lease), late.is_lost(lease)) == (False, True)
    another.finish(taken(another))
    assert (late.beat(lease), late.is_lost(lease)) == (False, True)
    assert yard.redis.keys("rq:job:*") == []


def test_what_redis_forgot_is_held_again_by_its_worker(yard: Yard) -> None:
    yard.send("a")
    holder = leases(yard)
    lease = taken(holder)
    yard.redis.flushall()
    assert (holder.is_lost(lease), holder.beat(lease), yard.send("a")) == (False, True, False)
    yard.redis.delete("rq:wip:errands")
    assert (holder.is_lost(lease), holder.beat(lease), yard.redis.zcard("rq:wip:errands")) == (False, True, 1)
    yard.redis.flushall()
    yard.send("a")
    assert holder.beat(lease), "it waits, and nobody has begun it"
    assert yard.waiting() == []
    holder.finish(lease)
    assert yard.redis.keys("rq:job:*") == []


def test_what_redis_forgot_and_another_began_is_lost(yard: Yard) -> None:
    yard.send("a")
    holder, another = leases(yard), leases(yard)
    lease = taken(holder)
    yard.redis.flushall()
    yard.send("a")
    other = taken(another)
    assert (holder.beat(lease), holder.is_lost(lease)) == (False, True)
    assert (another.beat(other), another.is_lost(other)) == (True, False)


def test_a_postponed_job_is_on_no_queue_until_its_time_has_come(yard: Yard) -> None:
    yard.send("a")
    holder = leases(yard)
    holder.postpone(taken(holder), "it rains", 3, 60)
    holder.recover()
    assert (yard.waiting(), yard.queues.depths(), yard.send("a")) == ([], {"errands": 1}, False)
    yard.redis.zincrby("rq:scheduled:errands", -61, "errand-a")
    holder.recover()
    job = taken(holder).job
    assert (job.retries_left, job.failures, job.last_failure) == (0, 3, "it rains")


def test_a_job_between_queue_and_lease_is_found_again(yard: Yard) -> None:
    yard.send("a")
    yard.redis.lmove("rq:queue:errands", "rq:queue:errands:intermediate")
    clock = Clock()
    finder = leases(yard, clock)
    finder.recover()
    clock.now = SECOND_LOOK_SECONDS
    assert finder.recover() == ["errand-a"]
    assert taken(finder).job.retries_left == 1


def test_workers_are_seen_while_they_live(yard: Yard) -> None:
    worker = leases(yard)
    worker.beat()
    assert [(seen.name, seen.queue, seen.state) for seen in yard.queues.workers()] == [
        (worker.worker, "errands", "idle")
    ]
    yard.send("a")
    worker.beat(taken(worker))
    assert [seen.state for seen in yard.queues.workers()] == ["busy"]
    worker.goodbye()
    assert yard.queues.workers() == []


def test_a_silent_redis_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="Redis does not answer"):
        Queues(connect("redis://127.0.0.1:9", patience_seconds=0)).ping()


@pytest.mark.parametrize(("url", "password_file"), [("nonsense", None), ("redis://127.0.0.1", Path("/nowhere"))])
def test_what_cannot_lead_to_a_redis_is_refused(url: str, password_file: Path | None) -> None:
    with pytest.raises(UsageError, match=r"REDIS_URL|/nowhere"):
        connect(url, password_file)


def test_a_password_comes_from_its_file(tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text("a secret\n")
    configuration = tmp_path / "redis.conf"
    configuration.write_text(f'port 0\nunixsocket {tmp_path}/r.sock\nrequirepass "a secret"\nsave ""\n')
    with subprocess.Popen([find_redis_server(), configuration], stdout=subprocess.DEVNULL) as server:
        url = f"unix://{tmp_path}/r.sock"
        try:
            eventually((tmp_path / "r.sock").exists)
            Queues(connect(url, password_file)).ping()
            with pytest.raises(Unreachable, match="authenticate"):
                Queues(connect(url)).ping()
        finally:
            server.kill()


@pytest.mark.slow
def test_workers_outlive_a_redis_that_forgets_everything(tmp_path: Path) -> None:
    def start_redis() -> "subprocess.Popen[bytes]":
        options = ["--port", "0", "--unixsocket", f"{tmp_path}/r.sock", "--save", "", "--appendonly", "no"]
        started = subprocess.Popen([find_redis_server(), *options], stdout=subprocess.DEVNULL, cwd=tmp_path)
        eventually((tmp_path / "r.sock").exists)
        return started

    server = start_redis()
    yard = Yard(f"unix://{tmp_path}/r.sock", tmp_path)
    try:
        yard.send("long", kind="polite")
        idle_later, busy = yard.start_worker(), yard.start_worker()
        yard.await_line("long begins")
        server.kill()
        server.wait()
        (tmp_path / "r.sock").unlink()
        server = start_redis()
        eventually(lambda: len(yard.queues.workers()) == 2)
        yard.send("after")
        yard.await_line("after ends")
        assert idle_later.exitcode is None
        assert busy.exitcode is None
    finally:
        for worker in yard.workers:
            worker.kill()
            worker.join()
        server.kill()
        server.wait()


# ── what Redis has lost ─────────────────────────────────────────────────────────────────────────────


def test_what_is_to_be_done_is_on_the_queue_once_however_many_put_it_there_at_once(yard: Yard) -> None:
    errands = [Errand(name=f"n{number}") for number in range(20)]
    together = Barrier(8)

    def restore(_: int) -> int:
        queues = Queues(connect(yard.redis_url), ROUTES)
        together.wait()
        return queues.restore(errands)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(restore, range(8))) == 20
    assert len(yard.waiting()) == len(set(yard.waiting())) == 20


def test_of_those_who_look_one_puts_it_there_and_the_next_where_redis_forgot(yard: Yard) -> None:
    turns = [yard.queues.is_turn(who) for who in ("one", "two", "three")]
    assert turns == [True, False, False]
    yard.redis.flushall()
    assert yard.queues.is_turn("two") is True


@pytest.mark.parametrize("place", ["queue", "between", "lease", "later"])
def test_a_job_that_is_in_no_place_any_more_is_put_back_and_one_that_is_in_any_is_left(yard: Yard, place: str) -> None:
    yard.send("a")
    holder = leases(yard)
    if place == "between":
        yard.redis.lmove("rq:queue:errands", "rq:queue:errands:intermediate")
    elif place != "queue":
        lease = taken(holder)
        if place == "later":
            holder.postpone(lease, "", 1, 60)
    assert yard.queues.restore([Errand(name="a")]) == 0
    yard.redis.delete("rq:queue:errands", "rq:queue:errands:intermediate", "rq:wip:errands", "rq:scheduled:errands")
    assert yard.redis.exists("rq:job:errand-a")
    assert yard.queues.restore([Errand(name="a")]) == 1
    assert yard.waiting() == [b"errand-a"]


# ── a Redis that says no ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (["REPLICAOF 127.0.0.1 1"], "READONLY|read only"),
        (["CONFIG SET maxmemory 1"], "OOM|maxmemory"),
        (["CONFIG SET save", "CONFIG SET dir /proc", "BGSAVE"], "MISCONF|snapshot"),
        (["ACL SETUSER default -@write"], "NOPERM|permission"),
    ],
)
def test_a_redis_that_takes_nothing_is_unreachable_and_says_why(yard: Yard, commands: list[str], said: str) -> None:
    with private_redis() as (url, _):
        connection = connect(url)
        for command in commands:
            arguments = [*command.split(), "3600 1"] if command.endswith("save") else command.split()
            order(connection, *arguments)
        queues, leased = Queues(connection, ROUTES), Leases(connection, "errands", ROUTES)
        eventually(lambda: bool(_refusal(queues.ping)))
        assert re.search(said, _refusal(queues.ping))
        assert _refusal(lambda: queues.enqueue(Errand(name="a")))
        with pytest.raises(Unreachable), reaching_redis():
            leased.beat()


def test_a_database_that_is_not_there_is_unreachable() -> None:
    with private_redis() as (url, _):
        assert "out of range" in _refusal(Queues(connect(f"{url}?db=99")).ping)


def _refusal(ask: Callable[[], object]) -> str:
    """What is said where it is refused; else nothing."""
    try:
        ask()
    except Unreachable as error:
        return error.message
    return ""
