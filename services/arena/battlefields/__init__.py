"""Where battles are fought: one interface, two places."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from services.arena.player import Player
from shared.battle.protocol import Seat
from shared.records import Seeds


@dataclass(frozen=True, slots=True)
class BattleSetup:
    """One battle about to be fought."""

    tag: str
    format: str
    names: Mapping[Seat, str]
    """What each seat is called in the log."""
    seeds: Seeds | None
    teams: Mapping[Seat, str] | None
    """Packed teams, for a format that needs them."""


@dataclass(frozen=True, slots=True)
class FoughtBattle:
    """How a battle ended."""

    winner: Seat | None
    """The seat that won; None for a draw."""
    turns: int
    input_log: tuple[str, ...] = ()


class Battlefield(AbstractAsyncContextManager["Battlefield"], Protocol):
    """A place that fights many battles at once."""

    async def versions(self) -> Mapping[str, str]:
        """Software → version."""
        ...

    async def validate_team(self, format_id: str, team: str) -> str:
        """The packed form of an exported team. Raises InvalidTeam."""
        ...

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        """Fight one battle to its end, appending each log line as it comes: a broken battle keeps what was seen.

        Lines may still hold `|split|` blocks. Raises SimulatorError or BattleBroken.
        """
        ...
