"""What a container's health check says."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from deploy.healthy import check
from shared.errors import Unreachable, UsageError
from shared.jobs.leases import Leases
from shared.jobs.queue import connect
from shared.jobs.routes import ROUTES
from shared.settings import Settings


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    listening = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def test_a_worker_is_well_while_redis_has_a_sign_of_life_of_it(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url)
    leases = Leases(connect(redis_url), "arena", ROUTES)

    with pytest.raises(Unreachable, match=f"no worker on {socket.gethostname()}"):
        check("worker", settings)
    leases.beat()
    check("worker", settings)
    leases.goodbye()
    with pytest.raises(Unreachable):
        check("worker", settings)


def test_a_worker_without_redis_is_not_well() -> None:
    with pytest.raises(Unreachable):
        check("worker", Settings(redis_url="redis://127.0.0.1:9"))


def test_a_server_is_well_when_it_answers_200(server: str) -> None:
    check(f"{server}/health", Settings())
    with pytest.raises(Unreachable, match="503"):
        check(f"{server}/other", Settings())
    with pytest.raises(Unreachable, match="does not answer"):
        check("http://127.0.0.1:9/health", Settings())


@pytest.mark.parametrize("what", ["", "file:///etc/passwd", "worker arena"])
def test_nothing_else_is_asked(what: str) -> None:
    with pytest.raises(UsageError):
        check(what, Settings())
