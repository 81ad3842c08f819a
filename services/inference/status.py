"""What a supervisor says of itself over HTTP: `/status` for people, `/health` for what runs the container."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from shared.document import Strict

SupervisorState = Literal["waiting", "starting", "serving", "failing"]


class SupervisorStatus(Strict):
    """How a supervisor's model stands."""

    model: str
    """The name that is watched."""
    state: SupervisorState
    """`waiting` for a promotion, `starting` an engine, `serving`, or `failing`: trying again after a pause."""
    version: str | None
    """What the engine serves, or is being started for. None where something stands in until the first promotion."""
    serves: str | None
    """What the engine calls it."""
    current: str | None
    """What the name stands for in the registry, when it was last read."""
    last_healthy: str | None
    """The last version that became healthy."""
    engine: str | None
    pid: int | None
    restarts: int
    """How often an engine ended that had been healthy."""
    failure: str | None
    """The last thing that went wrong, and is not yet mended."""
    since: datetime
    """When the state began."""


@contextmanager
def shown(status: Callable[[], SupervisorStatus], host: str, port: int) -> Iterator[int]:
    """Answer at a port (0: a free one) while the context lasts; gives the port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            now = status()
            known = self.path in ("/status", "/health")
            code = 404 if not known else 200 if self.path == "/status" or now.state == "serving" else 503
            body = now.model_dump_json().encode() if known else b""
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes ask every few seconds: no line for each."""

    with ThreadingHTTPServer((host, port), Answer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
