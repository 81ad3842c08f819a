"""What a policy is: from a view of the battle to a decision."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Protocol

from shared.battle.action import Action, Request
from shared.battle.decision import Decision
from shared.battle.state import BattleState
from shared.battle.tracker import Tracker

if TYPE_CHECKING:
    from poke_env.battle import Battle

KEPT_EXCHANGES = 20


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
