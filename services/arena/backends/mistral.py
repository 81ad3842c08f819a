"""Models behind Mistral's API."""

from collections.abc import Mapping
from typing import Any

import httpx2
from mistralai.client import Mistral as Client
from mistralai.client import models as mistral_models
from mistralai.client.errors import MistralError

from services.arena.backends.base import Form, Question, ServedModel
from services.arena.backends.chat import Chat, Heard, Said
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
        client = Client(
            api_key=_NO_KEY, server_url=transport.endpoint.url, async_client=transport.http, retry_config=None
        )
        # Named here, so that the library loads it before anybody waits for an answer.
        self._chat = client.chat

    async def _send(self, question: Question) -> Said:
        options: dict[str, Any] = {"max_tokens": question.max_tokens, "temperature": question.temperature}
        if question.seed is not None:
            options["random_seed"] = question.seed
        if constraint := self.constraint(question):
            options["response_format"] = constraint
        messages: Any = [{"role": role, "content": content} for role, content in question.messages]
        asked = dict(model=self.model, messages=messages, **options)
        try:
            return await (self._listen(asked) if question.stream else self._receive(asked))
        except httpx2.HTTPError:
            raise
        except (MistralError, ValueError, TypeError, AttributeError) as error:
            raise Failing(f"its answer is no chat completion ({error})") from None

    async def _receive(self, asked: Mapping[str, Any]) -> Said:
        answer = await self._chat.complete_async(**asked)
        [choice] = answer.choices
        return Said(
            text=_text(choice.message.content if choice.message else None),
            finish=choice.finish_reason,
            tokens_in=answer.usage.prompt_tokens,
            tokens_out=answer.usage.completion_tokens,
            model=answer.model,
        )

    async def _listen(self, asked: Mapping[str, Any]) -> Said:
        heard = Heard()
        async with await self._chat.stream_async(**asked) as stream:
            async for event in stream:
                heard.model = event.data.model
                if event.data.usage:
                    heard.tokens_in = event.data.usage.prompt_tokens
                    heard.tokens_out = event.data.usage.completion_tokens
                for choice in event.data.choices:
                    heard.add(_text(choice.delta.content))
                    heard.finish = choice.finish_reason or heard.finish
        return heard.said()

    async def models(self) -> tuple[ServedModel, ...]:
        """See Backend."""
        return await served_models(self._transport, "/v1/models")


def _text(content: object) -> str:
    """What was said aloud: a reasoning model's thoughts are chunks of another kind."""
    if isinstance(content, str):
        return content
    chunks = content if isinstance(content, list) else []
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, mistral_models.TextChunk))
