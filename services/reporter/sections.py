"""The sections of a report: what each says in words, and its numbers as a table. charts.py draws the charted ones.

A section whose figures a run does not have is None, and the report goes without it. The sentence and the table are
not decoration: they are what a screen reader, a printer and a browser without JavaScript get.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.reporter.figures import EFFECTIVENESS_CLASSES, MAX_VIOLIN_POINTS, Figures, Side, Substitutions
from shared.battle.decision import Outcome, Reason
from shared.battle.protocol import SEATS, Seat
from shared.records import Asking, Run
from shared.text import as_name, count, milliseconds, percent, percent_range, together, usd
from shared.verdicts.intervals import WinRate

OUTCOME_NAMES: Mapping[Outcome, str] = {
    Outcome.CHOSEN: "chosen",
    Outcome.CHOSEN_AFTER_SECOND_ASK: "chosen when asked again",
    Outcome.ONLY_ACTION: "only one action",
    Outcome.SUBSTITUTED: "substituted",
}
_CURVE_ROWS = 12
_MAX_MODEL_CHARACTERS = 60
_INTERVAL = "95\u00a0% interval"
_UNKNOWN = "unknown"
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
class ReportTable:
    """Rows of text under a head. The first column is words, the others are figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One charted section. `name` is its anchor, and its chart's name."""

    name: str
    title: str
    sentence: str
    table: ReportTable
    note: str = ""
    more: ReportTable | None = None


def charted(figures: Figures) -> tuple[Section, ...]:
    """The charted sections of this run, in the order of the page."""
    every = (win_rate, switch_rate, game_length, decision_time, effectiveness, outcomes)
    return tuple(section for made in every if (section := made(figures)) is not None)


def win_rate(figures: Figures) -> Section | None:
    """The cumulative win rate."""
    points, decimals = figures.curve, figures.decimals
    if not points:
        return None
    wanted = sorted({round(step * (len(points) - 1) / _CURVE_ROWS) for step in range(_CURVE_ROWS + 1)})
    rows = tuple(
        (f"{point.battles:,}", percent(point.estimate, decimals), percent_range(*point.interval, decimals))
        for point in (points[index] for index in wanted)
    )
    ends = percent(points[-1].estimate, decimals)
    return Section(
        "win-rate",
        "Win rate, battle by battle",
        f"{figures.names['p1']}'s win rate after each finished battle. It ends at {ends}.",
        ReportTable(("After battle", "Win rate", _INTERVAL), rows),
        f"The band is the {_INTERVAL} at each point by itself; it does not promise that the whole line stays inside.",
    )


def switch_rate(figures: Figures) -> Section | None:
    """How often each policy switched by choice."""
    rates, names = figures.switches, figures.names
    if not rates:
        return None
    told = " and ".join(f"{names[side]} switched in {percent(rate.rate)}" for side, rate in rates.items())
    rows = tuple(
        (names[side], f"{of.switches:,}", f"{of.choices:,}", percent(of.rate, 1), percent_range(*of.interval, 1))
        for side, of in rates.items()
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
        ReportTable(("Policy", "Switches", "Choices", "Rate", _INTERVAL), rows),
        f"{counted} The whiskers are {_INTERVAL}s.",
    )


def game_length(figures: Figures) -> Section | None:
    """How many turns the battles took."""
    lengths, names = figures.lengths, figures.names
    if lengths is None:
        return None
    rows = tuple(
        (each.turns, *(f"{each.battles.get(winner, 0):,}" for winner in ("p1", "p2", "draw"))) for each in lengths.bins
    )
    if lengths.shortest == lengths.longest:
        every = "The battle" if figures.tally.finished == 1 else "Every battle"
        told = f"{every} took {count(lengths.longest, 'turn')}."
    else:
        told = (
            f"A battle took {lengths.mean:.1f} turns on average; half of them took at most {lengths.median:g}, "
            f"the shortest {lengths.shortest:,} and the longest {lengths.longest:,}."
        )
    table = ReportTable(("Turns", f"{names['p1']} won", f"{names['p2']} won", "Draws"), rows)
    return Section("game-length", "Length of battles", told, table)


def decision_time(figures: Figures) -> Section | None:
    """How long decisions took."""
    times, names = figures.times, figures.names
    if not times:
        return None
    told = ", ".join(f"{milliseconds(of_side.median)} for {names[side]}" for side, of_side in times.items())
    rows = tuple(
        (names[side], f"{of.decisions:,}", *map(milliseconds, (of.median, of.p90, of.p99, of.longest)))
        for side, of in times.items()
    )
    note = "The scale is logarithmic. Waiting for other battles played at the same time can be part of it."
    if any(of_side.decisions > len(of_side.points) for of_side in times.values()):
        note += f" The shapes are drawn from {MAX_VIOLIN_POINTS} quantiles a policy, the table is from all."
    return Section(
        "decision-time",
        "Time for a decision",
        f"The median decision took {told}.",
        ReportTable(("Policy", "Decisions", "Median", "90\u00a0%", "99\u00a0%", "Longest"), rows),
        note,
    )


def effectiveness(figures: Figures) -> Section | None:
    """How well the chosen moves' types fitted the opponent."""
    classes, names = figures.effectiveness, figures.names
    if not classes:
        return None
    told = " and ".join(
        f"{percent(sum(counts[4:]) / sum(counts))} of {names[side]}'s" for side, counts in classes.items()
    )
    return Section(
        "effectiveness",
        "Type effectiveness of chosen moves",
        f"At least doubled by type: {told} damaging moves.",
        _shares(classes, EFFECTIVENESS_CLASSES, names),
        "Against the opponent in sight when the move was chosen, by its types alone.",
    )


def outcomes(figures: Figures) -> Section | None:
    """How decisions came about, and why some could not be used."""
    found, names = figures.outcomes, figures.names
    if not found:
        return None
    counts = {side: [of_side.get(outcome, 0) for outcome in OUTCOME_NAMES] for side, of_side in found.items()}
    total, own = sum(map(sum, counts.values())), sum(sum(of_side[:2]) for of_side in counts.values())
    why = tuple(
        (names[side], OUTCOME_NAMES[outcome], _REASON_NAMES[reason], f"{number:,}")
        for side, of_side in figures.reasons.items()
        for (outcome, reason), number in of_side.items()
    )
    return Section(
        "outcomes",
        "How decisions came about",
        f"Of {count(total, 'decision')}, the policies chose {own:,} themselves ({percent(own / total)}).",
        _shares(counts, tuple(OUTCOME_NAMES.values()), names),
        "Where one action was legal, nobody was asked. Substituted: the policy gave no usable answer, and a "
        "substitute played.",
        ReportTable(("Policy", "Decision", "What was wrong with the answer", "Times"), why) if why else None,
    )


def _shares(rows: Mapping[Side, Sequence[int]], head: Sequence[str], names: Mapping[Side, str]) -> ReportTable:
    used = [index for index in range(len(head)) if any(counts[index] for counts in rows.values())]
    return ReportTable(
        ("Policy", *(head[index] for index in used)),
        tuple(
            (names[side], *(f"{counts[index]:,} ({percent(counts[index] / sum(counts))})" for index in used))
            for side, counts in rows.items()
        ),
    )


# ── what asking models took ─────────────────────────────────────────────────────────────────────────


def policy_table(figures: Figures) -> ReportTable:
    """One row a policy: how it did, how far that is its own doing, and what it took."""
    played, rate = figures.run.summary, figures.rate
    rows = []
    for seat in SEATS:
        own, times, asking = figures.substitutions.get(seat), figures.times.get(seat), _asking(figures.run).get(seat)
        won = rate if rate is None or seat == "p1" else rate.mirrored()
        rows.append(
            (
                figures.names[seat],
                _rate(won, figures.decimals) if won else "–",
                _own(own),
                _cost(asking, played.n_games + played.broken) if asking else "–",
                milliseconds(times.median) if times else "–",
                _both_tokens(asking) if asking else "–",
            )
        )
    head = ("Policy", "Win rate", "Decided itself", "Cost", "Time a decision", "Tokens")
    return ReportTable(head, tuple(rows))


def _rate(rate: WinRate, decimals: int) -> str:
    return f"{percent(rate.estimate, decimals)} {together(f'({percent_range(*rate.interval, decimals)})')}"


def _own(of_side: Substitutions | None) -> str:
    if of_side is None or of_side.rate is None:
        return _UNKNOWN
    of = f" of\u00a0{of_side.decisions:,}" if of_side.decisions is not None else ""
    return f"{percent(1 - of_side.rate, 1 if of_side.rate else 0)}{of}"


def _both_tokens(asking: Asking) -> str:
    if asking.tokens_in is None or asking.tokens_out is None:
        return _UNKNOWN
    more = " or more" * bool(asking.asks_without_tokens)
    return f"{asking.tokens_in:,}\u00a0in, {together(f'{asking.tokens_out:,} out{more}')}"


def model_table(figures: Figures) -> ReportTable | None:
    """Everything that is known of the asks; None where no model was asked."""
    run, of_side = figures.run, _asking(figures.run)
    if not of_side:
        return None
    columns = [_column(run, seat, asking) for seat, asking in of_side.items()]
    rows = tuple((name, *(column[name] for column in columns)) for name in columns[0])
    return ReportTable(("", *(figures.names[seat] for seat in of_side)), rows)


def _column(run: Run, seat: Seat, asking: Asking) -> dict[str, str]:
    forfeits = run.summary.p1_forfeits if seat == "p1" else run.summary.p2_forfeits
    models = ", ".join(as_name(model, _MAX_MODEL_CHARACTERS) for model in asking.models[:5])
    column = {
        "Model, as its server names it": models or _UNKNOWN,
        "Asks": f"{asking.asks:,}",
        "of them after an answer that could not be used": f"{asking.second_asks:,}",
        "Requests that were not answered": f"{asking.retries:,}",
        "Tokens in": _tokens(asking.tokens_in, asking),
        "Tokens out": _tokens(asking.tokens_out, asking),
        "Cost": _cost(asking, run.summary.n_games + run.summary.broken),
        "Median time to the first token": _time(asking.median_first_token_ms),
        "Median time to the last token": _time(asking.median_answer_ms),
        "Waited for a place or a server": f"{asking.waited_s:,.1f}\u00a0s",
        "Battles given up": f"{forfeits or 0:,}",
    }
    if run.cards:
        checked = run.cards.get(seat) == "checked"
        column["Contract"] = "as the model's card says" if checked else "assumed: its server shows no card"
    return column


def _asking(run: Run) -> Mapping[Seat, Asking]:
    found = {"p1": run.summary.p1_asking, "p2": run.summary.p2_asking}
    return {seat: asking for seat in SEATS if (asking := found[seat]) is not None}


def _tokens(tokens: int | None, asking: Asking) -> str:
    without = f", without {count(asking.asks_without_tokens, 'ask')}" if asking.asks_without_tokens else ""
    return _UNKNOWN if tokens is None else f"{tokens:,}{without}"


def _cost(asking: Asking, battles: int) -> str:
    if asking.cost_usd is None:
        return f"{_UNKNOWN}: no price is known"
    more = " or more" * bool(asking.asks_without_cost)
    if more or not battles or not asking.cost_usd:
        return usd(asking.cost_usd) + more
    return f"{usd(asking.cost_usd)} {together(f'({usd(asking.cost_usd / battles)} a battle)')}"


def _time(value: float | None) -> str:
    return _UNKNOWN if value is None else milliseconds(value)
