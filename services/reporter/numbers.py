"""The figures of a report that are about battles, each a pure function of the run.

A run file may be old (the original project's fields and nothing else), broken off, or empty: a figure that cannot be
had is empty or None, never a guess.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from statistics import mean, median
from typing import Literal

from shared.records import Run, RunBattle
from shared.text import as_name
from shared.verdicts.intervals import Interval, WinRate, win_rate
from shared.verdicts.scores import Played, Scores, Tally, Winner, own_choices, running

Side = Literal["p1", "p2", "both"]
"""Whose a decision is. `both` where an old file leaves that open, because a policy met itself."""

MAX_LABEL_CHARACTERS = 40
MAX_CURVE_POINTS = 400
MAX_CELLS = 2_000
MAX_LENGTH_BINS = 24


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """p1's win rate after the first `battles` finished battles, with the 95 % interval at that point."""

    battles: int
    rate: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Pairs:
    """How often both battles of a pair went the same way, over pairs of which both battles finished."""

    both_p1: int
    both_p2: int
    other: int
    """One each, or a draw among them: teams, dice or seats decided."""

    @property
    def finished(self) -> int:
        """Pairs of which both battles finished."""
        return self.both_p1 + self.both_p2 + self.other


@dataclass(frozen=True, slots=True)
class LengthBin:
    """Finished battles of `first` to `last` turns."""

    first: int
    last: int
    battles: Mapping[Winner, int]


@dataclass(frozen=True, slots=True)
class GameLengths:
    """How long finished battles took, in turns."""

    bins: tuple[LengthBin, ...]
    shortest: int
    median: float
    mean: float
    longest: int


def tally(run: Run) -> Tally:
    """Outcomes of the battles; from the summary where the file lists none."""
    if run.battles:
        return Tally.of(battle.winner for battle in run.battles)
    summary = run.summary
    return Tally(summary.p1_wins, summary.p2_wins, summary.draws, summary.broken)


def rate(run: Run) -> WinRate | None:
    """p1's win rate as played, with the interval that respects pairs; Wilson's where the file lists no battles."""
    if run.battles:
        return win_rate(Scores.of(Played(battle.pair, battle.winner) for battle in run.battles))
    summary = run.summary
    return win_rate(Scores(singles=(summary.p2_wins, summary.draws, summary.p1_wins)))


def scores_of_own_choices(run: Run) -> Scores:
    """The battles in which neither policy's decisions were substituted."""
    substituted = {stat.battle_tag for stat in run.turn_stats if stat.used_fallback}
    played = (Played(battle.pair, battle.winner, battle.battle_tag in substituted) for battle in run.battles)
    return Scores.of(own_choices(played))


def labels(run: Run) -> Mapping[Side, str]:
    """What each side is called in sentences, tables and charts: the policy's name, on one line and not too long.

    Where that would be the same for both, their sides stand behind it.
    """
    p1, p2 = (as_name(agent, MAX_LABEL_CHARACTERS) for agent in (run.summary.p1_agent, run.summary.p2_agent))
    if p1 == p2:
        return {"p1": f"{p1} (p1)", "p2": f"{p2} (p2)", "both": f"{p1} (either side)"}
    return {"p1": p1, "p2": p2, "both": "either side"}


def curve(run: Run) -> tuple[CurvePoint, ...]:
    """p1's win rate over the finished battles, in the run's order, in at most MAX_CURVE_POINTS points."""
    after_each = list(running(Played(battle.pair, battle.winner) for battle in run.battles))
    rates = (win_rate(after_each[index]) for index in spread(len(after_each), MAX_CURVE_POINTS))
    return tuple(CurvePoint(found.battles, found.estimate, found.interval) for found in rates if found)


def grid(run: Run) -> tuple[tuple[RunBattle, ...], ...]:
    """The battles in order, the two of a pair together; at most MAX_CELLS of them."""
    numbered = enumerate(run.battles[:MAX_CELLS])
    grouped = groupby(numbered, key=lambda item: -1 - item[0] if item[1].pair is None else item[1].pair)
    return tuple(tuple(battle for _, battle in group) for _, group in grouped)


def pairs(run: Run) -> Pairs | None:
    """How the pairs went; None where no pair was finished."""
    of_pair: dict[int, list[Winner]] = {}
    for battle in run.battles:
        if battle.pair is not None and battle.winner is not None:
            of_pair.setdefault(battle.pair, []).append(battle.winner)
    finished = [winners for winners in of_pair.values() if len(winners) == 2]
    both_p1, both_p2 = finished.count(["p1", "p1"]), finished.count(["p2", "p2"])
    return Pairs(both_p1, both_p2, len(finished) - both_p1 - both_p2) if finished else None


def game_lengths(run: Run) -> GameLengths | None:
    """The lengths of finished battles, in bins of whole turns: the fewer battles, the fewer bins."""
    finished = [(battle.n_turns, battle.winner) for battle in run.battles if battle.winner is not None]
    if not finished:
        return None
    lengths = [turns for turns, _ in finished]
    first, last = min(lengths), max(lengths)
    width = _bin_width(last - first + 1, most=min(MAX_LENGTH_BINS, 2 + round(2 * sqrt(len(finished)))))
    start = first - first % width
    bins = []
    for low in range(start, last + 1, width):
        won = Counter(winner for turns, winner in finished if low <= turns < low + width)
        bins.append(LengthBin(low, low + width - 1, won))
    return GameLengths(tuple(bins), first, median(lengths), mean(lengths), last)


def spread(count: int, most: int) -> list[int]:
    """Indices 0 … count - 1, or `most` of them evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]


def _bin_width(turns: int, *, most: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 … turns that needs no more than that many bins, wherever they begin."""
    scale = 1
    while True:
        for step in (1, 2, 5):
            if turns / (step * scale) <= most - 1:
                return step * scale
        scale *= 10
