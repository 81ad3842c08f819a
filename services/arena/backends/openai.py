"""Models behind the OpenAI chat API: vLLM, llama.cpp, Ollama, a gateway, OpenAI itself."""

from collections.abc import Mapping
from typing import Any

import openai

from services.arena.backends.base import Form, Question, ServedModel
from services.arena.backends.chat import Chat, Heard, Said
from services.arena.backends.faults import Failing
from services.arena.backends.listing import served_models
from services.arena.backends.transport import Transport

# The transport alone knows keys. Without any, the library would look for one in the environment.
_NO_KEY = "unused"


class OpenAI(Chat):
    """The answer is JSON that follows a schema. A server that ignores the schema may also answer in plain text."""

    form = Form.JSON_SCHEMA

    def __init__(self, model: str, transport: Transport) -> None:
        super().__init__(model, transport)
        client = openai.AsyncOpenAI(
            api_key=_NO_KEY, base_url=transport.endpoint.url, max_retries=0, http_client=transport.http
        )
        # Named here, so that the library loads it before anybody waits for an answer.
        self._completions: Any = client.chat.completions
        # OpenAI has renamed it, most others have not.
        self._limit = "max_completion_tokens" if transport.endpoint.name == "api.openai.com" else "max_tokens"

    async def _send(self, question: Question) -> Said:
        options: dict[str, Any] = {self._limit: question.max_tokens, "temperature": question.temperature}
        if question.seed is not None:
            options["seed"] = question.seed
        if constraint := self.constraint(question):
            options["response_format"] = constraint
        messages: Any = [{"role": role, "content": content} for role, content in question.messages]
        asked = dict(model=self.model, messages=messages, **options)
        try:
            return await (self._listen(asked) if question.stream else self._receive(asked))
        except openai.APIConnectionError as error:
            # The library wraps whatever the transport raised.
            raise error.__cause__ or error from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise Failing(f"its answer is no chat completion ({error})") from None

    async def _receive(self, asked: Mapping[str, Any]) -> Said:
        answer = await self._completions.create(**asked)
        [choice] = answer.choices
        return Said(
            text=choice.message.content or "",
            finish=choice.finish_reason,
            refusal=choice.message.refusal or None,
            tokens_in=answer.usage.prompt_tokens if answer.usage else None,
            tokens_out=answer.usage.completion_tokens if answer.usage else None,
            model=answer.model,
        )

    async def _listen(self, asked: Mapping[str, Any]) -> Said:
        heard = Heard()
        async with await self._completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        ) as stream:
            async for chunk in stream:
                heard.model = chunk.model
                if chunk.usage:
                    heard.tokens_in, heard.tokens_out = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
                for choice in chunk.choices:
                    heard.add(choice.delta.content or "")
                    heard.refusal = choice.delta.refusal or heard.refusal
                    heard.finish = choice.finish_reason or heard.finish
        return heard.said()

    async def models(self) -> tuple[ServedModel, ...]:
        """See Backend."""
        return await served_models(self._transport, "/models")
