"""Models behind Mistral's API."""

from typing import Any

import httpx2
from mistralai.client import Mistral as Client
from mistralai.client import models as mistral_models
from mistralai.client.errors import MistralError

from services.arena.backends.base import Form, Question, ServedModel
from services.arena.backends.chat import Chat, Said
from services.arena.backends.faults import Failing
from services.arena.backends.listing import served_models
from services.arena.backends.transport import Transport

# The transport alone knows keys. Without any, the library would look for one in the environment.
_NO_KEY = "unused"


class Mistral(Chat):
    """The answer is JSON that follows a schema."""

    form = Form.JSON_SCHEMA

    def __init__(self, model: str, transport: Transport) -> None:
        super().__init__(model, transport)
        self._client = Client(
            api_key=_NO_KEY, server_url=transport.endpoint.url, async_client=transport.http, retry_config=None
        )

    async def _send(self, question: Question) -> Said:
        options: dict[str, Any] = {"max_tokens": question.max_tokens, "temperature": question.temperature}
        if question.seed is not None:
            options["random_seed"] = question.seed
        if constraint := self.constraint(question):
            options["response_format"] = constraint
        messages: Any = [{"role": role, "content": content} for role, content in question.messages]
        try:
            answer = await self._client.chat.complete_async(model=self.model, messages=messages, **options)
            [choice] = answer.choices
            return Said(
                text=_text(choice.message.content if choice.message else None),
                finish=choice.finish_reason,
                tokens_in=answer.usage.prompt_tokens,
                tokens_out=answer.usage.completion_tokens,
                model=answer.model,
            )
        except httpx2.HTTPError:
            raise
        except (MistralError, ValueError, TypeError, AttributeError) as error:
            raise Failing(f"its answer is no chat completion ({error})") from None

    async def models(self) -> tuple[ServedModel, ...]:
        """See Backend."""
        return await served_models(self._transport, "/v1/models")


def _text(content: object) -> str:
    """What was said aloud: a reasoning model's thoughts are chunks of another kind."""
    if isinstance(content, str):
        return content
    chunks = content if isinstance(content, list) else []
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, mistral_models.TextChunk))
