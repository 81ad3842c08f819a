"""The one report of a whole loop: who won, how sure that is, and how well the model decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.reporter.figures import Figures
from services.reporter.report import page, template_text
from services.reporter.verdict import verdict
from shared.records import Run
from shared.text import percent, percent_range
from shared.verdicts.intervals import EXPLAINED, Interval, WinRate

KINDS = ("all", "move", "voluntary switch", "forced switch", "tera")
SHOWN = {"tuned": "the tuned model", "base": "its base"}


@dataclass(frozen=True, slots=True)
class Loop:
    """What a loop came to."""

    model: str
    base: str
    teacher: str
    recipe: str
    runs: Mapping[str, Run]
    """Question → the run that answers it."""
    accuracy: Mapping[str, Mapping[str, tuple[float, int]]]
    """Who → kind of decision → hits, and of how many held-out decisions."""
    legal_share: Mapping[str, float]
    perplexity: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LoopMatchup:
    """One matchup's line."""

    question: str
    rate: WinRate
    """0 % to 100 % where no battle finished."""
    sentence: str
    substitutions: str


@dataclass(frozen=True, slots=True)
class LoopPage:
    """The page, and the same in figures and in lines for a terminal."""

    html: str
    figures: dict[str, Any]
    lines: tuple[str, ...]


def render_loop(loop: Loop) -> LoopPage:
    """The report of a loop."""
    fought = [_fought(question, run) for question, run in loop.runs.items()]
    counts = loop.accuracy["tuned"]
    heads = [f"{kind} ({counts[kind][1] if kind in counts else 0})" for kind in KINDS]
    rows = [
        (SHOWN.get(who, who), [percent(_share(kinds, kind), 1) if kind in kinds else "–" for kind in KINDS])
        for who, kinds in sorted(loop.accuracy.items(), key=lambda each: (each[0] not in SHOWN, each[0] != "tuned"))
    ]
    substitutions: dict[str, list[str]] = {}
    for each in fought:
        substitutions.setdefault(each.substitutions, []).append(each.question)
    html = page(
        "loop.html.j2",
        found=loop,
        fought=fought,
        substitutions=substitutions,
        heads=heads,
        rows=rows,
        shown=SHOWN,
        interval=EXPLAINED,
        style=template_text("report.css") + template_text("leaderboard.css"),
    )
    return LoopPage(html, _figures(loop, fought), tuple(_lines(loop, fought)))


def _fought(question: str, run: Run) -> LoopMatchup:
    figures = Figures.of(run)
    said = verdict(figures)
    rate = figures.rate or WinRate(0, 0.0, Interval(0.0, 1.0), None)
    return LoopMatchup(question, rate, f"{said.result} {said.judgement}", said.substitutions)


def _figures(loop: Loop, fought: list[LoopMatchup]) -> dict[str, Any]:
    return {
        "model": loop.model,
        "recipe": loop.recipe,
        "matchups": {
            each.question: {
                "battles": each.rate.battles,
                "win_rate": each.rate.estimate,
                "interval": list(each.rate.interval),
            }
            for each in fought
        },
        "decision_accuracy": {
            who: {kind: _share(kinds, kind) for kind in kinds} for who, kinds in loop.accuracy.items()
        },
        "legal_share_without_constraint": dict(loop.legal_share),
        "perplexity": dict(loop.perplexity),
    }


def _lines(loop: Loop, fought: list[LoopMatchup]) -> list[str]:
    lines = [
        f"{question}: {percent(rate.estimate, 1)} of {rate.battles} ({percent_range(*rate.interval, 1)})"
        for question, rate in ((each.question, each.rate) for each in fought)
    ]
    for who, kinds in loop.accuracy.items():
        parts = ", ".join(f"{kind} {_share(kinds, kind):.3f}" for kind in KINDS if kind in kinds)
        lines.append(f"decision accuracy of {SHOWN.get(who, who)}: {parts}")
    return lines


def _share(kinds: Mapping[str, tuple[float, int]], kind: str) -> float:
    hits, decisions = kinds[kind]
    return hits / decisions if decisions else 0.0
