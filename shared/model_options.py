"""How a model is asked: the options behind a policy's name, read strictly."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any, Literal
from urllib.parse import parse_qsl

from shared.errors import UnknownPolicy
from shared.text import one_line

CONTRACT_VERSIONS = ("v1", "v2")
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
    stream: bool = False
    """Whether answers are streamed, the only way to know when the first token came."""
    asks: int = 2
    """Attempts before the substitute plays."""
    substitute: Substitute = "random"
    timeout_seconds: float = 60.0
    """For one answer, once the server has taken the question."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a policy that asks a model."""

    field: str
    """Of ModelOptions."""
    meaning: str
    read: Callable[[str], object]
    """Raises ValueError, saying what would do."""


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    return read


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        # int() also reads other alphabets' digits, underscores and signs, which would make two names of one policy.
        number = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else -1
        if not lowest <= number <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return number

    return read


def _number(lowest: float, highest: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else -1.0
        if not (isfinite(number) and lowest <= number <= highest):
            raise ValueError(f"a number from {lowest:g} to {highest:g}")
        return number

    return read


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


OPTIONS: Mapping[str, Option] = {
    "contract": Option("contract", "how the state is told: v1 or v2 [v2]", _one_of(CONTRACT_VERSIONS)),
    "temperature": Option("temperature", "0 to 2 [0]", _number(0, 2)),
    "seed": Option("seed", "of the model's sampling, where its server takes one", _whole(0, 2**31 - 1)),
    "history": Option("history", "exchanges of the battle that are sent along, 0 to 20 [0]", _whole(0, 20)),
    "reasoning": Option("reasoning", "ask for a short reason before the action: yes or no [no]", _yes_or_no),
    "instructions": Option(
        "instructions", "tell the model what the game is and how to answer: yes or no [yes; tgi, local: no]", _yes_or_no
    ),
    "constrain": Option("constrain", "permit only legal actions, where the server can: yes or no [yes]", _yes_or_no),
    "max-tokens": Option(
        "max_tokens", "of one answer, 1 to 32768 [64; with reasoning 400]; more for models that think", _whole(1, 32768)
    ),
    "stream": Option("stream", "stream answers, to time their first token, for more CPU: yes or no [no]", _yes_or_no),
    "asks": Option("asks", "attempts before the substitute plays, 1 to 5 [2]", _whole(1, 5)),
    "substitute": Option("substitute", "who plays then: random, max-damage or forfeit [random]", _one_of(SUBSTITUTES)),
    "timeout": Option("timeout_seconds", "seconds to wait for an answer, 0.1 to 600 [60]", _number(0.1, 600)),
}


def read_options(kind: str, query: str, options: Mapping[str, Option]) -> ModelOptions:
    """The options in `option=value&…`, behind a policy of that kind. Raises UnknownPolicy, with what would do."""
    known = ", ".join(options) or "none"
    written = parse_qsl(query, keep_blank_values=True)
    if not written:
        raise UnknownPolicy(f"no option=value behind the '?' of a {kind!r} policy; its options are: {known}")
    values: dict[str, Any] = {}
    for name, value in written:
        if name not in options:
            suggestion = guess(name, options)
            raise UnknownPolicy(
                f"the policy {kind!r} has no option {one_line(name)!r}; {suggestion}its options are: {known}"
            )
        option = options[name]
        if option.field in values:
            raise UnknownPolicy(f"the option {name!r} is given twice")
        try:
            values[option.field] = option.read(value)
        except ValueError as error:
            raise UnknownPolicy(f"the option {name!r} takes {error}, not {one_line(value)!r}") from error
    return ModelOptions(**values)


def guess(name: str, known: Mapping[str, object]) -> str:
    """`did you mean 'asks'? `, or nothing where no known name is near."""
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
