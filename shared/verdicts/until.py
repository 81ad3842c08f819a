"""Matchups that are played until they are decided: where they are looked at, and what the latest look says."""

from collections.abc import Mapping
from math import isfinite

from pydantic import BaseModel, ConfigDict, Field

from shared.verdicts import sequential
from shared.verdicts.scores import Played, Scores
from shared.verdicts.sequential import Decided, Look

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


class SequentialTest(BaseModel):
    """The latest look at a matchup that is played until decided."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    decided: Decided
    battles: int
    """The first so many battles were looked at. Those that were still in play when it was decided come on top."""
    observations: int
    """Whole pairs among them; without pairs, finished battles."""
    up: float
    """log of the likelihood of a win rate of 1/2 + margin over that of 1/2."""
    down: float
    """log of the likelihood of a win rate of 1/2 - margin over that of 1/2."""
    overwhelming: float
    """log of the likelihood of the win rate observed over that of 1/2."""
    stronger_bound: float
    """p1 is stronger once `up` has reached this, p2 once `down` has."""
    overwhelming_bound: float
    """Whoever leads is stronger once `overwhelming` has reached this."""
    closer_bound: float
    """The two are closer than the margin once `up` and `down` are both this low."""
    battles_left: int | None
    """How many more it will probably take, if what was seen goes on; None while nothing points anywhere."""


def looks(battles: int, *, pairs: bool) -> tuple[range, ...]:
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
    stops, scores, seen = [0], [Scores()], list[Played]()
    for stretch in looks(most, pairs=pairs):
        if not all(index in played for index in stretch):
            break
        seen += [played[index] for index in stretch]
        stops.append(stretch.stop)
        scores.append(Scores.of(seen))
    tests = sequential.looks(scores, until.margin, until.error, pairs=pairs)
    last = next((place for place, test in enumerate(tests) if test.decided is not Decided.UNDECIDED), len(tests) - 1)
    return _told(tests[last], stops[last], battles_each=2 if pairs else 1, most=most)


def probably_left(test: SequentialTest, played: int) -> int | None:
    """How many battles more it will take, where `played` of them have ended, some since the look; None if unknown."""
    return None if test.battles_left is None else max(0, test.battles_left - max(0, played - test.battles))


def _told(found: Look, battles: int, *, battles_each: int, most: int) -> SequentialTest:
    left = found.observations_left() * battles_each
    return SequentialTest(
        decided=found.decided,
        battles=battles,
        observations=found.observations,
        up=found.up,
        down=found.down,
        overwhelming=found.overwhelming,
        stronger_bound=found.bounds.stronger,
        overwhelming_bound=found.bounds.overwhelming,
        closer_bound=-found.bounds.closer,
        battles_left=min(int(left), most - battles) if isfinite(left) else None,
    )
