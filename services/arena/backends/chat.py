"""Models behind chat APIs: one table of what differs between them. What comes back is read in `answers`.

Each API's own client builds and sends the request, through the transport, which alone knows keys, retries and patience:
`mistralai` for Mistral's, `huggingface_hub` for Text Generation Inference, the built-in server and Hugging Face's
providers. Any other server of the OpenAI chat API gets one JSON document.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from services.arena.backends import Backend, Form, ListedModel, Question, Reply
from services.arena.backends.answers import read_answer, read_listing
from services.arena.backends.transport import Answered, Declined, Transport
from shared.errors import UnknownPolicy, Unreachable
from shared.jobs.limits import Limiter
from shared.policies import PolicySpec
from shared.settings import Endpoint, Settings

LISTING_SECONDS = 30.0
REASON_CHARACTERS = 300
# Without any key, the libraries would look for one on this machine.
_NO_KEY = "unused"

Post = Callable[..., Awaitable[Any]]
"""Sends one request, its fields as keywords. Raises Answered, whatever the answer is."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between chat APIs."""

    form: Form
    client: Callable[[Transport], Post]
    """Imports the API's library, none of which is small."""
    seed: str = "seed"


def _mistral(transport: Transport) -> Post:
    from mistralai.client import Mistral

    client = Mistral(api_key=_NO_KEY, server_url=transport.endpoint.url, async_client=transport.http, retry_config=None)
    # Named here, so that the library loads it before anybody waits for an answer.
    return client.chat.complete_async


def _hugging_face(transport: Transport) -> Post:
    from huggingface_hub import AsyncInferenceClient

    class Client(AsyncInferenceClient):
        async def _get_async_client(self) -> httpx2.AsyncClient:
            return transport.http

    return Client(base_url=transport.endpoint.url, token=_NO_KEY).chat_completion


def _plain(transport: Transport) -> Post:
    async def post(**body: Any) -> Any:
        await transport.http.post(f"{transport.endpoint.url}/chat/completions", json=body)

    return post


_TGI = Dialect(Form.REGEX, _hugging_face)
DIALECTS: Mapping[str, Dialect] = {
    "mistral": Dialect(Form.JSON_SCHEMA, _mistral, seed="random_seed"),
    "tgi": _TGI,
    "local": _TGI,
    # Not all of Hugging Face's providers can constrain: the answer is text, read strictly.
    "hf": Dialect(Form.TEXT, _hugging_face),
    # A server that ignores the schema may also answer in plain text.
    "openai": Dialect(Form.JSON_SCHEMA, _plain),
}
"""Kind of policy → how its models are asked."""


def make_backend(spec: PolicySpec, settings: Settings, limiter: Limiter, *, waits_for_first: bool = False) -> Backend:
    """The backend of the model that a policy names; whether a server that has never answered is waited for.

    Raises UnknownPolicy for a policy that has none, UsageError for an endpoint that nobody named.
    """
    transport = Transport(
        _endpoint(spec, settings),
        limiter,
        patience_seconds=settings.server_patience_seconds,
        waits_for_first=waits_for_first,
    )
    # A server of one model ignores the name it is asked for.
    return Chat(DIALECTS[spec.kind], spec.model or "tgi", transport)


def _endpoint(spec: PolicySpec, settings: Settings) -> Endpoint:
    match spec.kind:
        case "mistral":
            return settings.endpoint(settings.mistral_url)
        case "hf":
            return settings.endpoint(settings.hf_url)
        case "openai":
            return settings.endpoint(spec.url or settings.openai_url)
        case "tgi" if spec.pinned and spec.url is None:
            return settings.serving(spec.model or "")
        case "tgi":
            return settings.endpoint(spec.url or spec.model or "")
    raise UnknownPolicy(f"the policy {spec.text!r} asks no model over the network")


class Chat:
    """A model behind a chat API."""

    def __init__(self, dialect: Dialect, model: str, transport: Transport) -> None:
        self.form = dialect.form
        self.model = model
        self.endpoint = transport.endpoint.name
        self._seed = dialect.seed
        # OpenAI has renamed it, most others have not.
        self._limit = "max_completion_tokens" if self.endpoint == "api.openai.com" else "max_tokens"
        self._transport = transport
        self._post = dialect.client(transport)

    async def ask(self, question: Question, *, tries: int | None = None) -> Reply:
        asked = replace(question, form=question.form or self.form)
        return await self._transport.deliver(lambda: self._send(asked), question.timeout_seconds, tries=tries)

    async def _send(self, question: Question) -> Reply:
        messages = [{"role": role, "content": content} for role, content in question.messages]
        body: dict[str, Any] = {self._limit: question.max_tokens, "temperature": question.temperature}
        if question.seed is not None:
            body[self._seed] = question.seed
        if constrained := constraint(question):
            body["response_format"] = constrained
        try:
            await self._post(model=self.model, messages=messages, **body)
        except Answered as came:
            return read_answer(came.body, question)
        except (ValueError, TypeError) as error:
            raise Declined(f"the question cannot be sent: {error}") from None
        raise Declined("the question was not sent")

    async def models(self) -> tuple[ListedModel, ...]:
        address = f"{self._transport.endpoint.url.removesuffix('/v1')}/v1/models"
        listed: list[ListedModel] = []

        async def ask() -> Reply:
            try:
                await self._transport.http.get(address)
            except Answered as came:
                listed[:] = read_listing(came.body)
            return Reply("")

        reply = await self._transport.deliver(ask, LISTING_SECONDS)
        if reply.problem is not None:
            raise Unreachable(f"{self.endpoint} does not say what it serves: {reply.detail}")
        return tuple(listed)

    async def aclose(self) -> None:
        await self._transport.aclose()


def constraint(question: Question) -> Mapping[str, Any] | None:
    """The `response_format` that goes out with a question; None where nothing constrains the answer."""
    if not question.completions or question.form in (None, Form.TEXT):
        return None
    if question.form is Form.REGEX:
        expression = question.regex or ""
        if question.reasoning:
            expression = f"REASON: [^\\n]{{1,{REASON_CHARACTERS}}}\\nACTION: {expression}"
        return {"type": "regex", "value": expression}
    # The reason comes first: the action follows from it.
    properties: dict[str, Any] = {"reason": {"type": "string"}} if question.reasoning else {}
    properties["action"] = {"type": "string", "enum": list(question.completions)}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "decision", "schema": schema, "strict": True}}
