"""Jobs: which there are, how they wait for a worker, and what a task is given besides its payload."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.jobs.routes import Payload
from shared.policies import PolicySpec
from shared.settings import Settings
from shared.store import Store


class HandedBack(Exception):
    """Raised by a task that stopped because its worker was told to: what is left is for another worker."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a task gets besides its payload."""

    settings: Settings
    store: Store
    enqueue: Callable[[Payload], bool]
    stopping: Callable[[], bool]
    """True once the worker was told to stop: begin nothing new, and raise HandedBack for what is left."""
    worker: str
    tell: Callable[[Any], None] = lambda told: None
    """Given what a task says of its progress: a battle's record, a count, a sentence. Nobody listens on a worker."""
    in_person: bool = False
    """True where a command waits for this very job: what a person can put right is raised, not recorded."""
    connect: Callable[[PolicySpec], Any] | None = None
    """How models are reached, where not as the settings say."""
    budget: Any = None
    """What may be spent, where that is not the matchup's own to say."""
