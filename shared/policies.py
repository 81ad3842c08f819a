"""Names and options of policies, and the formats played: all that an API can check without playing.

A policy is written `kind`, `kind:model`, `kind:model@address`, each with `?option=value&…` behind it:
the kind ends at the first `:`, the address starts at the last `@`, the options start at the last `?`.
An address is a URL, or the name that the operator has given to an endpoint.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from shared.errors import UnknownFormat, UnknownPolicy
from shared.model_options import OPTIONS, ModelOptions, guess, read_options
from shared.text import one_line

Behind = Literal["nothing", "model", "model or address", "model, maybe at an address"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of policy: what it is called, what it does, what may stand behind its name."""

    name: str
    description: str
    behind: Behind = "nothing"
    example: str = ""
    command_line_only: bool = False
    instructions: bool = True
    """Whether its models, as a rule, were not trained on a contract and have to be told how to answer."""

    @property
    def asks_a_model(self) -> bool:
        """Whether a model decides, and the options of a model are understood."""
        return self.behind != "nothing"

    @property
    def options(self) -> Mapping[str, str]:
        """Option → what it means."""
        return {name: option.meaning for name, option in OPTIONS.items()} if self.asks_a_model else {}


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy's name, taken apart. `text` is what was written."""

    text: str
    kind: str
    model: str | None = None
    """The model's name at its server; of `tgi` the name in the registry; of `local` a path, too."""
    url: str | None = None
    """Where the name says which server: a URL, or the operator's name for an endpoint."""
    options: ModelOptions = field(default_factory=ModelOptions)

    @property
    def pinned(self) -> tuple[str, str] | None:
        """Name and version in the registry, of a policy that names both."""
        name, at, version = (self.model or "").rpartition("@")
        return (name, version) if self.kind == "tgi" and at and name and version else None

    @property
    def has_raw_url(self) -> bool:
        """Whether the server is given by its address."""
        return self.url is not None and _is_url(self.url)


@dataclass(frozen=True, slots=True)
class Format:
    """A Showdown format that the arena plays: singles only."""

    id: str
    generation: int
    needs_team: bool = False


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("random", "uniform over the legal actions, seeded"),
        Kind("max-damage", "the move of most base power (poke-env's MaxBasePowerPlayer)"),
        Kind("typed", "the move of most power, times accuracy, same-type bonus and effectiveness"),
        Kind("heuristic", "type matchups, hazards, boosts and switches (poke-env's SimpleHeuristicsPlayer)"),
        Kind("mistral", "a model of Mistral's API; MISTRAL_API_KEY", "model", "mistral:mistral-large-latest"),
        Kind(
            "tgi",
            "a model served by Text Generation Inference or the built-in server: its name in the registry (maybe with "
            "@VERSION), the name of an endpoint, or the server's address",
            "model or address",
            "tgi:http://127.0.0.1:8080",
            instructions=False,
        ),
        Kind("hf", "a model at Hugging Face's inference providers; HF_TOKEN", "model", "hf:Qwen/Qwen3-8B"),
        Kind(
            "openai",
            "a model of any server that speaks the OpenAI chat API (vLLM, llama.cpp, Ollama, …), or of OpenAI's; "
            "OPENAI_API_KEY",
            "model, maybe at an address",
            "openai:qwen3@http://127.0.0.1:11434/v1",
        ),
        Kind(
            "local",
            "a model on this machine, by path or registry name; one built-in server is started for it",
            "model",
            "local:models/mine",
            command_line_only=True,
            instructions=False,
        ),
    )
}

FORMATS: Mapping[str, Format] = {
    format.id: format
    for format in (
        *(Format(f"gen{generation}randombattle", generation) for generation in range(9, 0, -1)),
        Format("gen9ou", 9, needs_team=True),
    )
}


def parse_policy(text: str) -> PolicySpec:
    """Take a policy's name apart and check it against KINDS and OPTIONS.

    Raises UnknownPolicy, with the list of kinds or the reason, when no kind answers to it, when an address is missing
    or holds a secret, or when an option is unknown or its value will not do.
    """
    rest, question, query = text.rpartition("?") if "?" in text else (text, "", "")
    kind_name, _, behind = rest.partition(":")
    kind = KINDS.get(kind_name)
    if kind is None:
        raise UnknownPolicy(
            f"unknown policy {one_line(kind_name)!r}; {guess(kind_name, KINDS)}the policies are: {', '.join(KINDS)}"
        )
    if kind.behind == "nothing":
        if rest != kind.name:
            raise UnknownPolicy(f"the policy {kind.name!r} takes nothing behind its name, but has {one_line(behind)!r}")
        model, address = None, None
    else:
        model, address = _take_apart(kind, behind)
    return PolicySpec(
        text=text,
        kind=kind.name,
        model=model,
        url=address,
        options=read_options(kind.name, query, OPTIONS if kind.asks_a_model else {}) if question else ModelOptions(),
    )


def check_over_api(spec: PolicySpec) -> PolicySpec:
    """The policy itself, when one may ask for it over the API.

    Raises UnknownPolicy for what only the command line may name: an address could be anybody's, and would be sent the
    prompts and maybe a key; a path is this machine's own.
    """
    if spec.has_raw_url:
        raise UnknownPolicy(
            f"an address is for the command line; over the API, {spec.kind!r} takes an endpoint that the operator named"
        )
    if KINDS[spec.kind].command_line_only:
        raise UnknownPolicy(f"the policy {spec.kind!r} is for the command line")
    return spec


def person_behind(text: str) -> str | None:
    """The name of the person in `human:NAME`, who plays on a Showdown server in a policy's place; None for a policy.

    No policy, so `parse_policy` refuses it and no API takes it.
    """
    kind, _, name = text.partition(":")
    return name.strip() or None if kind == "human" else None


def check_format(name: str) -> Format:
    """The format of that name. Raises UnknownFormat, with the list, when the arena does not play it."""
    found = FORMATS.get(name)
    if found is None:
        raise UnknownFormat(
            f"unknown format {name!r}; {guess(name, FORMATS)}the formats are: {', '.join(FORMATS)}",
            field="format",
        )
    return found


def _take_apart(kind: Kind, behind: str) -> tuple[str | None, str | None]:
    """Model and address of what stands behind a kind. Raises UnknownPolicy."""
    model, at, address = behind.rpartition("@") if "@" in behind else (behind, "", "")
    if kind.behind == "model or address" and _is_url(behind):
        model, at, address = "", "@", behind
    elif kind.behind == "model or address" and at and not _is_url(address):
        # The version of a registry name: NAME@VERSION.
        model, at, address = behind, "", ""
    if "://" in model or (_is_url(address) and "@" in address):
        # An address that holds an `@` holds a password before it. It is not repeated here.
        raise UnknownPolicy(f"the address in a {kind.name!r} policy may hold no user name, password or '@'")
    if kind.behind == "model" and at and _is_url(address):
        raise UnknownPolicy(f"the policy {kind.name!r} takes no address; it is written like {kind.example}")
    if kind.behind == "model":
        model, at, address = behind, "", ""
    if (at and not address) or not (model or (address and kind.behind == "model or address")):
        raise UnknownPolicy(f"the policy {kind.name!r} is written like {kind.example}")
    for part, most in ((model, 200), (address, 200)):
        if len(part) > most or not part.isprintable() or part != part.strip():
            raise UnknownPolicy(f"{one_line(part)!r} will not do in a policy's name")
    if _is_url(address):
        _check_url(address)
    return model or None, address or None


def _is_url(text: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def _check_url(url: str) -> None:
    """Raises UnknownPolicy for an address that is none, or that holds what belongs into settings."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UnknownPolicy(f"{one_line(url)!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UnknownPolicy(f"{one_line(url)!r} is no address; it should look like http://127.0.0.1:8080")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise UnknownPolicy("an address in a policy's name takes nothing behind '?' or '#'; keys belong into settings")
