"""Requests as TGI 3 documents them, read strictly; what it would ignore is ignored here, too."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Grammar(_Asked):
    """`grammar` and `response_format`."""

    type: str
    value: Any = None


class Parameters(_Asked):
    """`parameters` of /generate."""

    adapter_id: str | None = None
    best_of: Count | None = None
    decoder_input_details: bool = False
    details: bool = False
    do_sample: bool = False
    frequency_penalty: float | None = None
    grammar: Grammar | None = None
    max_new_tokens: Count | None = None
    repetition_penalty: float | None = None
    return_full_text: bool | None = None
    seed: Count | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_k: int | None = None
    top_n_tokens: Count | None = None
    top_p: float | None = None
    truncate: Count | None = None
    typical_p: float | None = None
    watermark: bool = False


class GenerateRequest(_Asked):
    """/generate and /generate_stream."""

    inputs: str
    parameters: Parameters = Parameters()


class CompatGenerateRequest(GenerateRequest):
    """/, which says itself whether it wants a stream."""

    stream: bool = False


class Chunk(_Asked):
    """A part of a message."""

    type: str
    text: str | None = None


class ChatMessage(_Asked):
    """One message of a conversation."""

    role: str
    content: str | tuple[Chunk, ...] | None = None
    tool_calls: Any = None


class StreamOptions(_Asked):
    """What a stream ends with."""

    include_usage: bool = False


class ChatRequest(_Asked):
    """/v1/chat/completions and /chat_tokenize."""

    messages: tuple[ChatMessage, ...]
    model: str | None = None
    adapter_id: str | None = None
    frequency_penalty: float | None = None
    logit_bias: Any = None
    logprobs: bool | None = None
    max_completion_tokens: Count | None = None
    """What OpenAI calls max_tokens by now."""
    max_tokens: Count | None = None
    n: Count | None = None
    presence_penalty: float | None = None
    response_format: Grammar | None = None
    seed: Count | None = None
    stop: tuple[str, ...] | str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    tool_choice: Any = None
    tool_prompt: str | None = None
    tools: Any = None
    top_logprobs: Count | None = None
    top_p: float | None = None
