"""The charts of a report, drawn by plotly: each a pure function of the report's figures.

Colours are names of CSS variables (`var(--p1)`): the page puts the values in, and again when it goes from light to
dark, so that a palette stands in one place. Blue and orange (after Okabe and Ito) stay apart for all common kinds of
colour blindness, and no chart tells by colour alone. There is no drag and no zoom: a finger on a chart scrolls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

import plotly.graph_objects as go

from services.reporter.figures import EFFECTIVENESS_CLASSES, Figures, LengthBin, Side
from services.reporter.labels import MAX_LABEL_CHARACTERS
from services.reporter.sections import OUTCOME_NAMES
from shared.battle.decision import Outcome
from shared.text import as_name, percent, percent_range
from shared.verdicts.scores import Winner

_INK, _QUIET, _RULE, _RAISED = "var(--ink)", "var(--quiet)", "var(--rule)", "var(--raised)"
_CLEAR = "rgba(0,0,0,0)"
_SIDE_COLOURS: Mapping[Side, str] = {"p1": "var(--p1)", "p2": "var(--p2)", "both": "var(--quiet)"}
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
_ROW_PIXELS = 62
_SHORTEST_MS = 0.001
"""A clock's grain: what took less stands here on the logarithmic axis."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """One part of a stacked bar: its name, colour and, to tell it without colour, its hatching."""

    name: str
    colour: str
    hatching: str = ""


_EFFECTIVENESS_SEGMENTS = tuple(
    _Segment(name, f"var(--effect-{index})", "/" if index == 0 else "")
    for index, name in enumerate(EFFECTIVENESS_CLASSES)
)
_OUTCOME_SEGMENTS = (
    _Segment(OUTCOME_NAMES[Outcome.CHOSEN], "var(--chosen)"),
    _Segment(OUTCOME_NAMES[Outcome.CHOSEN_AFTER_SECOND_ASK], "var(--asked-again)", "."),
    _Segment(OUTCOME_NAMES[Outcome.ONLY_ACTION], "var(--only-action)"),
    _Segment(OUTCOME_NAMES[Outcome.SUBSTITUTED], "var(--substituted)", "x"),
)


def label(text: str, characters: int = MAX_LABEL_CHARACTERS) -> str:
    """Foreign text for a chart, where plotly must not read `<b>` or `&lt;` in it as markup."""
    return escape(as_name(text, characters), quote=False)


def win_rate(figures: Figures) -> go.Figure:
    """p1's win rate after each finished battle, with the 95 % interval at each point."""
    points = figures.curve
    battles, rates = [point.battles for point in points], [point.estimate for point in points]
    lows, highs = [point.interval.low for point in points], [point.interval.high for point in points]
    told = [f"{percent(point.estimate)} ({percent_range(*point.interval)})" for point in points]
    few = len(points) <= 40
    band = {"line": {"width": 0}, "mode": "lines", "hoverinfo": "skip", "showlegend": False, "line_shape": "linear"}
    figure = go.Figure(layout=_layout(height=300))
    figure.add_scatter(x=battles, y=lows, **band)
    figure.add_scatter(x=battles, y=highs, fill="tonexty", fillcolor="var(--p1-band)", **band)
    figure.add_scatter(
        x=battles,
        y=rates,
        mode="lines+markers" if few else "lines",
        line={"color": "var(--p1)", "width": 2.5},
        marker={"color": "var(--p1)", "size": 6},
        customdata=told,
        hovertemplate="%{customdata}<br>after battle %{x}<extra></extra>",
        name=label(figures.names["p1"]),
    )
    if len(points) == 1:
        # A band needs two points; one is drawn as an error bar.
        figure.data[2].error_y = _whiskers(rates[0], lows[0], highs[0]) | {"color": "var(--p1)", "thickness": 2}
    figure.add_hline(y=0.5, line={"color": _QUIET, "width": 1, "dash": "dash"})
    figure.update_yaxes(range=[-0.02, 1.02], tickvals=[0, 0.25, 0.5, 0.75, 1], tickformat=".0%")
    figure.update_xaxes(title_text="finished battles", range=_battle_range(battles[-1]), **_whole_ticks(battles[-1]))
    return figure


def switch_rate(figures: Figures) -> go.Figure:
    """Share of free choices that were a switch, with its interval, a bar a policy."""
    rates = figures.switches
    figure = _rows(figures, list(rates))
    for row, (side, rate) in enumerate(rates.items()):
        figure.add_bar(
            x=[rate.rate],
            y=[row],
            width=0.42,
            orientation="h",
            marker={"color": _SIDE_COLOURS[side]},
            error_x=_whiskers(rate.rate, *rate.interval) | {"color": _INK, "thickness": 1.5, "width": 5},
            hovertemplate=f"{percent(rate.rate, 1)} of {rate.choices:,} choices<extra></extra>",
            showlegend=False,
        )
    most = max(rate.interval.high for rate in rates.values())
    figure.update_xaxes(range=[0, max(0.1, most * 1.05)], tickformat=".0%", nticks=6)
    return figure


def game_length(figures: Figures) -> go.Figure:
    """Finished battles by their number of turns, and who won them."""
    bins = figures.lengths.bins if figures.lengths else ()
    figure = go.Figure(layout=_layout(height=280, showlegend=True))
    figure.update_layout(barmode="stack", bargap=0.08)
    centres = [(length.first + length.last) / 2 for length in bins]
    series: tuple[tuple[Winner, str, str, str], ...] = (
        ("p1", f"{label(figures.names['p1'], 20)} won", "var(--p1)", ""),
        ("p2", f"{label(figures.names['p2'], 20)} won", "var(--p2)", "/"),
        ("draw", "draw", "var(--quiet)", "."),
    )
    for winner, name, colour, hatching in series:
        battles = [length.battles.get(winner, 0) for length in bins]
        if any(battles):
            figure.add_bar(
                x=centres,
                y=battles,
                customdata=[length.turns for length in bins],
                name=name,
                marker=_filled(colour, hatching),
                hovertemplate="%{y} after %{customdata} turns",
            )
    first, last = bins[0].first, bins[-1].last
    # A single bar would otherwise fill the chart.
    room = max(0.5, 4 * (bins[0].last - first + 1) - (last - first) / 2)
    figure.update_xaxes(title_text="turns", showgrid=False, **_whole_ticks(last + 2 * room, first))
    figure.update_xaxes(range=[first - room, last + room])
    figure.update_yaxes(title_text="battles", rangemode="tozero", **_whole_ticks(max(map(_battles_in, bins))))
    return figure


def decision_time(figures: Figures) -> go.Figure:
    """The distribution of decision times, a violin a policy, on a logarithmic axis."""
    times = figures.times
    figure = _rows(figures, list(times), pixels=92)
    # The density is estimated on the logarithms: on the times themselves, one slow answer would flatten all others.
    logarithms = {side: [log10(max(point, _SHORTEST_MS)) for point in found.points] for side, found in times.items()}
    for row, (side, values) in enumerate(logarithms.items()):
        few = len(values) < 10
        figure.add_violin(
            x=values,
            y=[row] * len(values),
            orientation="h",
            width=0.62,
            line={"color": _SIDE_COLOURS[side], "width": 1.5},
            fillcolor=f"var(--{side}-band)",
            box={"visible": not few, "width": 0.28, "fillcolor": _RAISED},
            points="all" if few else False,
            pointpos=0,
            jitter=0,
            spanmode="hard",
            hoverinfo="skip",
            showlegend=False,
        )
    every = [value for values in logarithms.values() for value in values]
    first, last = min(every) - 0.3, max(every) + 0.3
    figure.update_xaxes(range=[first, last], **_time_ticks(first, last))
    return figure


def effectiveness(figures: Figures) -> go.Figure:
    """Shares of damaging moves by type multiplier, a bar a policy."""
    return _shares(figures, figures.effectiveness, _EFFECTIVENESS_SEGMENTS)


def outcomes(figures: Figures) -> go.Figure:
    """How decisions came about, a bar a policy."""
    counts = {side: [found.get(outcome, 0) for outcome in OUTCOME_NAMES] for side, found in figures.outcomes.items()}
    return _shares(figures, counts, _OUTCOME_SEGMENTS)


CHARTS: Mapping[str, Callable[[Figures], go.Figure]] = {
    "win-rate": win_rate,
    "switch-rate": switch_rate,
    "game-length": game_length,
    "decision-time": decision_time,
    "effectiveness": effectiveness,
    "outcomes": outcomes,
}
"""By the name of the section that shows it."""


def charts(figures: Figures, sections: Sequence[str]) -> dict[str, object]:
    """The charts of these sections, as plotly.js takes them."""
    return {name: CHARTS[name](figures).to_plotly_json() for name in sections}


def _shares(figures: Figures, rows: Mapping[Side, Sequence[int]], segments: Sequence[_Segment]) -> go.Figure:
    figure = _rows(figures, list(rows), legend=True)
    figure.update_layout(barmode="stack")
    for index, segment in enumerate(segments):
        if not any(counts[index] for counts in rows.values()):
            continue
        shares = [counts[index] / sum(counts) for counts in rows.values()]
        figure.add_bar(
            x=shares,
            y=list(range(len(rows))),
            width=0.46,
            orientation="h",
            name=segment.name,
            marker=_filled(segment.colour, segment.hatching),
            text=[percent(share) if share >= 0.09 else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": "var(--on-segment)", "size": 12},
            customdata=[
                f"{percent(share, 1)} ({counts[index]:,})" for share, counts in zip(shares, rows.values(), strict=True)
            ],
            hovertemplate="%{customdata}",
        )
    figure.update_xaxes(range=[0, 1], visible=False)
    return figure


def _rows(figures: Figures, sides: Sequence[Side], *, pixels: int = _ROW_PIXELS, legend: bool = False) -> go.Figure:
    """A chart of one horizontal row a policy, its name above the row, where a phone has room for it."""
    figure = go.Figure(layout=_layout(height=40 + pixels * len(sides) + (60 if legend else 0), showlegend=legend))
    for row, side in enumerate(sides):
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=row - 0.36,
            yanchor="bottom",
            text=label(figures.names[side]),
            showarrow=False,
        )
    figure.update_layout(margin_l=16)  # room for the first tick's label, which plotly else leaves out
    figure.update_yaxes(range=[len(sides) - 0.55, -0.78], visible=False)
    return figure


def _layout(*, height: int, showlegend: bool = False) -> go.Layout:
    axis = {
        "automargin": True,
        "fixedrange": True,
        "gridcolor": _RULE,
        "linecolor": _RULE,
        "zeroline": False,
        "tickfont": {"color": _QUIET, "size": 12},
        "title": {"font": {"color": _QUIET, "size": 12}, "standoff": 10},
    }
    return go.Layout(
        template="none",
        height=height,
        autosize=True,
        margin={"l": 4, "r": 20, "t": 8, "b": 12},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        font={"family": _FONT, "size": 13, "color": _INK},
        hoverlabel={"bgcolor": _RAISED, "bordercolor": _RULE, "font": {"color": _INK}, "align": "left"},
        dragmode=False,
        showlegend=showlegend,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
            "font": {"size": 12, "color": _INK},
            "itemclick": False,
            "itemdoubleclick": False,
        },
        xaxis=axis,
        yaxis=axis,
    )


def _whiskers(value: float, low: float, high: float) -> dict[str, object]:
    return {"type": "data", "array": [high - value], "arrayminus": [value - low]}


def _filled(colour: str, hatching: str) -> dict[str, object]:
    pattern = {"shape": hatching, "fgcolor": "var(--hatching)", "fillmode": "overlay", "size": 6, "solidity": 0.2}
    filled: dict[str, object] = {"color": colour, "line": {"color": "var(--paper)", "width": 1}}
    return filled | {"pattern": pattern} if hatching else filled


def _battle_range(last: int) -> list[float]:
    return [0.5, 1.5] if last == 1 else [1 - 0.02 * last, last * 1.02]


def _whole_ticks(last: float, first: float = 0) -> dict[str, object]:
    """Ticks at whole numbers only, where plotly by itself would print 0.5 battles."""
    return {"dtick": 1} if last - first <= 8 else {"nticks": 8}


def _battles_in(length: LengthBin) -> int:
    return sum(length.battles.values())


def _time_ticks(first: float, last: float) -> dict[str, object]:
    """Ticks between two logarithms of milliseconds: at powers of ten, at 2 and 5 times them too where those are few."""
    decades = range(floor(first), floor(last) + 1)
    steps = (1,) if last - first > 2 else (1, 2, 5)
    times = [step * 10.0**decade for decade in decades for step in steps]
    shown = [time for time in times if first <= log10(time) <= last]
    every = 2 if len(shown) > 5 else 1
    return {
        "tickvals": [log10(time) for time in shown],
        # A phone has room for about five labels.
        "ticktext": ["" if index % every else _round_ms(time) for index, time in enumerate(shown)],
    }


def _round_ms(time: float) -> str:
    return f"{time / 1000:,g} s" if time >= 1000 else f"{time:g} ms"
