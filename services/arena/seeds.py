"""Which seeds, seats and pair a battle has: all of them follow from the matchup's seed and the battle's number."""

from hashlib import sha256

from shared.battle.protocol import Seat
from shared.records import Seeds


def battle_seeds(seed: int, index: int, *, pairs: bool) -> Seeds:
    """The seeds of battle `index`: dice, both teams, and both policies' own randomness.

    Seeds belong to seats. With pairs, battles 2k and 2k + 1 have the same, so the policies that exchange seats
    meet the same teams and dice.
    """
    game = index // 2 if pairs else index

    def draw(purpose: str) -> str:
        return sha256(f"alphastral/{seed}/{game}/{purpose}".encode()).hexdigest()[:32]

    return Seeds(
        dice=f"sodium,{draw('dice')}",
        p1_team=f"sodium,{draw('p1 team')}",
        p2_team=f"sodium,{draw('p2 team')}",
        p1_policy=int(draw("p1 policy"), 16),
        p2_policy=int(draw("p2 policy"), 16),
    )


def pair_of(index: int, battles: int, *, pairs: bool) -> int | None:
    """The number of the pair that battle `index` belongs to; None without pairs and for an odd last battle."""
    return index // 2 if pairs and index // 2 * 2 + 1 < battles else None


def p1_seat(index: int, *, pairs: bool) -> Seat:
    """Where the policy p1 sits: on its own seat, but across the table in the second battle of a pair."""
    return "p2" if pairs and index % 2 else "p1"
