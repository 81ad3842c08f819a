"""The ladder of a training: how strong it was at each checkpoint or round, as a table and a curve."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.reporter.leaderboard import RatedRun, table, told
from services.reporter.report import page, template_text
from shared.records import Run
from shared.verdicts.intervals import EXPLAINED
from shared.verdicts.ratings import Rating

WIDTH, HEIGHT, EDGE = 640.0, 240.0, 32.0
"""Of the curve, in its own units."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A checkpoint or a round, or an anchor, and its rating."""

    name: str
    rating: Rating
    at: tuple[float, float, float, float] | None = None
    """On the curve: x, and y of low, estimate and high; None for an anchor, and where no number fits."""

    @property
    def told(self) -> str:
        """The rating in words."""
        return told(self.rating)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs in the order of the training, then who stood still."""

    rungs: tuple[Rung, ...]
    anchors: tuple[Rung, ...]
    anchor: str

    @property
    def points(self) -> str:
        """The curve, as SVG has it."""
        return " ".join(f"{rung.at[0]:.1f},{rung.at[2]:.1f}" for rung in self.rungs if rung.at)

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Name → rating."""
        return {each.name: each.rating.model_dump(mode="json") for each in (*self.rungs, *self.anchors)}

    @property
    def lines(self) -> list[str]:
        """For a terminal."""
        return [f"{each.name}: {each.told}" for each in (*self.rungs, *self.anchors)]


def ladder(runs: Iterable[Run], rungs: Mapping[str, str], anchor: str) -> Ladder:
    """The ladder of these runs; `rungs` has a name for each policy that was trained, in order.

    Raises UsageError where the anchor never played.
    """
    rated = {line.policy: line.as_played for line in table(map(RatedRun.of, runs), anchor=anchor).lines}
    found = {policy: rated[policy] for policy in rungs if policy in rated}
    known = [each for each in found.values() if each.low is not None and each.high is not None and each.rating]
    low = min((each.low or 0.0 for each in known), default=0.0)
    high = max((each.high or 0.0 for each in known), default=1.0)

    def y(rating: float) -> float:
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (rating - low) / ((high - low) or 1.0)

    def placed(place: int, rating: Rating) -> tuple[float, float, float, float] | None:
        if rating.rating is None or rating.low is None or rating.high is None:
            return None
        x = EDGE + (WIDTH - 2 * EDGE) * (place / (len(found) - 1) if len(found) > 1 else 0.5)
        return x, y(rating.low), y(rating.rating), y(rating.high)

    return Ladder(
        rungs=tuple(
            Rung(rungs[policy], rating, placed(place, rating)) for place, (policy, rating) in enumerate(found.items())
        ),
        anchors=tuple(Rung(policy, rating) for policy, rating in rated.items() if policy not in rungs),
        anchor=anchor,
    )


def render_ladder(found: Ladder, of: str) -> str:
    """The ladder as a page."""
    return page(
        "ladder.html.j2",
        ladder=found,
        of=of,
        interval=EXPLAINED,
        style=template_text("report.css") + template_text("leaderboard.css"),
    )
