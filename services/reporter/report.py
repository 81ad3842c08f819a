"""How a run becomes a report, and the job that writes it: one HTML file that opens offline and needs nothing beside it.

Text from models and players is hostile until shown: jinja2 escapes it, `text.shown` makes its control characters
visible, `charts.label` keeps plotly from reading it as markup, and the page's Content-Security-Policy runs three
scripts and no others, each named by its hash: ours, what opens battles, and plotly.js, inlined gzipped (2 MB, not 5).
"""

import base64
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from services.reporter.charts import charts
from services.reporter.figures import MAX_CELLS, Figures, Gathered, Side
from services.reporter.films import Document, Openable, chances, packed
from services.reporter.labels import named
from services.reporter.run import RunWriter, rows_of, told_of
from services.reporter.sections import OUTCOME_NAMES, charted, model_table, policy_table
from services.reporter.sums import RunSums
from services.reporter.turning import TurningPoints, of_battles
from services.reporter.verdict import verdict
from shared.choices import ChoiceReview
from shared.jobs import Context
from shared.jobs.routes import LookAtMatchup, WriteReport
from shared.matchups import Matchups
from shared.records import MatchupRequest, Run, RunBattle, TurnStat
from shared.standings import KeepsSums
from shared.text import as_name, count, duration, milliseconds, percent, percent_range, several, shown
from shared.verdicts.intervals import EXPLAINED

_MAX_WHOLE_CHARACTERS = 300
_FEW_CELLS = 120
_NO_SCRIPTS = Markup(
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One battle in the outcome grid."""

    kind: str
    """p1, p2, draw or broken."""
    text: str
    opens: int | None = None
    """The battle, where it can be opened."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """How likely p1 was to win through one battle, drawn 100 wide and 40 high."""

    cell: _Cell
    line: str
    """Points of an SVG path."""


def render(run: Run, choices: Mapping[int, ChoiceReview] = MappingProxyType({})) -> str:
    """The report of a run, with what decisions cost where that is known of battles.

    The same run gives the same page, whatever the day.
    """
    decisions: dict[str, list[TurnStat]] = {}
    for stat in run.turn_stats:
        decisions.setdefault(stat.battle_tag, []).append(stat)
    openable = Openable()
    for battle in run.battles:
        weighed = choices.get(battle.index) if battle.index is not None else None
        openable.add(run.request, battle, decisions.get(battle.battle_tag or "", ()), weighed)
    figures = Figures.of(run)
    return render_figures(figures, openable, of_battles(figures.names, run.battles, choices))


def render_figures(figures: Figures, openable: Openable, turning: TurningPoints) -> str:
    """The same, of a run whose rows are nowhere in memory."""
    run, sections = figures.run, charted(figures)
    return page(
        "report.html.j2",
        run=run,
        figures=figures,
        whole=[as_name(name, _MAX_WHOLE_CHARACTERS) for name in (run.summary.p1_agent, run.summary.p2_agent)],
        verdict=verdict(figures),
        policies=policy_table(figures),
        asking=model_table(figures),
        charted=sections,
        charts=_inside_a_script(charts(figures, [section.name for section in sections])),
        grid=[[_cell(battle, figures.names, openable) for battle in group] for group in figures.grid],
        curves=_curves(figures, openable),
        turning=turning,
        openable=openable,
        few_cells=figures.battles <= _FEW_CELLS,
        cells_left_out=max(0, figures.battles - MAX_CELLS),
        outcome_names=OUTCOME_NAMES,
        facts=tuple(_facts(figures)),
        interval=EXPLAINED,
        command=command_line(run.request) if run.request else None,
        style=template_text("report.css") + (template_text("view.css") if openable.films else ""),
        script=template_text("report.js"),
        viewer=_viewer(),
        plotly=_plotly().gzipped if sections else None,
        policy=_content_security_policy(),
    )


def page(template: str, **values: object) -> str:
    """A page. Everything that is not ours is escaped, and its control characters made visible."""
    return _environment().get_template(template).render(values)


def battle_page(film: Document) -> str:
    """One battle as one file, which opens offline and needs nothing beside it."""
    script = template_text("view.js") + template_text("battle.js")
    return page(
        "battle.html.j2",
        film=film,
        packed=packed(film),
        style=template_text("report.css") + template_text("view.css"),
        script=script,
        policy=page_policy(script_hash(script)),
    )


@cache
def template_text(name: str) -> Markup:
    """A file of the templates as it is, trusted."""
    text = files("services.reporter").joinpath("templates", name).read_text(encoding="utf-8")
    return Markup(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("services.reporter"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # On every value that the template prints, so that none is forgotten.
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else shown(value),
    )
    words = (as_name, count, milliseconds, percent, percent_range)
    environment.globals.update({function.__name__: function for function in words}, NO_SCRIPTS=_NO_SCRIPTS)
    return environment


def command_line(request: MatchupRequest) -> str:
    """The command that plays this matchup again."""
    until = request.until_decided
    options: dict[str, object] = {"p1": request.p1, "p2": request.p2}
    if until:
        options |= {"until-decided": "", "margin": f"{until.margin:g}", "error": f"{until.error:g}"}
    options |= {"max-battles" if until else "n": request.battles, "format": request.format, "seed": request.seed}
    seldom = {
        "no-pairs": "" if not request.pairs else None,
        "move-delay": f"{request.move_delay:g}" if request.move_delay else None,
        "team1": "team1.txt" if request.team1 else None,
        "team2": "team2.txt" if request.team2 else None,
        "max-cost": f"{request.max_cost_usd:g}" if request.max_cost_usd else None,
        "max-tokens": request.max_tokens,
        "name1": request.name1,
        "name2": request.name2,
        # By default it would decide otherwise, with the luck taken out.
        "luck": "off" if until and request.luck is None else None,
        "battlefield": request.battlefield if request.battlefield != "simulator" else None,
    }
    options |= {name: value for name, value in seldom.items() if value is not None}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value)) if word]
    return shlex.join(["alphastral", "battle", *given])


def _luck(request: MatchupRequest) -> str:
    if request.luck is None:
        return "not looked at: outcomes alone count"
    asked = request.luck
    of = f"{asked.copies} copies of each position, played with other dice"
    return f"taken out at {asked.share:.3g} of what the value model {asked.value} says of {of}"


def _facts(figures: Figures) -> Iterator[tuple[str, str]]:
    """What one needs to know to play the matchup again, and to trust that it is the same."""
    run, request = figures.run, figures.run.request
    if run.matchup_id:
        yield "Matchup", run.matchup_id
    if run.created_at:
        yield "Asked for", run.created_at
    if request:
        yield "Format", request.format
        yield "Seed", str(request.seed)
        yield "Pairs", "yes: same seats, teams and dice, the policies exchanged" if request.pairs else "no"
        yield "Battlefield", request.battlefield
        yield "Luck", _luck(request)
    if figures.teams:
        yield "Sample teams", "; ".join(sorted(map(" and ".join, figures.teams)))
    seconds = run.summary.total_duration_s
    if seconds and isfinite(seconds):
        yield "Wall clock", duration(seconds)
    if figures.workers:
        yield "Played by", count(figures.workers, "worker")
    for title, mapping in (("Contract", run.contract), ("Versions", run.versions)):
        if mapping:
            yield title, several(mapping)


def _cell(battle: RunBattle, names: Mapping[Side, str], openable: Openable) -> _Cell:
    opens = battle.index if battle.index in openable.films else None
    pair = f", pair {battle.pair}" if battle.pair is not None else ""
    which = f"Battle {battle.number}{pair}"
    if battle.winner is None:
        return _Cell("broken", f"{which}: broken", opens)
    after = f"after {count(battle.n_turns, 'turn')}"
    ended = f"draw {after}" if battle.winner == "draw" else f"{names[battle.winner]} won {after}"
    return _Cell(battle.winner, f"{which}: {ended}", opens)


def _curves(figures: Figures, openable: Openable) -> list[_Curve]:
    """Of the battles of the grid that were reviewed."""
    found = []
    for battle in (battle for group in figures.grid for battle in group):
        points = chances(battle.review)
        if len(points) > 1:
            scale = 100 / (points[-1][0] or 1)
            line = "L".join(f"{after * scale:.0f} {40 - 40 * chance:.0f}" for after, chance, _ in points)
            found.append(_Curve(_cell(battle, figures.names, openable), line))
    return found


def _inside_a_script(document: object) -> Markup:
    """JSON that is safe inside a script element: nothing in it can close the element."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _content_security_policy() -> str:
    """Three scripts and no network. plotly.js styles its drawings inline, so styles cannot be named by hash."""
    return page_policy(script_hash(template_text("report.js")), _plotly().hash, script_hash(_viewer()))


def _viewer() -> Markup:
    return template_text("view.js") + template_text("open.js")


def page_policy(*hashes: str) -> str:
    """What may run in a page: the scripts of these hashes. Sprites come from Showdown's server where a reader wants."""
    named = " ".join(f"'{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {named}; style-src 'unsafe-inline'; "
        "img-src data: https://play.pokemonshowdown.com; base-uri 'none'; form-action 'none'"
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
    return _Plotly(base64.b64encode(gzipped).decode(), script_hash(source))


def script_hash(script: str) -> str:
    """How a Content-Security-Policy names a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


# ── the job ─────────────────────────────────────────────────────────────────────────────────────────


def write_report(payload: WriteReport, context: Context) -> None:
    """Write run and report. Safe to repeat, and whatever is recorded meanwhile is in them at the end."""
    matchups = Matchups(context.store)
    seen = None
    while seen != (now := _seen(matchups, payload.matchup_id)):
        # Looked at again afterwards, so that a slow report of less never covers a later one of more.
        seen = now
        summary = write_results(matchups, payload.matchup_id).summary
        matchups.forget(payload.matchup_id, matchups.request(payload.matchup_id).battles)
        if (read := summary.n_games + summary.broken) < seen[0]:
            # Some could not be read, and are to be played again.
            context.enqueue(LookAtMatchup(matchup_id=payload.matchup_id, revision=f"{read}-{seen[1]}"))


def write_results(matchups: Matchups, matchup_id: str) -> Run:
    """Write run, report and sums of what is recorded, in one pass over the records; the run without its rows."""
    request = matchups.request(matchup_id)
    told = told_of(matchups, matchup_id)
    sums, gathered, kept, openable = RunSums(request), Gathered(), KeepsSums(matchups, matchup_id), Openable()
    turning, weighed = TurningPoints(named(request)), matchups.weighed(matchup_id)
    with RunWriter(matchups.files.on_disk(matchups.path(matchup_id, ""))) as writer:
        for record in matchups.battles(matchup_id):
            review = matchups.review(matchup_id, record.index) if request.luck else None
            battle, stats = rows_of(record, request, review)
            sums.add(record, review)
            gathered.add([battle], stats)
            choices = matchups.choices(matchup_id, record.index) if record.index in weighed else None
            openable.add(request, battle, stats, choices)
            turning.add(choices, review)
            kept.add(record)
            writer.add(battle, stats)
        kept.end()
        run = sums.run(matchup_id, **told)
        matchups.write_run(matchup_id, writer.pieces(run))
    matchups.write_report(matchup_id, render_figures(gathered.figures(run), openable, turning))
    return run


def give_up_write_report(payload: WriteReport, context: Context, reason: str) -> None:
    """Record that the report could not be written, in the place after the last battle."""
    matchups = Matchups(context.store)
    request = matchups.request(payload.matchup_id)
    matchups.fail(payload.matchup_id, f"the report could not be written: {reason}", request.battles)


def _seen(matchups: Matchups, matchup_id: str) -> tuple[int, int, bool, int]:
    battles = matchups.request(matchup_id).battles
    failed_shards = sum(start != battles for start in matchups.failures(matchup_id))
    cancelled = matchups.cancelled(matchup_id) is not None
    return len(matchups.recorded(matchup_id)), failed_shards, cancelled, len(matchups.reviewed(matchup_id))
