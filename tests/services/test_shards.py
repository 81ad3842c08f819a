"""How a matchup is cut into jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.arena.matchups import shards


@pytest.mark.parametrize(
    ("battles", "pairs", "expected"),
    [
        (1, True, [1]),
        (5, True, [2, 2, 1]),
        (20, True, [4, 4, 4, 4, 4]),
        (20, False, [3, 3, 3, 3, 3, 3, 2]),
        (40, True, [6, 6, 6, 6, 6, 6, 4]),
        (1000, True, [64] * 15 + [40]),
    ],
)
def test_a_shard_is_an_eighth_of_the_matchup_from_2_to_64_battles(
    battles: int, pairs: bool, expected: list[int]
) -> None:
    assert [len(shard) for shard in shards(battles, pairs=pairs)] == expected


@given(st.integers(1, 5000), st.booleans())
def test_shards_cover_every_battle_once_and_cut_no_pair(battles: int, pairs: bool) -> None:
    cut = shards(battles, pairs=pairs)

    assert [index for shard in cut for index in shard] == list(range(battles))
    assert all(len(shard) <= 64 for shard in cut)
    assert not pairs or all(shard.start % 2 == 0 for shard in cut)
