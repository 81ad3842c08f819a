"""A replay: the public log of a finished battle, and what its site or its owner says about it. A stranger's text."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.battle.protocol import Seat


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay, read but not believed: its lines are those of its source, bounded in number and length."""

    id: str
    """What it is called where it comes from, and unique there: `gen9randombattle-2212345678`."""
    format: str
    log: tuple[str, ...]
    """The public log, line by line, without line ends."""
    inputlog: tuple[str, ...] | None = None
    """Seeds and choices, where the source tells them: a way to run the battle again."""
    rating: int | None = None
    """The lower of both players' after the battle; None where it was not rated."""
    uploaded_at: int | None = None
    """Seconds since 1970, UTC."""
    source: str = "replay"
    """`replay` for a stranger's battle, `run` for one of our own."""
    policies: Mapping[Seat, str] = field(default_factory=dict)
    """Who sat where, in a battle of our own."""
    teams_seeds: str | None = None
    """What the teams were drawn from, in a battle of our own: battles of the same teams belong together."""
    substituted: frozenset[tuple[Seat, int, str]] = frozenset()
    """Seat, turn and action's name of each decision that was not the policy's own, in a battle of our own."""
