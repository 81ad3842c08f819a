"""The charted sections of a report: what each says in words, its chart, and the same numbers as a table.

A section whose figures a run does not have is None, and the report goes without it. The sentence and the table are
not decoration: they are what a screen reader, a printer and a browser without JavaScript get.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from services.reporter import charts, decisions, numbers
from services.reporter.verdict import decimals_for
from shared.battle.decision import Outcome, Reason
from shared.records import Run
from shared.text import count, milliseconds, percent

_CURVE_ROWS = 12
_REASON_NAMES: Mapping[Reason, str] = {
    Reason.UNPARSABLE: "the answer could not be read",
    Reason.ILLEGAL: "not a legal action",
    Reason.TRUNCATED: "the answer was cut off",
    Reason.EMPTY: "the answer was empty",
    Reason.TIMED_OUT: "no answer in time",
    Reason.REFUSED: "the model refused",
    Reason.INEXPRESSIBLE: "no legal action can be written in the contract",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a head. The first column is words, the others are figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One charted section. `name` is its anchor."""

    name: str
    title: str
    sentence: str
    figure: go.Figure
    table: Table
    note: str = ""
    more: Table | None = None


def win_rate(run: Run) -> Section | None:
    """The cumulative win rate."""
    points = numbers.curve(run)
    if not points:
        return None
    name, last, decimals = numbers.labels(run)["p1"], points[-1], decimals_for(numbers.rate(run))
    wanted = sorted({round(step * (len(points) - 1) / _CURVE_ROWS) for step in range(_CURVE_ROWS + 1)})
    rows = tuple(
        (
            f"{points[index].battles:,}",
            percent(points[index].rate, decimals),
            f"{percent(points[index].interval.low, decimals)} to {percent(points[index].interval.high, decimals)}",
        )
        for index in wanted
    )
    return Section(
        "win-rate",
        "Win rate, battle by battle",
        f"{name}'s win rate after each finished battle. It ends at {percent(last.rate, decimals)}.",
        charts.win_rate(points, name),
        Table(("After battle", "Win rate", "95\u00a0% interval"), rows),
        "The band is the 95\u00a0% interval at each point by itself; it does not promise that the whole line "
        "stays inside.",
    )


def switch_rate(run: Run) -> Section | None:
    """How often each policy switched by choice."""
    rates = decisions.switch_rates(run)
    if not rates:
        return None
    names = numbers.labels(run)
    told = " and ".join(f"{names[side]} switched in {percent(rate.rate)}" for side, rate in rates.items())
    rows = tuple(
        (
            names[side],
            f"{rate.switches:,}",
            f"{rate.choices:,}",
            percent(rate.rate, 1),
            f"{percent(rate.interval.low, 1)} to {percent(rate.interval.high, 1)}",
        )
        for side, rate in rates.items()
    )
    counted = (
        "This file does not tell which side decided, so switches after a faint count too."
        if "both" in rates
        else "Choices at the start of a turn only: sending in the next Pokémon after a faint is no choice to switch."
    )
    return Section(
        "switch-rate",
        "Switching",
        f"Free to attack or switch, {told} of {'its' if len(rates) == 1 else 'their'} choices.",
        charts.switch_rate(rates, names),
        Table(("Policy", "Switches", "Choices", "Rate", "95\u00a0% interval"), rows),
        f"{counted} The whiskers are 95\u00a0% intervals.",
    )


def game_length(run: Run) -> Section | None:
    """How many turns the battles took."""
    lengths = numbers.game_lengths(run)
    if lengths is None:
        return None
    names = numbers.labels(run)
    rows = tuple(
        (
            f"{length.first}" if length.first == length.last else f"{length.first} to {length.last}",
            *(f"{length.battles.get(winner, 0):,}" for winner in ("p1", "p2", "draw")),
        )
        for length in lengths.bins
    )
    if lengths.shortest == lengths.longest:
        every = "The battle" if numbers.tally(run).finished == 1 else "Every battle"
        told = f"{every} took {count(lengths.longest, 'turn')}."
    else:
        told = (
            f"A battle took {lengths.mean:.1f} turns on average; half of them took at most {lengths.median:g}, "
            f"the shortest {lengths.shortest:,} and the longest {lengths.longest:,}."
        )
    return Section(
        "game-length",
        "Length of battles",
        told,
        charts.game_length(lengths, names),
        Table(("Turns", f"{names['p1']} won", f"{names['p2']} won", "Draws"), rows),
    )


def decision_time(run: Run) -> Section | None:
    """How long decisions took."""
    times = decisions.decision_times(run)
    if not times:
        return None
    names = numbers.labels(run)
    told = ", ".join(f"{milliseconds(of_side.median)} for {names[side]}" for side, of_side in times.items())
    rows = tuple(
        (
            names[side],
            f"{of_side.decisions:,}",
            *(milliseconds(value) for value in (of_side.median, of_side.p90, of_side.p99, of_side.longest)),
        )
        for side, of_side in times.items()
    )
    table = Table(("Policy", "Decisions", "Median", "90\u00a0%", "99\u00a0%", "Longest"), rows)
    thinned = any(of_side.decisions > len(of_side.points) for of_side in times.values())
    note = "The scale is logarithmic. Waiting for other battles played at the same time can be part of it."
    if thinned:
        note += f" The shapes are drawn from {decisions.MAX_VIOLIN_POINTS} quantiles a policy, the table is from all."
    return Section(
        "decision-time",
        "Time for a decision",
        f"The median decision took {told}.",
        charts.decision_time(times, names),
        table,
        note,
    )


def effectiveness(run: Run) -> Section | None:
    """How well the chosen moves' types fitted the opponent."""
    classes = decisions.effectiveness(run)
    if not classes:
        return None
    names = numbers.labels(run)
    told = " and ".join(
        f"{percent(sum(counts[4:]) / sum(counts))} of {names[side]}'s" for side, counts in classes.items()
    )
    return Section(
        "effectiveness",
        "Type effectiveness of chosen moves",
        f"At least doubled by type: {told} damaging moves.",
        charts.effectiveness(classes, names),
        _shares(classes, decisions.EFFECTIVENESS_CLASSES, names),
        "Against the opponent in sight when the move was chosen, by its types alone.",
    )


def outcomes(run: Run) -> Section | None:
    """How decisions came about, and why some could not be used."""
    found = decisions.outcomes(run)
    if not found:
        return None
    names = numbers.labels(run)
    total = sum(sum(of_side.values()) for of_side in found.values())
    own = sum(
        of_side.get(Outcome.CHOSEN, 0) + of_side.get(Outcome.CHOSEN_AFTER_SECOND_ASK, 0) for of_side in found.values()
    )
    counts = {side: [of_side.get(outcome, 0) for outcome in charts.OUTCOME_NAMES] for side, of_side in found.items()}
    why = tuple(
        (names[side], charts.OUTCOME_NAMES[outcome], _REASON_NAMES[reason], f"{number:,}")
        for side, of_side in decisions.reasons(run).items()
        for (outcome, reason), number in of_side.items()
    )
    return Section(
        "outcomes",
        "How decisions came about",
        f"Of {count(total, 'decision')}, the policies chose {own:,} themselves ({percent(own / total)}).",
        charts.outcomes(found, names),
        _shares(counts, tuple(charts.OUTCOME_NAMES.values()), names),
        "Where one action was legal, nobody was asked. Substituted: the policy gave no usable answer, and a "
        "substitute played.",
        Table(("Policy", "Decision", "What was wrong with the answer", "Times"), why) if why else None,
    )


def _shares(rows: Mapping[numbers.Side, Sequence[int]], head: Sequence[str], names: charts.Labels) -> Table:
    used = [index for index in range(len(head)) if any(counts[index] for counts in rows.values())]
    return Table(
        ("Policy", *(head[index] for index in used)),
        tuple(
            (names[side], *(f"{counts[index]:,} ({percent(counts[index] / sum(counts))})" for index in used))
            for side, counts in rows.items()
        ),
    )
