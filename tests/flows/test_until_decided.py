"""Matchups that are played until decided: through the queue, resumed, stopped cleanly."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from deploy.api import build
from deploy.cli import app
from deploy.cli.verify import verify
from deploy.client import MATCHUPS
from services.arena.tasks import give_up_look_at_matchup, give_up_play_shard, look_at_matchup, play_shard
from services.reporter.report import write_report
from shared.battle.decision import AskRecord
from shared.jobs import Context
from shared.jobs.routes import LookAtMatchup, Payload, PlayShard, WriteReport
from shared.matchups import Matchups
from shared.records import AskedUntilDecided, MatchupRequest, NewMatchup, parse_run, read_run
from shared.settings import Settings
from shared.store import Store
from shared.verdicts.scores import Winner
from shared.verdicts.sequential import Decided, UntilDecided
from shared.work import State
from tests.flows.conftest import make_stack
from tests.flows.recording import OneMatchup
from tests.flows.test_api import record

REQUEST = MatchupRequest(p1="heuristic", p2="random", battles=100, until_decided=UntilDecided())


class Work(OneMatchup):
    """The matchup, whose jobs the test carries out itself."""

    def record(self, start: int, stop: int, winner: Winner | None = "p1") -> None:
        for index in range(start, stop):
            played = record(index, winner).model_copy(update={"pair": index // 2})
            Matchups(self.store).record("m", played)

    def look(self) -> None:
        look_at_matchup(self.progress.look(), self.context)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path, REQUEST)


def starts(payloads: list[Payload]) -> list[int]:
    return [payload.start for payload in payloads if isinstance(payload, PlayShard)]


def test_a_look_enqueues_two_shards_and_the_next_ones_only_after_them(work: Work) -> None:
    work.look()
    assert starts(work.enqueued) == [0, 6]

    work.record(0, 6)
    work.look()
    assert starts(work.enqueued) == [0, 6, 10]


def test_while_the_first_shard_is_open_nothing_is_enqueued_after_the_second(work: Work) -> None:
    work.look()
    work.record(6, 10)
    work.look()
    assert starts(work.enqueued) == [0, 6]

    work.record(0, 6)
    work.look()
    assert starts(work.enqueued) == [0, 6, 10, 14]


def test_what_ends_during_a_look_is_left_to_the_next_one(tmp_path: Path) -> None:
    work = Work(tmp_path, REQUEST)
    work.record(0, 12)

    class Busy(Store):
        """The first open shard ends just after its battles were read."""

        def write(self, path: str, raw: bytes | Iterator[bytes]) -> None:
            if "/looks/" in path:
                work.record(12, 14)
            super().write(path, raw)

    look_at_matchup(work.progress.look(), replace(work.context, store=Busy(work.store.url)))

    assert starts(work.enqueued) == [10, 14]


def test_once_decided_no_shard_but_the_report_is_enqueued(work: Work) -> None:
    work.record(0, 18)

    work.look()

    assert [type(payload) for payload in work.enqueued] == [WriteReport]
    assert work.progress.test is not None and work.progress.test.decided is Decided.P1_STRONGER
    assert work.progress.settled and list(work.progress.jobs()) == work.enqueued


def test_a_shard_that_waits_when_it_is_decided_is_not_played(work: Work) -> None:
    work.record(0, 18)
    work.look()

    play_shard(work.progress.shard(range(18, 22)), work.context)

    assert Matchups(work.store).recorded("m") == frozenset(range(18))


def test_after_its_last_shard_it_stays_undecided_and_is_reported(tmp_path: Path) -> None:
    work = Work(tmp_path, REQUEST.model_copy(update={"battles": 10}))
    work.record(0, 10)

    work.look()
    write_report(next(work.progress.jobs()), work.context)  # type: ignore[arg-type]

    assert work.progress.state is State.FINISHED
    test = Matchups(work.store).run("m").summary.sequential_test
    assert test is not None and (test.decided, test.battles) == (Decided.UNDECIDED, 10)


def test_a_shard_that_fails_for_good_ends_the_matchup_undecided(work: Work) -> None:
    work.record(0, 6)

    give_up_play_shard(work.progress.shard(range(6, 10)), work.context, "the simulator died")
    write_report(next(work.progress.jobs()), work.context)  # type: ignore[arg-type]

    assert work.progress.state is State.FAILED
    assert starts(work.enqueued) == []


def test_a_look_that_fails_for_good_is_a_failure_of_the_matchup(work: Work) -> None:
    give_up_look_at_matchup(work.progress.look(), work.context, "no memory")

    assert work.progress.failures == {0: "the matchup could not be looked at: no memory"}
    assert work.progress.settled


def test_resume_looks_again_and_is_harmless(work: Work) -> None:
    work.record(0, 8)

    assert [work.resume() for _ in range(2)] == [1, 0]

    (look,) = work.enqueued
    assert isinstance(look, LookAtMatchup)
    work.enqueued.clear()
    look_at_matchup(look, work.context)
    # Battles 8 and 9 are missing, and the shard after them.
    assert starts(work.enqueued) == [6, 10]


def test_cancelling_ends_it(work: Work) -> None:
    work.record(0, 6)
    Matchups(work.store).cancel("m")

    work.look()

    assert [type(payload) for payload in work.enqueued] == [WriteReport]


# ── the API ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def http(redis_url: str, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(redis_url=redis_url, store=str(tmp_path / "store"))
    with TestClient(build(settings), base_url="http://127.0.0.1") as client:
        yield client


def test_the_api_tells_the_ratios_their_bounds_and_what_is_left(http: TestClient, tmp_path: Path) -> None:
    body = {"p1": "heuristic", "p2": "random", "until_decided": {"margin": 0.1, "max_battles": 60}}
    asked = http.post("/matchups", json=body).json()
    store = Store(str(tmp_path / "store"))
    for index in range(10):
        Matchups(store).record(asked["id"], record(index, "p1").model_copy(update={"pair": index // 2}))
    work = Context(Settings(store=store.url), store, lambda payload: True, lambda: False, "w")
    look_at_matchup(LookAtMatchup(matchup_id=asked["id"], revision="x"), work)

    told = http.get(f"/matchups/{asked['id']}").json()

    assert (asked["battles"], asked["request"]["until_decided"]) == (60, {"margin": 0.1, "error": 0.05})
    test = told["sequential_test"]
    assert (test["decided"], test["battles"], test["observations"]) == ("undecided", 10, 5)
    # Five pairs won: 5 log 2 = 3.47 of 5.25, so three pairs more.
    assert test["overwhelming"] == pytest.approx(3.47, abs=0.05)
    assert test["overwhelming_bound"] == pytest.approx(5.247, abs=0.001)
    assert told["probably_left"]["battles"] == 6
    assert told["probably_left"]["seconds"] >= 0 and told["probably_left"]["cost_usd"] == 0


def test_what_models_cost_so_far_tells_what_is_probably_left_in_money(http: TestClient, tmp_path: Path) -> None:
    asked = http.post("/matchups", json={"p1": "heuristic", "p2": "random", "until_decided": {}}).json()
    store = Store(str(tmp_path / "store"))

    def cost(index: int, cost_usd: float | None) -> None:
        played = record(index, "p1").model_copy(update={"pair": index // 2})
        ask = AskRecord(prompt="", answer="", cost_usd=cost_usd)
        paid = played.decisions[0].model_copy(update={"asked": (ask, ask)})
        Matchups(store).record(asked["id"], played.model_copy(update={"decisions": (paid,)}))

    for index in range(10):
        cost(index, 0.02)
    work = Context(Settings(store=store.url), store, lambda payload: True, lambda: False, "w")
    look_at_matchup(LookAtMatchup(matchup_id=asked["id"], revision="x"), work)
    told = http.get(f"/matchups/{asked['id']}").json()
    # A battle more with an ask of unknown price, and nothing is known of the whole.
    cost(10, None)
    unknown = http.get(f"/matchups/{asked['id']}").json()

    assert told["cost_usd"] == pytest.approx(0.40)
    assert told["probably_left"]["battles"] == 6 and told["probably_left"]["cost_usd"] == pytest.approx(0.24)
    assert (unknown["cost_usd"], unknown["probably_left"]["cost_usd"]) == (None, None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"battles": 20, "until_decided": {}}, "exclude each other"),
        ({"until_decided": {"margin": 0.5}}, "less than or equal to 0.4"),
        ({"until_decided": {"error": 0.5}}, "less than or equal to 0.2"),
        ({"until_decided": {"max_battles": 1}}, "greater than or equal to 2"),
        ({"until_decided": {"maximum": 10}}, "Extra inputs"),
    ],
)
def test_what_makes_no_test_is_refused(http: TestClient, more: dict[str, object], said: str) -> None:
    refused = http.post("/matchups", json={"p1": "random", "p2": "random", **more})

    assert refused.status_code == 422 and said in refused.text


# ── for real ────────────────────────────────────────────────────────────────────────────────────────


def test_through_the_queue_it_stops_when_decided_and_can_be_verified(tmp_path: Path) -> None:
    asked = NewMatchup(p1="heuristic", p2="random", seed=1, until_decided=AskedUntilDecided(max_battles=200))
    with make_stack(tmp_path, arena_workers=2) as stack, stack.client() as client:
        status = client.wait(MATCHUPS, client.ask(MATCHUPS, asked).id)
        run = parse_run(client.read(MATCHUPS, status.id, "run"), f"the run of {status.id}")

    test = run.summary.sequential_test
    assert status.state is State.FINISHED and test is not None
    assert test.decided is Decided.P1_STRONGER and test.battles < 40
    # Two shards are enqueued at once, so at most one is played beyond the verdict.
    assert run.summary.n_games <= test.battles + 4
    assert run.summary.not_played == 0
    assert verify(run).difference is None


def test_in_one_process_nothing_is_played_beyond_the_verdict(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    options = ["--p1", "heuristic", "--p2", "random", "--until-decided", "--seed", "1", "--output", str(path)]

    result = CliRunner().invoke(app, ["battle", *options])

    run = read_run(path)
    assert result.exit_code == 0 and "Decided: it is heuristic that is stronger" in result.output
    assert re.search(r"probably left: \d+ battles, ", result.output)
    assert run.summary.sequential_test is not None
    assert run.summary.n_games == run.summary.sequential_test.battles < 40


def test_a_policy_against_itself_is_found_to_be_even(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    options = ["--p1", "random", "--p2", "random", "--until-decided", "--seed", "1", "--output", str(path)]

    result = CliRunner().invoke(app, ["battle", *options])

    test = read_run(path).summary.sequential_test
    assert result.exit_code == 0 and test is not None
    # Every pair splits, so 12 of them are enough, and the next look is after 13.
    assert (test.decided, test.battles) == (Decided.CLOSER, 26)


def test_both_ways_of_saying_how_many_exclude_each_other() -> None:
    result = CliRunner().invoke(app, ["battle", "--until-decided", "--n", "20"])

    assert result.exit_code != 0 and "--max-battles" in str(result.exception)
