"""The one report of a whole loop: who won, how sure that is, and how well the model decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.reporter.figures import Figures
from services.reporter.ladder import Ladder, ladder
from services.reporter.report import page, template_text
from services.reporter.verdict import verdict
from shared.records import Run
from shared.text import percent, percent_range
from shared.verdicts.intervals import EXPLAINED, Interval, WinRate
from shared.verdicts.ratings import ANCHOR

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
    cost: Mapping[str, float]
    """Who → win probability that a decision gives away on average, by the teacher's values; empty without a teacher."""
    rounds: tuple[str, ...]
    """The policies that came of the rounds, in order."""


@dataclass(frozen=True, slots=True)
class LoopMatchup:
    """One matchup's line."""

    question: str
    rate: WinRate
    """0 % to 100 % where no battle finished."""
    without_luck: str
    """The win rate with the luck taken out, and its interval; a dash where it was not."""
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
    names = {policy: f"round {number}" for number, policy in enumerate(loop.rounds, start=1)}
    climbed = ladder(loop.runs.values(), names, _anchor(loop))
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
        ladder=climbed,
        interval=EXPLAINED,
        style=template_text("report.css") + template_text("leaderboard.css"),
    )
    return LoopPage(html, _figures(loop, fought, climbed), (*_lines(loop, fought), *climbed.lines))


def _anchor(loop: Loop) -> str:
    """Whom the scale is set by: the usual anchor where it played, else whoever was met first."""
    met = [name for run in loop.runs.values() for name in (run.summary.p2_agent, run.summary.p1_agent)]
    return ANCHOR if ANCHOR in met else met[0]


def _fought(question: str, run: Run) -> LoopMatchup:
    figures = Figures.of(run)
    said = verdict(figures)
    rate = figures.rate or WinRate(0, 0.0, Interval(0.0, 1.0), None)
    luck = run.summary.luck
    calm = f"{percent(luck.p1_win_rate, 1)} ({percent_range(*luck.p1_win_rate_interval, 1)})" if luck else "–"
    return LoopMatchup(question, rate, calm, f"{said.result} {said.judgement}", said.substitutions)


def _figures(loop: Loop, fought: list[LoopMatchup], climbed: Ladder) -> dict[str, Any]:
    return {
        "model": loop.model,
        "recipe": loop.recipe,
        "matchups": {
            each.question: {
                "battles": each.rate.battles,
                "win_rate": each.rate.estimate,
                "interval": list(each.rate.interval),
                "without_luck": None if (luck := loop.runs[each.question].summary.luck) is None else luck.p1_win_rate,
                "interval_without_luck": None if luck is None else list(luck.p1_win_rate_interval),
            }
            for each in fought
        },
        "decision_accuracy": {
            who: {kind: _share(kinds, kind) for kind in kinds} for who, kinds in loop.accuracy.items()
        },
        "legal_share_without_constraint": dict(loop.legal_share),
        "perplexity": dict(loop.perplexity),
        "decision_cost": dict(loop.cost),
        "ratings": climbed.figures,
    }


def _lines(loop: Loop, fought: list[LoopMatchup]) -> list[str]:
    lines = [
        f"{each.question}: {percent(each.rate.estimate, 1)} of {each.rate.battles} "
        f"({percent_range(*each.rate.interval, 1)}); without luck {each.without_luck}"
        for each in fought
    ]
    for who, kinds in loop.accuracy.items():
        parts = ", ".join(f"{kind} {_share(kinds, kind):.3f}" for kind in KINDS if kind in kinds)
        lines.append(f"decision accuracy of {SHOWN.get(who, who)}: {parts}")
    lines += [
        f"a decision of {SHOWN[who]} loses {percent(lost, 1)} of win probability" for who, lost in loop.cost.items()
    ]
    return lines


def _share(kinds: Mapping[str, tuple[float, int]], kind: str) -> float:
    hits, decisions = kinds[kind]
    return hits / decisions if decisions else 0.0
