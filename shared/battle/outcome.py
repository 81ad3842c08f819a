"""How a decision came about, as records keep it: the outcome, the reason, and each ask of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a decision came about."""

    CHOSEN = "chosen"
    CHOSEN_AFTER_SECOND_ASK = "chosen_after_second_ask"
    ONLY_ACTION = "only_action"
    """One legal action: nobody was asked."""
    SUBSTITUTED = "substituted"
    """The policy gave no usable answer and its substitute played."""


class Reason(StrEnum):
    """Why an answer could not be used."""

    UNPARSABLE = "unparsable"
    ILLEGAL = "illegal"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    INEXPRESSIBLE = "inexpressible_in_contract"
    """No legal action can be written in the contract: not the policy's fault."""


@dataclass(frozen=True, slots=True)
class AskRecord:
    """One ask. A decision has one for each attempt."""

    # What a server does not tell is None, never a guess: an unknown price is not a price of zero.
    prompt: str
    """The last user message, whole."""
    answer: str
    """All that the model said, cut where it is absurdly long."""
    reason: Reason | None = None
    """Why the answer could not be used; None for the one that was."""
    detail: str = ""
    """What stands behind the reason, where the server said more."""
    constraint: str = "none"
    """What kept the model to the legal actions: regex, json_schema, or none."""
    model: str | None = None
    """As the server names it."""
    probabilities: Mapping[str, float] | None = None
    """Completion → probability, where the server scores them."""
    tokens_in: int | None = None
    tokens_out: int | None = None
    first_token_ms: float | None = None
    """Known only where the answer was streamed."""
    last_token_ms: float | None = None
    waited_ms: float = 0.0
    """For a free place at the server, or for a server to come back: no time of the model's."""
    retries: int = 0
    """Requests that were not answered, before the one that was."""
    cost_usd: float | None = None
