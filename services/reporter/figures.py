"""Every figure of a report, computed once from its run.

A run file may be old (the original project's fields and nothing else), broken off, or empty: a figure that cannot be
had is empty or None, never a guess. Decisions whose policy an old file leaves open, because a policy met itself, count
for the side `both`; a side without any is left out.

Three sets of decisions are meant, and each docstring says which:
*all* that were recorded; those the policy was *asked* for (more than one legal action); and its *own* choices, which
were asked for and not substituted. An old file does not tell decisions with one legal action apart.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import floor, isfinite, sqrt
from statistics import mean, median
from typing import Literal

from services.reporter.labels import sides
from shared.battle.decision import Outcome, Reason
from shared.records import Run, RunBattle, TurnStat
from shared.verdicts.intervals import Interval, WinRate, wilson_interval, win_rate, win_rates
from shared.verdicts.scores import Played, Scores, Tally, Winner, own_choices, running

Side = Literal["p1", "p2", "both"]
"""Whose a decision is."""
_Stats = Mapping[Side, Sequence[TurnStat]]

EFFECTIVENESS_CLASSES = ("no effect", "¼ or less", "½", "neutral", "double", "4 times or more")
MAX_CURVE_POINTS = 400
MAX_CELLS = 2_000
MAX_LENGTH_BINS = 24
MAX_VIOLIN_POINTS = 500
MAX_REASONINGS = 200
MAX_REASONING_CHARACTERS = 1_500
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
    """The battles in order, the two of a pair together; at most MAX_CELLS of them."""
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
        """All of them."""
        played, summary = played_of(run), run.summary
        tally = Tally(summary.p1_wins, summary.p2_wins, summary.draws, summary.broken)
        rate = win_rate(scores_of(run, played))
        after_each = list(running(played))
        stats = _by_side(run)
        said = [stat for stat in run.turn_stats if stat.reasoning and stat.reasoning.strip()]
        return cls(
            run=run,
            names=_names(run),
            tally=Tally.of(winner for _, winner, _ in played) if played else tally,
            rate=rate,
            own=win_rate(Scores.of(own_choices(played))) if played else rate,
            decimals=_decimals(rate),
            curve=tuple(win_rates([after_each[index] for index in spread(len(after_each), MAX_CURVE_POINTS)])),
            grid=_grid(run),
            pairs=_pairs(played),
            lengths=_lengths(run),
            substitutions=_substitutions(run, stats),
            switches={side: found for side, of_side in stats.items() if (found := _switches(side, of_side))},
            times={side: _times(of_side) for side, of_side in _only(stats, _timed).items()},
            effectiveness={side: _effectiveness(of_side) for side, of_side in _only(stats, _damaging).items()},
            outcomes={
                side: Counter(stat.outcome for stat in of_side if stat.outcome) for side, of_side in stats.items()
            },
            reasons={
                side: dict(Counter((s.outcome, s.reason) for s in found if s.outcome and s.reason).most_common())
                for side, found in _only(stats, lambda stat: stat.reason is not None).items()
            },
            reasonings=tuple(_reasoning(stat) for stat in said[:MAX_REASONINGS]),
            reasonings_in_all=len(said),
        )


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


def quantile(ordered: Sequence[float], share: float) -> float:
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


def _grid(run: Run) -> tuple[tuple[RunBattle, ...], ...]:
    numbered = enumerate(run.battles[:MAX_CELLS])
    grouped = groupby(numbered, key=lambda item: -1 - item[0] if item[1].pair is None else item[1].pair)
    return tuple(tuple(battle for _, battle in group) for _, group in grouped)


def _pairs(played: Sequence[Played]) -> PairFigures | None:
    of_pair: dict[int, list[Winner]] = {}
    for pair, winner, _ in played:
        if pair is not None and winner is not None:
            of_pair.setdefault(pair, []).append(winner)
    finished = [winners for winners in of_pair.values() if len(winners) == 2]
    both_p1, both_p2 = finished.count(["p1", "p1"]), finished.count(["p2", "p2"])
    return PairFigures(both_p1, both_p2, len(finished) - both_p1 - both_p2) if finished else None


def _lengths(run: Run) -> GameLengths | None:
    """In bins of whole turns: the fewer battles, the fewer bins."""
    finished = [(battle.n_turns, battle.winner) for battle in run.battles if battle.winner is not None]
    if not finished:
        return None
    lengths = [turns for turns, _ in finished]
    first, last = min(lengths), max(lengths)
    width = _bin_width(last - first + 1, most=min(MAX_LENGTH_BINS, 2 + round(2 * sqrt(len(finished)))))
    bins = []
    for low in range(first - first % width, last + 1, width):
        won = Counter(winner for turns, winner in finished if low <= turns < low + width)
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


def _by_side(run: Run) -> _Stats:
    found: dict[Side, list[TurnStat]] = {"p1": [], "p2": [], "both": []}
    for stat in run.turn_stats:
        found[stat.policy or "both"].append(stat)
    return {side: stats for side, stats in found.items() if stats}


def _only(stats: _Stats, wanted: Callable[[TurnStat], bool]) -> _Stats:
    """Those wanted, and only sides that have any."""
    return {side: found for side, of_side in stats.items() if (found := [stat for stat in of_side if wanted(stat)])}


def _asked(stat: TurnStat) -> bool:
    return stat.outcome is not Outcome.ONLY_ACTION


def _timed(stat: TurnStat) -> bool:
    return _asked(stat) and isfinite(stat.decision_ms) and stat.decision_ms >= 0


def _damaging(stat: TurnStat) -> bool:
    return stat.outcome in _OWN and stat.effectiveness is not None and stat.effectiveness >= 0


def _substitutions(run: Run, stats: _Stats) -> Mapping[Side, Substitutions]:
    summary = run.summary
    found: dict[Side, Substitutions] = {}
    for side, asked in _only(stats, _asked).items():
        substituted = sum(stat.outcome is Outcome.SUBSTITUTED for stat in asked)
        found[side] = Substitutions(substituted / len(asked), substituted, len(asked))
    if "both" not in found:
        told = Substitutions(summary.p1_fallback_rate, summary.p1_substitutions, summary.p1_decisions)
        found.setdefault("p1", told)
        told = Substitutions(summary.p2_fallback_rate, summary.p2_substitutions, summary.p2_decisions)
        found.setdefault("p2", told)
    return found


def _switches(side: Side, stats: Iterable[TurnStat]) -> SwitchRate | None:
    """None where nothing was chosen.

    A second decision in the same turn replaces a fainted Pokémon, or follows a move such as U-turn: no choice between
    switching and attacking. Where an old file leaves open whose decision it was, all of them count.
    """
    begun: set[tuple[str, int]] = set()
    choices: list[TurnStat] = []
    for stat in stats:
        if stat.turn < 1 or stat.refused_by_simulator or (stat.battle_tag, stat.turn) in begun:
            continue
        if side != "both":
            begun.add((stat.battle_tag, stat.turn))
        if stat.outcome in _OWN and stat.action_type in ("move", "switch"):
            choices.append(stat)
    switches = sum(stat.action_type == "switch" for stat in choices)
    return SwitchRate(switches, len(choices), wilson_interval(switches, len(choices))) if choices else None


def _times(stats: Iterable[TurnStat]) -> DecisionTimes:
    times = sorted(stat.decision_ms for stat in stats)
    points = tuple(times[index] for index in spread(len(times), MAX_VIOLIN_POINTS))
    half, most, nearly_all = (quantile(times, share) for share in (0.5, 0.9, 0.99))
    return DecisionTimes(len(times), half, most, nearly_all, times[-1], points)


def _effectiveness(stats: Iterable[TurnStat]) -> tuple[int, ...]:
    multipliers = [stat.effectiveness or 0 for stat in stats]
    classes = Counter(0 if each == 0 else 1 + sum(each >= bound for bound in (0.5, 1, 2, 4)) for each in multipliers)
    return tuple(classes[index] for index in range(len(EFFECTIVENESS_CLASSES)))


def _reasoning(stat: TurnStat) -> Reasoning:
    text = (stat.reasoning or "").strip()
    return Reasoning(stat.policy or "both", stat, text[:MAX_REASONING_CHARACTERS], len(text) > MAX_REASONING_CHARACTERS)
