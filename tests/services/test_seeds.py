"""Seeds, pairs and seats."""

from services.arena.battlefields import battle_seeds, p1_seat, pair_of


def test_both_battles_of_a_pair_share_every_seed_and_no_other_battle_does() -> None:
    seeds = [battle_seeds(5, index, pairs=True) for index in range(6)]

    assert seeds[0] == seeds[1] and seeds[2] == seeds[3] and seeds[4] == seeds[5]
    assert len({s.dice for s in seeds}) == 3


def test_without_pairs_every_battle_has_its_own_seeds() -> None:
    assert len({battle_seeds(5, index, pairs=False).dice for index in range(6)}) == 6


def test_every_purpose_has_its_own_seed() -> None:
    seeds = battle_seeds(5, 0, pairs=True)

    assert len({seeds.dice, seeds.p1_team, seeds.p2_team, seeds.p1_policy, seeds.p2_policy}) == 5
    assert seeds.dice.startswith("sodium,") and len(seeds.dice) == len("sodium,") + 32


def test_another_matchup_seed_gives_other_battles() -> None:
    assert battle_seeds(5, 0, pairs=True) != battle_seeds(6, 0, pairs=True)


def test_policies_exchange_seats_in_the_second_battle_of_a_pair() -> None:
    assert [p1_seat(index, pairs=True) for index in range(4)] == ["p1", "p2", "p1", "p2"]
    assert [p1_seat(index, pairs=False) for index in range(4)] == ["p1", "p1", "p1", "p1"]


def test_an_odd_last_battle_is_unpaired() -> None:
    assert [pair_of(index, 5, pairs=True) for index in range(5)] == [0, 0, 1, 1, None]
    assert pair_of(0, 5, pairs=False) is None
