"""What a run says, in plain sentences: who won, how sure that is, and what it must be read with."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

from services.reporter import decisions, numbers
from shared.battle.decision import Reason
from shared.records import MAX_BATTLES, Run
from shared.text import count, one_line, percent
from shared.verdicts.intervals import Interval, WinRate, win_rate
from shared.verdicts.scores import Tally
from shared.verdicts.sequential import Decided

_MANY_SUBSTITUTIONS = 0.05
_NEXT_TO = 0.01
"""An interval that ends this close to one half might with one battle more have contained it."""
_TOO_FEW_BATTLES = 10
"""Below this, a guess at the true rate is no guess to plan with."""
_FINE_FROM_BATTLES = 500
"""From here on the interval is narrow enough that a decimal of a percentage means something."""


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
    """What a sequential test said, what pairing was worth, and the win rate without substitutions: a sentence each."""
    caveats: tuple[str, ...] = ()
    """Broken battles, battles not played, failed shards: a sentence each."""


def verdict(run: Run) -> Verdict:
    """The verdict on a run. The leading policy is the one spoken of; p1 when neither leads."""
    tally = numbers.tally(run)
    found = numbers.rate(run)
    if found is None:
        result, judgement = "No battle was finished.", "There is nothing to compare."
    else:
        result = _result(run, tally, found)
        judgement = _decided(run) or _judgement(run, tally.finished, found.estimate, found.interval)
    return Verdict(result, judgement, _substitutions(run), tuple(_notes(run, found)), tuple(_caveats(run, tally)))


def battles_needed(rate: float) -> int | None:
    """Battles after which a policy that wins `rate` of them shows it four times in five; None at exactly one half.

    The sample size for a share against 1/2 at the two-sided 5 % level with 80 % power (Fleiss, Levin and Paik,
    Statistical Methods for Rates and Proportions, 2003, section 2.5, without continuity correction).
    """
    if rate == 0.5:
        return None
    significance, power = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)
    return ceil(((significance / 2 + power * sqrt(rate * (1 - rate))) / (rate - 0.5)) ** 2)


def decimals_for(rate: WinRate | None) -> int:
    """Decimals of this run's percentages: none while the interval is wide, unless an end would hide behind 50 %."""
    if rate is None:
        return 0
    ends = (rate.interval.low, rate.interval.high)
    hidden = any(end != 0.5 and round(end * 100) == 50 for end in ends)
    return 1 if hidden or rate.battles >= _FINE_FROM_BATTLES else 0


def _result(run: Run, tally: Tally, found: WinRate) -> str:
    names, decimals, rate, interval = numbers.labels(run), decimals_for(found), found.estimate, found.interval
    name, wins = names["p1"], tally.p1_wins
    if rate < 0.5:
        name, wins, rate, interval = names["p2"], tally.p2_wins, 1 - rate, Interval(1 - interval.high, 1 - interval.low)
    drew = f" and drew {tally.draws:,}" if tally.draws else ""
    ends = f"{percent(interval.low, decimals)} to {percent(interval.high, decimals)}"
    battles = count(tally.finished, "battle")
    half = ", a draw as half a win" if tally.draws else ""
    return f"{name} won {wins:,}{drew} of {battles}: {percent(rate, decimals)} ({ends}){half}."


def _judgement(run: Run, finished: int, rate: float, interval: Interval) -> str:
    at = f" at {run.request.format}" if run.request else ""
    clear = not interval.low <= 0.5 <= interval.high
    if run.summary.p1_agent == run.summary.p2_agent:
        if clear:
            return "A policy met itself: chance does this once in twenty runs, or p1 and p2 were not treated alike."
        return "A policy met itself, and the interval contains 50\u00a0%, as it should."
    if clear:
        weaker = numbers.labels(run)["p2" if rate > 0.5 else "p1"]
        only_just = min(abs(interval.low - 0.5), abs(interval.high - 0.5)) < _NEXT_TO
        return f"It is stronger than {weaker}{at}{', but only just' if only_just else ''}."
    if finished < _TOO_FEW_BATTLES:
        return "Too few battles to call: the interval contains 50\u00a0%."
    needed = battles_needed(rate)
    if needed is None:
        return f"Level after {count(finished, 'battle')}: nothing here says that either is stronger{at}."
    if needed > MAX_BATTLES:
        more = "If there is a difference, it is too small to show in any run of sensible length."
    else:
        more = (
            f"If {percent(max(rate, 1 - rate), 1)} is the true rate, "
            f"a run of about {_rounded(max(needed, finished + 1)):,} battles would most likely show it."
        )
    return f"Too close to call: the interval contains 50\u00a0%. {more}"


def _decided(run: Run) -> str | None:
    """What the sequential test said, where it said something."""
    test, at = run.summary.sequential_test, f" at {run.request.format}" if run.request else ""
    if test is None or run.request is None or run.request.until_decided is None:
        return None
    names, margin = numbers.labels(run), run.request.until_decided.margin
    match test.decided:
        case Decided.P1_STRONGER:
            return f"Decided: it is {names['p1']} that is stronger{at}."
        case Decided.P2_STRONGER:
            return f"Decided: it is {names['p2']} that is stronger{at}."
        case Decided.CLOSER:
            share = f"{percent(0.5 + margin)} to {percent(0.5 - margin)}"
            return f"Decided: the two are closer{at} than {share}."
        case Decided.UNDECIDED:
            return f"Not decided after {count(test.battles, 'battle')}."


def _notes(run: Run, found: WinRate | None) -> Iterator[str]:
    until, test = run.request.until_decided if run.request else None, run.summary.sequential_test
    if until and test:
        looked = f"The sequential test looked at the first {count(test.battles, 'battle')}"
        yield (
            f"{looked}; its verdict is wrong at most {percent(until.error)} of the time. A run that stops when decided "
            "shows the leader a little too strong."
        )
    if found is None:
        return
    if found.variance_removed is not None and found.variance_removed != 0:
        worth = found.battles / (1 - found.variance_removed)
        how = "removed" if found.variance_removed > 0 else "added"
        yield (
            f"The interval respects pairs. Playing in pairs {how} {percent(abs(found.variance_removed))} of the "
            f"variance: {count(found.battles, 'battle')}, worth {worth:,.0f} independent ones."
        )
    own = numbers.scores_of_own_choices(run)
    if run.battles and own.battles < found.battles:
        without = win_rate(own)
        decimals, name = decimals_for(found), numbers.labels(run)["p1"]
        if without is None:
            yield "No battle was finished without a substitution, so nothing is known of the policies' own choices."
        else:
            low, high = without.interval.low, without.interval.high
            yield (
                f"In the {count(without.battles, 'battle')} without any substitution, {name} won "
                f"{percent(without.estimate, decimals)} ({percent(low, decimals)} to {percent(high, decimals)})."
            )


def _substitutions(run: Run) -> str:
    names = numbers.labels(run)
    found = decisions.substitutions(run)
    told: list[str] = []
    for side, of_side in found.items():
        if not of_side.rate:
            continue
        which = f"Of {names[side]}'s decisions, "
        if of_side.substituted is not None and of_side.decisions:
            which = f"Of {names[side]}'s {count(of_side.decisions, 'decision')}, {of_side.substituted:,} or "
        so = ", so the win rate is its substitute's too" if of_side.rate > _MANY_SUBSTITUTIONS else ""
        told.append(f"{which}{percent(of_side.rate, 1)} were substituted{so}.{_inexpressible(run, side)}")
    if told:
        return " ".join(told)
    if all(of_side.decisions == 0 for of_side in found.values()):
        return "No policy was asked for a decision."
    if any(of_side.rate is None and of_side.decisions != 0 for of_side in found.values()):
        return "This file does not tell whether all decisions were the policies' own."
    return "No decision was substituted."


def _inexpressible(run: Run, side: numbers.Side) -> str:
    """What is the contract's doing must not be read as the model's."""
    summary = run.summary
    reasons = {"p1": summary.p1_substitutions_by_reason, "p2": summary.p2_substitutions_by_reason}.get(side)
    times = (reasons or {}).get(Reason.INEXPRESSIBLE, 0)
    if not times:
        return ""
    return f" {times:,} of these {_was(times)} not the model's doing: its contract cannot express the legal actions."


def _caveats(run: Run, tally: Tally) -> Iterator[str]:
    summary = run.summary
    if tally.broken:
        battles = f"{count(tally.broken, 'battle')} broke and {'counts' if tally.broken == 1 else 'count'} for neither"
        if tally.finished:
            decimals = decimals_for(numbers.rate(run))
            won = tally.p1_wins + tally.draws / 2
            lowest, highest = won / tally.played, (won + tally.broken) / tally.played
            yield (
                f"{battles}; had they gone all one way or all the other, {numbers.labels(run)['p1']}'s win rate would "
                f"be {percent(lowest, decimals)} or {percent(highest, decimals)}."
            )
        else:
            yield f"{battles}."
    for side, forfeits in (("p1", summary.p1_forfeits), ("p2", summary.p2_forfeits)):
        if forfeits:
            name = numbers.labels(run)["p1" if side == "p1" else "p2"]
            yield f"{name} gave up {count(forfeits, 'battle')} for want of a usable answer; they count as lost."
    if (own := _own_win_rate(run)) is not None:
        yield own
    if run.stopped:
        yield f"The matchup ended with {count(summary.not_played, 'battle')} not played: {one_line(run.stopped, 300)}."
    elif run.cancelled:
        yield f"The matchup was cancelled with {count(summary.not_played, 'battle')} not played."
    elif summary.not_played:
        yield f"{count(summary.not_played, 'battle')} of the matchup {_was(summary.not_played)} not played."
    for failure in run.failures:
        yield f"A shard failed: {failure}"


def _own_win_rate(run: Run) -> str | None:
    """The second win rate, of battles without a substitution; None where it would be the first one again."""
    summary, own = run.summary, run.summary.unsubstituted
    if own is None or not (summary.p1_substitutions or summary.p2_substitutions):
        return None
    without = f"Without any substitution, on either side, {own.n_games:,} of {count(summary.n_games, 'battle')}"
    if own.p1_win_rate is None or own.p1_win_rate_interval is None:
        return f"{without} were decided, so there is no win rate that is the policies' alone."
    low, high = own.p1_win_rate_interval
    were = "was" if own.n_games == 1 else "were"
    return (
        f"{without} {were} decided; of those, {numbers.labels(run)['p1']} won {percent(own.p1_win_rate)} "
        f"({percent(low)} to {percent(high)}). Which battles those are is no accident, so read it beside the other."
    )


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _rounded(number: int) -> int:
    """To two digits, upwards: more would promise a precision that an estimate does not have."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return ceil(number / unit) * unit
