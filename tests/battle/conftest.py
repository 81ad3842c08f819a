"""Two hundred seeded battles, played once for all tests that need them."""

import asyncio

import pytest

from tests.battle.battles import Played, play_all

BATTLES = (
    *(("gen9randombattle", seed) for seed in range(142)),
    *((f"gen{generation}randombattle", seed) for generation in range(1, 9) for seed in range(6)),
    *(("gen9ou", seed) for seed in range(10)),
)


@pytest.fixture(scope="session")
def played() -> list[Played]:
    """200 battles of every format."""
    return asyncio.run(play_all(BATTLES))
