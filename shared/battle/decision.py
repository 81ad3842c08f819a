"""How a decision comes about, and how honestly it is told.

A model is asked for one completion of the contract. An answer that means no legal action is asked for once
more, with the reason; then a substitute plays, and the decision says so. The model is reached through
`complete`, so that nothing here knows of networks.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shared.battle.action import Action, Forfeit
from shared.battle.completion import parse, regex
from shared.battle.contract import Contract
from shared.battle.outcome import AskRecord, Outcome, Reason
from shared.battle.state import BattleState
from shared.text import one_line

__all__ = ["Answer", "Ask", "AskRecord", "Complete", "Decision", "Outcome", "Reason", "decide"]

ECHO_LIMIT = 80


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
