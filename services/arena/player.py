"""What a policy is, and one on its seat: request → view → decision → order, with every decision written down."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shared.battle.action import Action, Forfeit, Move, Pass, Request, Switch, legal_actions, order
from shared.battle.decision import Advice, Decision, Outcome, fault_of
from shared.battle.protocol import Seat
from shared.battle.state import BattleState
from shared.battle.tracker import Tracker
from shared.errors import BattleBroken, HostUnfit
from shared.records import ActionAdvice, DecisionRecord
from shared.text import one_line

if TYPE_CHECKING:
    from poke_env.battle import Battle

log = logging.getLogger(__name__)

MAX_REFUSALS_PER_TURN = 8
"""Hidden information explains a refusal now and then; a simulator that keeps refusing is a broken battle."""
KEPT_EXCHANGES = 20
ADVICE_DIGITS = 5
"""That are written of probabilities and values."""


class Exchanges:
    """What was said between a policy and its model in one battle. The player keeps it, the policy nothing."""

    def __init__(self) -> None:
        self._exchanges: deque[tuple[str, str]] = deque(maxlen=KEPT_EXCHANGES)

    def add(self, prompt: str, answer: str) -> None:
        """Keep an exchange that led to a decision."""
        self._exchanges.append((prompt, answer))

    def latest(self, exchanges: int) -> tuple[tuple[str, str], ...]:
        """The latest (prompt, answer), oldest first."""
        return tuple(self._exchanges)[len(self._exchanges) - min(exchanges, len(self._exchanges)) :]


@dataclass(frozen=True, slots=True)
class View:
    """What a policy may look at when it is asked. Nothing is tracked before somebody looks."""

    request: Request
    legal: tuple[Action, ...]
    rng: Random
    """The seat's own generator: the only source of randomness a policy may use."""
    tracker: Tracker
    conversation: Exchanges = field(default_factory=Exchanges)

    @property
    def state(self) -> BattleState:
        """This side's knowledge."""
        return self.tracker.state()

    @property
    def battle(self) -> "Battle":
        """poke-env's battle, for the baselines alone."""
        return self.tracker.battle


class Policy(Protocol):
    """Seated in many battles at once, so it keeps nothing between two calls."""

    @property
    def contract(self) -> Mapping[str, str]:
        """Version → hash of the contract that the policy is asked by; empty where none is."""
        ...

    async def decide(self, view: View) -> Decision:
        """One of `view.legal`, or Forfeit, and how it was reached."""
        ...


class Advisor(Policy, Protocol):
    """A policy that can say what it thinks of every action, and so can teach."""

    async def advise(self, view: View) -> tuple[Advice, ...]:
        """On each of `view.legal`, or nothing where it cannot tell. Nothing that another policy sees is changed."""
        ...


class Player:
    """A policy on a seat, in one battle."""

    def __init__(
        self,
        policy: Policy,
        *,
        plays: Seat,
        seat: Seat,
        tracker: Tracker,
        rng: Random,
        teacher: tuple[Advisor, Random] | None = None,
        move_delay_seconds: float = 0.0,
    ) -> None:
        """`plays` says whether the policy is the matchup's p1 or p2, `seat` where it sits.

        A teacher has a generator of its own, so that the same battle is played with it and without.
        """
        self.policy = policy
        self.plays = plays
        self.seat = seat
        self.decisions: list[DecisionRecord] = []
        self._tracker = tracker
        self._rng = rng
        self._teacher = teacher
        self._move_delay_seconds = move_delay_seconds
        self._conversation = Exchanges()
        self._turn = 0
        self._refusals = 0

    @property
    def forfeited(self) -> bool:
        """Whether it has given the battle up."""
        return bool(self.decisions) and self.decisions[-1].action_type == "forfeit"

    def hear(self, lines: Sequence[str]) -> None:
        """Log lines as the simulator said them, `|split|` blocks still in."""
        for line in lines:
            if line.startswith("|turn|"):
                self._turn = int(line[6:])
                self._refusals = 0
        self._tracker.hear(lines)

    async def answer(self, request: dict[str, Any]) -> str:
        """The order to send for `request`, which waits for an answer."""
        self._tracker.request(request)
        legal = legal_actions(request)
        view = View(request, legal, self._rng, self._tracker, self._conversation)
        advice = await self._advice(view)
        started = perf_counter()
        if len(legal) == 1:
            decision = Decision(legal[0], Outcome.ONLY_ACTION)
        else:
            decision = await self.policy.decide(view)
        elapsed_ms = (perf_counter() - started) * 1000
        if decision.action not in legal and not isinstance(decision.action, Forfeit):
            # The last line of defence for a policy's own bug: nothing illegal is ever sent.
            raise BattleBroken(f"the policy {self.plays} chose {decision.action}, which is not legal")
        if self._teacher is not None:
            decision = replace(decision, advice=advice)
        record = self._record(decision, request, legal, elapsed_ms)
        self.decisions.append(record)
        if self._move_delay_seconds:
            await asyncio.sleep(self._move_delay_seconds)
        return record.order

    def refused(self, message: str) -> None:
        """The simulator refused the last order.

        `[Unavailable choice]` is normal: hidden information, such as an unseen trapping ability, forbade what the
        request had permitted, and a new request follows. Anything else would be refused again for ever.
        Raises BattleBroken.
        """
        self.decisions[-1] = self.decisions[-1].model_copy(update={"refused_by_simulator": message})
        self._refusals += 1
        if not message.startswith("[Unavailable choice]"):
            raise BattleBroken(f"the simulator refused {self.decisions[-1].order!r}: {message}")
        if self._refusals > MAX_REFUSALS_PER_TURN:
            raise BattleBroken(f"the simulator refused {self._refusals} orders in turn {self._turn}: {message}")

    async def _advice(self, view: View) -> tuple[Advice, ...]:
        """The teacher's, in the order of the legal actions; none where there is no choice, or the teacher fails."""
        if self._teacher is None or len(view.legal) == 1:
            return ()
        teacher, rng = self._teacher
        try:
            given = await teacher.advise(replace(view, rng=rng, conversation=Exchanges()))
        except HostUnfit:
            raise
        except Exception as error:
            # Nobody plays by the advice: whatever breaks it costs this decision its advice, and no battle.
            why = one_line(f"{type(error).__name__}: {error}")
            log.warning("The teacher failed: %s", why, exc_info=log.isEnabledFor(logging.DEBUG))
            return ()
        by_action = {advice.action: advice for advice in given}
        advice = tuple(by_action[action] for action in view.legal if action in by_action)
        fault = fault_of([each.probability for each in advice], [each.value for each in advice], len(view.legal))
        if given and (fault or len(given) > len(advice)):
            log.warning("The teacher's advice is none: %s", fault or "on other actions")
            return ()
        return advice

    def _record(
        self, decision: Decision, request: Request, legal: tuple[Action, ...], elapsed_ms: float
    ) -> DecisionRecord:
        action = decision.action
        return DecisionRecord(
            turn=self._turn,
            policy=self.plays,
            seat=self.seat,
            order=order(action, request),
            action_type=_action_type(action, request),
            action="" if isinstance(action, Pass | Forfeit) else action.name,
            move_id=action.id if isinstance(action, Move) else None,
            gimmick=action.gimmick if isinstance(action, Move) else None,
            legal_actions=len(legal),
            outcome=decision.outcome,
            reason=decision.reason,
            decision_ms=round(elapsed_ms, 3),
            history_msgs=decision.history_messages,
            reasoning=decision.reasoning,
            asked=decision.asked,
            advice=tuple(
                ActionAdvice(
                    order=order(advice.action, request),
                    probability=round(advice.probability, ADVICE_DIGITS),
                    value=round(advice.value, ADVICE_DIGITS),
                )
                for advice in decision.advice
            ),
        )


def _action_type(action: Action | Forfeit, request: Request) -> Literal["move", "switch", "lead", "pass", "forfeit"]:
    match action:
        case Move():
            return "move"
        case Switch():
            return "lead" if request.get("teamPreview") else "switch"
        case Pass():
            return "pass"
        case Forfeit():
            return "forfeit"
