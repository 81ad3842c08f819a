"""Every figure of a report, gathered in one pass over its battles, however many there are.

A run file may be old (the original project's fields and nothing else), broken off, or empty: a figure that cannot be
had is empty or None, never a guess. Decisions whose policy an old file leaves open, because a policy met itself, count
for the side `both`; a side without any is left out.

Three sets of decisions are meant, and each docstring says which:
*all* that were recorded; those the policy was *asked* for (more than one legal action); and its *own* choices, which
were asked for and not substituted. An old file does not tell decisions with one legal action apart.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import floor, isfinite, sqrt
from statistics import mean, median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.reporter.labels import sides
from shared.battle.decision import Outcome, Reason
from shared.records import Run, RunBattle, TurnStat
from shared.verdicts.intervals import Interval, WinRate, wilson_interval, win_rate, win_rates
from shared.verdicts.scores import Played, Scores, Tally, Winner, own_choices, running

Side = Literal["p1", "p2", "both"]
"""Whose a decision is."""

EFFECTIVENESS_CLASSES = ("no effect", "¼ or less", "½", "neutral", "double", "4 times or more")
MAX_CURVE_POINTS = 400
MAX_CELLS = 2_000
MAX_LENGTH_BINS = 24
MAX_VIOLIN_POINTS = 500
MAX_REASONINGS = 200
MAX_REASONING_CHARACTERS = 1_500
MAX_BROKEN = 20
_FINE_FROM_BATTLES = 500
"""From here on the interval is narrow enough that a decimal of a percentage means something."""
_OWN = (Outcome.CHOSEN, Outcome.CHOSEN_AFTER_SECOND_ASK)


@dataclass(frozen=True, slots=True)
class PairFigures:
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

    @property
    def turns(self) -> str:
        """`7`, or `10 to 19`."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class GameLengths:
    """How long finished battles took, in turns."""

    bins: tuple[LengthBin, ...]
    shortest: int
    median: float
    mean: float
    longest: int


@dataclass(frozen=True, slots=True)
class SwitchRate:
    """How often a policy switched by choice."""

    switches: int
    choices: int
    interval: Interval
    """95 %, of `rate`."""

    @property
    def rate(self) -> float:
        """Switches / choices."""
        return self.switches / self.choices


@dataclass(frozen=True, slots=True)
class DecisionTimes:
    """How long a policy took, in milliseconds."""

    decisions: int
    median: float
    p90: float
    p99: float
    longest: float
    points: tuple[float, ...]
    """All of them, or MAX_VIOLIN_POINTS evenly spaced quantiles, which keep the distribution's shape."""


@dataclass(frozen=True, slots=True)
class Substitutions:
    """How many of a policy's decisions its substitute made. Counts are None where a file has only the rate."""

    rate: float | None
    substituted: int | None = None
    decisions: int | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a policy said with one decision."""

    side: Side
    stat: TurnStat
    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What a report is made of."""

    run: Run
    names: Mapping[Side, str]
    """What each side is called in sentences, tables and charts."""
    tally: Tally
    rate: WinRate | None
    """p1's, as played; None without a finished battle."""
    own: WinRate | None
    """p1's in the battles without a substitution; `rate` where a file lists no battles."""
    decimals: int
    """Of this run's percentages: none while the interval is wide, unless an end would hide behind 50 %."""
    curve: tuple[WinRate, ...]
    """p1's win rate after the finished battles, in the run's order, in at most MAX_CURVE_POINTS points."""
    grid: tuple[tuple[RunBattle, ...], ...]
    """The battles in order, the two of a pair together; the first MAX_CELLS of them, without their logs."""
    battles: int
    """How many the run lists; none in a file that has only a summary."""
    broken: tuple[RunBattle, ...]
    """The first MAX_BROKEN that broke."""
    teams: frozenset[tuple[str, str]]
    workers: int
    pairs: PairFigures | None
    """None where no pair was finished."""
    lengths: GameLengths | None
    substitutions: Mapping[Side, Substitutions]
    """Of the decisions asked for; from the summary for a policy of which the file lists no decision."""
    switches: Mapping[Side, SwitchRate]
    """Of a policy's own choices at the start of a turn."""
    times: Mapping[Side, DecisionTimes]
    """Of the decisions asked for. A time that is no time (negative, NaN) is left out."""
    effectiveness: Mapping[Side, tuple[int, ...]]
    """A policy's own damaging moves by type multiplier, in the order of EFFECTIVENESS_CLASSES."""
    outcomes: Mapping[Side, Mapping[Outcome, int]]
    """How all decisions came about."""
    reasons: Mapping[Side, Mapping[tuple[Outcome, Reason], int]]
    """Why an answer could not be used, for decisions asked twice or substituted; the commonest first."""
    reasonings: tuple[Reasoning, ...]
    """What the policies said, in order: the first MAX_REASONINGS, each cut at MAX_REASONING_CHARACTERS."""
    reasonings_in_all: int

    @classmethod
    def of(cls, run: Run) -> "Figures":
        """All of them, of a run with its rows."""
        gathered = Gathered()
        gathered.add(run.battles, run.turn_stats)
        return gathered.figures(run)


class Gathered:
    """What figures are made of, from as many battles as there are; of times alone each is kept, in 8 bytes."""

    def __init__(self) -> None:
        self._played: list[Played] = []
        self._lengths: Counter[tuple[int, Winner]] = Counter()
        self._first: list[RunBattle] = []
        self._broken: list[RunBattle] = []
        self._teams: set[tuple[str, str]] = set()
        self._workers: set[str] = set()
        self._sides: Mapping[Side, _Decided] = {"p1": _Decided(), "p2": _Decided(), "both": _Decided()}
        self._reasonings: list[Reasoning] = []
        self._reasonings_in_all = 0

    def add(self, battles: Iterable[RunBattle], stats: Sequence[TurnStat]) -> None:
        """The next battles of a run, and all of their decisions."""
        substituted = {stat.battle_tag for stat in stats if stat.used_fallback}
        for battle in battles:
            self._add(battle, substituted=battle.battle_tag in substituted)
        begun: set[tuple[Side, str, int]] = set()
        for stat in stats:
            side: Side = stat.policy or "both"
            turn = (side, stat.battle_tag, stat.turn)
            self._sides[side].add(stat, begins_turn=side == "both" or turn not in begun)
            if stat.turn >= 1 and not stat.refused_by_simulator:
                begun.add(turn)
            if stat.reasoning and stat.reasoning.strip():
                self._reasonings_in_all += 1
                if len(self._reasonings) < MAX_REASONINGS:
                    self._reasonings.append(_reasoning(stat))

    def _add(self, battle: RunBattle, *, substituted: bool) -> None:
        self._played.append(Played(battle.pair, battle.winner, substituted))
        if battle.winner is not None:
            self._lengths[battle.n_turns, battle.winner] += 1
        for listed, wanted in (
            (self._first, len(self._first) < MAX_CELLS),
            (self._broken, battle.winner is None and len(self._broken) < MAX_BROKEN),
        ):
            if wanted:
                listed.append(battle.model_copy(update={"input_log": None, "public_log": None}))
        if battle.teams:
            self._teams.add(battle.teams)
        if battle.worker:
            self._workers.add(battle.worker)

    def figures(self, run: Run) -> Figures:
        """The figures, and what `run` tells beside its rows."""
        played, summary = self._played, run.summary
        tally = Tally(summary.p1_wins, summary.p2_wins, summary.draws, summary.broken)
        if played:
            tally = Tally.of(battle.winner for battle in played)
        rate = win_rate(scores_of(run, played))
        points = set(spread(sum(battle.winner is not None for battle in played), MAX_CURVE_POINTS))
        sides = {side: of_side for side, of_side in self._sides.items() if of_side.decisions}
        return Figures(
            run=run,
            names=_names(run),
            tally=tally,
            rate=rate,
            own=win_rate(Scores.of(own_choices(played))) if played else rate,
            decimals=_decimals(rate),
            curve=tuple(win_rates([scores for index, scores in enumerate(running(played)) if index in points])),
            grid=_grid(self._first),
            battles=len(played),
            broken=tuple(self._broken),
            teams=frozenset(self._teams),
            workers=len(self._workers),
            pairs=_pairs(played),
            lengths=_lengths(self._lengths),
            substitutions=_substitutions(run, sides),
            switches={side: found for side, of_side in sides.items() if (found := of_side.switch_rate)},
            times={side: _times(of_side.times) for side, of_side in sides.items() if of_side.times},
            effectiveness={
                side: tuple(of_side.effectiveness) for side, of_side in sides.items() if any(of_side.effectiveness)
            },
            outcomes={side: of_side.outcomes for side, of_side in sides.items()},
            reasons={side: dict(of_side.reasons.most_common()) for side, of_side in sides.items() if of_side.reason},
            reasonings=tuple(self._reasonings),
            reasonings_in_all=self._reasonings_in_all,
        )


class _Decided:
    """The decisions of one side."""

    def __init__(self) -> None:
        self.decisions = self.asked = self.substituted = 0
        self.switches = self.choices = 0
        self.times = array("d")
        self.effectiveness = [0] * len(EFFECTIVENESS_CLASSES)
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[tuple[Outcome, Reason]] = Counter()
        self.reason = False
        """Whether any is told."""

    def add(self, stat: TurnStat, *, begins_turn: bool) -> None:
        """One decision.

        One that does not begin a turn replaces a fainted Pokémon, or follows a move such as U-turn: no choice between
        switching and attacking. Where an old file leaves open whose decision it was, all of them count.
        """
        self.decisions += 1
        if stat.outcome:
            self.outcomes[stat.outcome] += 1
        if stat.reason:
            self.reason = True
            if stat.outcome:
                self.reasons[stat.outcome, stat.reason] += 1
        if stat.outcome is not Outcome.ONLY_ACTION:
            self.asked += 1
            self.substituted += stat.outcome is Outcome.SUBSTITUTED
            if isfinite(stat.decision_ms) and stat.decision_ms >= 0:
                self.times.append(stat.decision_ms)
        if stat.outcome not in _OWN:
            return
        if stat.effectiveness is not None and stat.effectiveness >= 0:
            self.effectiveness[_effectiveness_class(stat.effectiveness)] += 1
        if begins_turn and stat.turn >= 1 and not stat.refused_by_simulator and stat.action_type in ("move", "switch"):
            self.choices += 1
            self.switches += stat.action_type == "switch"

    @property
    def switch_rate(self) -> SwitchRate | None:
        """None where nothing was chosen."""
        if not self.choices:
            return None
        return SwitchRate(self.switches, self.choices, wilson_interval(self.switches, self.choices))


def played_of(run: Run) -> list[Played]:
    """A run's battles, as they are counted."""
    substituted = {stat.battle_tag for stat in run.turn_stats if stat.used_fallback}
    return [Played(battle.pair, battle.winner, battle.battle_tag in substituted) for battle in run.battles]


def scores_of(run: Run, played: Sequence[Played]) -> Scores:
    """What was scored; from the summary where the file lists no battles."""
    summary = run.summary
    return Scores.of(played) if played else Scores(singles=(summary.p2_wins, summary.draws, summary.p1_wins))


def spread(count: int, most: int) -> list[int]:
    """Indices 0 … count - 1, or `most` of them evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]


def quantile(ordered: Sequence[float] | NDArray[np.float64], share: float) -> float:
    """The value below which that share lies, between neighbours in proportion (Hyndman and Fan's type 7)."""
    position = share * (len(ordered) - 1)
    below = floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _names(run: Run) -> Mapping[Side, str]:
    p1, p2 = sides(run.summary.p1_agent, run.summary.p2_agent, run.request)
    same = run.summary.p1_agent == run.summary.p2_agent
    return {"p1": p1, "p2": p2, "both": f"{p1.removesuffix(' (p1)')} (either side)" if same else "either side"}


def _decimals(rate: WinRate | None) -> int:
    if rate is None:
        return 0
    hidden = any(end != 0.5 and round(end * 100) == 50 for end in rate.interval)
    return 1 if hidden or rate.battles >= _FINE_FROM_BATTLES else 0


def _grid(battles: Sequence[RunBattle]) -> tuple[tuple[RunBattle, ...], ...]:
    grouped = groupby(enumerate(battles), key=lambda item: -1 - item[0] if item[1].pair is None else item[1].pair)
    return tuple(tuple(battle for _, battle in group) for _, group in grouped)


def _pairs(played: Sequence[Played]) -> PairFigures | None:
    of_pair: dict[int, list[Winner]] = {}
    for pair, winner, *_ in played:
        if pair is not None and winner is not None:
            of_pair.setdefault(pair, []).append(winner)
    finished = [winners for winners in of_pair.values() if len(winners) == 2]
    both_p1, both_p2 = finished.count(["p1", "p1"]), finished.count(["p2", "p2"])
    return PairFigures(both_p1, both_p2, len(finished) - both_p1 - both_p2) if finished else None


def _lengths(finished: Mapping[tuple[int, Winner], int]) -> GameLengths | None:
    """In bins of whole turns: the fewer battles, the fewer bins."""
    if not finished:
        return None
    lengths = sorted(turns for (turns, _), battles in finished.items() for _ in range(battles))
    first, last = lengths[0], lengths[-1]
    width = _bin_width(last - first + 1, most=min(MAX_LENGTH_BINS, 2 + round(2 * sqrt(len(lengths)))))
    bins = []
    for low in range(first - first % width, last + 1, width):
        won: Counter[Winner] = Counter()
        for (turns, winner), battles in finished.items():
            if low <= turns < low + width:
                won[winner] += battles
        bins.append(LengthBin(low, low + width - 1, won))
    return GameLengths(tuple(bins), first, median(lengths), mean(lengths), last)


def _bin_width(turns: int, *, most: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 … turns that needs no more than that many bins, wherever they begin."""
    scale = 1
    while True:
        for step in (1, 2, 5):
            if turns / (step * scale) <= most - 1:
                return step * scale
        scale *= 10


def _substitutions(run: Run, sides: Mapping[Side, "_Decided"]) -> Mapping[Side, Substitutions]:
    summary = run.summary
    found = {
        side: Substitutions(of_side.substituted / of_side.asked, of_side.substituted, of_side.asked)
        for side, of_side in sides.items()
        if of_side.asked
    }
    if "both" not in found:
        told = Substitutions(summary.p1_fallback_rate, summary.p1_substitutions, summary.p1_decisions)
        found.setdefault("p1", told)
        told = Substitutions(summary.p2_fallback_rate, summary.p2_substitutions, summary.p2_decisions)
        found.setdefault("p2", told)
    return found


def _times(times: "array[float]") -> DecisionTimes:
    ordered = np.sort(np.frombuffer(times))
    points = tuple(float(ordered[index]) for index in spread(len(ordered), MAX_VIOLIN_POINTS))
    half, most, nearly_all = (float(quantile(ordered, share)) for share in (0.5, 0.9, 0.99))
    return DecisionTimes(len(ordered), half, most, nearly_all, points[-1], points)


def _effectiveness_class(multiplier: float) -> int:
    return 0 if multiplier == 0 else 1 + sum(multiplier >= bound for bound in (0.5, 1, 2, 4))


def _reasoning(stat: TurnStat) -> Reasoning:
    text = (stat.reasoning or "").strip()
    return Reasoning(stat.policy or "both", stat, text[:MAX_REASONING_CHARACTERS], len(text) > MAX_REASONING_CHARACTERS)
