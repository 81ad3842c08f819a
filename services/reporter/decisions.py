"""The figures of a report that are about decisions, each a pure function of the run.

Rows whose policy an old file leaves open, because a policy met itself, count for the side `both`. A side without any
is left out.

Three sets of decisions are meant, and each docstring says which:
*all* that were recorded; those the policy was *asked* for (more than one legal action); and its *own* choices, which
were asked for and not substituted. An old file does not tell decisions with one legal action apart.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite

from services.reporter.numbers import Side, spread
from shared.battle.decision import Outcome, Reason
from shared.records import Run, TurnStat
from shared.verdicts.intervals import Interval, wilson_interval

EFFECTIVENESS_CLASSES = ("no effect", "¼ or less", "½", "neutral", "double", "4 times or more")

MAX_VIOLIN_POINTS = 500
MAX_REASONINGS = 200
MAX_REASONING_CHARACTERS = 1_500


@dataclass(frozen=True, slots=True)
class SwitchRate:
    """How often a policy switched by choice."""

    switches: int
    choices: int

    @property
    def rate(self) -> float:
        """Switches / choices."""
        return self.switches / self.choices

    @property
    def interval(self) -> Interval:
        """The 95 % interval of `rate`."""
        return wilson_interval(self.switches, self.choices)


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
    battle_tag: str
    turn: int
    action: str
    outcome: Outcome
    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class ReasoningLog:
    """The first reasonings, and how many there are in all."""

    shown: tuple[Reasoning, ...]
    total: int


def substitutions(run: Run) -> Mapping[Side, Substitutions]:
    """Substituted among the decisions asked for; from the summary for a policy of which the file lists no decision."""
    summary = run.summary
    found: dict[Side, Substitutions] = {}
    for side, stats in _by_side(run, (stat for stat in run.turn_stats if _asked(stat))).items():
        substituted = sum(_outcome(stat) is Outcome.SUBSTITUTED for stat in stats)
        found[side] = Substitutions(substituted / len(stats), substituted, len(stats))
    if "both" not in found:
        told = Substitutions(summary.p1_fallback_rate, summary.p1_substitutions, summary.p1_decisions)
        found.setdefault("p1", told)
        told = Substitutions(summary.p2_fallback_rate, summary.p2_substitutions, summary.p2_decisions)
        found.setdefault("p2", told)
    return found


def switch_rates(run: Run) -> Mapping[Side, SwitchRate]:
    """Switches among a policy's own choices at the start of a turn.

    A second decision in the same turn replaces a fainted Pokémon, or follows a move such as U-turn: no choice between
    switching and attacking. Where an old file leaves open whose decision it was, all of them count.
    """
    begun: set[tuple[str, Side, int]] = set()
    choices: list[TurnStat] = []
    for stat in run.turn_stats:
        side = side_of(run, stat)
        if stat.turn < 1 or stat.refused_by_simulator or (stat.battle_tag, side, stat.turn) in begun:
            continue
        if side != "both":
            begun.add((stat.battle_tag, side, stat.turn))
        if _own(stat) and stat.action_type in ("move", "switch"):
            choices.append(stat)
    return {
        side: SwitchRate(sum(stat.action_type == "switch" for stat in stats), len(stats))
        for side, stats in _by_side(run, choices).items()
    }


def decision_times(run: Run) -> Mapping[Side, DecisionTimes]:
    """How long the decisions asked for took. A time that is no time (negative, NaN) is left out."""
    asked = (stat for stat in run.turn_stats if _asked(stat) and isfinite(stat.decision_ms) and stat.decision_ms >= 0)
    found: dict[Side, DecisionTimes] = {}
    for side, stats in _by_side(run, asked).items():
        times = sorted(stat.decision_ms for stat in stats)
        found[side] = DecisionTimes(
            decisions=len(times),
            median=quantile(times, 0.5),
            p90=quantile(times, 0.9),
            p99=quantile(times, 0.99),
            longest=times[-1],
            points=tuple(times[index] for index in spread(len(times), MAX_VIOLIN_POINTS)),
        )
    return found


def effectiveness(run: Run) -> Mapping[Side, tuple[int, ...]]:
    """How many of a policy's own damaging moves had which type multiplier, in the order of EFFECTIVENESS_CLASSES."""
    damaging = (
        stat for stat in run.turn_stats if _own(stat) and stat.effectiveness is not None and stat.effectiveness >= 0
    )
    found: dict[Side, tuple[int, ...]] = {}
    for side, stats in _by_side(run, damaging).items():
        classes = Counter(_effectiveness_class(stat.effectiveness or 0) for stat in stats)
        found[side] = tuple(classes[index] for index in range(len(EFFECTIVENESS_CLASSES)))
    return found


def outcomes(run: Run) -> Mapping[Side, Mapping[Outcome, int]]:
    """How all decisions came about."""
    return {side: Counter(_outcome(stat) for stat in stats) for side, stats in _by_side(run, run.turn_stats).items()}


def reasons(run: Run) -> Mapping[Side, Mapping[tuple[Outcome, Reason], int]]:
    """Why an answer could not be used, for decisions that were asked twice or substituted; the commonest first."""
    found: dict[Side, Mapping[tuple[Outcome, Reason], int]] = {}
    for side, stats in _by_side(run, (stat for stat in run.turn_stats if stat.reason is not None)).items():
        counted = Counter((_outcome(stat), stat.reason) for stat in stats if stat.reason is not None)
        found[side] = dict(counted.most_common())
    return found


def reasoning_log(run: Run) -> ReasoningLog:
    """What the policies said, in order: the first MAX_REASONINGS, each cut at MAX_REASONING_CHARACTERS."""
    told = [stat for stat in run.turn_stats if stat.reasoning and stat.reasoning.strip()]
    first = told[:MAX_REASONINGS]
    return ReasoningLog(tuple(_reasoning(run, stat, (stat.reasoning or "").strip()) for stat in first), len(told))


def side_of(run: Run, stat: TurnStat) -> Side:
    """Whose decision it was."""
    p1, p2 = run.summary.p1_agent, run.summary.p2_agent
    if stat.policy is not None:
        return stat.policy
    if p1 == p2 or stat.agent not in (p1, p2):
        return "both"
    return "p1" if stat.agent == p1 else "p2"


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share lies, between neighbours in proportion (Hyndman and Fan's type 7)."""
    position = share * (len(ordered) - 1)
    below = floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _reasoning(run: Run, stat: TurnStat, text: str) -> Reasoning:
    return Reasoning(
        side=side_of(run, stat),
        battle_tag=stat.battle_tag,
        turn=stat.turn,
        action=stat.action or stat.move_id or stat.action_type,
        outcome=_outcome(stat),
        text=text[:MAX_REASONING_CHARACTERS],
        cut=len(text) > MAX_REASONING_CHARACTERS,
    )


def _by_side(run: Run, stats: Iterable[TurnStat]) -> Mapping[Side, list[TurnStat]]:
    """Only sides that have any, p1 first."""
    found: dict[Side, list[TurnStat]] = {"p1": [], "p2": [], "both": []}
    for stat in stats:
        found[side_of(run, stat)].append(stat)
    return {side: of_side for side, of_side in found.items() if of_side}


def _outcome(stat: TurnStat) -> Outcome:
    if stat.outcome is not None:
        return stat.outcome
    return Outcome.SUBSTITUTED if stat.used_fallback else Outcome.CHOSEN


def _asked(stat: TurnStat) -> bool:
    return _outcome(stat) is not Outcome.ONLY_ACTION


def _own(stat: TurnStat) -> bool:
    return _outcome(stat) in (Outcome.CHOSEN, Outcome.CHOSEN_AFTER_SECOND_ASK)


def _effectiveness_class(multiplier: float) -> int:
    return 0 if multiplier == 0 else 1 + sum(multiplier >= bound for bound in (0.5, 1, 2, 4))
