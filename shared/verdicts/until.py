"""Matchups that are played until they are decided: where they are looked at, and what the latest look says."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from shared.verdicts.scores import Played, Scores
from shared.verdicts.sequential import Decided, SequentialTest, sequential_tests

FIRST_BATTLES = 6
FEWEST_BATTLES = 4
MOST_BATTLES = 64


class UntilDecided(BaseModel):
    """When to stop: at the first verdict, which is wrong with a probability of at most `error`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    margin: float = Field(default=0.1, ge=0.01, le=0.4)
    """Policies closer than this to even are not told apart: 0.1 is a win rate of 60 % or 40 %."""
    error: float = Field(default=0.05, ge=0.001, le=0.2)
    """How often a verdict may be wrong."""


def look_ranges(battles: int, *, pairs: bool) -> tuple[range, ...]:
    """The ranges of battles after each of which a matchup of at most `battles` is looked at, in order.

    After 6 battles they have 4, and grow to a sixteenth of what was played before, at most 64: so a walkover is decided
    after 18 battles, a look comes late by a sixteenth at worst, and the looks at n battles together read about 16 n
    records. No range cuts a pair.
    """
    cut: list[range] = []
    start = 0
    while start < battles:
        size = min(MOST_BATTLES, max(FEWEST_BATTLES, -(-start // 16))) if start else FIRST_BATTLES
        size += size % 2 if pairs else 0
        cut.append(range(start, min(start + size, battles)))
        start += size
    return tuple(cut)


def latest_look(played: Mapping[int, Played], until: UntilDecided, *, most: int, pairs: bool) -> SequentialTest:
    """What the battles say, looked at in order and only after each whole range; the first verdict stands.

    So the verdict is the same whatever the order in which battles end, and whatever was played on top.
    """
    scores, seen = {0: Scores()}, list[Played]()
    for stretch in look_ranges(most, pairs=pairs):
        if not all(index in played for index in stretch):
            break
        seen += [played[index] for index in stretch]
        scores[stretch.stop] = Scores.of(seen)
    found = sequential_tests(scores, until.margin, until.error, most=most, pairs=pairs)
    return next((test for test in found if test.decided is not Decided.UNDECIDED), found[-1])


def probably_left(test: SequentialTest, played: int) -> int | None:
    """How many battles more it will take, where `played` of them have ended, some since the look; None if unknown."""
    return None if test.battles_left is None else max(0, test.battles_left - max(0, played - test.battles))
