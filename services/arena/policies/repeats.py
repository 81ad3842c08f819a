"""Policies that repeat what is recorded: nobody is asked, and what follows from what was said is made again.

A baseline's choices are taken as they are. Of a model, only what it said is: the prompts, the conversation, what the
answers mean, the second asks and the substitutes come out of the very code that a battle runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.arena.backends import Form, Question, Reply, ServedModel
from services.arena.backends.chat import take_out
from services.arena.backends.make import FORMS
from services.arena.policies.base import View
from services.arena.policies.language_model import MAX_ANSWER_CHARACTERS, LanguageModel
from shared.battle.action import Action, Forfeit, order
from shared.battle.decision import Decision, Outcome, Reason
from shared.battle.outcome import AskRecord
from shared.errors import BattleBroken
from shared.policies import PolicySpec
from shared.records import DecisionRecord

_SAID_BY_THE_SERVER = frozenset({Reason.TRUNCATED, Reason.EMPTY, Reason.TIMED_OUT, Reason.REFUSED})
"""Why an answer cannot be used, where the answer's text does not show it."""


class Repeats:
    """Decides what is recorded, as long as that is legal."""

    contract: Mapping[str, str] = {}

    def __init__(self, decisions: Sequence[DecisionRecord]) -> None:
        """`decisions` are those of one policy in one battle that it was asked for."""
        self._decisions = iter(decisions)

    async def decide(self, view: View) -> Decision:
        """The next recorded decision. Raises BattleBroken when there is none, or when it is not legal here."""
        return _as_recorded(_next(self._decisions), view)


class RepeatsModel:
    """Decides what follows from the answers that a model is recorded to have given."""

    def __init__(self, spec: PolicySpec, decisions: Sequence[DecisionRecord]) -> None:
        """As for Repeats."""
        self._spec = spec
        self._decisions = iter(decisions)
        self.contract = self._saying(()).contract

    async def decide(self, view: View) -> Decision:
        """The next decision. Raises BattleBroken when none is recorded, or fewer answers than it takes."""
        recorded = _next(self._decisions)
        if any(len(ask.answer) >= MAX_ANSWER_CHARACTERS for ask in recorded.asked):
            # What it meant may stand in the part that was cut off.
            decision = _as_recorded(recorded, view)
            if recorded.outcome is not Outcome.SUBSTITUTED:
                view.conversation.add(recorded.asked[-1].prompt, recorded.asked[-1].answer)
            return decision
        decision = await self._saying(recorded.asked).decide(view)
        return replace(
            decision,
            asked=tuple(_with_account(ask, of) for ask, of in zip(decision.asked, recorded.asked, strict=False)),
        )

    def _saying(self, asked: Sequence[AskRecord]) -> LanguageModel:
        return LanguageModel(self._spec, _Recorded(asked, FORMS[self._spec.kind]))


class _Recorded:
    """The backend of a decision that was made already: it says what was said."""

    endpoint = "what is recorded"
    model = ""

    def __init__(self, asked: Sequence[AskRecord], form: Form) -> None:
        self.form = form
        self._asked = iter(asked)

    def constraint(self, question: Question) -> Mapping[str, Any] | None:
        """What was sent is not kept, but whether anything was follows from the form."""
        return {"type": self.form.value} if question.completions and self.form is not Form.TEXT else None

    async def ask(self, question: Question) -> Reply:
        """The next recorded answer. Raises BattleBroken when there is none."""
        recorded = next(self._asked, None)
        if recorded is None:
            raise BattleBroken("an answer is asked for that is not recorded")
        text, reasoning = take_out(recorded.answer, self.form, question)
        problem = recorded.reason if recorded.reason in _SAID_BY_THE_SERVER else None
        return Reply(text, raw=recorded.answer, problem=problem, reasoning=reasoning)

    async def models(self) -> tuple[ServedModel, ...]:
        """None."""
        return ()

    async def aclose(self) -> None:
        """Nothing is open."""


def _next(decisions: Iterator[DecisionRecord]) -> DecisionRecord:
    recorded = next(decisions, None)
    if recorded is None:
        raise BattleBroken("a decision is asked for that is not recorded")
    return recorded


def _as_recorded(recorded: DecisionRecord, view: View) -> Decision:
    every: tuple[Action | Forfeit, ...] = (*view.legal, Forfeit())
    for action in every:
        if order(action, view.request) == recorded.order:
            return Decision(
                action, recorded.outcome, recorded.reason, recorded.reasoning, recorded.history_msgs, recorded.asked
            )
    raise BattleBroken(f"the recorded order {recorded.order!r} of turn {recorded.turn} is not legal")


def _with_account(ask: AskRecord, recorded: AskRecord) -> AskRecord:
    """The ask made again, with what only its server knew: tokens, times, probabilities, cost."""
    return replace(recorded, prompt=ask.prompt, answer=ask.answer, reason=ask.reason, constraint=ask.constraint)
