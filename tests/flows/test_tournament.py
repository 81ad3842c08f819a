"""`alphastral tournament`: a suite, its budget, what is played next, and going on after an interruption."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.cli.tournament import play_tournament, read_tournament
from services.arena.backends import ListedModel
from services.arena.policies import no_models
from services.arena.policies.language_model import LanguageModel
from services.arena.tournaments import Over, Pairing, go_on, next_matchup
from services.reporter.leaderboard import Leaderboard
from shared.errors import Conflict, UsageError
from shared.matchups import Matchups
from shared.policies import PolicySpec
from shared.records import MatchupRequest
from shared.settings import Settings
from shared.store import Store
from shared.tournaments import DecisionTotals, Ended, How, MatchupResult, Suite, Tournaments
from shared.verdicts.scores import Scores
from tests.services.scripted import Scripted, first_legal
from tests.standins.registry import promote, publish

SUITE = """
policies = ["heuristic", "max-damage", "random"]
battles = 4
seed = 7
[budget]
battles = 20
"""
MONEY = SUITE.replace('"random"', '"tgi:small"') + "cost_usd = 1.0\n"


def suite_of(text: str, folder: Path, **named: str) -> Suite:
    path = folder / "suite.toml"
    path.write_text(text)
    return read_tournament(path, named)


def ended(
    number: int,
    pairing: Pairing,
    *,
    how: How = How.FINISHED,
    why: str | None = None,
    pairs: tuple[int, int, int, int, int] = (0, 0, 1, 0, 1),
    broken: int = 0,
    cost_usd: float = 0.0,
    asks_without_cost: int = 0,
) -> Ended:
    """Who comes first in the alphabet wins three in four."""
    costs = DecisionTotals(asks=9, asks_without_cost=asks_without_cost, cost_usd=cost_usd)
    result = MatchupResult(
        matchup_id=f"t-{number:05d}",
        p1=pairing[0],
        p2=pairing[1],
        format="gen9randombattle",
        as_played=Scores(pairs=pairs),
        own_choices=Scores(pairs=pairs),
        broken=broken,
        p1_decisions=costs,
        p2_decisions=DecisionTotals(),
    )
    return Ended(number=number, how=how, why=why, result=result)


def planned(suite: Suite, end: Callable[[int, Pairing], Ended] = ended) -> tuple[list[MatchupRequest], Over]:
    """All matchups of a tournament, each ended before the next one is asked for."""
    requests: list[MatchupRequest] = []
    while isinstance(coming := next_matchup(suite, begun(requests), results(requests, end)), MatchupRequest):
        requests.append(coming)
    assert isinstance(coming, Over)
    return requests, coming


def begun(requests: Sequence[MatchupRequest]) -> list[Pairing]:
    return [(request.p1, request.p2) for request in requests]


def results(requests: Sequence[MatchupRequest], end: Callable[[int, Pairing], Ended]) -> dict[int, Ended]:
    return {number: end(number, pairing) for number, pairing in enumerate(begun(requests))}


# ── what is played next ─────────────────────────────────────────────────────────────────────────────


def test_everybody_plays_before_anybody_plays_again_and_the_budget_ends_it(tmp_path: Path) -> None:
    requests, over = planned(suite_of(SUITE, tmp_path))

    assert len(requests) == 5 and over.why == "the budget of 20 battles is used up"
    assert {*begun(requests)[0], *begun(requests)[1]} == {"heuristic", "max-damage", "random"}
    assert len({request.seed for request in requests}) == 5


def test_two_are_in_play_at_once_and_which_ends_first_decides_nothing(tmp_path: Path) -> None:
    suite = suite_of(SUITE, tmp_path)
    one, other, third = begun(planned(suite)[0])[:3]

    assert isinstance(next_matchup(suite, [one], {}), MatchupRequest)
    assert next_matchup(suite, [one, other], {}) is None
    assert next_matchup(suite, [one, other], {1: ended(1, other)}) is None
    # Of the latest, the result is not looked at, whatever it is.
    for late in ({}, {1: ended(1, other)}, {1: ended(1, other, pairs=(2, 0, 0, 0, 0))}):
        coming = next_matchup(suite, [one, other], {0: ended(0, one)} | late)
        assert isinstance(coming, MatchupRequest) and (coming.p1, coming.p2) == third


def test_with_anchors_the_others_do_not_meet_each_other(tmp_path: Path) -> None:
    suite = suite_of('anchors = ["heuristic"]\n' + SUITE, tmp_path)

    assert set(begun(planned(suite)[0])) == {("heuristic", "max-damage"), ("heuristic", "random")}


def test_the_order_of_the_policies_in_the_file_decides_nothing(tmp_path: Path) -> None:
    turned = SUITE.replace('"heuristic", "max-damage", "random"', '"random", "max-damage", "heuristic"')
    one, other = suite_of(SUITE, tmp_path), suite_of(turned, tmp_path)

    assert (one.id, planned(one)) == (other.id, planned(other))


def test_two_that_could_not_be_played_are_not_tried_again(tmp_path: Path) -> None:
    suite = suite_of(SUITE, tmp_path)

    def without_random(number: int, pairing: Pairing) -> Ended:
        if "random" not in pairing:
            return ended(number, pairing)
        # Once it fails, once all its battles break.
        if "heuristic" in pairing:
            return ended(number, pairing, how=How.FAILED, why="no server", pairs=(0, 0, 0, 0, 0))
        return ended(number, pairing, pairs=(0, 0, 0, 0, 0), broken=4)

    tried = begun(planned(suite, without_random)[0])
    # Whether it can be played is known one matchup later, since two are in play at once.
    assert tried.count(("heuristic", "random")) <= 2 and tried.count(("max-damage", "random")) <= 2
    assert tried[-1] == ("heuristic", "max-damage")

    requests, over = planned(suite, lambda number, pairing: ended(number, pairing, how=How.CANCELLED))
    assert len(requests) < 5 and "no two policies are left" in over.why


# ── money ───────────────────────────────────────────────────────────────────────────────────────────


def test_each_matchup_of_a_model_may_cost_what_those_before_it_left(tmp_path: Path) -> None:
    suite = suite_of(MONEY.replace("battles = 20", "battles = 400"), tmp_path)

    def a_quarter(number: int, pairing: Pairing) -> Ended:
        return ended(number, pairing, cost_usd=0.25 if "tgi:small" in pairing else 0.0)

    requests, over = planned(suite, a_quarter)

    limits = [request.max_cost_usd for request in requests]
    assert [limit for limit in limits if limit is not None] == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert [limit is None for limit in limits] == ["tgi:small" not in pairing for pairing in begun(requests)]
    assert over.why == "the budget of 1 USD is spent"
    # What is left is known only when the one before has ended.
    assert next_matchup(suite, begun(requests[:1]), {}) is None


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda number, pairing: ended(number, pairing, asks_without_cost=1), "it is unknown what was spent"),
        (lambda number, pairing: ended(number, pairing, how=How.STOPPED, why="too dear"), "too dear"),
    ],
)
def test_a_tournament_ends_where_its_money_cannot_be_counted_or_does_not_reach(
    end: Callable[[int, Pairing], Ended], why: str, tmp_path: Path
) -> None:
    requests, over = planned(suite_of(MONEY, tmp_path), end)

    assert len(requests) == 1 and why in over.why


# ── the suite ───────────────────────────────────────────────────────────────────────────────────────


def test_policies_may_have_names_of_their_own(tmp_path: Path) -> None:
    suite = suite_of(SUITE.replace('"random"', '"careful"'), tmp_path, careful="mistral:m?asks=3")

    assert suite.policies == ("heuristic", "max-damage", "mistral:m?asks=3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SUITE.replace('"random"]', '"randm"]'), "did you mean 'random'"),
        (SUITE.replace('"random"]', '"heuristic"]'), "a policy is named twice"),
        (SUITE.replace("battles = 4", "battles = 5"), "multiple of 2"),
        (SUITE.replace("battles = 20", "battles = 2"), "not enough for one matchup"),
        (SUITE.replace("[budget]", "[budget]\ncost_usd = 0"), "budget.cost_usd"),
        (SUITE.replace("seed = 7", 'anchors = ["nobody"]'), "among the policies"),
        (SUITE.replace("[budget]", "[budget"), "no TOML file"),
        (SUITE.replace("seed", "sed"), "sed: Extra inputs"),
        (SUITE + 'format = "gen9ubers"', "Extra inputs"),
    ],
)
def test_a_suite_that_cannot_be_played_is_refused_with_the_reason(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        suite_of(text, tmp_path)


# ── in one process ──────────────────────────────────────────────────────────────────────────────────


def play(suite: Suite, folder: Path) -> Leaderboard:
    played = play_tournament(suite, folder, settings=Settings(_env_file=None), connect=no_models)
    assert played.over
    return played.table


SHORT = SUITE.replace("battles = 4", "battles = 2").replace("battles = 20", "battles = 6")


def test_what_is_played_is_kept_and_more_budget_goes_on_from_there(tmp_path: Path) -> None:
    suite = suite_of(SHORT, tmp_path)
    first = play(suite, tmp_path / "t")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").glob("matchups/*/battles/*")}

    assert play(suite, tmp_path / "t") == first
    more = play(suite_of(SHORT.replace("battles = 6", "battles = 8"), tmp_path), tmp_path / "t")

    assert (len(first.runs), len(more.runs), len(written)) == (3, 4, 6)
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    page = (tmp_path / "t" / "leaderboard.html").read_text()
    assert all((tmp_path / "t" / (run.link or "")).is_file() and (run.link or "?") in page for run in more.runs)


def test_a_tournament_keeps_to_the_versions_of_the_day_it_began(tmp_path: Path) -> None:
    published = tmp_path / "store"
    for version in ("1", "2"):
        publish(published, "smol", version)
    promote(published, "smol", "1")
    (tmp_path / "endpoints.toml").write_text('[registry]\nurl = "http://127.0.0.1:1"\n')
    settings = Settings(store=str(published), endpoints_file=tmp_path / "endpoints.toml", _env_file=None)
    two = SHORT.replace('["heuristic", "max-damage", "random"]', '["random", "tgi:smol"]')
    suite = suite_of(two.replace("battles = 6", "battles = 2"), tmp_path)
    asked: list[str] = []

    def connect(spec: PolicySpec) -> LanguageModel:
        asked.append(spec.text)
        return LanguageModel(spec, Scripted(first_legal, served=[ListedModel(spec.model or "")]))

    def play_one(folder: Path) -> None:
        play_tournament(suite, folder, settings=settings, connect=connect)

    play_one(tmp_path / "t")
    promote(published, "smol", "2")
    play_one(tmp_path / "t")
    play_one(tmp_path / "new")

    names = {folder: Tournaments(Store(str(tmp_path / folder))) for folder in ("t", "new")}
    pinned = {folder: found.request(found.ids()[0]).policies[1] for folder, found in names.items()}
    assert pinned == {"t": "tgi:smol@1", "new": "tgi:smol@2"}
    assert asked == ["tgi:smol@1", "tgi:smol@2"]


def test_a_folder_of_another_tournament_is_left_alone(tmp_path: Path) -> None:
    play(suite_of(SHORT, tmp_path), tmp_path / "t")

    with pytest.raises(Conflict, match="another tournament"):
        play(suite_of(SHORT.replace("seed = 7", "seed = 8"), tmp_path), tmp_path / "t")


def test_the_command_shows_the_table_and_ratings_reads_its_runs(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(SHORT)

    result = CliRunner().invoke(app, ["tournament", str(tmp_path / "suite.toml"), "-o", str(tmp_path / "out")])
    rated = CliRunner().invoke(app, ["ratings", str(tmp_path / "out"), "-o", str(tmp_path / "all.html")])

    assert result.exit_code == 0 and "6 of 6 battles were played.\nLeaderboard:" in result.stdout
    assert rated.exit_code == 0 and rated.stdout.splitlines()[:4] == result.stdout.splitlines()[:4]
    assert (tmp_path / "all.html").read_text().count("/report.html") == 3


def test_what_is_looked_at_twice_begins_once(tmp_path: Path) -> None:
    store, suite = Store(str(tmp_path / "s")), suite_of(SUITE, tmp_path)
    Tournaments(store).create("t", suite)

    async def many() -> list[tuple[Pairing, ...]]:
        looks = (asyncio.to_thread(lambda: go_on(store, "t").begun) for _ in range(6))
        return list(await asyncio.gather(*looks))

    begun_by_each = asyncio.run(many())

    assert set(begun_by_each) == {begun_by_each[0]} and len(begun_by_each[0]) == 2
    assert sorted(Matchups(store).ids()) == ["t-00000", "t-00001"]
