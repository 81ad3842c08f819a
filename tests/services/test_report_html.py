"""The report as a page: what stands on it, that it is one file, and that foreign text stays text."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from services.reporter.charts import label
from services.reporter.report import command_line, render, template_text
from shared.battle.decision import Outcome, Reason
from shared.battle.protocol import SEATS
from shared.choices import ChoiceReview
from shared.records import MatchupRequest, Run, parse_run, read_run
from tests.services.made import battle, battles, move, run_of, switch
from tests.services.test_turning import ASKED, decided

OLD_RUN = Path(__file__).with_name("old_run.json")
HOSTILE = (
    "<script>alert(1)</script></script><b>bold</b> &lt;i&gt; \u2028 \x00 \u202e %{x} \"'><img src=x onerror=alert(1)>"
)


class Page(HTMLParser):
    """A report taken apart as a browser would."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag in ("script", "style"):
            self._script = dict(attrs).get("id") or {"script": "page", "style": "style"}[tag]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data

    @property
    def sections(self) -> set[str]:
        return {value for name, value in self.attributes if name == "id"}

    @property
    def policy(self) -> str:
        return next(value for name, value in self.attributes if name == "content" and value.startswith("default-src"))


def page(run: Run) -> Page:
    return Page(render(run))


def full_run() -> Run:
    """Everything a run can have."""
    decisions = [
        move("p1", 1, reasoning="Surf looks good."),
        switch("p1", 2),
        move("p1", 3, outcome=Outcome.SUBSTITUTED, reason=Reason.TIMED_OUT),
        move("p2", 1),
    ]
    return run_of([battle(0, "p1", decisions), battle(1, "p2", decisions), battle(2, "draw"), battle(3, None)], asked=6)


def test_a_report_has_every_section() -> None:
    assert page(full_run()).sections == {
        "win-rate", "grid", "switch-rate", "game-length", "decision-time", "effectiveness", "outcomes", "reasoning",
        "again", "figures", "plotly",
    }  # fmt: skip


def test_the_verdict_stands_before_everything_else_with_substitutions_and_broken_battles_beside_it() -> None:
    text = page(full_run()).text

    where = [text.index(words) for words in ("heuristic won 1", "substituted", "1 battle broke", "Win rate, battle by")]
    assert where == sorted(where)


def test_the_same_run_gives_the_same_page() -> None:
    assert render(full_run()) == render(full_run())


def test_nothing_is_fetched_from_anywhere() -> None:
    read = page(full_run())

    sources = [value for name, value in read.attributes if name in ("src", "href", "srcset", "action")]
    assert sources == ["data:,"]
    assert "url(" not in render(full_run()).split('id="plotly"')[0]


def test_only_the_scripts_of_the_page_may_run() -> None:
    read = page(full_run())
    plotly = gzip.decompress(base64.b64decode(read.scripts["plotly"]))

    allowed = re.findall(r"'sha256-([^']+)'", read.policy)
    opener = (template_text("view.js") + template_text("open.js")).encode()
    assert allowed == [
        base64.b64encode(hashlib.sha256(script).digest()).decode()
        for script in (read.scripts["page"].encode(), plotly, opener)
    ]
    assert "script-src 'sha256-" in read.policy
    assert read.policy.startswith("default-src 'none'")


@pytest.mark.parametrize("hostile", [HOSTILE, "</title><script>", "{{ 7 * 7 }}", "var(--ink)", "a\nb"])
def test_hostile_names_and_reasonings_are_text(hostile: str) -> None:
    run = run_of(
        [battle(0, "p1", [move("p1", 1, reasoning=hostile), move("p2", 1)]), battle(1, None, broken=hostile)],
        p1=hostile,
        p2="other " + hostile,
        failures=[hostile],
        team1=hostile,
    )
    # As long, so that the whole name stands beside a label where it does there.
    p1, p2 = "a" * len(hostile), "b" * len("other " + hostile)
    read, harmless = page(run), page(run_of(run_records(), p1=p1, p2=p2, failures=["c"], team1="d"))

    assert read.tags == harmless.tags
    assert {name for name, _ in read.attributes} == {name for name, _ in harmless.attributes}
    assert hostile.splitlines()[0].split("\u2028")[0] in read.text
    assert not any(character in read.text for character in "\x00\u202e")


@pytest.mark.parametrize("hostile", [HOSTILE, "{{ 7 * 7 }}"])
def test_what_stands_at_turning_points_is_text(hostile: str) -> None:
    def told(text: str) -> Page:
        weighed = ChoiceReview(index=0, tag="m-00000", winner="p2", asked=ASKED, decisions=(decided(text),))
        return Page(render(run_of(run_records(), p1=text), {0: weighed}))

    read, harmless = told(hostile), told("a" * len(hostile))

    assert read.tags == harmless.tags and "turning" in read.sections
    assert hostile.split(" \u2028")[0] in read.text


def run_records() -> list[Any]:
    return [battle(0, "p1", [move("p1", 1, reasoning="said"), move("p2", 1)]), battle(1, None, broken="why")]


def test_figures_inside_the_page_cannot_end_their_script_and_carry_no_markup_of_others() -> None:
    run = run_of(battles(["p1", "p2"]), p1=HOSTILE, p2="\u2028</script><b>x</b>")
    raw = page(run).scripts["figures"]

    assert not any(character in raw for character in "<>&\u2028")
    assert "<b>" not in json.dumps(json.loads(raw))
    assert "&lt;b&gt;" in raw.replace("\\u0026", "&")


def test_a_label_reads_in_plotly_as_it_was_written() -> None:
    assert label("<b>a</b> &lt; 1") == "&lt;b&gt;a&lt;/b&gt; &amp;lt; 1"
    assert len(label("x" * 1000)) <= 40


def test_a_run_file_of_the_original_project_renders() -> None:
    read = page(read_run(OLD_RUN))

    assert "mistral won 2 of 3 battles" in read.text
    assert "Of mistral's 2 decisions, 1 or 50.0" in read.text
    assert "Thunderbolt is super effective." in read.text
    assert "names no seed" in read.text
    assert {"win-rate", "grid", "game-length", "effectiveness", "outcomes", "reasoning"} <= read.sections


def test_an_old_run_of_a_policy_against_itself_renders_without_guessing_whose_decision_was_whose() -> None:
    raw = OLD_RUN.read_text(encoding="utf-8").replace('"random"', '"mistral"')
    read = page(parse_run(raw.encode(), "it"))

    assert "mistral (either side)" in read.text
    assert "mistral (p1) won 2 of 3 battles" in read.text


def test_an_old_run_whose_agents_are_numbered_in_its_head_alone_names_whose_decisions_these_are() -> None:
    old = json.loads(OLD_RUN.read_text())
    old["summary"] |= {"p1_agent": "mistral-24b33e", "p2_agent": "random-9f8cab"}
    old["turn_stats"] = [stat for stat in old["turn_stats"] if stat["agent"] == "mistral"]
    run = parse_run(json.dumps(old).encode(), "old.json")

    assert [stat.policy for stat in run.turn_stats] == ["p1", "p1"]
    assert "either side" not in render(run)


def test_an_old_run_with_nothing_but_a_summary_renders() -> None:
    document = json.loads(OLD_RUN.read_text(encoding="utf-8")) | {"battles": [], "turn_stats": []}
    read = page(parse_run(json.dumps(document).encode(), "it"))

    assert "mistral won 2 of 3 battles" in read.text
    assert "Of mistral's decisions, 25.0" in read.text
    assert "figures" not in read.sections


def test_a_run_without_a_battle_renders_without_charts() -> None:
    read = page(run_of([], asked=20, cancelled=True))

    assert "No battle was finished." in read.text
    assert "script" not in read.tags
    assert read.sections == {"again"}


def test_a_run_of_broken_battles_tells_why_they_broke() -> None:
    read = page(run_of([battle(0, None), battle(1, None)]))

    assert "2 battles broke and count for neither." in read.text
    assert read.text.count("BattleBroken: the simulator died") == 2
    assert "win-rate" not in read.sections


@pytest.mark.parametrize("count", [1, 1000])
def test_a_page_of_one_battle_and_of_a_thousand_has_a_cell_a_battle_and_bounded_charts(count: int) -> None:
    decisions = [move(policy, turn, ms=turn) for turn in range(1, 26) for policy in SEATS]
    read = page(run_of([battle(index, "p1", decisions) for index in range(count)]))

    assert sum(name == "title" for name, _ in read.attributes) == count
    assert len(read.scripts["figures"]) < 120_000


def test_every_chart_has_its_numbers_in_words_and_in_a_table() -> None:
    read = page(full_run())
    charts = [value for name, value in read.attributes if name == "data-chart"]

    assert len(charts) == 6
    assert sum(value.startswith("Chart. ") for name, value in read.attributes if name == "aria-label") == 6
    assert read.text.count("The same as a table") == 6


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ({}, ""),
        ({"pairs": False}, " --no-pairs"),
        ({"move_delay": 1.5}, " --move-delay 1.5"),
        ({"team1": "Pikachu"}, " --team1 team1.txt"),
        ({"pairs": False, "battlefield": "server"}, " --no-pairs --battlefield server"),
    ],
)
def test_the_command_line_plays_the_same_matchup(more: dict[str, Any], options: str) -> None:
    request = MatchupRequest.model_validate({"p1": "heuristic", "p2": "max damage?x", "battles": 4, "seed": 9, **more})

    assert command_line(request) == (
        f"alphastral battle --p1 heuristic --p2 'max damage?x' --n 4 --format gen9randombattle --seed 9{options}"
    )
