"""The same jobs without Redis: what a command asks for is drained in its own process."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from services.arena.matchups import Progress
from shared.errors import Unreachable, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.inline import Inline
from shared.jobs.routes import Payload, Route
from shared.matchups import Matchups
from shared.process import interruptible
from shared.records import BattleRecord, MatchupRequest
from shared.settings import Settings
from shared.store import Store
from shared.verdicts.sequential import UntilDecided
from shared.work import State

SETTINGS = Settings(_env_file=None)


class Errand(Payload):
    name: str


def errand(errand: Errand, context: Context) -> None:
    context.tell(errand.name)
    match errand.name:
        case "fails":
            raise Unreachable("nobody is there")
        case "wrong":
            raise UsageError("no such thing")
        case "stops":
            raise HandedBack
        case "goes-on":
            assert not context.enqueue(errand)
            context.enqueue(Errand(name="after"))


def give_up_errand(errand: Errand, context: Context, reason: str) -> None:
    context.tell(f"{errand.name} given up: {reason}")


ROUTES: Mapping[str, Route] = {
    "errand": Route("errand", Errand, "errand-{name}", tasks="tests.jobs.test_inline", queue="errands", retries=1)
}


def errands(folder: Path, *names: str) -> tuple[Inline, list[str]]:
    told: list[str] = []

    def tell(said: object) -> None:
        if isinstance(said, str):
            told.append(said)

    inline = Inline(Store(str(folder)), SETTINGS, routes=ROUTES, tell=tell)
    for name in names:
        inline.enqueue(Errand(name=name))
    return inline, told


def test_a_job_waits_once_and_what_it_enqueues_is_done_too(tmp_path: Path) -> None:
    inline, told = errands(tmp_path, "goes-on", "goes-on", "other")

    inline.drain()

    assert told == ["goes-on", "other", "after"]


def test_a_job_that_fails_has_its_attempts_and_is_given_up_after_the_others_had_their_turn(tmp_path: Path) -> None:
    inline, told = errands(tmp_path, "fails", "other")

    with pytest.raises(Unreachable, match="nobody is there"):
        inline.drain()

    assert told == ["fails", "fails", "fails given up: nobody is there", "other"]


def test_what_a_person_can_put_right_is_raised_at_once(tmp_path: Path) -> None:
    inline, told = errands(tmp_path, "wrong", "other")

    with pytest.raises(UsageError, match="no such thing"):
        inline.drain()

    assert told == ["wrong"]


def test_what_is_handed_back_waits_for_the_next_call(tmp_path: Path) -> None:
    inline, told = errands(tmp_path, "stops", "other")

    inline.drain()
    inline.drain(lambda: True)
    assert told == ["stops"]

    inline.drain()
    assert told == ["stops", "stops"]


def test_the_first_interrupt_is_noted_and_the_second_is_pythons_own() -> None:
    said: list[str] = []

    with interruptible(said.append) as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted() and "Ctrl-C again leaves at once" in said[0]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


# ── matchups ────────────────────────────────────────────────────────────────────────────────────────


def matchup(folder: Path, **more: Any) -> tuple[Store, MatchupRequest]:
    store = Store(str(folder))
    request = MatchupRequest(p1="heuristic", p2="random", seed=1, **more)
    Matchups(store).create("m", request)
    return store, request


def drained(store: Store, tell: Callable[[Any], None], stopping: Callable[[], bool] = lambda: False) -> Progress:
    inline = Inline(store, SETTINGS, tell=tell)
    for job in Progress.of(store, "m").jobs():
        inline.enqueue(job)
    inline.drain(stopping)
    return Progress.of(store, "m")


def test_a_matchup_s_shards_are_played_as_one_and_reported(tmp_path: Path) -> None:
    store, _ = matchup(tmp_path, battles=20, concurrency=20)
    told: list[Any] = []

    progress = drained(store, told.append)

    # Two battles make a shard of twenty: one after the other, the fourth could not end before the third.
    order = [record.index for record in told if isinstance(record, BattleRecord)]
    assert progress.state is State.FINISHED and sorted(order) == list(range(20)) != order
    assert max(place - index for place, index in enumerate(order)) > 3
    assert Matchups(store).run("m").summary.n_games == 20


def test_a_matchup_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    store, _ = matchup(tmp_path, battles=6, concurrency=1)
    told: list[int] = []

    def tell(said: object) -> None:
        if isinstance(said, BattleRecord):
            told.append(said.index)

    assert drained(store, tell, lambda: len(told) >= 3).recorded == {0, 1, 2}
    assert drained(store, tell).state is State.FINISHED

    assert told == list(range(6))


def test_until_decided_it_is_looked_at_between_shards(tmp_path: Path) -> None:
    store, _ = matchup(tmp_path, battles=100, until_decided=UntilDecided())

    progress = drained(store, lambda told: None)

    assert progress.decided and progress.state is State.FINISHED
    assert progress.test is not None and len(progress.recorded) == progress.test.battles < 40


def test_what_makes_a_matchup_impossible_is_raised_and_not_recorded(tmp_path: Path) -> None:
    store, _ = matchup(tmp_path, battles=2, format="gen9ou", team1="Pikachu\nnonsense")

    with pytest.raises(UsageError):
        drained(store, lambda told: None)

    assert Progress.of(store, "m").state is State.QUEUED
