"""One ask of a model, as it is written down: what was said, what came back, and what that took.

What a server does not tell is None, never a guess: an unknown price is not a price of zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.battle.outcome import Reason


@dataclass(frozen=True, slots=True)
class Asked:
    """One ask. A decision has one for each attempt."""

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
