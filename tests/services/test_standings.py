"""The leaderboard's figures and its page."""

import random
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tests.standins.models as standins
from services.reporter.leaderboard import Leaderboard, RatedRun, render_leaderboard, result_of, table
from services.reporter.run import assemble
from shared.battle.decision import Outcome
from shared.errors import UsageError
from shared.matchups import Matchups
from shared.records import BattleReview, LuckAsked, MatchupRequest, ReviewStep, Run, RunBattle
from shared.standings import Standings
from shared.store import Store
from shared.tournaments import DecisionTotals, MatchupResult
from shared.verdicts.ratings import ANCHOR
from shared.verdicts.scores import Winner
from tests.services.made import battle, move
from tests.services.test_model_matchups import played, plays_on, policy
from tests.standins.models import TGI, StandIn


def run_of(
    p1: str, p2: str, winners: Sequence[Winner | None], *, matchup_id: str, substituted: int = 0, format: str = "gen9ou"
) -> Run:
    """A run in pairs; p1's decision in the first `substituted` battles is its substitute's."""
    records = []
    for index, winner in enumerate(winners):
        outcome = Outcome.SUBSTITUTED if index < substituted else Outcome.CHOSEN
        decisions = [move("p1", 1, outcome=outcome, ms=4.0), move("p2", 1, ms=1.0)]
        tag = f"{matchup_id}-{index:05d}"
        records.append(battle(index, winner, decisions).model_copy(update={"battle_tag": tag}))
    request = MatchupRequest(p1=p1, p2=p2, battles=len(winners), format=format)
    return assemble(request, records, matchup_id=matchup_id, created_at="2026-01-02T03:04:05+00:00")


Pair = tuple[Winner, Winner]

WON: Pair = ("p1", "p1")
SPLIT: Pair = ("p1", "p2")
LOST: Pair = ("p2", "p2")


def pairs(*outcomes: Pair) -> list[Winner]:
    return [winner for pair in outcomes for winner in pair]


A_TO_B = run_of("heuristic", "b", pairs(*[WON] * 6, *[SPLIT] * 3, LOST), matchup_id="m1", substituted=2)
B_TO_C = run_of("b", "c", pairs(*[WON] * 4, *[SPLIT] * 4, *[LOST] * 2), matchup_id="m2")
ALL_WON = run_of("d", "c", pairs(*[WON] * 5), matchup_id="m3")


def table_of(*runs: Run, **more: str) -> Leaderboard:
    return table([RatedRun.of(run) for run in runs], **more)  # type: ignore[arg-type]


def test_every_policy_has_its_rating_its_battles_and_its_decisions() -> None:
    found = table_of(A_TO_B, B_TO_C)

    lines = {line.policy: line for line in found.lines}
    assert [line.policy for line in found.lines] == ["heuristic", "b", "c"]
    assert lines["heuristic"].as_played.rating == 1000
    assert lines["b"].scores.battles == 40
    # 5 of 20 against heuristic, 12 of 20 against c.
    assert lines["b"].scores.win_rate == (5 + 12) / 40
    assert (lines["heuristic"].decisions.asked, lines["heuristic"].decisions.substituted) == (20, 2)
    assert lines["heuristic"].decisions.mean_ms == 4.0
    assert lines["b"].decisions.mean_ms == (20 * 1.0 + 20 * 4.0) / 40


def test_own_choices_are_rated_from_battles_without_a_substitution() -> None:
    lines = {line.policy: line for line in table_of(A_TO_B, B_TO_C).lines}

    assert lines["heuristic"].own_choices is not None and result_of(A_TO_B).own_choices.battles == 18
    # The two left out were won, so b comes closer.
    assert lines["b"].own_choices is not None and lines["b"].as_played.rating is not None
    assert (lines["b"].own_choices.rating or 0) > lines["b"].as_played.rating


def test_a_policy_that_always_substitutes_has_no_rating_of_its_own_choices() -> None:
    always = run_of("e", "heuristic", pairs(*[SPLIT] * 4), matchup_id="m4", substituted=8)

    lines = {line.policy: line for line in table_of(A_TO_B, always).lines}

    assert lines["e"].own_choices is None
    assert lines["e"].as_played.rating == pytest.approx(1000)
    assert lines["e"].decisions.substituted_share == 1


def test_the_same_runs_give_the_same_table_and_page_whatever_their_order() -> None:
    runs = [A_TO_B, B_TO_C, ALL_WON, run_of("heuristic", "c", pairs(WON, SPLIT), matchup_id="m5")]
    shuffled = random.Random(2).sample(runs, len(runs))

    assert table_of(*runs) == table_of(*shuffled)
    assert render_leaderboard(table_of(*runs)) == render_leaderboard(table_of(*shuffled))


def test_a_run_given_twice_counts_once_and_the_table_says_so() -> None:
    found = table_of(A_TO_B, B_TO_C, A_TO_B)

    assert found.repeated == 1
    assert found.lines == table_of(A_TO_B, B_TO_C).lines
    assert "counted once: 1 run" in render_leaderboard(found)


def test_formats_are_not_mixed() -> None:
    other = run_of("heuristic", "b", pairs(WON, LOST), matchup_id="m6", format="gen1randombattle")

    with pytest.raises(UsageError, match="choose one: gen1randombattle, gen9ou"):
        table_of(A_TO_B, other)
    assert table_of(A_TO_B, other, format="gen9ou").lines == table_of(A_TO_B).lines


@pytest.mark.parametrize(
    "runs",
    [
        (),
        (run_of("heuristic", "heuristic", pairs(SPLIT), matchup_id="m7"),),
        (run_of("a", "b", [None], matchup_id="m8"),),
    ],
)
def test_without_a_battle_between_two_policies_there_is_no_table(runs: tuple[Run, ...]) -> None:
    with pytest.raises(UsageError):
        table_of(*runs)


def test_the_matrix_gives_each_pairing_its_rate_from_both_sides() -> None:
    matrix = table_of(A_TO_B, B_TO_C).matrix

    assert matrix[("heuristic", "b")].estimate == 15 / 20
    assert matrix[("b", "heuristic")].estimate == 5 / 20
    assert ("heuristic", "c") not in matrix


# ── the page ────────────────────────────────────────────────────────────────────────────────────────


class Page(HTMLParser):
    """The text of a page, its tags, and what it would load or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_ratings_intervals_ties_and_what_no_number_fits() -> None:
    found = table_of(A_TO_B, B_TO_C, ALL_WON)

    page = render_leaderboard(found)
    text = " ".join(Page(page).text.split())

    assert "above" in text and "1,000 (the anchor)" in text and "1,000 to 1,000" not in text
    assert ", for heuristic took no point from it, nor did anyone that heuristic took one from, however" in text
    # That decisions were substituted is a warning; what is known of a rating is none.
    assert page.count('class="warn"') == 1
    rated = next(line.as_played for line in found.lines if line.policy == "b")
    assert f"{rated.rating:,.0f} ({rated.low:,.0f} to {rated.high:,.0f})" in text
    assert "1=" in text
    assert re.search(r"inf|nan|None", text) is None


def test_the_luck_is_taken_out_of_pairs_of_which_all_battles_were_reviewed() -> None:
    asked = LuckAsked(value="0" * 16, copies=6, share=1.0)

    def reviewed(run: Run, luck: float) -> Run:
        def review(battle: RunBattle) -> BattleReview:
            step = ReviewStep(turn=1, chose=("p1",), value=0.5, luck=luck)
            told = dict(index=battle.index, pair=battle.pair, winner=battle.winner, asked=asked, steps=(step,))
            return BattleReview.model_validate(told)

        battles = tuple(battle.model_copy(update={"review": review(battle)}) for battle in run.battles)
        return run.model_copy(update={"battles": battles})

    there = run_of("a", ANCHOR, pairs(SPLIT), matchup_id="m1")
    back = run_of(ANCHOR, "a", pairs(SPLIT), matchup_id="m2")
    both = [RatedRun.of(reviewed(there, 0.1)), RatedRun.of(reviewed(back, -0.1))]
    found = table(both)

    assert found.without_luck["a", ANCHOR].estimate == pytest.approx(0.4)
    assert found.without_luck[ANCHOR, "a"].estimate == pytest.approx(0.6)
    assert found.without_luck["a", ANCHOR].battles == 4
    page = render_leaderboard(found)
    assert "without luck 40" in page and "Ratings are as played" in page
    assert table([both[0], RatedRun.of(back)]).without_luck == {}


def test_the_page_needs_nothing_beside_it_and_runs_nothing() -> None:
    page = Page(render_leaderboard(table_of(A_TO_B)))

    assert "script" not in page.tags
    assert page.links == ["data:,"]


def test_names_are_text_and_links_lead_to_pages_alone() -> None:
    hostile = run_of("<script>alert(1)</script>", "heuristic", pairs(*[SPLIT] * 3), matchup_id="m9")
    sources = [RatedRun.of(hostile, "javascript:alert(1)"), RatedRun.of(A_TO_B, "reports/m1.html")]

    page = Page(render_leaderboard(table(sources)))

    assert "script" not in page.tags and "<script>alert(1)</script>" in page.text
    assert [link for link in page.links if link != "data:,"] == ["reports/m1.html"]


def rounded(result: MatchupResult) -> MatchupResult:
    """Sums, but for the last digits, which hang on their order."""

    def of(decisions: DecisionTotals) -> DecisionTotals:
        sums = {"total_ms": round(decisions.total_ms, 6), "cost_usd": round(decisions.cost_usd, 9)}
        return decisions.model_copy(update=sums)

    both = {"p1_decisions": of(result.p1_decisions), "p2_decisions": of(result.p2_decisions)}
    return result.model_copy(update=both)


async def test_the_arena_and_the_reporter_say_the_same_of_a_matchup(tmp_path: Path) -> None:
    # Of a model's, with substitutions and prices: what the queue's table is made of, and what `ratings` reads.
    prices = tmp_path / "prices.toml"
    prices.write_text('["tgi:stand-in"]\nin = 100.0\nout = 0.0\n')
    model = StandIn(TGI, [standins.garbage, plays_on, standins.empty, plays_on])
    records = await played(model, "?asks=1", prices_file=prices)
    request = MatchupRequest(p1=policy(model, "?asks=1"), p2="random", battles=2, seed=5)
    store = Store(str(tmp_path / "store"))
    Matchups(store).create("m", request)
    for record in records:
        Matchups(store).record("m", record)

    of_records = Standings(store).of("m", frozenset({0, 1})).result("m", request)

    of_run = result_of(assemble(request, records, matchup_id="m", created_at="2026-01-02T03:04:05+00:00"))
    assert rounded(of_records) == rounded(of_run)
    assert of_run.p1_decisions.substituted == 2 and (of_run.cost_usd or 0) > 0.1
    page = render_leaderboard(table([RatedRun(of_run)], anchor="random"))
    line = next(line for line in table([RatedRun(of_run)], anchor="random").lines if line.policy == request.p1)
    assert f"${of_run.p1_decisions.cost_usd / 2:.2f}" in page, "the cost of a battle"
    assert line.battles == 2 and "–" in page, "random asks no model"


def test_a_policy_that_took_points_from_others_alone_is_not_said_to_have_won_none() -> None:
    found = table_of(
        run_of("heuristic", "max-damage", pairs(*[WON] * 10), matchup_id="m1"),
        run_of("max-damage", "random", pairs(*[WON] * 4, *[SPLIT] * 6), matchup_id="m2"),
    )

    text = " ".join(Page(render_leaderboard(found)).text.split())

    assert re.search(r"max-damage: below [\d,]+, for it took no point from heuristic, nor from anyone who did", text)
    assert "never" not in text and "70 %" in text
