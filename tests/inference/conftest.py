"""A built-in server on a real socket, with a model small enough to be made here."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import uvicorn

from services.inference.engine import Engine, Limits
from services.inference.requests import ServedModel
from services.inference.serve import assemble
from shared.language.load import Loaded
from tests.language.tiny import tiny

torch.set_num_threads(1)

CARD = {"base": "tiny", "contract": {"v2": "0123456789ab"}}


@dataclass
class Running:
    """A server while it runs."""

    url: str
    engine: Engine


class Hooked:
    """A model with a gate before its forwards: to hold it up, to make it fail, or to spoil what it says."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.open = threading.Event()
        self.open.set()
        self.holds_from = 1
        """The number of the first forward that the gate is before."""
        self.raises: BaseException | None = None
        self.raises_from = 1
        """The number of the first forward that raises."""
        self.spoils: Callable[[int], bool] = lambda number: False
        """Whether a forward of that number says nothing but NaN."""
        self.forwards = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **given: Any) -> Any:
        self.forwards += 1
        number = self.forwards
        if number >= self.holds_from:
            self.open.wait(20)
        if self.raises is not None and number >= self.raises_from:
            raise self.raises
        said = self._model(**given)
        if self.spoils(number):
            said.logits = torch.full_like(said.logits, torch.nan)
        return said


@dataclass
class Start:
    """Starts servers, and stops them at the end."""

    stops: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self, loaded: Loaded | None = None, served: tuple[ServedModel, ...] = (), **limits: int) -> Running:
        listening = socket.create_server(("127.0.0.1", 0))
        engine, app = assemble(
            loaded or tiny(), served or (ServedModel("tiny@1", "tiny", card=CARD),), limits=Limits(**limits)
        )
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        engine.start()
        thread.start()
        while not server.started:
            time.sleep(0.01)

        def stop() -> None:
            server.should_exit = True
            engine.stop()
            thread.join(10)

        self.stops.append(stop)
        return Running(f"http://127.0.0.1:{listening.getsockname()[1]}", engine)


@pytest.fixture(scope="module")
def tiny_server() -> Iterator[Running]:
    """One for all tests of a module that change nothing in it."""
    start = Start()
    yield start()
    for stop in start.stops:
        stop()


@pytest.fixture
def start() -> Iterator[Start]:
    """Servers of this test's own."""
    starting = Start()
    yield starting
    for stop in starting.stops:
        stop()


@pytest.fixture
def hooked() -> Loaded:
    """A model whose forwards can be held up, and made to fail: `hooked.model`."""
    loaded = tiny()
    return replace(loaded, model=Hooked(loaded.model))


@pytest.fixture
def endless(hooked: Loaded) -> Loaded:
    """Such a one that has no token to end an answer: it says as much as was asked for."""
    return replace(hooked, end_ids=frozenset())
