"""How a table of ratings becomes the leaderboard: one HTML page that opens offline, without scripts.

As in a report, text from models and players is hostile until shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.reporter.page import environment, template_text
from services.reporter.standings import Line, Table
from shared import text as words
from shared.tournaments import DecisionTotals
from shared.verdicts.intervals import WinRate
from shared.verdicts.ratings import Rating, RatingKnown

_MAX_NAME_CHARACTERS = 60
_MAX_NOTE_CHARACTERS = 400
_EDGE_POINTS = 40.0
"""Room beside the outermost ends of the intervals."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a rating lies on the page's scale, in percent of its width."""

    low: float
    high: float
    estimate: float | None


def render_leaderboard(table: Table, notes: Sequence[str] = ()) -> str:
    """The leaderboard. The same table gives the same page. `notes` are sentences that stand beside our own."""
    first, last = _scale(table)
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            table=table,
            names={line.policy: words.as_name(line.policy, _MAX_NAME_CHARACTERS) for line in table.lines},
            spans={line.policy: _span(line.as_played, first, last) for line in table.lines},
            ends=(f"{first:,.0f}", f"{last:,.0f}"),
            anchor_at=100 * (table.anchor_rating - first) / (last - first),
            told=told,
            places=_places(table.lines),
            cells={pairing: _cell(rate) for pairing, rate in table.matrix.items()},
            notes=[*_notes(table), *(words.one_line(note, _MAX_NOTE_CHARACTERS) for note in notes)],
            cost=cost,
            links=[_safe(run.link) for run in table.runs],
            style=template_text("report.css") + template_text("leaderboard.css"),
            words=words,
        )
    )


def told(rating: Rating | None) -> str:
    """`1,120 (1,050 to 1,190)`, or in words what is known where no number fits."""
    if rating is None:
        return "no battle without a substitution"
    match rating.known:
        case RatingKnown.RATED:
            assert rating.estimate is not None and rating.low is not None and rating.high is not None
            return f"{rating.estimate:,.0f} ({rating.low:,.0f} to {rating.high:,.0f})"
        case RatingKnown.ABOVE:
            return f"above {rating.low:,.0f}: never beaten"
        case RatingKnown.BELOW:
            return f"below {rating.high:,.0f}: never won a point"
        case RatingKnown.NO_LINK:
            return "unknown: no chain of results leads to the anchor"


def cost(decisions: DecisionTotals, number: int) -> str:
    """What one of `number` decisions or battles cost; a dash where no model was asked."""
    if not decisions.asks or not number:
        return "–"
    if decisions.asks_without_cost == decisions.asks:
        return "unknown"
    return words.usd(decisions.cost_usd / number) + (" or more" if decisions.asks_without_cost else "")


def place(rating: Rating, shared: bool) -> str:
    """`1`, or `2=` where others have the same rank."""
    return "–" if rating.rank is None else f"{rating.rank}{'=' if shared else ''}"


def _places(lines: Sequence[Line]) -> dict[str, str]:
    ranks = [line.as_played.rank for line in lines]
    return {line.policy: place(line.as_played, ranks.count(line.as_played.rank) > 1) for line in lines}


def _scale(table: Table) -> tuple[float, float]:
    ends = [end for line in table.lines for end in (line.as_played.low, line.as_played.high) if end is not None] + [
        table.anchor_rating
    ]
    return min(ends) - _EDGE_POINTS, max(ends) + _EDGE_POINTS


def _span(rating: Rating, first: float, last: float) -> Span | None:
    """None where nothing is known. An end that nothing bounds runs to the edge."""
    if rating.known is RatingKnown.NO_LINK:
        return None

    def at(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else 100 * (value - first) / (last - first)

    return Span(at(rating.low, 0), at(rating.high, 100), None if rating.estimate is None else at(rating.estimate, 0))


def _cell(rate: WinRate) -> tuple[str, str, str]:
    """What a cell of the matrix shows, what stands behind it, and whether it is clear."""
    low, high = rate.interval.low, rate.interval.high
    clear = "won" if low > 0.5 else "lost" if high < 0.5 else ""
    return words.percent(rate.estimate), f"{words.percent(low)} to {words.percent(high)}, {rate.battles:,}", clear


def _notes(table: Table) -> list[str]:
    """What a reader must know beside the numbers."""
    notes = []
    for line in table.lines:
        name = words.as_name(line.policy, _MAX_NAME_CHARACTERS)
        if line.as_played.known is not RatingKnown.RATED:
            notes.append(f"{name}: {told(line.as_played)}.")
        share = line.decisions.substituted_share
        if share is not None and share > 0.05:
            notes.append(f"{name}: {words.percent(share)} of its decisions were its substitute's; see own choices.")
    broken = sum(run.broken for run in table.runs)
    if broken:
        notes.append(f"{words.count(broken, 'battle')} broke and {'counts' if broken == 1 else 'count'} for neither.")
    if table.repeated:
        notes.append(f"Given more than once, and counted once: {words.count(table.repeated, 'run')}.")
    return notes


def _safe(link: str | None) -> str | None:
    """A link that leads to a page, and runs nothing."""
    return link if link and urlsplit(link).scheme in ("", "http", "https") else None
