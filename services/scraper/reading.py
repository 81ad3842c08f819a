"""What was read of a battle: its players' decisions, whether its log was rebuilt or it was run again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shared.battle.action import Action, Move
from shared.battle.protocol import Seat
from shared.battle.state import BattleState

Kind = Literal["move", "tera", "forced switch", "voluntary switch"]


@dataclass(frozen=True, slots=True)
class MadeDecision:
    """One decision: what its side knew, and what it did."""

    turn: int
    seat: Seat
    state: BattleState
    action: Action
    """One of `state.legal`."""
    kind: Kind
    block: int
    """How many batches of choices came before: the log's `|t:|` lines counted."""
    complete: bool
    """Whether `state.legal` is known to be what the player could choose from."""


@dataclass(frozen=True, slots=True)
class BattleRead:
    """What a battle tells of its players' decisions, whatever it was read from."""

    decisions: tuple[MadeDecision, ...]
    """In the order of the battle."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """Decisions that were no choices, or that the source does not tell, by reason."""
    players: Mapping[Seat, str] = field(default_factory=dict)
    """The names at the beginning, before anybody left or was renamed."""
    winner: Seat | None = None
    """None for a tie, and where the log does not tell."""
    turns: int = 0


def action_kind(action: Action, state: BattleState) -> Kind:
    """What kind of decision it is. Choosing a lead counts as a switch of one's own will."""
    if isinstance(action, Move):
        return "tera" if action.gimmick == "tera" else "move"
    return "forced switch" if state.asked == "switch" else "voluntary switch"
