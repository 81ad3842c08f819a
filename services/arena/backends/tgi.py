"""Models behind Hugging Face's clients: Text Generation Inference, the built-in server, and the inference providers."""

import httpx2
from huggingface_hub import AsyncInferenceClient
from pydantic import TypeAdapter, ValidationError

from services.arena.backends.base import Candidate, Form, Question, ServedModel
from services.arena.backends.chat import Chat, Said
from services.arena.backends.faults import Failing
from services.arena.backends.listing import served_models
from services.arena.backends.transport import Transport

# The transport alone knows keys. Without any token the library would look for one on this machine.
_NO_TOKEN = "unused"
_CANDIDATES = TypeAdapter(tuple[Candidate, ...])


class Tgi(Chat):
    """The chat route of TGI and of the built-in server; the server applies the model's template."""

    form = Form.REGEX

    def __init__(self, model: str, transport: Transport) -> None:
        super().__init__(model, transport)
        self._client = _Client(transport)

    async def _send(self, question: Question) -> Said:
        try:
            answer = await self._client.chat_completion(
                [{"role": role, "content": content} for role, content in question.messages],
                model=self.model,
                max_tokens=question.max_tokens,
                temperature=question.temperature,
                seed=question.seed,
                response_format=self.constraint(question),  # type: ignore[arg-type]
            )
            [choice] = answer.choices
            return Said(
                text=choice.message.content or "",
                finish=choice.finish_reason,
                tokens_in=answer.usage.prompt_tokens if answer.usage else None,
                tokens_out=answer.usage.completion_tokens if answer.usage else None,
                model=answer.model,
                candidates=_candidates(choice.get("candidates")),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Failing(f"its answer is no chat completion ({error})") from None

    async def models(self) -> tuple[ServedModel, ...]:
        """See Backend."""
        return await served_models(self._transport, "/v1/models")


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


def _candidates(given: object) -> tuple[Candidate, ...]:
    """The built-in server's probabilities of all permitted answers; none where the server gives none."""
    try:
        return _CANDIDATES.validate_python(given or ())
    except ValidationError:
        return ()
