"""Which matchup tells most."""

from itertools import combinations

from shared.verdicts.ratings import Meeting, most_worth
from shared.verdicts.scores import Scores

EVERY = tuple(combinations("abcd", 2))


def met(p1: str, p2: str, won: int, split: int = 0, lost: int = 0) -> Meeting:
    return Meeting(p1, p2, Scores(pairs=(lost, 0, split, 0, won)))


def test_at_first_all_are_equal_and_the_first_is_taken() -> None:
    assert most_worth(EVERY, [], battles=20) == ("a", "b")


def test_those_who_never_played_come_first() -> None:
    assert most_worth(EVERY, [met("a", "b", 3, 4, 3)], battles=20) == ("c", "d")


def test_a_walkover_tells_less_than_a_close_match() -> None:
    # d lost nearly all battles to each of the others, so more of those tell little; b and c have met least.
    meetings = [met(p, "d", 9, 1) for p in "abc"] + [met("a", "b", 3, 4, 3), met("a", "c", 3, 4, 3)]

    assert most_worth(EVERY, meetings, battles=20) == ("b", "c")


def test_results_of_those_who_take_no_part_are_left_out() -> None:
    assert most_worth(EVERY, [met("x", "y", 5), met("a", "a", 0, 5)], battles=20) == ("a", "b")
