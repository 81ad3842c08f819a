"""Jobs that this project did not write are set aside, and nothing of them runs."""

import json
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from rq import Callback, Queue, Retry
from rq.job import Job as RQJob
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from shared.jobs.routes import MAX_JOB_SECONDS, MAX_PAYLOAD_BYTES, Job, PlayShard, Refused
from shared.jobs.routes import ROUTES as OURS
from tests.jobs.conftest import Yard, eventually
from tests.jobs.errands import ROUTES

ERRAND = {"name": "evil"}


class Bomb:
    """Pickled; whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def plain_queue(yard: Yard) -> Queue:
    """RQ's own, which pickles."""
    return Queue("errands", connection=yard.redis)


def json_queue(yard: Yard) -> Queue:
    return Queue("errands", connection=yard.redis, serializer=JSONSerializer)


def send_os_system(yard: Yard, mark: Path) -> RQJob:
    return plain_queue(yard).enqueue_call(os.system, (f"touch {mark}",), job_id="evil", timeout=60, retry=Retry(max=1))


def send_os_system_as_json(yard: Yard, mark: Path) -> RQJob:
    return json_queue(yard).enqueue_call("os.system", (f"touch {mark}",), job_id="evil", timeout=60)


def send_pickled_arguments(yard: Yard, mark: Path) -> RQJob:
    return plain_queue(yard).enqueue_call("errand", kwargs={"name": Bomb(mark)}, job_id="evil", timeout=60)


def send_pickled_meta(yard: Yard, mark: Path) -> RQJob:
    job = json_queue(yard).enqueue_call("errand", kwargs=ERRAND, job_id="evil", timeout=60, retry=Retry(max=1))
    yard.redis.hset(job.key, "meta", pickle.dumps(Bomb(mark)))
    return job


def send_pickled_result(yard: Yard, mark: Path) -> RQJob:
    job = json_queue(yard).enqueue_call("errand", kwargs=ERRAND, job_id="evil", timeout=60, retry=Retry(max=1))
    yard.redis.hset(job.key, "result", pickle.dumps(Bomb(mark)))
    return job


def send_callback(yard: Yard, mark: Path) -> RQJob:
    return json_queue(yard).enqueue_call(
        "errand", kwargs=ERRAND, job_id="evil", timeout=60, retry=Retry(max=1), on_success=Callback("os.getcwd")
    )


def send_failure_callback(yard: Yard, mark: Path) -> RQJob:
    return json_queue(yard).enqueue_call(
        "errand", kwargs=ERRAND, job_id="evil", timeout=60, retry=Retry(max=1), on_failure=Callback("os.getcwd")
    )


def send_webhook(yard: Yard, mark: Path) -> RQJob:
    hook = Webhook("http://127.0.0.1:9/", "finished")
    return json_queue(yard).enqueue_call(
        "errand", kwargs=ERRAND, job_id="evil", timeout=60, retry=Retry(max=1), webhooks=[hook]
    )


def send_more_than_the_payload(yard: Yard, mark: Path) -> RQJob:
    return json_queue(yard).enqueue_call(
        "errand", kwargs={**ERRAND, "also": 1}, job_id="evil", timeout=60, retry=Retry(max=1)
    )


def send_positional_arguments(yard: Yard, mark: Path) -> RQJob:
    return json_queue(yard).enqueue_call("errand", ("evil",), job_id="evil", timeout=60, retry=Retry(max=1))


@pytest.mark.parametrize(
    ("send", "because"),
    [
        (send_os_system, "its data is not JSON"),
        (send_os_system_as_json, "its data is not one route and one payload"),
        (send_pickled_arguments, "its data is not JSON"),
        (send_pickled_meta, "it carries meta"),
        (send_pickled_result, "it carries result"),
        (send_callback, "it carries success_callback_name, success_callback_timeout"),
        (send_failure_callback, "it carries failure_callback_name, failure_callback_timeout"),
        (send_webhook, "it carries webhooks"),
        (send_more_than_the_payload, "its payload is no Errand: also: Extra inputs are not permitted"),
        (send_positional_arguments, "its data is not one route and one payload"),
    ],
)
def test_a_foreign_job_is_set_aside_and_the_next_one_runs(
    yard: Yard, tmp_path: Path, send: Callable[[Yard, Path], RQJob], because: str
) -> None:
    mark = tmp_path / "was-run"
    send(yard, mark)
    yard.send("next")
    yard.start_worker()
    yard.await_line("next ends")
    eventually(lambda: yard.redis.zcard("rq:failed:errands") == 1)
    assert not mark.exists()
    assert [line for line in yard.journal if "evil" in line] == []
    noted = yard.redis.hget("rq:job:evil", "exc_info")
    assert isinstance(noted, bytes)
    assert zlib.decompress(noted).decode() == because


def test_an_id_without_a_job_and_a_job_that_is_no_hash_are_dropped(yard: Yard) -> None:
    yard.redis.set("rq:job:text", "not a hash")
    yard.redis.rpush("rq:queue:errands", "text", "nothing", b"\xff:\n", "")
    yard.send("next")
    yard.start_worker()
    yard.await_line("next ends")
    assert yard.waiting() == []
    assert yard.redis.llen("rq:queue:errands:intermediate") == 0


def test_data_that_unpacks_to_more_than_a_payload_is_refused_unread() -> None:
    fields = {b"data": zlib.compress(b" " * (MAX_PAYLOAD_BYTES + 1)), b"timeout": b"60", b"retries_left": b"1"}
    with pytest.raises(Refused, match="one route and one payload"):
        Job.read("evil", fields, ROUTES)


@pytest.mark.parametrize("field", [b"timeout", b"retries_left"])
@pytest.mark.parametrize("value", [None, b"soon", b"inf", b"nan"])
def test_a_job_without_its_numbers_is_refused(field: bytes, value: bytes | None) -> None:
    fields = {b"data": zlib.compress(b'["errand", null, [], {"name": "a"}]'), b"timeout": b"60", b"retries_left": b"1"}
    changed = {name: given for name, given in {**fields, field: value}.items() if given is not None}
    assert Job.read("a", fields, ROUTES).id == "a"
    with pytest.raises(Refused, match="lacks or garbles"):
        Job.read("a", changed, ROUTES)


@pytest.mark.parametrize(
    "forged", [{"stop": 10**18}, {"stop": 100_001}, {"start": 10**18}, {"seconds_per_battle": 1e300}]
)
def test_a_forged_shard_keeps_no_worker_busy(forged: dict[str, object]) -> None:
    shard: dict[str, object] = {"matchup_id": "m", "start": 0, "stop": 2, "seconds_per_battle": 600.0}

    def read(payload: dict[str, object], timeout: bytes = b"600") -> Job:
        data = zlib.compress(json.dumps(["play_shard", None, [], payload]).encode())
        return Job.read("m-shard-00000", {b"data": data, b"timeout": timeout, b"retries_left": b"1"}, OURS)

    assert read(shard).payload == PlayShard.model_validate(shard)
    with pytest.raises(Refused, match="no PlayShard"):
        read(shard | forged)
    for timeout in (b"1e300", b"0", b"-1"):
        with pytest.raises(Refused, match="no time for a job"):
            read(shard, timeout)
    longest = PlayShard.model_validate(shard | {"stop": 100_000, "seconds_per_battle": 100_000})
    assert OURS["play_shard"].timeout_seconds(longest) == MAX_JOB_SECONDS
