"""Puts one built-in server together and runs it: base, adapters, engine, routes."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence

import torch
import uvicorn
from starlette.applications import Starlette

from services.inference.engine import Engine, Limits
from services.inference.metrics import Metrics
from services.inference.requests import RequestBounds, ServedModel, Validation
from services.inference.server import Server, create_app
from shared.errors import AlphaStralError, UsageError
from shared.language.load import Loaded, load

MAX_TOTAL_TOKENS = 4096
"""Of a prompt and its answer, where the model can take as much: the memory of one forward grows with its square."""
STOP_SECONDS = 5
FAIL_SECONDS = 3
"""For the forward that the engine is in, and for the errors to get through."""


def load_models(models: Sequence[ServedModel], *, device: str, dtype: str) -> Loaded:
    """Load what one process can serve: one base, and any number of adapters over it. Raises UsageError for more."""
    bases = sorted({model.base for model in models})
    if len(bases) > 1:
        raise UsageError(f"one server has one base with adapters over it, not {', '.join(bases)}; start several")
    if len({model.name for model in models}) < len(models):
        raise UsageError("a model stands there twice")
    adapters = {model.name: model.adapter for model in models if model.adapter is not None}
    return load(bases[0], adapters=adapters, device=device, dtype=dtype)


def assemble(
    loaded: Loaded,
    served: Sequence[ServedModel],
    *,
    limits: Limits | None = None,
    on_death: Callable[[], None] = lambda: None,
) -> tuple[Engine, Starlette]:
    """The engine, not yet started, and the app over it."""
    metrics = Metrics()
    engine = Engine(loaded, limits, on_death=on_death, on_batch=metrics.batch)
    validation = Validation(loaded, RequestBounds(min(MAX_TOTAL_TOKENS, loaded.max_tokens)))
    return engine, create_app(Server(engine, tuple(served), validation, metrics, int(time.time())))


def run(
    loaded: Loaded,
    served: Sequence[ServedModel],
    listening: socket.socket,
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until told to stop. Raises AlphaStralError when the engine has ended by itself.

    Told to stop, it takes nothing new, and lets what is in flight go on for STOP_SECONDS; what is left then fails.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    server: _Uvicorn

    def end() -> None:
        server.should_exit = True

    engine, app = assemble(loaded, served, limits=limits, on_death=end)
    server = _Uvicorn(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_SECONDS + FAIL_SECONDS,
            server_header=False,
            lifespan="off",
        ),
        engine,
        on_ready,
    )
    engine.start()
    try:
        server.run(sockets=[listening])
    finally:
        died = not engine.is_alive
        engine.stop()
    if died:
        raise AlphaStralError("the engine ended unexpectedly; its log says why")


class _Uvicorn(uvicorn.Server):
    """Ends the engine before the connections, so that requests that still wait are answered: that they failed."""

    def __init__(self, config: uvicorn.Config, engine: Engine, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._engine = engine
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and only then say so."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, and wait for what is in flight."""
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._engine.halt)
        await super().shutdown(sockets)
