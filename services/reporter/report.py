"""How a run becomes a report: one HTML file that opens offline and needs nothing beside it.

Text from models and players is hostile until shown: jinja2 escapes it, `text.shown` makes its control characters
visible, `charts.label` keeps plotly from reading it as markup, and the page's Content-Security-Policy runs two
scripts and no others, each named by its hash: ours, and plotly.js, which is inlined gzipped (2 MB in place of 5).
"""

import base64
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from services.reporter import decisions, models, numbers, sections
from services.reporter.charts import OUTCOME_NAMES
from services.reporter.page import environment, template_text
from services.reporter.sections import Section
from services.reporter.verdict import decimals_for, verdict
from shared import text as words
from shared.records import MatchupRequest, Run, RunBattle, Unsubstituted

_MAX_TITLE_CHARACTERS = 300
_MAX_BROKEN_LISTED = 20
_FEW_CELLS = 120


@dataclass(frozen=True, slots=True)
class _Cell:
    """One battle in the outcome grid."""

    kind: str
    """p1, p2, draw or broken."""
    text: str


def render(run: Run) -> str:
    """The report of a run. The same run gives the same page, whatever the day."""
    tally = numbers.tally(run)
    names = numbers.labels(run)
    charted = tuple(
        section
        for section in (
            sections.win_rate(run),
            sections.switch_rate(run),
            sections.game_length(run),
            sections.decision_time(run),
            sections.effectiveness(run),
            sections.outcomes(run),
        )
        if section is not None
    )
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            titles=[
                words.as_name(name, _MAX_TITLE_CHARACTERS) for name in (run.summary.p1_agent, run.summary.p2_agent)
            ],
            names=names,
            verdict=verdict(run),
            tally=tally,
            rate=numbers.rate(run),
            decimals=decimals_for(numbers.rate(run)),
            substitutions=decisions.substitutions(run),
            own=_own(run),
            models=models.models(run),
            asking=models.table(run),
            charted=charted,
            figures=_figures(charted),
            grid=[[_cell(battle, names) for battle in group] for group in numbers.grid(run)],
            few_cells=len(run.battles) <= _FEW_CELLS,
            cells_left_out=max(0, len(run.battles) - numbers.MAX_CELLS),
            pairs=numbers.pairs(run),
            broken=[battle for battle in run.battles if battle.winner is None][:_MAX_BROKEN_LISTED],
            reasoning=decisions.reasoning_log(run),
            outcome_names=OUTCOME_NAMES,
            facts=tuple(_facts(run)),
            command=command_line(run.request) if run.request else None,
            style=template_text("report.css"),
            script=template_text("report.js"),
            plotly=_plotly().gzipped if charted else None,
            policy=_content_security_policy(),
            words=words,
        )
    )


def _own(run: Run) -> Unsubstituted | None:
    """The figures without substitutions, where they are others than those with them."""
    substituted = run.summary.p1_substitutions or run.summary.p2_substitutions
    return run.summary.unsubstituted if substituted else None


def command_line(request: MatchupRequest) -> str:
    """The command that plays this matchup again."""
    words_of_it = ["alphastral", "battle", "--p1", request.p1, "--p2", request.p2]
    if until := request.until_decided:
        words_of_it += ["--until-decided", "--margin", f"{until.margin:g}", "--error", f"{until.error:g}"]
        words_of_it += ["--max-battles", str(request.battles)]
    else:
        words_of_it += ["--n", str(request.battles)]
    words_of_it += ["--format", request.format, "--seed", str(request.seed)]
    words_of_it += [] if request.pairs else ["--no-pairs"]
    words_of_it += ["--move-delay", f"{request.move_delay:g}"] if request.move_delay else []
    words_of_it += ["--team1", "team1.txt"] if request.team1 else []
    words_of_it += ["--team2", "team2.txt"] if request.team2 else []
    words_of_it += ["--max-cost", f"{request.max_cost_usd:g}"] if request.max_cost_usd else []
    words_of_it += ["--max-tokens", str(request.max_tokens)] if request.max_tokens else []
    words_of_it += ["--battlefield", request.battlefield] if request.battlefield != "simulator" else []
    return shlex.join(words_of_it)


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """What one needs to know to play the matchup again, and to trust that it is the same."""
    request = run.request
    if run.matchup_id:
        yield "Matchup", run.matchup_id
    if run.created_at:
        yield "Asked for", run.created_at
    if request:
        yield "Format", request.format
        yield "Seed", str(request.seed)
        yield "Pairs", "yes: same seats, teams and dice, the policies exchanged" if request.pairs else "no"
        yield "Battlefield", request.battlefield
    teams = sorted({" and ".join(battle.teams) for battle in run.battles if battle.teams})
    if teams:
        yield "Sample teams", "; ".join(teams)
    seconds = run.summary.total_duration_s
    if seconds and isfinite(seconds):
        yield "Wall clock", words.duration(seconds)
    workers = len({battle.worker for battle in run.battles if battle.worker})
    if workers:
        yield "Played by", words.count(workers, "worker")
    for title, mapping in (("Contract", run.contract), ("Versions", run.versions)):
        if mapping:
            yield title, words.several(mapping)


def _cell(battle: RunBattle, names: Mapping[numbers.Side, str]) -> _Cell:
    pair = f", pair {battle.pair + 1}" if battle.pair is not None else ""
    which = f"Battle {battle.game_id}{pair}"
    if battle.winner is None:
        return _Cell("broken", f"{which}: broken")
    after = f"after {words.count(battle.n_turns, 'turn')}"
    ended = f"draw {after}" if battle.winner == "draw" else f"{names[battle.winner]} won {after}"
    return _Cell(battle.winner, f"{which}: {ended}")


def _figures(charted: Iterable[Section]) -> Markup:
    """The figures as JSON that is safe inside a script element: nothing in it can close the element."""
    document: Mapping[str, Any] = {section.name: section.figure.to_plotly_json() for section in charted}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _content_security_policy() -> str:
    """Two scripts and no network. plotly.js styles its drawings inline, so styles cannot be named by hash."""
    scripts = f"'{_hash(template_text('report.js'))}' '{_plotly().hash}'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@dataclass(frozen=True, slots=True)
class _Plotly:
    """plotly.js as it stands in a report, and its hash as the browser takes it, after unpacking."""

    gzipped: str
    hash: str


@cache
def _plotly() -> _Plotly:
    source: str = get_plotlyjs()
    gzipped = gzip.compress(source.encode(), compresslevel=9, mtime=0)
    return _Plotly(base64.b64encode(gzipped).decode(), _hash(source))


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
