"""What counts as a pair, by worked examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.verdicts.scores import Played, Scores, Tally, Winner, running


@pytest.mark.parametrize(
    ("winners", "pairs", "singles"),
    [
        (["p1", "p1"], (0, 0, 0, 0, 1), (0, 0, 0)),
        (["p1", "p2"], (0, 0, 1, 0, 0), (0, 0, 0)),
        (["draw", "p1"], (0, 0, 0, 1, 0), (0, 0, 0)),
        (["draw", "draw"], (0, 0, 1, 0, 0), (0, 0, 0)),
        (["p2", "draw"], (0, 1, 0, 0, 0), (0, 0, 0)),
        # A broken battle counts nowhere, and its partner stands alone.
        (["p1", None], (0, 0, 0, 0, 0), (0, 0, 1)),
        ([None, None], (0, 0, 0, 0, 0), (0, 0, 0)),
    ],
)
def test_a_pair_is_one_observation(
    winners: list[Winner | None], pairs: tuple[int, ...], singles: tuple[int, ...]
) -> None:
    assert Scores.of(Played(0, winner) for winner in winners) == Scores(pairs, singles)


def test_an_odd_last_battle_stands_alone() -> None:
    scores = Scores.of([Played(0, "p1"), Played(0, "p2"), Played(None, "draw")])

    assert scores == Scores((0, 0, 1, 0, 0), (0, 1, 0))
    assert scores.battles == 3
    assert scores.win_rate == (1 + 0 + 0.5) / 3


def test_from_the_other_side_every_score_is_turned_around() -> None:
    scores = Scores((1, 2, 3, 4, 5), (6, 7, 8))

    assert scores.mirrored() == Scores((5, 4, 3, 2, 1), (8, 7, 6))
    assert scores.wins + scores.mirrored().wins == scores.battles


def test_nothing_played_has_no_rate() -> None:
    assert Scores.of([]).win_rate is None


@given(st.lists(st.sampled_from(["p1", "p2", "draw", None]), min_size=1))
def test_scores_battle_by_battle_end_at_those_of_all(winners: list[Winner | None]) -> None:
    battles = [Played(index // 2, winner) for index, winner in enumerate(winners)]

    assert next(reversed([Scores(), *running(battles)])) == Scores.of(battles)


def test_a_draw_is_half_a_win_and_a_broken_battle_is_none() -> None:
    tally = Tally.of(["p1", "p1", "p2", "draw", None])

    assert tally == Tally(p1_wins=2, p2_wins=1, draws=1, broken=1)
    assert tally.p1_win_rate == (2 + 0.5) / 4
    assert (tally.finished, tally.played) == (4, 5)


def test_nothing_finished_has_no_rate() -> None:
    assert Tally.of([None]).p1_win_rate is None
