"""Models behind Hugging Face's clients: Text Generation Inference, the built-in server, and the inference providers."""

from collections.abc import Mapping
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient
from pydantic import TypeAdapter, ValidationError

from services.arena.backends.base import Candidate, Form, Question, ServedModel
from services.arena.backends.chat import Chat, Heard, Said
from services.arena.backends.faults import Failing
from services.arena.backends.listing import served_models
from services.arena.backends.transport import Transport

# The transport alone knows keys. Without any token the library would look for one on this machine.
_NO_TOKEN = "unused"
_WITH_USAGE: Any = {"include_usage": True}
_CANDIDATES = TypeAdapter(tuple[Candidate, ...])


class Tgi(Chat):
    """The chat route of TGI and of the built-in server; the server applies the model's template."""

    form = Form.REGEX

    async def _send(self, question: Question) -> Said:
        asked: dict[str, Any] = dict(
            messages=[{"role": role, "content": content} for role, content in question.messages],
            model=self.model,
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            seed=question.seed,
            response_format=self.constraint(question),
        )
        try:
            # One client for each question: it closes no stream before its own end.
            async with _Client(self._transport) as client:
                return await (_listen(client, asked) if question.stream else _receive(client, asked))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Failing(f"its answer is no chat completion ({error})") from None

    async def models(self) -> tuple[ServedModel, ...]:
        """See Backend."""
        is_v1 = self._transport.endpoint.url.endswith("/v1")
        return await served_models(self._transport, "/models" if is_v1 else "/v1/models")


class HuggingFace(Tgi):
    """A model at Hugging Face's inference providers. Not all can constrain: the answer is text, read strictly."""

    form = Form.TEXT

    async def models(self) -> tuple[ServedModel, ...]:
        """The router serves what the Hub has."""
        return (ServedModel(self.model),)


class _Client(AsyncInferenceClient):
    """The library's client, sending through the transport's connections."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(base_url=transport.endpoint.url, token=_NO_TOKEN)
        self._http = transport.http

    async def _get_async_client(self) -> httpx2.AsyncClient:
        return self._http


async def _receive(client: AsyncInferenceClient, asked: Mapping[str, Any]) -> Said:
    answer = await client.chat_completion(**asked)
    [choice] = answer.choices
    return Said(
        text=choice.message.content or "",
        finish=choice.finish_reason,
        tokens_in=answer.usage.prompt_tokens if answer.usage else None,
        tokens_out=answer.usage.completion_tokens if answer.usage else None,
        model=answer.model,
        candidates=_candidates(choice.get("candidates")),
    )


async def _listen(client: AsyncInferenceClient, asked: Mapping[str, Any]) -> Said:
    heard = Heard()
    async for chunk in await client.chat_completion(**asked, stream=True, stream_options=_WITH_USAGE):
        heard.model = chunk.model
        if chunk.usage:
            heard.tokens_in, heard.tokens_out = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        for choice in chunk.choices or ():
            heard.add(choice.delta.content or "")
            heard.finish = choice.finish_reason or heard.finish
            heard.candidates = _candidates(choice.get("candidates")) or heard.candidates
    return heard.said()


def _candidates(given: object) -> tuple[Candidate, ...]:
    """The built-in server's probabilities of all permitted answers; none where the server gives none."""
    try:
        return _CANDIDATES.validate_python(given or ())
    except ValidationError:
        return ()
