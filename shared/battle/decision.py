"""How a decision comes about, and how honestly it is told.

A model is asked for one completion of the contract. An answer that means no legal action is asked for once
more, with the reason; then a substitute plays, and the decision says so. The model is reached through
`complete`, so that nothing here knows of networks.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.battle.action import Action, Forfeit
from shared.battle.completion import Reason, parse, regex
from shared.battle.contract import Contract
from shared.battle.state import BattleState
from shared.text import one_line

__all__ = ["Advice", "Answer", "Ask", "AskRecord", "Complete", "Decision", "Outcome", "Reason", "decide", "fault_of"]

ECHO_LIMIT = 80
_SUM_TOLERANCE = 1e-3
"""Probabilities are written with few digits."""


class Outcome(StrEnum):
    """How a decision came about."""

    CHOSEN = "chosen"
    CHOSEN_AFTER_SECOND_ASK = "chosen_after_second_ask"
    ONLY_ACTION = "only_action"
    """One legal action: nobody was asked."""
    SUBSTITUTED = "substituted"
    """The policy gave no usable answer and its substitute played."""


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


@dataclass(frozen=True, slots=True)
class Advice:
    """What a policy that searches says of one legal action. Its advice is a distribution over all of them."""

    action: Action
    probability: float
    """How often it would take it, from 0 to 1."""
    value: float
    """How likely its side wins after it, from 0 to 1."""


def fault_of(probabilities: Sequence[float], values: Sequence[float], actions: int) -> str | None:
    """Why these numbers are no advice on so many actions; None where they are."""
    if not len(probabilities) == len(values) == actions:
        return "not one number for each legal action"
    # Not a number is neither.
    if not all(0 <= number <= 1 for number in (*probabilities, *values)):
        return "a number outside of 0 to 1"
    return None if abs(sum(probabilities) - 1) <= _SUM_TOLERANCE else "probabilities that do not sum to 1"


@dataclass(frozen=True, slots=True)
class Decision:
    """An action and how it was reached."""

    action: Action | Forfeit
    outcome: Outcome = Outcome.CHOSEN
    reason: Reason | None = None
    reasoning: str | None = None
    history_messages: int = 0
    asked: tuple[AskRecord, ...] = ()
    """Where a model was asked: each attempt, in order."""
    advice: tuple[Advice, ...] = ()
    """Of a policy that advises: on every legal action."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a model is asked: one user message, and the only answers that will do."""

    prompt: str
    completions: tuple[str, ...]
    regex: str
    """Matches the completions and nothing else, for a backend that can constrain its output."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `problem` is set where there is no whole text to read: it timed out, was cut off, …"""

    text: str
    problem: Reason | None = None
    reasoning: str | None = None


Complete = Callable[[Ask], Awaitable[Answer]]


async def decide(
    state: BattleState,
    complete: Complete,
    contract: Contract,
    *,
    substitute: Callable[[BattleState], Action | Forfeit],
    asks: int = 2,
) -> Decision:
    """Have a model decide, in at most `asks` tries. Where one action is legal, nobody is asked."""
    if len(state.legal) == 1:
        return Decision(state.legal[0], Outcome.ONLY_ACTION)
    completions = contract.completions(state)
    if not completions:
        return Decision(substitute(state), Outcome.SUBSTITUTED, Reason.INEXPRESSIBLE)
    ask = Ask(contract.prompt(state), tuple(completions), regex(completions))
    reason: Reason | None = None
    reasoning: str | None = None
    for attempt in range(asks):
        answer = await complete(ask)
        reasoning = answer.reasoning or reasoning
        meant = answer.problem or parse(answer.text, completions)
        if not isinstance(meant, Reason):
            outcome = Outcome.CHOSEN_AFTER_SECOND_ASK if attempt else Outcome.CHOSEN
            return Decision(meant, outcome, reason, reasoning)
        reason = meant
        ask = Ask(_ask_again(contract.prompt(state), answer, reason, ask.completions), ask.completions, ask.regex)
    return Decision(substitute(state), Outcome.SUBSTITUTED, reason, reasoning)


def _ask_again(prompt: str, answer: Answer, reason: Reason, completions: tuple[str, ...]) -> str:
    # A contract's prompt need not list the answers (v1's does not), so the second ask does.
    why = reason.value.replace("_", " ")
    echo = f": {one_line(answer.text, ECHO_LIMIT)}" if answer.text.strip() else ""
    return f"{prompt}\nYour last answer was {why}{echo}\nAnswer with one of these and nothing else:\n" + "\n".join(
        completions
    )
