"""From a request to work for the engine, or the reason why it cannot be done, in TGI's words where it has some.

Requests are read strictly, as TGI 3 documents them; what TGI would ignore is ignored here, too.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.inference.decoding import Sampling, SetMember, Work
from services.inference.finite_set import NotFinite, documents_of, members_of
from shared.errors import UsageError
from shared.language.chat import assistant_turn, prompt_text, text_ids
from shared.language.load import Loaded

DEFAULT_NEW_TOKENS = 1024
PLACEHOLDERS = frozenset({"tgi", "dummy"})
"""What TGI's documentation and huggingface_hub call a model that nobody named."""
_GREATEST_SEED = 2**64

Count = Annotated[int, Field(ge=0)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Grammar(_Asked):
    """`grammar` and `response_format`."""

    type: str
    value: Any = None
    json_schema: Any = None
    """OpenAI's: `{"name": …, "schema": …}`."""


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
    """/generate, /generate_stream, and /, which alone heeds `stream`."""

    inputs: str
    parameters: Parameters = Parameters()
    stream: bool | None = None


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
    tool_prompt: str | None = None
    tools: Any = None
    top_logprobs: Count | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that one server answers for: the base itself, or an adapter over it."""

    name: str
    """NAME@VERSION of a model of the registry, or what else it was asked for by."""
    base: str
    adapter: Path | None = None
    card: Mapping[str, Any] | None = None
    """What it was trained for, among the rest; None where it has no card."""

    @property
    def adapter_name(self) -> str | None:
        """What its adapter is called; None: it has none."""
        return None if self.adapter is None else self.name


class UnknownModel(Exception):
    """No model of that name is served here; the text says which are."""


def meant(served: Sequence[ServedModel], name: str | None) -> ServedModel:
    """The model that a request names. Raises UnknownModel.

    A server of one model also answers to the names that clients send for want of one; NAME@VERSION is answered by that
    version or not at all.
    """
    found = [each for each in served if name == each.name] or [
        each for each in served if name == each.name.rpartition("@")[0]
    ]
    if len(found) == 1:
        return found[0]
    if not name or (len(served) == 1 and name in PLACEHOLDERS):
        return served[0]
    raise UnknownModel(f"no model {name[:100]!r} is served here, but {', '.join(each.name for each in served)}")


class Invalid(Exception):
    """The request cannot be answered as it is."""


@dataclass(frozen=True, slots=True)
class RequestBounds:
    """What a request may ask for; /info tells them."""

    max_total_tokens: int
    """Of prompt and answer together."""
    max_stop_sequences: int = 4
    max_top_n_tokens: int = 5
    max_input_characters: int = 200_000

    @property
    def max_input_tokens(self) -> int:
        """Leaves room for one token of answer."""
        return self.max_total_tokens - 1


@dataclass(frozen=True, slots=True)
class Validation:
    """Checks requests against a model and its bounds. Each method raises Invalid."""

    loaded: Loaded
    bounds: RequestBounds

    def generation(self, request: GenerateRequest, model: ServedModel) -> Work:
        self._check_length(request.inputs)
        # A text of its own, so with whatever a text of this model begins with.
        prompt = list(self.loaded.tokenizer(request.inputs)["input_ids"]) if request.inputs else []
        truncate = request.parameters.truncate
        if truncate is not None:
            most = self.bounds.max_input_tokens
            if not 0 < truncate <= most:
                raise Invalid(f"`truncate` must be strictly positive and at most {most}. Given: {truncate}")
            prompt = prompt[-truncate:]
        return self._work(prompt, request.parameters, model, in_chat=False)

    def chat(self, request: ChatRequest, model: ServedModel) -> Work:
        text = self.templated(request)
        return self._work(text_ids(self.loaded.tokenizer, text), _parameters(request), model, in_chat=True)

    def templated(self, request: ChatRequest) -> str:
        """The conversation as the model's template writes it."""
        if request.tools:
            raise Invalid("`tools` are not supported by this server")
        if not request.messages:
            raise Invalid("`messages` cannot be empty")
        messages = [{"role": message.role, "content": _text(message)} for message in request.messages]
        self._check_length("".join(text for message in messages for text in message.values()))
        try:
            prompt = prompt_text(self.loaded.tokenizer, messages)
        except UsageError as error:
            raise Invalid(f"Template error: {error.message}") from error
        self._check_length(prompt)
        return prompt

    def tokens(self, text: str, *, whole: bool) -> list[dict[str, Any]]:
        """What a text is in tokens, each with where it stands; `whole`: with what a text of this model begins with."""
        self._check_length(text)
        encoded = self.loaded.tokenizer(text, add_special_tokens=whole, return_offsets_mapping=True)
        return [
            {"id": token, "text": text[start:stop], "start": start, "stop": stop}
            for token, (start, stop) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def _work(self, prompt: Sequence[int], parameters: Parameters, model: ServedModel, *, in_chat: bool) -> Work:
        _refuse(
            best_of=parameters.best_of not in (None, 1),
            decoder_input_details=parameters.decoder_input_details,
            frequency_penalty=parameters.frequency_penalty,
            watermark=parameters.watermark,
        )
        given, bounds = len(prompt), self.bounds
        new_tokens, most, top_n = parameters.max_new_tokens, bounds.max_total_tokens, parameters.top_n_tokens or 0
        if not given:
            raise Invalid("`inputs` cannot be empty")
        if given > bounds.max_input_tokens:
            raise Invalid(f"`inputs` must have less than {most} tokens. Given: {given}")
        if new_tokens == 0:
            raise Invalid("`max_new_tokens` must be strictly positive")
        if new_tokens is not None and given + new_tokens > most:
            raise Invalid(
                f"`inputs` tokens + `max_new_tokens` must be <= {most}. "
                f"Given: {given} `inputs` tokens and {new_tokens} `max_new_tokens`"
            )
        if len(parameters.stop) > bounds.max_stop_sequences:
            most_stops = bounds.max_stop_sequences
            raise Invalid(f"`stop` supports up to {most_stops} stop sequences. Given: {len(parameters.stop)}")
        if top_n > bounds.max_top_n_tokens:
            raise Invalid(f"`top_n_tokens` must be >= 0 and <= {bounds.max_top_n_tokens}. Given: {top_n}")
        return Work(
            tuple(prompt),
            model.adapter_name,
            _sampling(parameters),
            new_tokens or min(DEFAULT_NEW_TOKENS, most - given),
            tuple(stop for stop in parameters.stop if stop),
            top_n,
            self._members(parameters.grammar, most - given, in_chat=in_chat) if parameters.grammar else (),
        )

    def _members(self, grammar: Grammar, room: int, *, in_chat: bool) -> tuple[SetMember, ...]:
        # Before it is taken apart: that, too, takes time.
        self._check_length(grammar.value if isinstance(grammar.value, str) else json.dumps(grammar.model_dump()))
        try:
            if grammar.type == "regex" and isinstance(grammar.value, str):
                texts = members_of(grammar.value)
            elif grammar.type in ("json", "json_object", "json_schema"):
                texts = documents_of(_schema(grammar))
            else:
                raise Invalid(
                    f"Grammar error: only `regex` and `json_schema` are supported by this server. Given: "
                    f"{grammar.type[:40]!r}"
                )
        except NotFinite as error:
            raise Invalid(f"Grammar error: only an alternation of literal texts is supported: {error}") from error
        tokenizer = self.loaded.tokenizer
        lead, end_id = "", tokenizer.eos_token_id
        if tokenizer.chat_template:
            turn = assistant_turn(tokenizer)
            lead, end_id = turn.lead if in_chat else "", turn.end_id
        if end_id is None:
            raise Invalid("Grammar error: this model's tokenizer has no token that ends an answer")
        members = tuple(SetMember(text, (*text_ids(tokenizer, lead + text), end_id), lead) for text in texts)
        if sum(len(member.ids) for member in members) > room:
            raise Invalid(f"Grammar error: its alternatives have more than the {room} tokens that are left")
        return members

    def _check_length(self, text: str) -> None:
        if len(text) > self.bounds.max_input_characters:
            raise Invalid(f"more than {self.bounds.max_input_characters} characters were sent")


def _schema(grammar: Grammar) -> Any:
    """The JSON schema: TGI has it as `value`, OpenAI as `json_schema.schema`."""
    return grammar.json_schema.get("schema") if isinstance(grammar.json_schema, dict) else grammar.value


def _parameters(request: ChatRequest) -> Parameters:
    """A chat's parameters as those of /generate. As in TGI, a chat samples unless its temperature is 0."""
    _refuse(n=request.n not in (None, 1), logit_bias=request.logit_bias, presence_penalty=request.presence_penalty)
    if request.top_logprobs and not request.logprobs:
        raise Invalid("`logprobs` must be true where `top_logprobs` is given")
    form = request.response_format
    return Parameters(
        details=True,
        do_sample=request.temperature != 0,
        frequency_penalty=request.frequency_penalty,
        grammar=None if form is None or form.type == "text" else form,
        max_new_tokens=request.max_completion_tokens or request.max_tokens,
        seed=request.seed,
        stop=(request.stop,) if isinstance(request.stop, str) else request.stop or (),
        temperature=request.temperature or None,
        top_n_tokens=request.top_logprobs,
        top_p=request.top_p,
    )


def _refuse(**unsupported: object) -> None:
    for name, asked in unsupported.items():
        if asked:
            raise Invalid(f"`{name}` is not supported by this server")


def _sampling(parameters: Parameters) -> Sampling:
    """How to choose. As in TGI, a request that names a way to sample is sampled for."""
    temperature, top_k, top_p = parameters.temperature, parameters.top_k, parameters.top_p
    typical_p, penalty = parameters.typical_p, parameters.repetition_penalty
    for name, value in (("temperature", temperature), ("repetition_penalty", penalty), ("top_k", top_k)):
        if value is not None and not 0 < value < float("inf"):
            raise Invalid(f"`{name}` must be strictly positive")
    for name, value in (("top_p", top_p), ("typical_p", typical_p)):
        if value is not None and not 0 < value <= 1:
            raise Invalid(f"`{name}` must be > 0.0 and <= 1.0")
    seed = secrets.randbits(32) if parameters.seed is None else parameters.seed
    if seed >= _GREATEST_SEED:
        raise Invalid("`seed` must be smaller than 2^64")
    if not parameters.do_sample and (temperature, top_k, top_p, typical_p) == (None,) * 4:
        return Sampling(repetition_penalty=penalty)
    return Sampling(seed % 2**63, temperature, top_k, top_p, typical_p, penalty)


def _text(message: ChatMessage) -> str:
    if message.tool_calls or message.content is None:
        raise Invalid("messages without text are not supported by this server")
    if isinstance(message.content, str):
        return message.content
    if any(chunk.type != "text" or chunk.text is None for chunk in message.content):
        raise Invalid("only text is supported by this server, no pictures")
    return "".join(chunk.text or "" for chunk in message.content)
