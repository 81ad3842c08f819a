"""Names and options of policies, and the formats played: all that an API can check without playing.

A policy is written `kind`, `kind:model`, `kind:model@address`, each with `?option=value&…` behind it:
the kind ends at the first `:`, the address starts at the last `@`, the options start at the last `?`.
An address is a URL, or the name that the operator has given to an endpoint.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from shared.errors import UnknownFormat, UnknownPolicy
from shared.text import one_line

Behind = Literal["nothing", "model", "model or address", "model, maybe at an address"]
_URL = r"[A-Za-z][A-Za-z0-9+.-]*://.*"
_WRITTEN: Mapping[Behind, re.Pattern[str]] = {
    "nothing": re.compile(""),
    "model": re.compile(r"(?P<name>.+)", re.DOTALL),
    # What is no URL is NAME@VERSION in the registry.
    "model or address": re.compile(rf"(?:(?P<model>.*)@)?(?P<address>{_URL})|(?P<name>.+)", re.DOTALL),
    "model, maybe at an address": re.compile(r"(?P<model>.+)@(?P<address>[^@]+)|(?P<name>[^@]+)", re.DOTALL),
}
CONTRACT_VERSIONS = ("v1", "v2", "v3")
SUBSTITUTES = ("random", "max-damage", "forfeit")
Substitute = Literal["random", "max-damage", "forfeit"]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is asked. As options behind a policy's name they are called as here, but for the units."""

    contract: str = "v2"
    temperature: float = 0.0
    seed: int | None = None
    history: int = 0
    """Exchanges of the same battle that are sent along, the latest ones."""
    reasoning: bool = False
    instructions: bool | None = None
    """Whether a question says more than the contract's prompt: what the game is, how to answer. None: as its kind."""
    constrain: bool = True
    """Whether the server keeps the model to the legal actions, where it can."""
    max_tokens: int | None = None
    """Of one answer; None: enough for a legal action, and for a short reason where one is asked for."""
    asks: int = 2
    """Attempts before the substitute plays."""
    substitute: Substitute = "random"
    timeout_seconds: float = 60.0
    """For one answer, once the server has taken the question."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How far `search` looks."""

    worlds: int = 2
    """Full positions in keeping with what the player knows."""
    dice: int = 2
    """Copies of each pair of actions with other dice, where the time reaches."""
    time_seconds: float = 0.15
    """Of CPU for a decision, told in copies: so the same question has the same answer on every machine."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option behind a policy's name."""

    field: str
    """Of ModelOptions or SearchOptions."""
    meaning: str
    read: Callable[[str], object]
    """Raises ValueError, saying what would do."""


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    return read


def _number(read_as: type[int] | type[float], lowest: float, highest: float) -> Callable[[str], float]:
    # int() also reads other alphabets' digits, underscores and signs, which would make two names of one policy.
    written, what = (r"[0-9]{1,19}", "whole number") if read_as is int else (r"[0-9]{1,9}(\.[0-9]{1,9})?", "number")

    def read(text: str) -> float:
        number = read_as(text) if re.fullmatch(written, text) else -1
        if not lowest <= number <= highest:
            raise ValueError(f"a {what} from {lowest} to {highest}")
        return number

    return read


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


OPTIONS: Mapping[str, Option] = {
    "contract": Option("contract", "how the state is told: v1, v2 or v3 [v2]", _one_of(CONTRACT_VERSIONS)),
    "temperature": Option("temperature", "0 to 2 [0]", _number(float, 0, 2)),
    "seed": Option("seed", "of the model's sampling, where its server takes one", _number(int, 0, 2**31 - 1)),
    "history": Option("history", "exchanges of the battle that are sent along, 0 to 20 [0]", _number(int, 0, 20)),
    "reasoning": Option("reasoning", "ask for a short reason before the action: yes or no [no]", _yes_or_no),
    "instructions": Option(
        "instructions", "tell the model what the game is and how to answer: yes or no [yes; tgi, local: no]", _yes_or_no
    ),
    "constrain": Option("constrain", "permit only legal actions, where the server can: yes or no [yes]", _yes_or_no),
    "max-tokens": Option(
        "max_tokens",
        "of one answer, 1 to 32768 [64; with reasoning 400]; more for models that think",
        _number(int, 1, 32768),
    ),
    "asks": Option("asks", "attempts before the substitute plays, 1 to 5 [2]", _number(int, 1, 5)),
    "substitute": Option("substitute", "who plays then: random, max-damage or forfeit [random]", _one_of(SUBSTITUTES)),
    "timeout": Option("timeout_seconds", "seconds to wait for an answer, 0.1 to 600 [60]", _number(float, 0.1, 600)),
}
"""Of policies that ask a model."""
SEARCH_OPTIONS: Mapping[str, Option] = {
    "worlds": Option("worlds", "guesses at what the opponent has not shown, 1 to 16 [2]", _number(int, 1, 16)),
    "dice": Option("dice", "copies of a pair of actions, with other dice, 1 to 16 [2]", _number(int, 1, 16)),
    "time": Option(
        "time_seconds",
        "seconds of CPU for a decision, about; told in copies, 0.05 to 60 [0.15]",
        _number(float, 0.05, 60),
    ),
}


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
    needs_value: bool = False
    """Whether it plays only formats with a value model."""
    advises: bool = False
    """Whether it can say what it thinks of every action, and so can teach."""

    @property
    def asks_a_model(self) -> bool:
        """Whether a model decides, and the options of a model are understood."""
        return self.behind != "nothing"

    @property
    def takes(self) -> Mapping[str, Option]:
        """The options that may stand behind its name."""
        return OPTIONS if self.asks_a_model else SEARCH_OPTIONS if self.name == "search" else {}

    @property
    def options(self) -> Mapping[str, str]:
        """Option → what it means."""
        return {name: option.meaning for name, option in self.takes.items()}


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
    search: SearchOptions = field(default_factory=SearchOptions)

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
    has_teams: bool = True
    """Whether the arena has teams for it; else both are to be given."""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("random", "uniform over the legal actions, seeded"),
        Kind("max-damage", "the move of most base power (poke-env's MaxBasePowerPlayer)"),
        Kind("typed", "the move of most power, times accuracy, same-type bonus and effectiveness"),
        Kind("heuristic", "type matchups, hazards, boosts and switches (poke-env's SimpleHeuristicsPlayer)"),
        Kind("race", "who knocks out whom first, by a damage calculator", advises=True),
        Kind(
            "search",
            "one turn ahead in a few guesses at what is hidden, as a game that both play",
            needs_value=True,
            advises=True,
        ),
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
"""Those that are played without further ado."""
_OF_THE_SIMULATOR: Mapping[str, list[str]] = json.loads(Path(__file__).with_name("formats.json").read_text())
"""`singles` are played with one's own teams: those that have a generation's own rules. `others` are no singles."""


def parse_policy(text: str, *, recorded: bool = False) -> PolicySpec:
    """Take a policy's name apart and check it against KINDS and OPTIONS.

    A name that is `recorded` may hold options that nobody can ask for any more. Raises UnknownPolicy, with the list of
    kinds or the reason, when no kind answers to it, when an address is missing or holds a secret, or when an option is
    unknown or its value will not do.
    """
    rest, question, query = text.rpartition("?") if "?" in text else (text, "", "")
    kind_name, _, behind = rest.partition(":")
    kind = KINDS.get(kind_name)
    if kind is None:
        raise UnknownPolicy(
            f"unknown policy {one_line(kind_name)!r}; {guess(kind_name, KINDS)}the policies are: {', '.join(KINDS)}"
        )
    if kind.behind == "nothing" and rest != kind.name:
        raise UnknownPolicy(f"the policy {kind.name!r} takes nothing behind its name, but has {one_line(behind)!r}")
    model, address = _take_apart(kind, behind)
    values = _read_options(kind, query, recorded=recorded) if question else {}
    options = ModelOptions(**values) if kind.asks_a_model else ModelOptions()
    search = SearchOptions() if kind.asks_a_model else SearchOptions(**values)
    return PolicySpec(text=text, kind=kind.name, model=model, url=address, options=options, search=search)


def parse_teacher(text: str) -> PolicySpec:
    """A policy that can advise. Raises UnknownPolicy where it is none."""
    spec = parse_policy(text)
    if not KINDS[spec.kind].advises:
        advisers = ", ".join(kind.name for kind in KINDS.values() if kind.advises) or "none"
        raise UnknownPolicy(
            f"a teacher says of every action how good it is, and {spec.kind!r} does not; those that do: {advisers}"
        )
    return spec


def asks_a_model(name: str) -> bool:
    """Whether a policy, asked for or recorded, is of a kind that asks a model and so can cost anything."""
    kind = KINDS.get(re.split("[:?]", name, maxsplit=1)[0])
    return kind is not None and kind.asks_a_model


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
    if name in FORMATS:
        return FORMATS[name]
    singles = _OF_THE_SIMULATOR["singles"]
    if name in singles:
        return Format(name, int(name[3]), needs_team=True, has_teams=False)
    if name in _OF_THE_SIMULATOR["others"]:
        raise UnknownFormat(f"{name} is no singles format, and no others are played here", field="format")
    near = guess(name, dict.fromkeys([*FORMATS, *singles]))
    raise UnknownFormat(
        f"unknown format {name!r}; {near}the formats are: {', '.join(FORMATS)}; and with teams of your own the "
        f"{len(set(singles) - FORMATS.keys())} other singles formats of Showdown that have a generation's own rules",
        field="format",
    )


def _take_apart(kind: Kind, behind: str) -> tuple[str | None, str | None]:
    """Model and address of what stands behind a kind. Raises UnknownPolicy."""
    written = _WRITTEN[kind.behind].fullmatch(behind)
    if written is None:
        raise UnknownPolicy(f"the policy {kind.name!r} is written like {kind.example}")
    parts = {"model": None, "address": None, "name": None, **written.groupdict()}
    model, address = parts["model"] or parts["name"], parts["address"]
    if kind.behind == "model" and "://" in behind:
        raise UnknownPolicy(f"the policy {kind.name!r} takes no address; it is written like {kind.example}")
    if "://" in (model or "") or "@" in (address or ""):
        # An address that holds an `@` holds a password before it. It is not repeated here.
        raise UnknownPolicy(f"the address in a {kind.name!r} policy may hold no user name, password or '@'")
    for part in (model or "", address or ""):
        if len(part) > 200 or not part.isprintable() or part != part.strip():
            raise UnknownPolicy(f"{one_line(part)!r} will not do in a policy's name")
    if address and _is_url(address):
        _check_url(address)
    return model or None, address


def _is_url(text: str) -> bool:
    return re.fullmatch(_URL, text, re.DOTALL) is not None


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


def _read_options(kind: Kind, query: str, *, recorded: bool) -> dict[str, Any]:
    """The options in `option=value&…`, by their fields. Raises UnknownPolicy, with what would do."""
    options = kind.takes
    known = ", ".join(options) or "none"
    written = parse_qsl(query, keep_blank_values=True)
    if not written:
        raise UnknownPolicy(f"no option=value behind the '?' of a {kind.name!r} policy; its options are: {known}")
    values: dict[str, Any] = {}
    for name, value in written:
        if name == "stream" and kind.asks_a_model:
            if value != "no" and not recorded:
                raise UnknownPolicy(
                    "answers are not streamed any more: leave the option 'stream' out, or say stream=no"
                )
            continue
        if name not in options:
            suggestion = guess(name, options)
            raise UnknownPolicy(
                f"the policy {kind.name!r} has no option {one_line(name)!r}; {suggestion}its options are: {known}"
            )
        option = options[name]
        if option.field in values:
            raise UnknownPolicy(f"the option {name!r} is given twice")
        try:
            values[option.field] = option.read(value)
        except ValueError as error:
            raise UnknownPolicy(f"the option {name!r} takes {error}, not {one_line(value)!r}") from error
    return values


def guess(name: str, known: Mapping[str, object]) -> str:
    """`did you mean 'asks'? `, or nothing where no known name is near. `temp` is the beginning of `temperature`."""
    begun = [each for each in known if len(name) > 1 and each.startswith(name)]
    close = begun if len(begun) == 1 else get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
