"""States made by hand for tests."""

from dataclasses import replace
from typing import Any

from shared.battle.action import Move, Switch
from shared.battle.state import BattleState, KnownMove, PokemonState, Side

MAGNEZONE = PokemonState(
    "Magnezone",
    level=82,
    hp_percent=99,
    types=("Electric", "Steel"),
    ability="magnetpull",
    item="leftovers",
    tera_type="Water",
    moves=(KnownMove("Flash Cannon", 16, 16), KnownMove("Thunderbolt", 24, 24)),
)
RAGING_BOLT = PokemonState("Raging Bolt", level=78, hp_percent=100, types=("Electric", "Dragon"))
GYARADOS = PokemonState("Gyarados", level=80, hp_percent=45, types=("Water", "Flying"), status="par", item="")
FLASH_CANNON = Move(1, "flashcannon", "Flash Cannon")
THUNDERBOLT = Move(2, "thunderbolt", "Thunderbolt")
TO_GYARADOS = Switch(2, "Gyarados")


def a_state(**changes: Any) -> BattleState:
    """Turn 3 of the design's example, as its side may know it."""
    state = BattleState(
        generation=9,
        turn=3,
        asked="move",
        own=Side(MAGNEZONE, (GYARADOS,)),
        foe=Side(RAGING_BOLT, unseen=5),
        legal=(FLASH_CANNON, THUNDERBOLT, TO_GYARADOS),
        foe_moves_seen=("Air Slash",),
    )
    return replace(state, **changes)
