"""Whatever the API is asked, with a token and without one, it answers: never with a 500, and nothing to strangers."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error

from deploy.api import PromptRequests, build
from deploy.stack import private_redis
from shared.process import listen
from shared.settings import Settings

NOTHING_LISTENS = "redis://127.0.0.1:9"
TOKEN = "the-token"
OPEN = ("/alive", "/")
"""That the API is alive, and the page that asks for the token."""
KINDS = ("matchups", "tournaments", "scrapes", "datasets", "trainings")
SCHEMA = schemathesis.openapi.from_dict(build(Settings(redis_url=NOTHING_LISTENS, store="memory://fuzz")).openapi())
BODIES: dict[str, list[dict[str, Any]]] = {
    "matchups": [{"p1": "random", "p2": "random", "battles": battles} for battles in range(1, 9)],
    "tournaments": [{"policies": ["random", "typed"], "budget": {"battles": 40}, "seed": seed} for seed in range(8)],
    "scrapes": [{"max_replays": most} for most in range(1, 9)],
    "datasets": [{"name": "same", "sources": ["store:replays"], "min_rating": rating} for rating in range(1, 9)],
    "trainings": [{"recipe": "cpu-smollm2", "dataset": "small", "name": f"n{number}"} for number in range(1, 9)],
}
"""Kind → eight different things to ask for."""
HOSTILE = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "no UTF-8": b'{"p1": "\xff"}',
    "half a character": b'{"p1": "\\ud800", "p2": "\\ud800", "name": "\\ud800", "user": "\\ud800"}',
    "a zero": b'{"p1": "\\u0000", "p2": "\\u0000", "name": "\\u0000", "format": "\\u0000"}',
    "deep": b"[" * 100_000,
    "deep and closed": b'{"p1": ' + b"[" * 900 + b"]" * 900 + b"}",
    "no number": b'{"battles": NaN, "p1": Infinity, "min_rating": 1e999, "max_replays": -Infinity}',
    "a long number": b'{"battles": ' + b"1" * 5_000 + b"}",
    "a deep change": b'{"recipe": "cpu-smollm2", "dataset": "small", "name": "n", "set": {"max_steps": "'
    + b"[" * 190
    + b'"}}',
    "a change of many parts": b'{"recipe": "cpu-smollm2", "dataset": "small", "name": "n", "set": {"lora": "{'
    + b"a." * 90
    + b'a=1}"}}',
    "many steps": b'{"recipe": "cpu-smollm2", "dataset": "small", "name": "n", "set": {"max_steps": "1000000000"}}',
    "times that cannot be": b'{"since": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-14:00"}',
}


class Impatient(PromptRequests):
    """Waits for a fifth of a second."""

    seconds = 0.2


@contextmanager
def served(redis_url: str, folder: Path, token: str | None = None, **options: Any) -> Iterator[httpx2.Client]:
    """The API on a socket of its own, and a client that shows the token."""
    folder.joinpath("datasets", "small").mkdir(parents=True)
    folder.joinpath("datasets", "small", "card.json").write_text("{}")
    app = build(Settings(redis_url=redis_url, store=str(folder), api_token=SecretStr(token) if token else None))
    server, listening = uvicorn.Server(uvicorn.Config(app, log_config=None, **options)), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", headers=headers, timeout=60, trust_env=False
        ) as client:
            while not server.started:
                time.sleep(0.01)
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """The API with a token."""
    # Its own, for as long as these tests take: others empty the one in a container for each of theirs.
    with private_redis() as (redis_url, _), served(redis_url, tmp_path_factory.mktemp("store"), TOKEN) as client:
        yield client


@SCHEMA.parametrize()
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_the_document_permits_or_forbids_is_no_500(case: schemathesis.Case[Any], api: httpx2.Client) -> None:
    if isinstance(case.body, dict) and isinstance(battles := case.body.get("battles"), int):
        # A matchup of 100,000 is thousands of jobs, and nothing else.
        case.body["battles"] = min(battles, 40)

    case.call_and_validate(base_url=str(api.base_url), headers=dict(api.headers), checks=[not_a_server_error])
    stranger = case.call(base_url=str(api.base_url))

    assert (stranger.status_code != 401) == (case.path in OPEN)


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_no_body_is_taken_or_makes_a_500(api: httpx2.Client, body: bytes) -> None:
    for kind in KINDS:
        for content_type in ("application/json", "text/plain"):
            answer = api.post(f"/{kind}", content=body, headers={"content-type": content_type})
            assert 400 <= answer.status_code < 500, (kind, answer.text)
            assert answer.json()["errors"]


@pytest.mark.parametrize(
    "path", ["%00", "..%2f..%2fetc", "%ff", "a" * 5_000, "%ed%a0%80", "-", ".keys", "20260101-000000-aaaaaa/"]
)
def test_no_id_makes_a_500(api: httpx2.Client, path: str) -> None:
    for kind in KINDS:
        for method in ("GET", "DELETE"):
            assert api.request(method, f"/{kind}/{path}", follow_redirects=True).status_code == 404
        assert api.get(f"/{kind}", params={"cursor": path[:100], "limit": 1}).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_bodies_under_one_key_at_once_one_is_taken(api: httpx2.Client, kind: str) -> None:
    for number in range(6):
        headers = {"idempotency-key": f"{kind} {number}"}

        def ask(body: dict[str, Any], headers: dict[str, str] = headers) -> tuple[int, str | None]:
            answer = api.post(f"/{kind}", json=body, headers=headers)
            return answer.status_code, answer.headers.get("location")

        if kind == "datasets":
            bodies = [{**body, "name": f"same-{number}"} for body in BODIES[kind]]
        else:
            bodies = BODIES[kind]
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(pool.map(ask, bodies))

        assert sorted(status for status, _ in answers) == [202, *[409] * (len(bodies) - 1)], answers
        [taken] = [body for body, (status, _) in zip(bodies, answers, strict=True) if status == 202]
        assert ask(taken)[0] == 202
        [place] = {place for status, place in answers if place}
        told = api.get(place).json()
        request = told["suite" if kind == "tournaments" else "request"]
        assert {name: request[name] for name in taken if name != "budget"} == {
            name: value for name, value in taken.items() if name != "budget"
        }


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_is_cancelled_and_stays_so(api: httpx2.Client, kind: str) -> None:
    body = {**BODIES[kind][0], **({"name": "to-be-cancelled"} if kind == "datasets" else {})}
    asked = api.post(f"/{kind}", json=body)
    place = asked.headers["location"]

    assert asked.status_code == 202
    for _ in range(2):
        assert api.delete(place).json()["state"] == "cancelled"
    assert api.get(place).json()["state"] == "cancelled"


@pytest.mark.parametrize("head", [b"", b"GET /alive HTTP/1.1\r\nHost: 127.0.0.1", b"GET"])
def test_a_connection_without_a_whole_request_is_closed(head: bytes, tmp_path: Path) -> None:
    whole = b"GET /alive HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with served(NOTHING_LISTENS, tmp_path, http=Impatient) as client:
        address = (client.base_url.host, client.base_url.port)
        for before in (b"", whole):
            with socket.create_connection(address, timeout=60) as opened:
                opened.sendall(before + head)
                heard = b"".join(iter(lambda: opened.recv(65536), b""))
            assert heard.count(b'{"status":"alive"}') == bool(before)
