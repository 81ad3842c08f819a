"""Keeps an engine running for what a name in the registry stands for: `python -m services.inference.supervisor NAME`.

It watches the registry's `current`, starts the engine for it, waits for its /health, and starts it anew when another
version is promoted or the engine ends. /status says how it stands. This is the entry point of the inference container.
It needs Python, fsspec and pydantic (with pydantic-settings): the rest of its image belongs to the engine.
"""

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from services.inference.place import Place
from services.inference.status import shown
from services.inference.supervision import Supervisor
from shared.errors import AlphaStralError, UsageError
from shared.registry import Registry
from shared.settings import EngineName, Settings
from shared.store import Store
from shared.text import configure_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervise until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="supervisor", description="Keeps an engine running for a published model.")
    parser.add_argument("name", help="a model of the registry, without a version")
    parser.add_argument("--stand-in", help="what to serve until a version is promoted: smollm2, or a model of the Hub")
    parser.add_argument("--engine", choices=get_args(EngineName), default=None, help="whatever the architecture")
    parser.add_argument("--host", default="127.0.0.1", help="where the engine listens")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--status-port", type=int, default=8081, help="where /status is")
    parser.add_argument("--device", default="cuda", help="of the built-in server")
    parser.add_argument("--folder", type=Path, default=Path("var/engine"), help="for copies of a bucket's models")
    given, more = parser.parse_known_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = Settings()
        configure_logging(settings.log_level)
        engine = given.engine or settings.engine
        place = Place(
            given.folder,
            given.host,
            given.port,
            given.device,
            None if engine == "auto" else engine,
            given.stand_in,
            (*shlex.split(settings.engine_arguments), *more),
        )
        supervisor = Supervisor(Registry(Store(settings.store)), given.name, place)
        with shown(supervisor.status, given.host, given.status_port):
            supervisor.run(stopping)
    except (AlphaStralError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
