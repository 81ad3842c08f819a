"""What a run says, in plain sentences: who won, how sure that is, and what it must be read with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

from services.reporter.figures import Figures, Side
from shared.battle.decision import Reason
from shared.records import MAX_BATTLES, Summary
from shared.text import count, one_line, percent, percent_range
from shared.verdicts.intervals import Interval, WinRate
from shared.verdicts.sequential import Decided

_MANY_SUBSTITUTIONS = 0.05
_NEXT_TO = 0.01
"""An interval that ends this close to one half might with one battle more have contained it."""
_MAX_FAILURES = 20
_TOO_FEW_BATTLES = 10
"""Below this, a guess at the true rate is no guess to plan with."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first thing a report says."""

    result: str
    """`heuristic won 19 of 20 battles: 95 % (76 % to 99 %).`"""
    judgement: str
    """`It is stronger than random at gen9randombattle.`"""
    substitutions: str
    """Whether the policies made their decisions themselves."""
    notes: tuple[str, ...] = ()
    """What a sequential test said, and what pairing was worth: a sentence each."""
    caveats: tuple[str, ...] = ()
    """Broken battles, the win rate without substitutions, battles not played, failed shards: a sentence each."""


def verdict(figures: Figures) -> Verdict:
    """The verdict on a run. The leading policy is the one spoken of; p1 when neither leads."""
    result, judgement = "No battle was finished.", "There is nothing to compare."
    if idle := figures.run.summary.played_by_substitutes:
        names = " and ".join(figures.names[seat] for seat in idle)
        result = f"{names} made no decision {'itself' if len(idle) == 1 else 'themselves'}: a substitute played."
        judgement = "So this run does not say who is stronger."
    elif found := figures.rate:
        result, judgement = _result(figures, found), _decided(figures, found) or _judgement(figures, found)
    return Verdict(result, judgement, _substitutions(figures), tuple(_notes(figures)), tuple(_caveats(figures)))


def battles_needed(rate: float) -> int | None:
    """Battles after which a policy that wins `rate` of them shows it four times in five; None at exactly one half.

    The sample size for a share against 1/2 at the two-sided 5 % level with 80 % power (Fleiss, Levin and Paik,
    Statistical Methods for Rates and Proportions, 2003, section 2.5, without continuity correction).
    """
    if rate == 0.5:
        return None
    significance, power = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)
    return ceil(((significance / 2 + power * sqrt(rate * (1 - rate))) / (rate - 0.5)) ** 2)


def _result(figures: Figures, found: WinRate) -> str:
    names, tally, name, wins = figures.names, figures.tally, figures.names["p1"], figures.tally.p1_wins
    if found.estimate < 0.5:
        name, wins, found = names["p2"], tally.p2_wins, found.mirrored()
    drew = f" and drew {tally.draws:,}" if tally.draws else ""
    half = ", a draw as half a win" if tally.draws else ""
    of = f"{name} won {wins:,}{drew} of {count(tally.finished, 'battle')}"
    return f"{of}: {_with_ends(found.estimate, found.interval, figures.decimals)}{half}."


def luck_sentence(names: Mapping[Side, str], summary: Summary, decimals: int = 0) -> str | None:
    """`Without luck it won 54 % (49 % to 59 %): the dice gave it 3 points.`; None where no battle was reviewed."""
    found = summary.luck
    if found is None:
        return None
    name, rate, given, (low, high) = names["p1"], found.p1_win_rate, found.given, found.p1_win_rate_interval
    if (summary.p1_win_rate or 0) < 0.5:
        name, rate, given, low, high = names["p2"], 1 - rate, -given, 1 - high, 1 - low
    points = abs(100 * given)
    told = "as good as nothing" if points < 0.5 else f"{points:.{decimals}f} point{'s' * (round(points) != 1)}"
    dice = f"the dice {'gave it' if given >= 0 or points < 0.5 else 'took from it'} {told}"
    of = "" if found.reviewed == summary.n_games else f", in the {found.reviewed:,} battles whose luck is known so far"
    ends = _with_ends(min(1.0, max(0.0, rate)), Interval(low, high), decimals)
    return f"With the luck taken out, {name} won {ends}{of}: {dice}."


def _with_ends(rate: float, interval: Interval, decimals: int) -> str:
    return f"{percent(rate, decimals)} ({percent_range(*interval, decimals)})"


def _judgement(figures: Figures, found: WinRate) -> str:
    summary, rate, (low, high) = figures.run.summary, found.estimate, found.interval
    at, clear = _at(figures), not low <= 0.5 <= high
    if summary.p1_agent == summary.p2_agent:
        if clear:
            return "A policy met itself: chance does this once in twenty runs, or p1 and p2 were not treated alike."
        return "A policy met itself, and the interval contains 50\u00a0%, as it should."
    if clear:
        only_just = ", but only just" if min(abs(low - 0.5), abs(high - 0.5)) < _NEXT_TO else ""
        return f"It is stronger than {figures.names['p2' if rate > 0.5 else 'p1']}{at}{only_just}."
    if found.battles < _TOO_FEW_BATTLES:
        return "Too few battles to call: the interval contains 50\u00a0%."
    if rate == 0.5:
        return f"Level after {count(found.battles, 'battle')}: nothing here says that either is stronger{at}."
    return f"Too close to call: the interval contains 50\u00a0%. {_more(found)}"


def _more(found: WinRate) -> str:
    """How many battles more would decide it, if what was seen is how it is."""
    needed = battles_needed(found.estimate)
    if needed is None or needed > MAX_BATTLES:
        return "If there is a difference, it is too small to show in any run of sensible length."
    rate = percent(max(found.estimate, 1 - found.estimate), 1)
    return (
        f"If {rate} is the true rate, about {_rounded(max(needed - found.battles, 1)):,} more battles would decide it."
    )


def _decided(figures: Figures, found: WinRate) -> str | None:
    """What the sequential test said, where it said something."""
    request, test = figures.run.request, figures.run.summary.sequential_test
    if test is None or request is None or request.until_decided is None:
        return None
    names, at, margin = figures.names, _at(figures), request.until_decided.margin
    return {
        Decided.P1_STRONGER: f"Decided: it is {names['p1']} that is stronger{at}.",
        Decided.P2_STRONGER: f"Decided: it is {names['p2']} that is stronger{at}.",
        Decided.CLOSER: f"Decided: the two are closer{at} than {percent(0.5 + margin)} to {percent(0.5 - margin)}.",
        Decided.UNDECIDED: f"Not decided after {count(test.battles, 'battle')}. {_more(found)}",
    }[test.decided]


def _at(figures: Figures) -> str:
    return f" at {figures.run.request.format}" if figures.run.request else ""


def _notes(figures: Figures) -> Iterator[str]:
    request, test, found = figures.run.request, figures.run.summary.sequential_test, figures.rate
    if told := luck_sentence(figures.names, figures.run.summary, figures.decimals):
        yield told
    if request and request.until_decided and test:
        looked = f"The sequential test looked at the first {count(test.battles, 'battle')}"
        looked += ", with the luck taken out" if test.without_luck else ""
        yield (
            f"{looked}; its verdict is wrong at most {percent(request.until_decided.error)} of the time. A run that "
            "stops when decided shows the leader a little too strong."
        )
    if found and found.variance_removed:
        worth = found.battles / (1 - found.variance_removed)
        how = "removed" if found.variance_removed > 0 else "added"
        yield (
            f"The paired Wilson interval takes a pair as one observation. Playing in pairs {how} "
            f"{percent(abs(found.variance_removed))} of the variance: {count(found.battles, 'battle')}, worth "
            f"{worth:,.0f} independent ones."
        )


def _substitutions(figures: Figures) -> str:
    found = figures.substitutions
    told: list[str] = []
    for side, of_side in found.items():
        if not of_side.rate:
            continue
        which = f"Of {figures.names[side]}'s decisions, "
        if of_side.substituted is not None and of_side.decisions:
            which = f"Of {figures.names[side]}'s {count(of_side.decisions, 'decision')}, {of_side.substituted:,} or "
        so = ", so the win rate is its substitute's too" if of_side.rate > _MANY_SUBSTITUTIONS else ""
        told.append(f"{which}{percent(of_side.rate, 1)} were substituted{so}.{_inexpressible(figures, side)}")
    if told:
        return " ".join(told)
    if all(of_side.decisions == 0 for of_side in found.values()):
        return "No policy was asked for a decision."
    if any(of_side.rate is None and of_side.decisions != 0 for of_side in found.values()):
        return "This file does not tell whether all decisions were the policies' own."
    return "No decision was substituted."


def _inexpressible(figures: Figures, side: Side) -> str:
    """What is the contract's doing must not be read as the model's."""
    summary = figures.run.summary
    reasons = {"p1": summary.p1_substitutions_by_reason, "p2": summary.p2_substitutions_by_reason}.get(side)
    times = (reasons or {}).get(Reason.INEXPRESSIBLE, 0)
    if not times:
        return ""
    return f" {times:,} of these {_was(times)} not the model's doing: its contract cannot express the legal actions."


def _caveats(figures: Figures) -> Iterator[str]:
    run, summary, names, tally = figures.run, figures.run.summary, figures.names, figures.tally
    if tally.broken:
        battles = f"{count(tally.broken, 'battle')} broke and {'counts' if tally.broken == 1 else 'count'} for neither"
        if tally.finished:
            won = tally.p1_wins + tally.draws / 2
            lowest, highest = (percent(share / tally.played, figures.decimals) for share in (won, won + tally.broken))
            gone = "it gone one way or the other" if tally.broken == 1 else "they gone all one way or all the other"
            battles += f"; had {gone}, {names['p1']}'s win rate would be "
            battles += f"{lowest} or {highest}"
        yield f"{battles}."
    for name, forfeits in ((names["p1"], summary.p1_forfeits), (names["p2"], summary.p2_forfeits)):
        if forfeits:
            yield f"{name} gave up {count(forfeits, 'battle')} for want of a usable answer; they count as lost."
    yield from _own_win_rate(figures)
    if run.stopped:
        yield f"The matchup ended with {count(summary.not_played, 'battle')} not played: {one_line(run.stopped, 300)}."
    elif run.cancelled:
        yield f"The matchup was cancelled with {count(summary.not_played, 'battle')} not played."
    elif summary.not_played:
        yield f"{count(summary.not_played, 'battle')} of the matchup {_was(summary.not_played)} not played."
    for failure in run.failures[:_MAX_FAILURES]:
        yield f"A shard failed: {failure}"
    if len(run.failures) > _MAX_FAILURES:
        yield f"Why {len(run.failures) - _MAX_FAILURES:,} other shards failed is in the run file."


def _own_win_rate(figures: Figures) -> Iterator[str]:
    """The second win rate, of battles without a substitution, where it is not the first one again."""
    played, own = figures.rate, figures.own
    if played and own is None:
        yield "No battle was finished without a substitution, so nothing is known of the policies' own choices."
    elif played and own and own.battles < played.battles:
        rate = _with_ends(own.estimate, own.interval, figures.decimals)
        yield (
            f"Without any substitution, on either side, {own.battles:,} of {count(played.battles, 'battle')} "
            f"{_was(own.battles)} decided; of those, {figures.names['p1']} won {rate}. "
            "Which battles those are is no accident, so read it beside the other."
        )


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _rounded(number: int) -> int:
    """To two digits, upwards: more would promise a precision that an estimate does not have."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return ceil(number / unit) * unit
