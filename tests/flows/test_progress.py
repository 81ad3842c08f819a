"""Where a matchup stands and what it still needs, from the store alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.arena.matchups import MatchupWork
from services.arena.tasks import give_up_play_shard, look_at_matchup, play_shard
from services.reporter.report import give_up_write_report, write_report
from shared.jobs import Context
from shared.jobs.routes import LookAtMatchup, PlayShard, WriteReport
from shared.matchups import Matchups
from shared.records import MatchupRequest
from shared.store import Store
from shared.work import State
from tests.flows.recording import OneMatchup
from tests.flows.test_api import record

REQUEST = MatchupRequest(p1="random", p2="random", battles=4)
"""Two shards of two battles."""


class Work(OneMatchup):
    """The matchup, as far as the test has played it."""

    def play(self, *indices: int) -> None:
        for index in indices:
            Matchups(self.store).record("m", record(index, "p1"))

    @property
    def shards(self) -> list[PlayShard]:
        return [self.progress.shard(range(start, start + 2)) for start in (0, 2)]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path, REQUEST)


def nothing(work: Work) -> None:
    pass


def one_battle(work: Work) -> None:
    work.play(0)


def all_battles(work: Work) -> None:
    work.play(0, 1, 2, 3)


def all_and_report(work: Work) -> None:
    all_battles(work)
    Matchups(work.store).write_report("m", "")


def one_shard_failed(work: Work) -> None:
    Matchups(work.store).fail("m", "why", 0)
    work.play(2, 3)


def one_shard_failed_and_report(work: Work) -> None:
    one_shard_failed(work)
    Matchups(work.store).write_report("m", "")


def cancelled(work: Work) -> None:
    work.play(0)
    Matchups(work.store).cancel("m")


def report_failed(work: Work) -> None:
    all_battles(work)
    Matchups(work.store).fail("m", "no ink", 4)


@pytest.mark.parametrize(
    ("given", "state", "needed"),
    [
        (nothing, State.QUEUED, ["PlayShard", "PlayShard"]),
        (one_battle, State.RUNNING, ["PlayShard", "PlayShard"]),
        (all_battles, State.RUNNING, ["WriteReport"]),
        (all_and_report, State.FINISHED, []),
        (one_shard_failed, State.RUNNING, ["WriteReport"]),
        (one_shard_failed_and_report, State.FAILED, []),
        (cancelled, State.CANCELLED, ["WriteReport"]),
        (report_failed, State.FAILED, []),
    ],
)
def test_the_store_tells_where_a_matchup_stands_and_what_it_needs(
    work: Work, given: Callable[[Work], None], state: State, needed: list[str]
) -> None:
    given(work)
    assert work.progress.state is state
    assert [type(job).__name__ for job in work.progress.jobs()] == needed
    assert work.resume() == len(needed)
    assert work.resume() == 0


def test_failed_shards_get_another_try_only_when_asked_for(work: Work) -> None:
    one_shard_failed_and_report(work)
    assert work.resume() == 0
    assert work.resume(retry_failed=True) == 1
    assert work.enqueued == [work.shards[0]]
    assert work.progress.state is State.RUNNING


def test_of_two_shards_that_end_at_once_one_report_comes(work: Work) -> None:
    # Both record their last battle before either looks.
    all_battles(work)
    for shard in work.shards:
        play_shard(shard, work.context)
    assert work.enqueued == [WriteReport(matchup_id="m", revision="4-0")]


def test_a_report_of_less_does_not_stand_in_the_way_of_one_of_more(work: Work) -> None:
    cancelled(work)
    play_shard(work.shards[0], work.context)
    work.play(1)
    play_shard(work.shards[0], work.context)
    assert [job.revision for job in work.enqueued if isinstance(job, WriteReport)] == ["1-0-cancelled", "2-0-cancelled"]


def test_a_shard_given_up_is_recorded_and_the_report_follows_when_it_was_the_last(work: Work) -> None:
    work.play(0)
    give_up_play_shard(work.shards[0], work.context, "its worker died")
    assert Matchups(work.store).failures("m") == {0: "battles 0 to 1 could not be played: its worker died"}
    assert work.enqueued == []
    work.play(2, 3)
    play_shard(work.shards[1], work.context)
    assert work.enqueued == [WriteReport(matchup_id="m", revision="3-1")]


def test_a_shard_given_up_after_its_last_battle_is_no_failure(work: Work) -> None:
    all_battles(work)
    give_up_play_shard(work.shards[1], work.context, "its worker died")
    assert Matchups(work.store).failures("m") == {}
    assert work.enqueued == [WriteReport(matchup_id="m", revision="4-0")]


def test_a_report_tells_of_failed_shards_and_can_be_written_again(work: Work) -> None:
    one_shard_failed(work)
    give_up_write_report(work.progress.report(), work.context, "no ink")
    assert work.progress.state is State.FAILED
    for _ in range(2):
        write_report(work.progress.report(), work.context)
    run = Matchups(work.store).run("m")
    assert (run.failures, run.summary.n_games, run.summary.not_played) == (("why",), 2, 2)
    assert Matchups(work.store).failures("m") == {0: "why"}, "the report is there, so it has not failed"


def test_battles_recorded_while_a_report_is_written_are_in_it_at_the_end(work: Work) -> None:
    work.play(0, 1)

    class Busy(Store):
        def write(self, path: str, raw: bytes | Iterator[bytes]) -> None:
            super().write(path, raw)
            if path.endswith("report.html"):
                work.play(2, 3)

    context = Context(work.context.settings, Busy(work.store.url), work.enqueue, lambda: False, "w")
    write_report(work.progress.report(), context)
    assert Matchups(work.store).run("m").summary.n_games == 4


def test_a_battle_that_was_recorded_by_another_worker_meanwhile_stands(tmp_path: Path) -> None:
    work = Work(tmp_path, REQUEST)

    class Late(Store):
        def create(self, path: str, raw: bytes) -> bool:
            if "/battles/" in path and not self.exists(path):
                work.play(int(path[-13:-8]))
            return super().create(path, raw)

    told: list[object] = []
    context = replace(work.context, store=Late(work.store.url), tell=told.append)

    play_shard(work.shards[0], context)

    assert [record.worker for record in Matchups(work.store).battles("m")] == ["w", "w"]
    assert [record.battle_tag for record in Matchups(work.store).battles("m")] == ["b-0", "b-1"]
    assert told == [], "none of ours counts"


@pytest.mark.parametrize("torn", [0, 3])
def test_a_battle_file_that_is_cut_is_played_again_and_fails_neither_report_nor_status(torn: int, work: Work) -> None:
    all_battles(work)
    write_report(work.progress.report(), work.context)
    path = work.store.on_disk(f"matchups/m/battles/{torn:05d}.json.gz")
    assert path is not None
    path.write_bytes(path.read_bytes()[:30])

    write_report(work.progress.report(), work.context)
    status = MatchupWork(work.store, work.context.settings).standing("m")

    assert (Matchups(work.store).run("m").summary.n_games, status.finished, status.recorded) == (3, 3, 3)
    assert status.state is State.RUNNING
    (look,) = work.enqueued
    assert isinstance(look, LookAtMatchup)
    look_at_matchup(look, work.context)
    assert work.enqueued[1:] == [work.shards[torn // 2]]
    play_shard(work.shards[torn // 2], work.context)
    write_report(work.progress.report(), work.context)
    assert work.progress.state is State.FINISHED
    assert Matchups(work.store).run("m").summary.n_games == 4
