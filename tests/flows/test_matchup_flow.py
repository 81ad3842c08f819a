"""A matchup from POST to report, with everything real: Redis, API, workers, simulator, reporter."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.client import MATCHUPS, ApiClient, find_redis
from services.arena.play import play
from services.arena.views import MatchupStatus
from shared.matchups import Matchups
from shared.records import BattleRecord, NewMatchup, parse_run
from shared.settings import Settings
from shared.store import Store
from shared.work import State
from tests.flows.conftest import await_no_job, eventually, make_stack
from tests.flows.processes import alive, descendants

SLOWLY = 0.02
"""Seconds before each order: a battle then takes a second or more, and is in play when something happens to it."""


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def shared_client(shared_folder: Path) -> Iterator[ApiClient]:
    """Of a stack for tests that leave it whole."""
    with make_stack(shared_folder, arena_workers=3) as stack, stack.client() as client:
        yield client


def random_battles(battles: int, *, seed: int = 1, concurrency: int = 8, move_delay: float = 0) -> NewMatchup:
    return NewMatchup(
        p1="random", p2="random", battles=battles, seed=seed, concurrency=concurrency, move_delay=move_delay
    )


TAUGHT = NewMatchup(
    p1="max-damage", p2="max-damage", battles=2, seed=1, concurrency=1, teacher="search?worlds=1&dice=1&time=0.05"
)


def store_in(folder: Path) -> Store:
    return Store(str(folder / "store"))


def timeless(battle: BattleRecord) -> list[str]:
    """The public log, but for the lines that tell the time."""
    return [line for line in battle.public_log if not line.startswith("|t:|")]


def await_recorded(client: ApiClient, matchup_id: str, battles: int) -> MatchupStatus:
    eventually(lambda: client.get(MATCHUPS, matchup_id).recorded >= battles)
    return client.get(MATCHUPS, matchup_id)


def await_idle(folder: Path) -> None:
    await_no_job(find_redis(Settings(redis_url=None), folder))


def busy_workers(client: ApiClient) -> list[int]:
    return [worker["pid"] for worker in client.health()["workers"] if worker["state"] == "busy"]


def worker_in_play(client: ApiClient) -> tuple[int, set[int]]:
    """A worker that plays, and its family: a job and its simulator at least."""

    def look() -> tuple[int, set[int]] | None:
        families = ((worker, descendants(worker)) for worker in busy_workers(client))
        return next(((worker, family) for worker, family in families if len(family) >= 2), None)

    return eventually(look)


def written_at(folder: Path, matchup_id: str) -> dict[str, int]:
    files = (folder / "store" / "matchups" / matchup_id / "battles").glob("[0-9]*")
    return {file.name: file.stat().st_mtime_ns for file in files}


def all_played_once(folder: Path, status: MatchupStatus) -> list[BattleRecord]:
    battles = list(Matchups(store_in(folder)).battles(status.id))
    assert status.state is State.FINISHED
    assert status.failures == []
    assert [battle.index for battle in battles] == list(range(status.battles))
    assert all(battle.broken is None for battle in battles)
    return battles


def test_a_matchup_goes_in_over_http_and_comes_out_as_run_and_report(
    shared_client: ApiClient, shared_folder: Path
) -> None:
    seen: list[MatchupStatus] = []
    ended = shared_client.wait(MATCHUPS, shared_client.ask(MATCHUPS, random_battles(8)).id, seen.append)
    run = parse_run(shared_client.read(MATCHUPS, ended.id, "run"), f"the run of {ended.id}")
    report = shared_client.read(MATCHUPS, ended.id, "report").decode()
    all_played_once(shared_folder, ended)
    assert seen[0].state in (State.QUEUED, State.RUNNING)
    assert run.summary.n_games == len(run.battles) == ended.finished == 8
    assert run.summary.p1_win_rate == ended.p1_win_rate
    assert (run.matchup_id, run.cancelled, run.failures) == (ended.id, False, ())
    assert "<html" in report
    assert ended.links.report is not None


def test_three_workers_give_the_same_battles_as_one_after_the_other(
    shared_client: ApiClient, shared_folder: Path
) -> None:
    ended = shared_client.wait(MATCHUPS, shared_client.ask(MATCHUPS, random_battles(12, seed=77, concurrency=4)).id)
    battles = all_played_once(shared_folder, ended)
    alone: list[BattleRecord] = []
    request = ended.request.model_copy(update={"concurrency": 1})
    asyncio.run(play(request, range(12), matchup_id="alone", worker="alone", on_record=alone.append))
    assert len({battle.worker for battle in battles}) > 1
    assert [timeless(battle) for battle in battles] == [timeless(battle) for battle in alone]
    assert [battle.input_log for battle in battles] == [battle.input_log for battle in alone]


def test_a_cancelled_matchup_starts_no_more_battles_and_gets_its_report(
    shared_client: ApiClient, shared_folder: Path
) -> None:
    asked = shared_client.ask(MATCHUPS, random_battles(64, concurrency=2, move_delay=SLOWLY))
    await_recorded(shared_client, asked.id, 2)
    shared_client.cancel(MATCHUPS, asked.id)
    await_idle(shared_folder)
    ended = shared_client.get(MATCHUPS, asked.id)
    run = parse_run(shared_client.read(MATCHUPS, asked.id, "run"), f"the run of {asked.id}")
    report = shared_client.read(MATCHUPS, asked.id, "report").decode()
    assert ended.state is State.CANCELLED
    assert 2 <= ended.recorded < 64
    assert run.cancelled
    assert len(run.battles) == ended.recorded, "the battles that were in play are in the report too"
    assert "ancelled" in report


def test_a_forbidden_team_fails_the_matchup_with_the_simulators_reasons(
    shared_client: ApiClient, shared_folder: Path
) -> None:
    team = "Koraidon @ Choice Band\nAbility: Orichalcum Pulse\nEVs: 4 HP\n- Flare Blitz\n"
    asked = NewMatchup(p1="random", p2="random", battles=8, format="gen9ou", teams=(team, None))
    ended = shared_client.wait(MATCHUPS, shared_client.ask(MATCHUPS, asked).id)
    await_idle(shared_folder)
    run = parse_run(shared_client.read(MATCHUPS, ended.id, "run"), f"the run of {ended.id}")
    assert (ended.state, ended.recorded) == (State.FAILED, 0)
    (failure,) = ended.failures
    assert "Koraidon is tagged Uber" in failure
    assert run.failures == (failure,)
    assert run.summary.not_played == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "body"),
    [
        pytest.param(signal.SIGKILL, TAUGHT, id="killed while it is taught"),
        pytest.param(signal.SIGTERM, random_battles(8, concurrency=1, move_delay=SLOWLY), id="told to stop"),
    ],
)
def test_a_worker_ended_in_mid_shard_loses_nothing_but_the_battles_in_play(
    tmp_path: Path, number: signal.Signals, body: NewMatchup
) -> None:
    with make_stack(tmp_path, worker_grace_seconds=0.2) as stack, stack.client() as client:
        asked = client.ask(MATCHUPS, body)
        await_recorded(client, asked.id, 1)
        victim, family = worker_in_play(client)
        before = written_at(tmp_path, asked.id)
        os.kill(victim, number)
        eventually(lambda: not alive(family))
        ended = client.wait(MATCHUPS, asked.id)
    decisions = [each for battle in all_played_once(tmp_path, ended) for each in battle.decisions]
    advised = [len(each.advice) for each in decisions if each.legal_actions > 1]
    wanted = [each.legal_actions if body.teacher else 0 for each in decisions if each.legal_actions > 1]
    assert advised == wanted, "every choice is advised, and once"
    assert written_at(tmp_path, asked.id) | before == written_at(tmp_path, asked.id), "what was recorded stayed"


def test_a_lost_redis_loses_no_result(tmp_path: Path) -> None:
    with make_stack(tmp_path) as stack, stack.client() as client:
        asked = client.ask(MATCHUPS, random_battles(8, concurrency=1, move_delay=SLOWLY))
        await_recorded(client, asked.id, 2)
        families = set[int]().union(*(descendants(worker["pid"]) for worker in client.health()["workers"]))
    # Stopped in mid-battle, it leaves no simulator behind.
    eventually(lambda: not alive(families))
    before = written_at(tmp_path, asked.id)
    assert 2 <= len(before) < 8
    with make_stack(tmp_path) as stack, stack.client() as client:
        ended = client.wait(MATCHUPS, asked.id)
    all_played_once(tmp_path, ended)
    assert written_at(tmp_path, asked.id) | before == written_at(tmp_path, asked.id)
