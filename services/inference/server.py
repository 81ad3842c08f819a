"""The HTTP API of Text Generation Inference over our engine: its routes, error bodies, headers and limits.

`alphastral serve` starts it (deploy/serving.py).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.inference.answers import FINGERPRINT, ChatAnswer, Json, TextAnswer, error, event
from services.inference.decoding import Work
from services.inference.engine import Engine, GenerationFailed, Overloaded, Ticket
from services.inference.metrics import Metrics
from services.inference.requests import (
    ChatRequest,
    GenerateRequest,
    Invalid,
    ServedModel,
    UnknownModel,
    Validation,
    meant,
)
from shared.errors import first_fault

MAX_BODY_BYTES = 2_000_000
"""TGI's own limit."""
PROBE_SECONDS = 10.0
_ERRORS: Mapping[type[Exception], tuple[int, str, str]] = {
    Invalid: (422, "validation", "Input validation error: {}"),
    UnknownModel: (404, "not_found", "{}"),
    GenerationFailed: (424, "generation", "Request failed during generation: {}"),
    Overloaded: (429, "overloaded", "Model is overloaded"),
}
"""Error → its status, its type, and its words: TGI's."""

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Server:
    """The routes of one engine."""

    engine: Engine
    served: tuple[ServedModel, ...]
    validation: Validation
    metrics: Metrics
    started_at: int

    # ── generation ──────────────────────────────────────────────────────────────────────────────────

    async def text(self, request: Request, *, streamed: bool | None = None) -> Response:
        """`POST /generate` and `/generate_stream`; and `POST /`, which says itself whether it wants a stream.

        What `POST /` answers in one piece stands in a list.
        """
        asked = await _body_of(request, GenerateRequest)
        began = time.perf_counter()
        work = self.validation.generation(asked, meant(self.served, asked.parameters.adapter_id))
        answer = TextAnswer(asked, work)
        if asked.stream if streamed is None else streamed:
            return self._streamed("generate_stream", answer)
        return await self._whole(request, "generate", answer, began, in_list=streamed is None)

    async def chat(self, request: Request) -> Response:
        asked = await _body_of(request, ChatRequest)
        began = time.perf_counter()
        model = meant(self.served, asked.adapter_id or asked.model)
        answer = ChatAnswer(asked, self.validation.chat(asked, model), model.name)
        if asked.stream:
            return self._streamed("chat_stream", answer)
        return await self._whole(request, "chat", answer, began)

    async def _whole(
        self, request: Request, method: str, answer: TextAnswer | ChatAnswer, began: float, *, in_list: bool = False
    ) -> Response:
        """The answer in one piece, with TGI's counts and times (whole milliseconds) as headers.

        Requests of clients that disconnected are dropped.
        """
        ticket = self._submit(method, answer.work)
        disconnected = asyncio.create_task(_disconnected(request))
        answered = asyncio.create_task(ticket.answer())
        try:
            await asyncio.wait((disconnected, answered), return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise ClientDisconnect
            said, finished = answered.result()
        finally:
            ticket.close()
            disconnected.cancel()
            answered.cancel()
        self.metrics.answered(method, ticket, finished)
        total = time.perf_counter() - began
        milliseconds = {
            "x-total-time": total,
            "x-compute-time": total,
            "x-validation-time": ticket.asked_at - began,
            "x-queue-time": ticket.queue_seconds,
            "x-inference-time": ticket.inference_seconds,
            "x-time-per-token": ticket.inference_seconds / finished.generated,
        }
        headers = {
            "x-compute-type": f"1-{self.engine.loaded.device}",
            "x-compute-characters": str(answer.characters),
            "x-prompt-tokens": str(len(answer.work.prompt)),
            "x-generated-tokens": str(finished.generated),
            **{name: f"{1000 * seconds:.0f}" for name, seconds in milliseconds.items()},
        }
        body = answer.whole(said, finished)
        return JSONResponse([body] if in_list else body, headers=headers)

    def _streamed(self, method: str, answer: TextAnswer | ChatAnswer) -> Response:
        """The answer as it comes. Its place is taken before any status is sent, so that 429 can still be one."""
        ticket = self._submit(method, answer.work)

        async def body() -> AsyncIterator[bytes]:
            index = 0
            try:
                async for token, finished in ticket.tokens():
                    index += 1
                    for piece in answer.events(index, token, finished):
                        yield event(piece)
                    if finished is not None:
                        self.metrics.answered(method, ticket, finished)
            except GenerationFailed as failure:
                yield event(self._error(failure))

        return _Stream(body(), ticket)

    def _submit(self, method: str, work: Work) -> Ticket:
        self.metrics.requests.labels(method).inc()
        return self.engine.submit(work)

    # ── what is asked about the server ──────────────────────────────────────────────────────────────

    async def tokenize(self, request: Request) -> Response:
        asked = await _body_of(request, GenerateRequest)
        return JSONResponse(self.validation.tokens(asked.inputs, whole=True))

    async def chat_tokenize(self, request: Request) -> Response:
        text = self.validation.templated(await _body_of(request, ChatRequest))
        return JSONResponse({"templated_text": text, "tokenize_response": self.validation.tokens(text, whole=False)})

    async def info(self, request: Request) -> Response:
        loaded, limits, bounds = self.engine.loaded, self.engine.limits, self.validation.bounds
        return JSONResponse(
            {
                "model_id": self.served[0].name,
                "model_sha": None,
                "model_dtype": f"torch.{loaded.dtype}",
                "model_device_type": loaded.device.partition(":")[0],
                "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": limits.concurrent_requests,
                "max_best_of": 1,
                "max_stop_sequences": bounds.max_stop_sequences,
                "max_input_tokens": bounds.max_input_tokens,
                "max_total_tokens": bounds.max_total_tokens,
                "max_batch_size": limits.batch_rows,
                "max_client_batch_size": 1,
                "validation_workers": 1,
                "router": FINGERPRINT,
                "version": version("alphastral"),
                "sha": None,
                "docker_label": None,
            }
        )

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`: a list, as OpenAI's clients want it, that is a model's line at the same time, as TGI's
        document has it.
        """
        told = {"created": self.started_at, "owned_by": "alphastral"}
        lines = [{"id": each.name, "object": "model", **told, "card": each.card} for each in self.served]
        return JSONResponse({"object": "list", "data": lines, "id": self.served[0].name, **told})

    async def health(self, request: Request) -> Response:
        """`GET /health`: after a forward that failed, whether one succeeds by now."""
        if self.engine.is_alive and (self.engine.is_well or await self._probe()):
            return Response(status_code=200)
        return JSONResponse(error("unhealthy", "healthcheck"), 503)

    async def _probe(self) -> bool:
        try:
            ticket = self.engine.submit(Work((0,), self.served[0].adapter_name, max_new_tokens=1))
            await asyncio.wait_for(ticket.answer(), PROBE_SECONDS)
        except (GenerationFailed, TimeoutError):
            return False
        except Overloaded:
            return True
        return True

    async def prometheus(self, request: Request) -> Response:
        return Response(self.metrics.text(self.engine), media_type="text/plain; version=0.0.4")

    # ── errors ──────────────────────────────────────────────────────────────────────────────────────

    async def failed(self, request: Request, failure: Exception) -> Response:
        """An error that is expected, as TGI answers it."""
        return JSONResponse(self._error(failure), _ERRORS[type(failure)][0])

    def _error(self, failure: Exception) -> Json:
        _, kind, words = _ERRORS[type(failure)]
        self.metrics.failed.labels(kind).inc()
        return error(words.format(failure), kind)


class _Stream(StreamingResponse):
    """Events that free the request's place at their end, also where they were never begun."""

    def __init__(self, body: AsyncIterator[bytes], ticket: Ticket) -> None:
        super().__init__(body, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ticket.close()


async def _disconnected(request: Request) -> None:
    """Wait until the client has gone. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body_of(request: Request, kind: type[R]) -> R:
    """The request's body as it must be. Raises Invalid, and HTTPException where it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"more than {MAX_BODY_BYTES} bytes were sent")
    try:
        return kind.model_validate_json(body)
    except ValidationError as failure:
        where, why = first_fault(failure)
        raise Invalid(f"{where}: {why}" if where else why) from failure


async def _refused(request: Request, failure: Exception) -> Response:
    """A route that does not exist, a method that it does not take, a body that is too long."""
    assert isinstance(failure, HTTPException)
    kind = "not_found" if failure.status_code == 404 else "validation"
    return JSONResponse(error(failure.detail, kind), failure.status_code, headers=failure.headers)


async def _disconnect(request: Request, failure: Exception) -> Response:
    """Nobody reads it; the status is what proxies log for a client that disconnected."""
    return Response(status_code=499)


async def _unexpected(request: Request, failure: Exception) -> Response:
    """A mistake of ours."""
    return JSONResponse(error("something went wrong here; the server's log says what", "internal"), 500)


def create_app(server: Server) -> Starlette:
    """The app of a server whose engine has been started, or is by the time that it is asked."""
    routes: Sequence[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = (
        ("POST", "/", server.text),
        ("POST", "/generate", partial(server.text, streamed=False)),
        ("POST", "/generate_stream", partial(server.text, streamed=True)),
        ("POST", "/v1/chat/completions", server.chat),
        ("POST", "/tokenize", server.tokenize),
        ("POST", "/chat_tokenize", server.chat_tokenize),
        ("GET", "/info", server.info),
        ("GET", "/health", server.health),
        ("GET", "/metrics", server.prometheus),
        ("GET", "/v1/models", server.models),
    )
    return Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in routes],
        exception_handlers={
            **dict.fromkeys(_ERRORS, server.failed),
            HTTPException: _refused,
            ClientDisconnect: _disconnect,
            Exception: _unexpected,
        },
    )
