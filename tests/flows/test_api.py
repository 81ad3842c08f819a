"""The HTTP API, against a real Redis and no workers."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive

from deploy.api import build
from deploy.stack import private_redis
from shared.battle.decision import Outcome, Reason
from shared.errors import UsageError
from shared.guards import MAX_BODY_BYTES
from shared.jobs.leases import Leases
from shared.jobs.queue import Queues, connect, text
from shared.jobs.routes import ROUTES
from shared.matchups import Matchups
from shared.records import MAX_BATTLES, BattleRecord, DecisionRecord
from shared.settings import Settings
from shared.store import Store
from shared.verdicts.scores import Winner
from shared.web import create_app
from tests.flows.conftest import eventually

NOTHING_LISTENS = "redis://127.0.0.1:9"
BODY = {"p1": "heuristic", "p2": "random", "battles": 20}


class Desk:
    """The API with its store and its queues."""

    def __init__(self, redis_url: str, folder: Path, **settings: Any) -> None:
        self.store = Store(str(folder / "store"))
        self.queues = Queues(connect(redis_url))
        self.app = build(Settings(redis_url=redis_url, store=self.store.url, **settings))
        self.http = TestClient(self.app, base_url="http://127.0.0.1")

    def ask(self, body: object = None, **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/matchups", json=BODY if body is None else body, headers=given)


@pytest.fixture
def desk(redis_url: str, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(redis_url, tmp_path)
    with made.http:
        yield made


def record(index: int, winner: Winner | None, *, substituted: bool = False) -> BattleRecord:
    decision = DecisionRecord(
        turn=1,
        policy="p1",
        seat="p1",
        order="move 1",
        action_type="move",
        action="Tackle",
        legal_actions=9,
        outcome=Outcome.SUBSTITUTED if substituted else Outcome.CHOSEN,
        reason=Reason.UNPARSABLE if substituted else None,
        decision_ms=1.0,
    )
    return BattleRecord(
        index=index,
        battle_tag=f"b-{index}",
        pair=None,
        p1_seat="p1",
        winner=winner,
        broken=None if winner else "it broke",
        turns=3,
        started_at="2026-01-01T00:00:00.000+00:00",
        duration_s=1.0,
        seeds=None,
        worker="w",
        decisions=(decision,),
        input_log=(),
        public_log=(),
    )


def faults(response: Any) -> list[tuple[str | None, str]]:
    assert set(response.json()) == {"errors"}
    return [(fault["field"], fault["reason"]) for fault in response.json()["errors"]]


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_matchup_that_is_asked_for_is_stored_and_cut_into_jobs(desk: Desk) -> None:
    response = desk.ask()
    told = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == told["links"]["self"] == f"/matchups/{told['id']}"
    assert (told["state"], told["recorded"], told["p1_win_rate"]) == ("queued", 0, None)
    assert Matchups(desk.store).request(told["id"]).seed == told["request"]["seed"]
    assert desk.queues.depths() == {"arena": 5, "reporter": 0, "scraper": 0, "train": 0}


def test_each_matchup_draws_a_seed_of_its_own_unless_given_one(desk: Desk) -> None:
    drawn = [desk.ask().json()["request"]["seed"] for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert desk.ask({**BODY, "seed": 7}).json()["request"]["seed"] == 7


def test_the_same_key_and_body_are_the_same_matchup(desk: Desk) -> None:
    first, second = (desk.ask(idempotency_key="mine").json() for _ in range(2))
    assert first == second
    assert desk.queues.depths()["arena"] == 5
    assert desk.ask(idempotency_key="another").json()["id"] != first["id"]


def test_the_same_key_with_another_body_is_a_conflict(desk: Desk) -> None:
    desk.ask(idempotency_key="mine")
    assert desk.ask({**BODY, "battles": 21}, idempotency_key="mine").status_code == 409


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"p1": "heuristc"}, "p1", "did you mean 'heuristic'"),
        ({"p2": "random?speed=1"}, "p2", "has no option 'speed'"),
        ({"p2": ""}, "p2", "at least 1 character"),
        ({"format": "gen9nothing"}, "format", "unknown format 'gen9nothing'"),
        ({"format": "gen9ubers"}, "format", "teams of your own"),
        ({"format": "gen9doublesou"}, "format", "no singles format"),
        ({"battles": 0}, "battles", "greater than or equal to 1"),
        ({"battles": MAX_BATTLES + 1}, "battles", "less than or equal to"),
        ({"concurrency": 1000}, "concurrency", "less than or equal to"),
        ({"move_delay": -1}, "move_delay", "greater than or equal to 0"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"teams": ["a"]}, "teams.1", "Field required"),
        ({"teams": [None, "Pikachu"]}, "teams.1", "draws its own teams"),
        ({"teams": ["Pikachu", None]}, "teams.0", "draws its own teams"),
        ({"format": "gen9ou", "teams": [" ", None]}, "teams.0", "this team is empty"),
        ({"battlefield": "server", "pairs": True}, "pairs", "no seeds"),
        ({"battlefield": "moon"}, "battlefield", "'simulator' or 'server'"),
        ({"wins": 20}, "wins", "Extra inputs are not permitted"),
    ],
)
def test_bad_input_names_the_field_and_the_reason(desk: Desk, change: dict[str, Any], field: str, reason: str) -> None:
    response = desk.ask({**BODY, **change})
    assert response.status_code == 422
    (fault,) = faults(response)
    assert fault[0] == field
    assert reason in fault[1]
    assert Matchups(desk.store).ids() == []


def test_a_team_format_needs_no_teams(desk: Desk) -> None:
    assert desk.ask({**BODY, "format": "gen9ou"}).status_code == 202


def test_a_body_that_is_no_json_or_no_object_is_refused(desk: Desk) -> None:
    json_type = {"Content-Type": "application/json"}
    broken = desk.http.post("/matchups", content=b'{"p1": "heuristic" "p2": 1}', headers=json_type)
    assert broken.status_code == 422
    reason = "the body is no JSON: Expecting ',' delimiter, at character 19"
    assert broken.json()["errors"] == [{"field": None, "reason": reason}]
    assert desk.http.post("/matchups", content=b"[]", headers=json_type).status_code == 422


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_bound_is_refused_before_it_is_parsed(desk: Desk, chunked: bool) -> None:
    body = json.dumps({**BODY, "p1": "x" * MAX_BODY_BYTES}).encode()
    content = iter([body[:1000], body[1000:]]) if chunked else body
    response = desk.http.post("/matchups", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert faults(response) == [(None, f"more than {MAX_BODY_BYTES} bytes were sent")]


def test_nothing_is_stored_when_redis_is_away(tmp_path: Path) -> None:
    desk = Desk(NOTHING_LISTENS, tmp_path)
    response = desk.ask()
    assert response.status_code == 503
    assert "Redis does not answer" in faults(response)[0][1]
    assert Matchups(desk.store).ids() == []


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_matchup_shows_how_it_stands(desk: Desk) -> None:
    matchup_id = desk.ask().json()["id"]
    winners: list[Winner | None] = ["p1", "p1", "draw", "p2", None]
    for index, winner in enumerate(winners):
        Matchups(desk.store).record(matchup_id, record(index, winner, substituted=index == 0))
    told = desk.http.get(f"/matchups/{matchup_id}").json()
    assert (told["state"], told["recorded"], told["finished"], told["broken"]) == ("running", 5, 4, 1)
    assert (told["p1_wins"], told["p2_wins"], told["draws"], told["p1_win_rate"]) == (2, 1, 1, 0.625)
    low, high = told["p1_win_rate_interval"]
    assert 0 < low < 0.625 < high < 1
    assert (told["decisions"], told["substitutions"]) == ({"p1": 5, "p2": 0}, {"p1": 1, "p2": 0})
    assert (told["links"]["run"], told["links"]["report"]) == (None, None)


def test_matchups_are_listed_newest_first_page_by_page(desk: Desk) -> None:
    asked = [desk.ask(idempotency_key=f"k{number}").json()["id"] for number in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = desk.http.get("/matchups", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [line["id"] for line in page["items"]]
        cursor = page["next"]
        if len(seen) == 2:
            desk.ask(idempotency_key="comes in between")
    assert seen == asked[::-1]
    assert cursor is None


@pytest.mark.parametrize("path", ["/matchups/none", "/matchups/none/run", "/matchups/none/report", "/elsewhere"])
def test_what_is_not_there_is_404(desk: Desk, path: str) -> None:
    response = desk.http.get(path)
    assert response.status_code == 404
    assert len(faults(response)) == 1


def test_a_report_that_is_not_written_yet_is_404_and_says_so(desk: Desk) -> None:
    matchup_id = desk.ask().json()["id"]
    assert "no report yet" in faults(desk.http.get(f"/matchups/{matchup_id}/report"))[0][1]
    assert "no run yet" in faults(desk.http.get(f"/matchups/{matchup_id}/run"))[0][1]


def test_a_report_is_kept_from_the_origin_that_serves_it(desk: Desk) -> None:
    matchup_id = desk.ask().json()["id"]
    Matchups(desk.store).write_report(matchup_id, "<!doctype html>")
    response = desk.http.get(f"/matchups/{matchup_id}/report")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox allow-scripts" in response.headers["content-security-policy"]
    assert "allow-same-origin" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_policies_and_formats_are_listed(desk: Desk) -> None:
    known = desk.http.get("/policies").json()
    assert {"random", "max-damage", "heuristic"} <= {policy["name"] for policy in known["policies"]}
    assert {"gen9randombattle", "gen9ou"} <= {format["id"] for format in known["formats"]}


def test_health_shows_what_waits_and_who_works(desk: Desk) -> None:
    desk.ask()
    assert desk.http.get("/health").json() == {
        "status": "ok",
        "queues": {"arena": 5, "reporter": 0, "scraper": 0, "train": 0},
        "workers": [],
    }


def test_health_passes_over_what_is_no_worker(desk: Desk, redis_url: str) -> None:
    with connect(redis_url) as redis:
        redis.sadd("rq:workers", "rq:worker:text", "rq:worker:list", "rq:worker:odd", b"rq:worker:\xff\n", "", "gone")
        redis.set("rq:worker:text", "not a hash")
        redis.rpush("rq:worker:list", "neither")
        for name in ("rq:worker:odd", b"rq:worker:\xff\n"):
            redis.hset(name, mapping={"queues": b"\xff\x00", "state": "", "pid": "9" * 5_000})
        redis.hset("rq:worker:odd", "pid", "garbage")

        told = desk.http.get("/health")

    assert told.status_code == 200
    assert sorted(worker["pid"] for worker in told.json()["workers"]) == [0, 9_999_999_999]


def test_health_is_503_when_redis_is_away(tmp_path: Path) -> None:
    assert Desk(NOTHING_LISTENS, tmp_path).http.get("/health").status_code == 503


# ── cancelling ──────────────────────────────────────────────────────────────────────────────────────


def test_a_matchup_is_cancelled_once_and_its_report_asked_for(desk: Desk) -> None:
    matchup_id = desk.ask().json()["id"]
    assert desk.http.delete(f"/matchups/{matchup_id}").json()["state"] == "cancelled"
    assert desk.http.delete(f"/matchups/{matchup_id}").status_code == 200
    assert desk.queues.depths()["reporter"] == 1


def test_what_has_ended_cannot_be_cancelled(desk: Desk) -> None:
    matchup_id = desk.ask({**BODY, "battles": 1}).json()["id"]
    Matchups(desk.store).record(matchup_id, record(0, "p1"))
    Matchups(desk.store).write_report(matchup_id, "")
    response = desk.http.delete(f"/matchups/{matchup_id}")
    assert response.status_code == 409
    assert "has finished already" in faults(response)[0][1]


def test_cancelling_an_unknown_matchup_is_404(desk: Desk) -> None:
    assert desk.http.delete("/matchups/none").status_code == 404


# ── who may ask ─────────────────────────────────────────────────────────────────────────────────────


def test_beyond_loopback_a_token_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ALPHASTRAL_API_TOKEN"):
        Desk(NOTHING_LISTENS, tmp_path, api_host="0.0.0.0")
    Desk(NOTHING_LISTENS, tmp_path, api_host="0.0.0.0", api_token=SecretStr("t"))


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic right", "Bearer righté", "right"])
def test_without_the_token_nothing_is_told_but_that_the_api_is_alive(
    redis_url: str, tmp_path: Path, header: str | None
) -> None:
    desk = Desk(redis_url, tmp_path, api_token=SecretStr("right"))
    headers = {b"Authorization": header.encode()} if header else {}
    asked = [("POST", "/matchups"), ("DELETE", "/matchups/x"), ("PUT", "/alive/"), ("OPTIONS", "/matchups")]
    paths = "/matchups /policies /health /docs /docs/oauth2-redirect /redoc /openapi.json /nowhere /alive/x"
    for method, path in [*asked, *(("GET", path) for path in paths.split())]:
        response = desk.http.request(method, path, headers=headers)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert faults(response) == [(None, "a bearer token is needed")]
    assert desk.http.get("/alive").json() == {"status": "alive"}


def test_with_the_token_all_is_answered_whatever_name_it_was_asked_by(redis_url: str, tmp_path: Path) -> None:
    desk = Desk(redis_url, tmp_path, api_token=SecretStr("right"))
    headers = {"Authorization": "Bearer right", "Host": "alphastral.example"}
    for path in ("/matchups", "/health", "/docs", "/openapi.json", "/alive"):
        assert desk.http.get(path, headers=headers).status_code == 200
    assert desk.http.get("/health", headers={"Authorization": "bearer right"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "null", "https://evil.example"])
def test_a_cookie_is_no_token_for_pages_elsewhere(redis_url: str, tmp_path: Path, origin: str) -> None:
    desk = Desk(redis_url, tmp_path, api_token=SecretStr("right"))
    assert desk.http.post("/session", json={"token": "right"}).status_code == 204
    assert desk.http.get("/health").status_code == 200
    assert desk.http.get("/health", headers={"Origin": origin}).status_code == 401


def test_a_body_is_not_read_of_whoever_may_not_ask(redis_url: str, tmp_path: Path) -> None:
    app = Desk(redis_url, tmp_path, api_token=SecretStr("right")).app

    status, _ = asyncio.run(answered(app, {"host": "127.0.0.1"}, read_nothing))

    assert status == 401


@pytest.mark.parametrize("token", [None, SecretStr("right")])
def test_a_body_that_does_not_come_is_not_waited_for(redis_url: str, token: SecretStr | None) -> None:
    app = create_app([], Queues(connect(redis_url)), host="127.0.0.1", token=token, body_seconds=0.05)

    async def drips() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    status, headers = asyncio.run(answered(app, {"host": "127.0.0.1", "authorization": "Bearer right"}, drips))

    assert status == 408
    assert headers["connection"] == "close"


async def read_nothing() -> Message:
    raise AssertionError("it is read")


async def answered(app: ASGIApp, headers: dict[str, str], receive: Receive) -> tuple[int, Headers]:
    """What a POST is answered, as a server of ASGI would hear it."""
    sent: list[Message] = []
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    given = {"type": "http", "method": "POST", "path": "/matchups", "query_string": b"", "headers": fields}

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(30):
        await app(given, receive, send)
    return sent[0]["status"], Headers(raw=sent[0]["headers"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_without_a_token_a_page_elsewhere_cannot_make_a_browser_ask(desk: Desk, headers: dict[str, str]) -> None:
    assert desk.http.post("/matchups", json=BODY, headers=headers).status_code == 403
    assert Matchups(desk.store).ids() == []


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"])
def test_without_a_token_this_machine_may_ask_by_any_of_its_names(desk: Desk, host: str) -> None:
    assert desk.http.get("/policies", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


# ── whether all is well ─────────────────────────────────────────────────────────────────────────────


def test_a_redis_that_takes_nothing_is_a_503_and_nothing_is_asked_for(tmp_path: Path) -> None:
    with private_redis() as (url, _):
        desk = Desk(url, tmp_path)
        assert desk.http.get("/health").json()["status"] == "ok"
        connect(url).replicaof("127.0.0.1", 1)
        for response in (desk.http.get("/health"), desk.ask()):
            assert response.status_code == 503
            assert "Redis refuses" in faults(response)[0][1]
        assert Matchups(desk.store).ids() == []


def test_health_names_the_worker_whose_machine_lacks_something(desk: Desk, redis_url: str) -> None:
    sick, well = (Leases(connect(redis_url), "arena", ROUTES) for _ in range(2))
    sick.beat(fault="no Node.js")
    well.beat()
    told = desk.http.get("/health").json()
    assert told["status"] == "degraded"
    assert {worker["name"]: worker["fault"] for worker in told["workers"]} == {
        sick.worker: "no Node.js",
        well.worker: None,
    }


# ── starting ────────────────────────────────────────────────────────────────────────────────────────


def test_what_redis_forgot_is_on_the_queues_again_whatever_kind_of_work_it_is(redis_url: str, tmp_path: Path) -> None:
    desk, redis = Desk(redis_url, tmp_path), connect(redis_url)
    assert desk.ask({"p1": "heuristic", "p2": "random", "until_decided": {}}).status_code == 202
    half_played, played, cancelled = (desk.ask().json()["id"] for _ in range(3))
    for id, battles in ((half_played, 4), (played, 20)):
        for index in range(battles):
            Matchups(desk.store).record(id, record(index, "p1"))
    desk.http.delete(f"/matchups/{cancelled}")
    desk.store.write("datasets/here/card.json", b"{}")
    others = {
        "tournaments": {"policies": ["random", "heuristic"], "budget": {"battles": 100}},
        "scrapes": {"format": "gen9randombattle"},
        "datasets": {"name": "mine", "sources": ["store:replays"]},
        "trainings": {"recipe": "cpu-smollm2", "dataset": "here", "name": "mine"},
    }
    for kind, body in others.items():
        assert desk.http.post(f"/{kind}", json=body).status_code == 202, kind
    redis.flushall()
    right = {"arena": 6, "reporter": 2, "scraper": 2, "train": 1}
    with desk.http:
        eventually(lambda: desk.queues.depths() == right)
        Matchups(desk.store).write_report(played, "")
        redis.delete("alphastral:restored", *map(text, redis.keys("rq:queue:*")))
        eventually(lambda: desk.queues.depths() == {**right, "reporter": 1})
        ended = desk.queues.ended()
    assert ended == {f"matchups/{played}"}
    assert len(redis.keys("rq:job:*")) == sum(right.values()), "the report of what is finished waits, and harms nobody"


def test_a_matchup_that_cannot_be_read_stands_in_nobodys_way(redis_url: str, tmp_path: Path) -> None:
    before = Desk(redis_url, tmp_path)
    open_id = before.ask().json()["id"]
    connect(redis_url).flushall()
    for name in ("20990101-000000-aaaaaa", "20990101-000000-bbbbbb"):
        (tmp_path / "store" / "matchups" / name).mkdir()
    (tmp_path / "store" / "matchups" / name / "request.json").write_text("{")
    after = Desk(redis_url, tmp_path)
    with after.http:
        assert [line["id"] for line in after.http.get("/matchups").json()["items"]] == [open_id]
        eventually(lambda: after.queues.depths()["arena"] == 5)


def test_the_api_starts_without_redis(tmp_path: Path) -> None:
    Store(str(tmp_path / "store"))
    desk = Desk(NOTHING_LISTENS, tmp_path)
    with desk.http:
        assert desk.http.get("/policies").status_code == 200


def test_the_api_imports_neither_tasks_nor_what_they_need() -> None:
    command = [sys.executable, "-c", "import sys, deploy.api; print(*sys.modules)"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "services.arena.api" in loaded
    forbidden = {"plotly", "jinja2", "shared.simulator", "services.arena.tasks"}
    assert loaded & forbidden == set()
