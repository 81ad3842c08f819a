"""The HTTP API of Text Generation Inference over our engine: its routes, error bodies, headers and limits.

`alphastral serve` starts it (deploy/serving.py).
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.inference import answers
from services.inference.decoding import Token
from services.inference.engine import Engine, Finished, GenerationFailed, Overloaded, Ticket, Work
from services.inference.metrics import Metrics
from services.inference.requests import (
    Bounds,
    ChatRequest,
    CompatGenerateRequest,
    GenerateRequest,
    Invalid,
    Served,
    UnknownModel,
    Validation,
    meant,
)
from shared.errors import first_fault

MAX_BODY_BYTES = 2_000_000
"""TGI's own limit."""

R = TypeVar("R", bound=BaseModel)


class Streamed(StreamingResponse):
    """A stream that gives its place back even when it was never begun."""

    def __init__(self, body: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        super().__init__(body, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI defines it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def paired(ticket: Ticket) -> AsyncIterator[tuple[int, Token, Finished | None]]:
    """Every token with its number, the last one together with what came of it all."""
    held: Token | None = None
    index = 0
    async with aclosing(ticket.events()) as events:
        async for event in events:
            if held is not None:
                index += 1
                yield index, held, event if isinstance(event, Finished) else None
            held = event if isinstance(event, Token) else None


async def collected(ticket: Ticket) -> tuple[list[Token], Finished]:
    """The whole answer. Raises GenerationFailed."""
    said: list[Token] = []
    async with aclosing(ticket.events()) as events:
        async for event in events:
            if isinstance(event, Finished):
                return said, event
            said.append(event)
    raise GenerationFailed("the answer broke off")


async def hangs_up(request: Request) -> None:
    """Until the client has gone. Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def body_of(request: Request, kind: type[R]) -> R:
    """The request's body as it must be. Raises Invalid, and HTTPException where it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"more than {MAX_BODY_BYTES} bytes were sent")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        where, why = first_fault(error)
        raise Invalid(f"{where}: {why}" if where else why) from error


async def refused(request: Request, error: Exception) -> Response:
    """A route that does not exist, a method that it does not take, a body that is too long."""
    assert isinstance(error, HTTPException)
    kind = "not_found" if error.status_code == 404 else "validation"
    return JSONResponse(answers.error(error.detail, kind), error.status_code, headers=error.headers)


async def gone(request: Request, error: Exception) -> Response:
    """Nobody reads it; the status is what proxies log for a client that hung up."""
    return Response(status_code=499)


async def unexpected(request: Request, error: Exception) -> Response:
    """A mistake of ours."""
    return JSONResponse(answers.error("something went wrong here; the server's log says what", "internal"), 500)


PROBE_SECONDS = 10.0
_ERRORS: Mapping[type[Exception], tuple[int, str, str]] = {
    Invalid: (422, "validation", "Input validation error: {}"),
    UnknownModel: (404, "not_found", "{}"),
    GenerationFailed: (424, "generation", "Request failed during generation: {}"),
    Overloaded: (429, "overloaded", "Model is overloaded"),
}
"""Error → its status, its type, and its words: TGI's."""


@dataclass(frozen=True, slots=True)
class Server:
    """The routes of one engine."""

    engine: Engine
    served: tuple[Served, ...]
    bounds: Bounds
    metrics: Metrics
    started_at: int

    @property
    def _validation(self) -> Validation:
        return Validation(self.engine.loaded, self.bounds)

    # ── generation ──────────────────────────────────────────────────────────────────────────────────

    async def compat(self, request: Request) -> Response:
        """`POST /`: /generate, its answer in a list, or /generate_stream."""
        asked = await body_of(request, CompatGenerateRequest)
        if asked.stream:
            return await self._stream_text(request, asked)
        return await self._generate(request, asked, in_list=True)

    async def generate(self, request: Request) -> Response:
        """`POST /generate`."""
        return await self._generate(request, await body_of(request, GenerateRequest), in_list=False)

    async def generate_stream(self, request: Request) -> Response:
        """`POST /generate_stream`."""
        return await self._stream_text(request, await body_of(request, GenerateRequest))

    async def _generate(self, request: Request, asked: GenerateRequest, *, in_list: bool) -> Response:
        began = time.perf_counter()
        model = meant(self.served, asked.parameters.adapter_id)
        work = self._validation.generation(asked.inputs, asked.parameters, model)
        validated = time.perf_counter()
        said, finished = await self._whole(request, "generate", work)
        text = f"{asked.inputs}{finished.text}" if asked.parameters.return_full_text else finished.text
        body = answers.generated(text, work, said, finished, details=asked.parameters.details)
        headers = self._headers(began, validated, len(asked.inputs), work, finished)
        return JSONResponse([body] if in_list else body, headers=headers)

    async def _stream_text(self, request: Request, asked: GenerateRequest) -> Response:
        model = meant(self.served, asked.parameters.adapter_id)
        work = self._validation.generation(asked.inputs, asked.parameters, model)
        details = asked.parameters.details

        async def events(ticket: Ticket) -> AsyncIterator[bytes]:
            async for index, token, finished in paired(ticket):
                piece = answers.stream_token(index, token, work)
                if finished is not None:
                    text = f"{asked.inputs}{finished.text}" if asked.parameters.return_full_text else finished.text
                    piece = answers.stream_end(piece, text, work, finished, details=details)
                    self.metrics.answered(len(work.prompt), finished, time.perf_counter() - ticket.asked_at)
                yield answers.event(piece)

        return self._streamed("generate_stream", work, events)

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        began = time.perf_counter()
        asked = await body_of(request, ChatRequest)
        model = meant(self.served, asked.adapter_id or asked.model)
        work = self._validation.chat(asked, model)
        validated = time.perf_counter()
        chat = answers.Conversation(f"chatcmpl-{uuid.uuid4().hex}", model.name, int(time.time()))
        logprobs = bool(asked.logprobs)
        if asked.stream:
            return self._stream_chat(chat, work, asked)
        said, finished = await self._whole(request, "chat", work)
        return JSONResponse(
            answers.completion(chat, work, said, finished, logprobs=logprobs),
            headers=self._headers(
                began, validated, sum(len(str(each.content)) for each in asked.messages), work, finished
            ),
        )

    def _stream_chat(self, chat: answers.Conversation, work: Work, asked: ChatRequest) -> Response:
        async def events(ticket: Ticket) -> AsyncIterator[bytes]:
            async for _, token, finished in paired(ticket):
                yield answers.event(answers.chunk(chat, token, finished, logprobs=bool(asked.logprobs)))
                if finished is not None:
                    self.metrics.answered(len(work.prompt), finished, time.perf_counter() - ticket.asked_at)
                    if asked.stream_options and asked.stream_options.include_usage:
                        yield answers.event(answers.usage_chunk(chat, work, finished))
            yield answers.event("[DONE]")

        return self._streamed("chat_stream", work, events)

    async def _whole(self, request: Request, method: str, work: Work) -> tuple[list[Token], Finished]:
        """The answer in one piece. Who hangs up is worked for no longer."""
        ticket = self._submit(method, work)
        gone = asyncio.create_task(hangs_up(request))
        answer = asyncio.create_task(collected(ticket))
        try:
            await asyncio.wait((gone, answer), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            said, finished = answer.result()
        finally:
            ticket.close()
            gone.cancel()
            answer.cancel()
        self.metrics.succeeded.labels(method).inc()
        self.metrics.answered(len(work.prompt), finished, time.perf_counter() - ticket.asked_at)
        return said, finished

    def _streamed(self, method: str, work: Work, events: Callable[[Ticket], AsyncIterator[bytes]]) -> Response:
        """The answer as it comes. Places are taken before the status goes out, so that there still is a 429 to send."""
        ticket = self._submit(method, work)

        async def body() -> AsyncIterator[bytes]:
            try:
                async for event in events(ticket):
                    yield event
                self.metrics.succeeded.labels(method).inc()
            except GenerationFailed as error:
                self.metrics.failed.labels("generation").inc()
                _, kind, words = _ERRORS[GenerationFailed]
                yield answers.event(answers.error(words.format(error), kind))
            finally:
                ticket.close()

        return Streamed(body(), on_end=ticket.close)

    def _submit(self, method: str, work: Work) -> Ticket:
        self.metrics.requests.labels(method).inc()
        return self.engine.submit(work)

    def _headers(
        self, began: float, validated: float, characters: int, work: Work, finished: Finished
    ) -> dict[str, str]:
        """TGI's times, in whole milliseconds, and counts."""
        total = time.perf_counter() - began
        milliseconds = {
            "x-total-time": total,
            "x-compute-time": total,
            "x-validation-time": validated - began,
            "x-queue-time": finished.queue_seconds,
            "x-inference-time": finished.inference_seconds,
            "x-time-per-token": finished.inference_seconds / max(1, finished.generated),
        }
        return {
            "x-compute-type": f"1-{self.engine.loaded.device}",
            "x-compute-characters": str(characters),
            "x-prompt-tokens": str(len(work.prompt)),
            "x-generated-tokens": str(finished.generated),
            **{name: f"{1000 * seconds:.0f}" for name, seconds in milliseconds.items()},
        }

    # ── what is asked about the server ──────────────────────────────────────────────────────────────

    async def tokenize(self, request: Request) -> Response:
        """`POST /tokenize`."""
        asked = await body_of(request, GenerateRequest)
        return JSONResponse(self._validation.tokens(asked.inputs, whole=True))

    async def chat_tokenize(self, request: Request) -> Response:
        """`POST /chat_tokenize`."""
        text = self._validation.templated(await body_of(request, ChatRequest))
        return JSONResponse({"templated_text": text, "tokenize_response": self._validation.tokens(text, whole=False)})

    async def info(self, request: Request) -> Response:
        """`GET /info`."""
        loaded, limits = self.engine.loaded, self.engine.limits
        return JSONResponse(
            {
                "model_id": self.served[0].name,
                "model_sha": None,
                "model_dtype": f"torch.{loaded.dtype}",
                "model_device_type": loaded.device.partition(":")[0],
                "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": limits.concurrent_requests,
                "max_best_of": 1,
                "max_stop_sequences": self.bounds.max_stop_sequences,
                "max_input_tokens": self.bounds.max_input_tokens,
                "max_total_tokens": self.bounds.max_total_tokens,
                "max_batch_size": limits.batch_rows,
                "max_client_batch_size": 1,
                "validation_workers": 1,
                "router": answers.FINGERPRINT,
                "version": version("alphastral"),
                "sha": None,
                "docker_label": None,
            }
        )

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`: a list, as OpenAI's clients want it, that is a model's line at the same time, as TGI's
        document has it.
        """
        lines = [
            {
                "id": each.name,
                "object": "model",
                "created": self.started_at,
                "owned_by": "alphastral",
                "card": each.card,
            }
            for each in self.served
        ]
        first = {name: lines[0][name] for name in ("id", "created", "owned_by")}
        return JSONResponse({"object": "list", "data": lines, **first})

    async def health(self, request: Request) -> Response:
        """`GET /health`: after a forward that failed, whether one succeeds by now."""
        if self.engine.is_alive and (self.engine.is_well or await self._probe()):
            return Response(status_code=200)
        return JSONResponse(answers.error("unhealthy", "healthcheck"), 503)

    async def _probe(self) -> bool:
        try:
            ticket = self.engine.submit(Work((0,), self.served[0].adapter, max_new_tokens=1))
            await asyncio.wait_for(collected(ticket), PROBE_SECONDS)
        except (GenerationFailed, TimeoutError):
            return False
        except Overloaded:
            return True
        return True

    async def prometheus(self, request: Request) -> Response:
        """`GET /metrics`."""
        return Response(self.metrics.text(self.engine), media_type="text/plain; version=0.0.4")

    # ── errors ──────────────────────────────────────────────────────────────────────────────────────

    async def failed(self, request: Request, error: Exception) -> Response:
        """An error that is expected, as TGI answers it."""
        status, kind, words = _ERRORS[type(error)]
        self.metrics.failed.labels(kind).inc()
        return JSONResponse(answers.error(words.format(error), kind), status)


def create_app(server: Server) -> Starlette:
    """The app of a server whose engine has been started, or is by the time that it is asked."""
    routes: Sequence[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = (
        ("POST", "/", server.compat),
        ("POST", "/generate", server.generate),
        ("POST", "/generate_stream", server.generate_stream),
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
            HTTPException: refused,
            ClientDisconnect: gone,
            Exception: unexpected,
        },
    )
