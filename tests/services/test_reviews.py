"""The luck of recorded battles: a review is the same whoever makes it, and stands beside the win rate as played."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.verify import verify
from services.arena.matchups import MatchupWork, Progress
from services.arena.reviews import give_up_review, review, review_all
from services.reporter.report import render
from services.reporter.run import run_of
from shared.errors import UsageError
from shared.jobs import Context
from shared.jobs.inline import Inline
from shared.jobs.routes import LookAtMatchup, Payload, ReviewBattles, WriteReport
from shared.matchups import Matchups
from shared.records import BattleReview, NewMatchup, Run
from shared.settings import Settings
from shared.store import Store
from shared.work import ask

ASKED = {"p1": "max-damage", "p2": "random", "seed": 5, "luck": "on"}


def played(folder: Path, **asked: Any) -> tuple[Store, str]:
    """A matchup played in this process, its luck and its report included."""
    store = Store(str(folder))
    inline = Inline(store, Settings())
    id = ask(MatchupWork(store, Settings()), NewMatchup.model_validate({**ASKED, **asked}), inline)
    inline.drain()
    return store, id


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return played(tmp_path_factory.mktemp("four"), battles=4)


@pytest.fixture(scope="module")
def run(four: tuple[Store, str]) -> Run:
    return Matchups(four[0]).run(four[1])


def context(store: Store, enqueued: list[Payload]) -> Context:
    def enqueue(job: Payload) -> bool:
        enqueued.append(job)
        return True

    return Context(Settings(), store, enqueue, lambda: False, "w")


def test_the_report_waits_for_the_luck_and_shows_it_beside_the_win_rate(run: Run) -> None:
    luck = run.summary.luck

    assert luck is not None
    assert luck.reviewed == 4
    assert luck.given == pytest.approx((run.summary.p1_win_rate or 0) - luck.p1_win_rate)
    assert "With the luck taken out, " in render(run)


def test_the_luck_of_a_battle_follows_from_its_steps_and_the_last_one_is_its_end(run: Run) -> None:
    for battle in run.battles:
        assert battle.review is not None
        assert battle.review.steps[-1].value == {"p1": 1, "p2": 0, "draw": 0.5}[battle.winner or "draw"]
        assert battle.review.luck == pytest.approx(6 / 7 * sum(step.luck for step in battle.review.steps))
        assert any(step.luck for step in battle.review.steps)
        assert {seat for step in battle.review.steps for seat in step.chose} == {"p1", "p2"}


def test_a_run_with_its_luck_is_verified_and_a_changed_review_is_found(run: Run) -> None:
    assert verify(run).difference is None

    first = run.battles[0]
    assert first.review is not None
    step = first.review.steps[0].model_copy(update={"luck": first.review.steps[0].luck + 0.1})
    changed = first.model_copy(
        update={"review": first.review.model_copy(update={"steps": (step, *first.review.steps[1:])})}
    )
    found = verify(run.model_copy(update={"battles": (changed, *run.battles[1:])})).difference

    assert found is not None and "summary, luck" in found.where


def test_reviewing_again_changes_nothing_and_asks_for_the_report(four: tuple[Store, str]) -> None:
    store, id = four
    before, enqueued = Matchups(store).reviews(id), list[Payload]()

    review(ReviewBattles(matchup_id=id, start=0, stop=4, revision="again"), context(store, enqueued))

    assert Matchups(store).reviews(id) == before
    assert [type(job) for job in enqueued] == [WriteReport]


def test_a_review_made_elsewhere_is_the_same(four: tuple[Store, str]) -> None:
    store, id = four
    request, again = Matchups(store).request(id), dict[int, BattleReview]()
    assert request.luck is not None
    records = list(Matchups(store).battles(id))[::-1]

    asyncio.run(review_all(request, request.luck, records, lambda found: again.update({found.index: found})))

    assert again == Matchups(store).reviews(id)


def test_what_cannot_be_reviewed_counts_as_played_and_nothing_waits_for_it(tmp_path: Path) -> None:
    store, id = played(tmp_path, battles=2)
    for name in ("reviews/00000.json", "reviews/00001.json", "report.html", "run.json.gz"):
        store.remove(f"matchups/{id}/{name}")
    assert [type(job) for job in Progress.of(store, id).jobs()] == [ReviewBattles]
    enqueued: list[Payload] = []

    give_up_review(ReviewBattles(matchup_id=id, start=0, stop=2, revision="x"), context(store, enqueued), "no Node.js")

    assert [type(job) for job in enqueued] == [WriteReport]
    run = run_of(Matchups(store), id)
    assert run.summary.luck is not None
    assert (run.summary.luck.given, run.summary.luck.p1_win_rate) == (0, run.summary.p1_win_rate)


def test_a_matchup_until_decided_is_looked_at_once_its_luck_is_known(tmp_path: Path) -> None:
    told: list[object] = []
    store = Store(str(tmp_path))
    inline = Inline(store, Settings(), tell=told.append)
    asked = NewMatchup.model_validate({**ASKED, "until_decided": {"max_battles": 12}})
    id = ask(MatchupWork(store, Settings()), asked, inline)
    inline.drain()

    test = Matchups(store).run(id).summary.sequential_test
    assert test is not None and test.without_luck
    kinds = [type(each) for each in told if isinstance(each, Payload)]
    first_review = kinds.index(ReviewBattles)
    assert LookAtMatchup not in kinds[1:first_review]


def test_luck_is_off_where_it_is_not_wanted_and_refused_where_it_cannot_be(tmp_path: Path) -> None:
    work = MatchupWork(Store(str(tmp_path)), Settings(luck=True))

    def accepted(**asked: Any) -> Any:
        return work.accept(NewMatchup.model_validate({"p1": "random", "p2": "random", **asked}), 1, None).luck

    assert accepted() is not None
    assert accepted(luck="off") is None
    assert accepted(format="gen4randombattle") is None
    with pytest.raises(UsageError, match="no value model of gen4randombattle"):
        accepted(format="gen4randombattle", luck="on")
