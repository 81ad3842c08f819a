"""Tournaments through the API and the queue: the same plan as in one process, and whoever is killed, the same table."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from deploy.api import build
from deploy.cli import app
from deploy.cli.tournament import play_tournament
from deploy.client import TOURNAMENTS, ApiClient
from services.arena.matchups import Progress
from services.arena.policies import no_models
from services.arena.tasks import look_at_tournament, play_shard
from services.arena.views import TournamentStatus
from services.reporter.leaderboard import give_up_write_leaderboard, write_leaderboard
from shared.jobs.routes import LookAtTournament, PlayShard, WriteLeaderboard
from shared.matchups import Matchups
from shared.settings import Settings
from shared.store import Store
from shared.tournaments import NewTournament, RatingTable, Suite, TableLine, Tournaments
from shared.work import State
from tests.flows.conftest import alphastral, eventually, make_stack
from tests.flows.processes import alive, descendants
from tests.flows.recording import Recording
from tests.flows.test_api import record

FOUR = {
    "policies": ["heuristic", "typed", "max-damage", "random"],
    "battles": 2,
    "seed": 3,
    "concurrency": 2,
    "budget": {"battles": 10},
}
ROOT = Path(__file__).parents[2]


def without_times(lines: tuple[TableLine, ...]) -> list[TableLine]:
    return [line.model_copy(update={"mean_ms": None}) for line in lines]


def table_in(folder: Path) -> RatingTable:
    """Played in one process, undisturbed."""
    suite = Suite.model_validate(FOUR)
    assert play_tournament(suite, folder, settings=Settings(_env_file=None), connect=no_models).over
    return kept(folder, suite.id)


def suite_file(folder: Path) -> Path:
    """The same suite as a file."""
    path = folder / "suite.toml"
    path.write_text(f"policies = {FOUR['policies']}\nbattles = 2\nseed = 3\nconcurrency = 2\n[budget]\nbattles = 10\n")
    return path


def kept(folder: Path, tournament_id: str) -> RatingTable:
    """The table that the reporter makes of what is in a store."""
    write_leaderboard(WriteLeaderboard(tournament_id=tournament_id, revision="x"), Recording(folder).context)
    found = Tournaments(Store(str(folder))).table(tournament_id)
    assert found is not None and len(found.lines) == 4
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RatingTable:
    return table_in(tmp_path_factory.mktemp("undisturbed"))


# ── killed and resumed ──────────────────────────────────────────────────────────────────────────────


def played_in(client: ApiClient, tournament_id: str, battles: int) -> TournamentStatus:
    """The tournament as it stood when that many battles had been played."""

    def look() -> TournamentStatus | None:
        told = client.get(TOURNAMENTS, tournament_id)
        return told if told.battles >= battles else None

    return eventually(look, seconds=150)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_killed_and_resumed_on_the_queue_it_gives_the_table_of_an_undisturbed_one(
    tmp_path: Path, undisturbed: RatingTable
) -> None:
    with make_stack(tmp_path) as stack, stack.client() as client:
        asked = client.ask(TOURNAMENTS, NewTournament.model_validate(FOUR), idempotency_key="t")
        played_in(client, asked.id, 3)
        for worker in client.health()["workers"]:
            # Arena workers and the reporter, each with whatever it is doing.
            os.kill(worker["pid"], signal.SIGKILL)
        half = played_in(client, asked.id, 5)
    # The whole stack is gone, with its Redis.
    assert half.state is State.RUNNING and half.over is None
    with make_stack(tmp_path) as stack, stack.client() as client:
        eventually(lambda: client.get(TOURNAMENTS, asked.id).state is State.FINISHED, seconds=150)
        ended, page = client.get(TOURNAMENTS, asked.id), client.read(TOURNAMENTS, asked.id, "leaderboard").decode()
        again = client.ask(TOURNAMENTS, NewTournament.model_validate(FOUR), idempotency_key="t")
        command = ["tournament", str(suite_file(tmp_path)), "--enqueue"]
        told = CliRunner().invoke(app, command, env={"ALPHASTRAL_API_URL": stack.url})
        assert [line.id for line in client.list(TOURNAMENTS).items] == [told.stdout.strip(), asked.id]

    assert (ended.matchups, ended.battles) == (5, 10)
    assert ended.over == "the budget of 10 battles is used up"
    assert ended.table is not None and without_times(ended.table.lines) == without_times(undisturbed.lines)
    assert again.id == asked.id and again.state is State.FINISHED
    assert page.count("../../matchups/") == 5 and "10 of 10 battles were played" in page


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_killed_and_resumed_in_one_process_it_gives_the_same_table_too(
    tmp_path: Path, undisturbed: RatingTable
) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(f"policies = {FOUR['policies']}\nbattles = 2\nseed = 3\nconcurrency = 2\n[budget]\nbattles = 10\n")
    main = "from deploy.cli import main; main()"
    command = [sys.executable, "-c", main, "tournament", str(suite), "-o", str(tmp_path / "t")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as playing:
        eventually(lambda: len(recorded(tmp_path / "t")) >= 3, seconds=150)
        family = descendants(playing.pid)
        playing.kill()
    eventually(lambda: not alive(family))
    before = recorded(tmp_path / "t")
    assert alphastral(*command[3:], folder=tmp_path).status == 0

    assert recorded(tmp_path / "t") | before == recorded(tmp_path / "t"), "what was recorded stayed"
    found = kept(tmp_path / "t", Suite.model_validate(FOUR).id)
    assert without_times(found.lines) == without_times(undisturbed.lines)


def recorded(folder: Path) -> dict[str, int]:
    files = folder.glob("matchups/*/battles/[0-9]*")
    return {f"{file.parents[1].name}/{file.name}": file.stat().st_mtime_ns for file in files}


# ── the jobs ────────────────────────────────────────────────────────────────────────────────────────


class Work(Recording):
    """A tournament whose jobs the test carries out itself."""

    def __init__(self, folder: Path, **more: object) -> None:
        super().__init__(folder)
        self.tournaments = Tournaments(self.store)
        self.tournaments.create("t", Suite.model_validate({**FOUR, **more}))

    def look(self) -> list[str]:
        """What is enqueued by a look, each by its kind and its matchup."""
        self.enqueued.clear()
        look_at_tournament(LookAtTournament(tournament_id="t", revision="x"), self.context)
        return sorted({f"{type(job).__name__} {getattr(job, 'matchup_id', '')}".strip() for job in self.enqueued})

    def record(self, matchup_id: str, *, battles: int = 2) -> None:
        for index in range(battles):
            Matchups(self.store).record(matchup_id, record(index, "p1").model_copy(update={"pair": index // 2}))


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_a_look_begins_two_matchups_and_the_next_when_one_has_ended(work: Work) -> None:
    assert work.look() == ["PlayShard t-00000", "PlayShard t-00001", "WriteLeaderboard"]
    work.record("t-00001")
    assert work.look() == ["PlayShard t-00000", "WriteLeaderboard"]
    work.record("t-00000")
    assert work.look() == ["PlayShard t-00002", "PlayShard t-00003", "WriteLeaderboard"]


def test_a_shard_that_ends_its_matchup_has_the_tournament_looked_at(work: Work) -> None:
    work.look()
    shard = next(job for job in work.enqueued if isinstance(job, PlayShard))
    work.enqueued.clear()
    work.record(shard.matchup_id)

    play_shard(shard, work.context)

    assert [type(job).__name__ for job in work.enqueued] == ["WriteReport", "LookAtTournament"]


def test_resume_has_an_unfinished_tournament_looked_at_and_leaves_a_finished_one_alone(tmp_path: Path) -> None:
    work = Work(tmp_path, budget={"battles": 2})
    assert work.resume() == 1 and isinstance(work.enqueued[0], LookAtTournament)
    work.look()
    work.record("t-00000")
    work.look()
    write_leaderboard(WriteLeaderboard(tournament_id="t", revision="1-2"), work.context)
    Matchups(work.store).write_report("t-00000", "")
    work.enqueued.clear()

    assert work.resume() == 0


def test_a_leaderboard_that_cannot_be_written_is_told_in_its_place(tmp_path: Path) -> None:
    work = Work(tmp_path, budget={"battles": 2})
    work.look()
    Matchups(work.store).fail("t-00000", "no server", 0)
    work.look()
    write_leaderboard(WriteLeaderboard(tournament_id="t", revision="1-0"), work.context)
    empty = work.tournaments.table("t")
    give_up_write_leaderboard(WriteLeaderboard(tournament_id="t", revision="1-0"), work.context, "no ink")
    failed = work.tournaments.table("t")

    assert empty is not None and "no battle between two different policies" in (empty.missing or "")
    assert failed is not None and failed.missing == "the leaderboard could not be written: no ink"


def test_a_failed_matchup_that_gets_another_try_is_waited_for(work: Work) -> None:
    work.look()
    Matchups(work.store).fail("t-00000", "no server", 0)
    assert any(each.endswith("t-00002") for each in work.look())
    assert [each.why for each in work.tournaments.results("t")] == ["no server"]

    work.resume(retry_failed=True)
    assert "PlayShard t-00000" in work.look()
    assert work.tournaments.results("t") == ()


# ── the API ─────────────────────────────────────────────────────────────────────────────────────────


class Place:
    """An API without workers, which knows the endpoint `small`."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        (folder / "endpoints.toml").write_text('[small]\nurl = "http://127.0.0.1:1"\n')
        settings = Settings(
            redis_url=redis_url,
            store=str(folder / "store"),
            endpoints_file=folder / "endpoints.toml",
            _env_file=None,
        )
        self.store = Store(settings.store)
        self.http = TestClient(build(settings), base_url="http://127.0.0.1")

    def ask(self, **more: object) -> Any:
        return self.http.post("/tournaments", json={**FOUR, **more})


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Iterator[Place]:
    made = Place(redis_url, tmp_path)
    with made.http:
        yield made


def test_a_tournament_that_is_asked_for_is_stored_and_looked_at(place: Place) -> None:
    response = place.ask(policies=["heuristic", "tgi:small"], budget={"battles": 8, "cost_usd": 2.5})
    told = response.json()

    assert response.status_code == 202 and response.headers["location"] == told["links"]["self"]
    assert (told["state"], told["matchups"], told["table"], told["over"]) == ("queued", 0, None, None)
    assert told["budget"] == {"battles": 8, "cost_usd": 2.5}
    assert place.http.get("/health").json()["queues"]["arena"] == 1
    assert place.http.get(told["links"]["self"]).json() == told
    assert place.http.get(f"{told['links']['self']}/leaderboard").status_code == 404
    assert [line["id"] for line in place.http.get("/tournaments").json()["items"]] == [told["id"]]


@pytest.mark.parametrize(
    ("more", "field", "reason"),
    [
        ({"policies": ["heuristic", "randm"]}, "policies.1", "did you mean 'random'"),
        ({"policies": ["heuristic", "tgi:http://127.0.0.1:1"]}, "policies.1", "an address is for the command line"),
        ({"policies": ["heuristic", "tgi:other"]}, "policies.1", "no endpoint is called 'other'"),
        ({"policies": ["heuristic"]}, "policies", "at least 2"),
        ({"format": "gen9ubers"}, "format", "teams of your own"),
        ({"anchors": ["nobody"]}, None, "among the policies"),
        ({"battles": 4, "budget": {"battles": 2}}, None, "not enough for one matchup"),
        ({"budget": {"battles": 40, "cost_usd": -1}}, "budget.cost_usd", "greater than 0"),
        ({"matchups": 3}, "matchups", "Extra inputs"),
    ],
)
def test_what_makes_no_tournament_is_refused_with_its_field(
    place: Place, more: dict[str, object], field: str | None, reason: str
) -> None:
    response = place.ask(**more)

    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["field"] == field and reason in fault["reason"]
    assert Tournaments(place.store).ids() == []


def test_a_cancelled_tournament_begins_nothing_more_and_its_matchups_end(place: Place, tmp_path: Path) -> None:
    tournament_id = place.ask().json()["id"]
    work = Recording(tmp_path / "store")
    look_at_tournament(LookAtTournament(tournament_id=tournament_id, revision="x"), work.context)

    told = place.http.delete(f"/tournaments/{tournament_id}").json()
    look_at_tournament(LookAtTournament(tournament_id=tournament_id, revision="y"), work.context)

    assert (told["state"], told["over"]) == ("cancelled", "it was cancelled")
    assert [each["state"] for each in told["played"]] == ["cancelled", "cancelled"]
    assert all(Progress.of(place.store, each["id"]).cancelled for each in told["played"])
    assert len(Matchups(place.store).ids()) == 2
    assert place.http.delete("/tournaments/none").status_code == 404


# ── models and money, for real ──────────────────────────────────────────────────────────────────────


def tells_its_cost(told: TournamentStatus) -> bool:
    """Whether the table counts all that the battles cost."""
    costs = [line.cost_usd for line in told.table.lines if line.cost_usd is not None] if told.table else []
    return told.cost_usd is not None and costs == [pytest.approx(told.cost_usd)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_budget_in_money_ends_a_tournament_and_the_leaderboard_tells_the_cost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.standins.models", "--service-ms", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as model:
        assert model.stdout is not None
        endpoints, prices = tmp_path / "endpoints.toml", tmp_path / "prices.toml"
        endpoints.write_text(f'[small]\nurl = "http://127.0.0.1:{int(model.stdout.readline())}"\n')
        prices.write_text('["tgi:small"]\nin = 100.0\nout = 0.0\n')  # a cent a question
        asked = NewTournament.model_validate(
            {
                "policies": ["heuristic", "tgi:small"],
                "battles": 2,
                "seed": 1,
                "budget": {"battles": 400, "cost_usd": 1.2},
            }
        )
        with make_stack(tmp_path, endpoints_file=endpoints, prices_file=prices) as stack, stack.client() as client:
            tournament_id = client.ask(TOURNAMENTS, asked).id
            eventually(lambda: client.get(TOURNAMENTS, tournament_id).state is State.FINISHED, seconds=150)
            # The last leaderboard is written after the last battle.
            eventually(lambda: tells_its_cost(client.get(TOURNAMENTS, tournament_id)))
            told = client.get(TOURNAMENTS, tournament_id)
            page = client.read(TOURNAMENTS, tournament_id, "leaderboard").decode()
        model.kill()

    assert told.cost_usd is not None and 0.5 < told.cost_usd < 1.6
    assert told.over is not None and "the budget of" in told.over and "USD" in told.over
    assert told.table is not None
    costs = {line.policy: (line.cost_usd, line.cost_usd_per_decision) for line in told.table.lines}
    assert costs["heuristic"] == (None, None)
    assert costs["tgi:small"][0] == pytest.approx(told.cost_usd) and 0 < (costs["tgi:small"][1] or 0) <= 0.011
    assert f"cost ${told.cost_usd:,.2f} of $1.20" in page
