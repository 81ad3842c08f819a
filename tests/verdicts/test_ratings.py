"""Ratings, by worked examples and by simulated tournaments."""

from itertools import combinations
from math import log10

import numpy as np
import pytest

from shared.errors import UsageError
from shared.verdicts.ratings import Meeting, Rating, RatingKnown, pairings_of, rate
from shared.verdicts.scores import Scores


def table(*meetings: Meeting, anchor: str = "a", **more: int) -> dict[str, Rating]:
    return rate(meetings, anchor=anchor, **more)


def pairs(won: int, split: int, lost: int) -> Scores:
    return Scores(pairs=(lost, 0, split, 0, won))


def test_two_policies_differ_by_the_log_odds_of_their_battles() -> None:
    # b won 2 · 10 + 8 = 28 of 40 battles against a; with half a battle more on either side 28.5 to 12.5.
    # 400 log10(28.5 / 12.5) = 143.2 points.
    found = table(Meeting("b", "a", pairs(10, 8, 2)))

    assert found["a"].rating == 1000
    assert found["b"].rating == pytest.approx(1000 + 400 * log10(28.5 / 12.5))
    assert found["b"].low is not None and found["b"].high is not None
    assert found["b"].low < 1143 < found["b"].high


def test_a_third_policy_is_placed_through_the_second() -> None:
    # b beats a 28.5 to 12.5, and c beats b by the same: the differences add up where nobody else met.
    found = table(Meeting("b", "a", pairs(10, 8, 2)), Meeting("c", "b", pairs(10, 8, 2)))

    assert found["c"].rating == pytest.approx(1000 + 2 * 400 * log10(28.5 / 12.5), abs=1e-6)


def test_the_order_of_the_results_changes_no_figure() -> None:
    meetings = [
        Meeting("b", "a", pairs(10, 8, 2)),
        Meeting("c", "b", pairs(3, 8, 7)),
        Meeting("a", "c", pairs(5, 5, 5)),
        Meeting("a", "b", pairs(4, 4, 1)),
    ]

    found = list(rate(meetings, anchor="a").items())
    assert found == list(rate(reversed(meetings), anchor="a").items())
    # Nor does the side that a policy is listed on.
    turned = [Meeting(meeting.p2, meeting.p1, meeting.scores.mirrored()) for meeting in meetings]
    assert found == list(rate(turned, anchor="a").items())


def test_who_won_every_battle_has_no_upper_end() -> None:
    found = table(
        Meeting("a", "b", pairs(5, 8, 6)), Meeting("c", "a", pairs(10, 0, 0)), Meeting("c", "b", pairs(9, 0, 0))
    )

    assert (found["c"].known, found["c"].rating, found["c"].high) == (RatingKnown.ABOVE, None, None)
    assert found["c"].low is not None and found["c"].low > 1000
    assert [rating.rank for rating in found.values()] == [1, 2, 2]


def test_who_lost_every_battle_has_no_lower_end() -> None:
    found = table(Meeting("a", "b", pairs(10, 0, 0)))

    assert (found["b"].known, found["b"].rating, found["b"].low) == (RatingKnown.BELOW, None, None)
    assert found["b"].high is not None and found["b"].high < 1000
    assert found["b"].rank == 2


def test_one_draw_is_enough_for_a_finite_rating() -> None:
    assert table(Meeting("a", "b", Scores(pairs=(0, 0, 0, 1, 9))))["b"].known is RatingKnown.RATED


def test_policies_that_never_met_the_anchors_have_no_rating() -> None:
    found = table(Meeting("a", "b", pairs(5, 8, 6)), Meeting("x", "y", pairs(5, 8, 6)))

    assert (found["x"].known, found["x"].rank, found["x"].low) == (RatingKnown.NO_LINK, None, None)
    assert list(found)[-2:] == ["x", "y"]


def test_two_that_lost_all_to_the_same_policy_have_no_link_to_each_other() -> None:
    # c beat the anchor and d, always: that says nothing of d beside the anchor.
    found = table(Meeting("c", "a", pairs(10, 0, 0)), Meeting("c", "d", pairs(10, 0, 0)))

    assert (found["c"].known, found["d"].known) == (RatingKnown.ABOVE, RatingKnown.NO_LINK)


def test_overlapping_intervals_are_a_tie() -> None:
    found = table(
        Meeting("b", "a", pairs(3, 10, 2)), Meeting("c", "a", pairs(0, 5, 40)), Meeting("c", "b", pairs(0, 5, 40))
    )

    assert [(name, rating.rank) for name, rating in found.items()] == [("b", 1), ("a", 1), ("c", 3)]


def test_a_policy_against_itself_says_nothing() -> None:
    with_itself = rate([Meeting("a", "b", pairs(5, 8, 6)), Meeting("a", "a", pairs(0, 9, 0))], anchor="a")

    assert with_itself == rate([Meeting("a", "b", pairs(5, 8, 6))], anchor="a")


def test_an_anchor_that_never_played_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="no result has the anchor 'z'; the policies are: a, b"):
        rate([Meeting("a", "b", pairs(1, 1, 1))], anchor="z")


def test_battles_that_stand_alone_count_too() -> None:
    # 6 of 8: 6.5 to 2.5.
    found = table(Meeting("b", "a", Scores(singles=(2, 0, 6))))

    assert found["b"].rating == pytest.approx(1000 + 400 * log10(6.5 / 2.5))


def test_the_matrix_shows_each_pairing_from_both_sides() -> None:
    matrix = pairings_of([Meeting("a", "b", pairs(3, 0, 1)), Meeting("b", "a", pairs(1, 0, 0))])

    assert matrix[("a", "b")] == pairs(3, 0, 2)
    assert matrix[("b", "a")] == pairs(2, 0, 3)


def test_simulated_strengths_are_found_again() -> None:
    strengths = {"a": 1000, "b": 1120, "c": 900, "d": 700}
    rng = np.random.default_rng(5)
    covered, outside, contradicted = [], 0, 0
    for seed in range(80):
        meetings = []
        for p1, p2 in combinations(strengths, 2):
            win = 1 / (1 + 10 ** ((strengths[p2] - strengths[p1]) / 400))
            common = max(-0.3 * win * (1 - win), -(min(win, 1 - win) ** 2))
            drawn = rng.multinomial(
                30, [(1 - win) ** 2 + common, 0, 2 * (win * (1 - win) - common), 0, win**2 + common]
            )
            meetings.append(Meeting(p1, p2, Scores(tuple(int(count) for count in drawn))))
        found = table(*meetings, seed=seed, resamples=400)
        for name, strength in strengths.items():
            rating = found[name]
            if rating.low is None or rating.high is None or rating.rating is None:
                continue
            outside += not rating.low <= rating.rating <= rating.high
            if name != "a":
                covered.append(rating.low <= strength <= rating.high)
        ranks = [found[name].rank or 0 for name in ("b", "a", "c", "d")]
        contradicted += ranks != sorted(ranks)

    assert outside == 0
    # 240 intervals at 95 %: three standard errors are 4.2 %.
    assert np.mean(covered) >= 0.95 - 0.042
    assert contradicted <= 2
