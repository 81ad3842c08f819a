"""Models behind chat APIs: one table of what differs between them, one reader of what comes back.

Each API's own client builds and sends the request, through the transport, which alone knows keys, retries and patience:
`mistralai` for Mistral's, `huggingface_hub` for Text Generation Inference, the built-in server and Hugging Face's
providers. Any other server of the OpenAI chat API gets one JSON document.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import httpx2
from pydantic import AliasPath, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from services.arena.backends import Backend, Form, ListedModel, Question, Reply, ScoredAnswer
from services.arena.backends.transport import Failing, Transport
from shared.battle.decision import Reason
from shared.errors import UnknownPolicy, Unreachable
from shared.jobs.limits import Limiter
from shared.policies import PolicySpec
from shared.settings import Endpoint, Settings

LISTING_SECONDS = 30.0
REASON_CHARACTERS = 300
_TRUNCATED = frozenset({"length", "model_length", "max_tokens"})
_REFUSED = frozenset({"content_filter", "error"})
_TWO_LINES = re.compile(r"\s*REASON:(?P<reason>[^\n]*)\n\s*ACTION:(?P<action>[^\n]*)\s*", re.IGNORECASE)
# Without any key, the libraries would look for one on this machine.
_NO_KEY = "unused"

Post = Callable[..., Awaitable[Any]]
"""Sends one request, its fields as keywords, and gives the answer. Raises ValueError and the like where it is none."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between chat APIs."""

    form: Form
    client: Callable[[Transport], Post]
    """Imports the API's library, none of which is small."""
    seed: str = "seed"


def _mistral(transport: Transport) -> Post:
    from mistralai.client import Mistral
    from mistralai.client.errors import MistralError

    client = Mistral(api_key=_NO_KEY, server_url=transport.endpoint.url, async_client=transport.http, retry_config=None)
    # Named here, so that the library loads it before anybody waits for an answer.
    chat = client.chat

    async def post(**body: Any) -> Any:
        try:
            return (await chat.complete_async(**body)).model_dump()
        except MistralError as error:
            raise ValueError(str(error)) from None

    return post


def _hugging_face(transport: Transport) -> Post:
    from huggingface_hub import AsyncInferenceClient

    class Client(AsyncInferenceClient):
        async def _get_async_client(self) -> httpx2.AsyncClient:
            return transport.http

    client = Client(base_url=transport.endpoint.url, token=_NO_KEY)

    async def post(**body: Any) -> Any:
        answer = await client.chat_completion(**body)
        # As a mapping, the answer has lost those fields of a choice that the library does not know.
        return {**answer, "choices": answer.choices}

    return post


def _plain(transport: Transport) -> Post:
    async def post(**body: Any) -> Any:
        return (await transport.http.post(f"{transport.endpoint.url}/chat/completions", json=body)).json()

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


def make_backend(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    """The backend of the model that a policy names.

    Raises UnknownPolicy for a policy that has none, UsageError for an endpoint that nobody named.
    """
    transport = Transport(_endpoint(spec, settings), limiter, patience_seconds=settings.server_patience_seconds)
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

    async def ask(self, question: Question) -> Reply:
        return await self._transport.deliver(lambda: self._send(question), question.timeout_seconds)

    async def _send(self, question: Question) -> Reply:
        messages = [{"role": role, "content": content} for role, content in question.messages]
        body: dict[str, Any] = {self._limit: question.max_tokens, "temperature": question.temperature}
        if question.seed is not None:
            body[self._seed] = question.seed
        if constrained := constraint(self.form, question):
            body["response_format"] = constrained
        try:
            answer = _ChatCompletion.model_validate(await self._post(model=self.model, messages=messages, **body))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Failing(f"its answer is no chat completion ({error})") from None
        return _read(answer, self.form, question)

    async def models(self) -> tuple[ListedModel, ...]:
        address = f"{self._transport.endpoint.url.removesuffix('/v1')}/v1/models"

        async def ask() -> Reply:
            return Reply((await self._transport.http.get(address)).text)

        reply = await self._transport.deliver(ask, LISTING_SECONDS)
        try:
            listing = _Listing.model_validate_json(reply.text)
        except ValidationError:
            why = reply.detail or "its answer is no list of models"
            raise Unreachable(f"{self.endpoint} does not say what it serves: {why}") from None
        return tuple(ListedModel(line.id, line.contract) for line in listing.data)

    async def aclose(self) -> None:
        await self._transport.aclose()


def constraint(form: Form, question: Question) -> Mapping[str, Any] | None:
    """The `response_format` that goes out with a question; None where nothing constrains the answer."""
    if not question.completions or form is Form.TEXT:
        return None
    if form is Form.REGEX:
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


def _whole(text: Any) -> Any:
    """Text in which the halves of a character, which UTF-8 lacks and pydantic refuses, are question marks."""
    return text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else text


_Text = Annotated[str, BeforeValidator(_whole)]
_CANDIDATES = TypeAdapter(tuple[ScoredAnswer, ...])


class _Message(BaseModel):
    content: _Text | list[Any] | None = None
    """A reasoning model of Mistral's gives chunks, of which those of the type `text` are said aloud."""
    refusal: _Text | None = None


class _Choice(BaseModel):
    message: _Message | None = None
    finish_reason: _Text | None = None
    candidates: Any = None
    """The built-in server's probabilities of all permitted answers."""


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _ChatCompletion(BaseModel):
    """What all chat APIs answer with, as far as it is read."""

    choices: tuple[_Choice]
    usage: _Usage | None = None
    model: _Text | None = None


class _ListingEntry(BaseModel):
    id: str = Field(max_length=500)
    contract: Mapping[str, str] | None = Field(default=None, validation_alias=AliasPath("card", "contract"))
    """Only the built-in server shows a card."""


class _Listing(BaseModel):
    data: tuple[_ListingEntry, ...]


def _read(answer: _ChatCompletion, form: Form, question: Question) -> Reply:
    [choice] = answer.choices
    message, usage = choice.message or _Message(), answer.usage or _Usage()
    said = message.content or ""
    if not isinstance(said, str):
        said = "".join(_whole(chunk["text"]) for chunk in said if chunk["type"] == "text")
    problem, detail = _problem(said, choice.finish_reason, message.refusal)
    text, reasoning = take_out(said, form, question)
    try:
        candidates = _CANDIDATES.validate_python(choice.candidates or ())
    except ValidationError:
        candidates = ()
    return Reply(
        text,
        problem,
        reasoning,
        raw=said,
        detail=detail,
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
        candidates=candidates,
        model=answer.model,
    )


def _problem(said: str, finish: str | None, refusal: str | None) -> tuple[Reason | None, str]:
    if refusal or finish in _REFUSED:
        return Reason.REFUSED, refusal or f"finish_reason {finish}"
    if finish in _TRUNCATED:
        return Reason.TRUNCATED, f"finish_reason {finish}"
    return (None, "") if said.strip() else (Reason.EMPTY, "")


def take_out(said: str, form: Form, question: Question) -> tuple[str, str | None]:
    """The answer and the reason in what was said. What has not exactly the form asked for is left as it is."""
    if form is Form.JSON_SCHEMA and question.completions:
        return _from_json(said, question) or (said, None)
    if question.reasoning and (lines := _TWO_LINES.fullmatch(said)):
        return lines["action"].strip(), lines["reason"].strip() or None
    return said, None


def _from_json(said: str, question: Question) -> tuple[str, str | None] | None:
    try:
        found = json.loads(said, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"action": str(action), "reason": str(reason)} if question.reasoning and len(found) == 2:
            return action, reason.strip() or None
        case {"action": str(action)} if len(found) == 1:
            return action, None
        case _:
            return None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
