"""From battle records to a run."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporter.run import file_stem
from shared.battle.decision import Outcome, Reason
from shared.errors import BrokenRecord
from shared.records import parse_run
from tests.services.made import battle, battles, move, run_of, switch


def test_the_summary_counts_finished_battles_and_keeps_broken_ones_beside_them() -> None:
    summary = run_of(battles(["p1", "p1", "draw", "p2", None]), asked=8).summary

    assert (summary.n_games, summary.p1_wins, summary.p2_wins, summary.draws) == (4, 2, 1, 1)
    assert (summary.broken, summary.not_played) == (1, 3)
    assert summary.p1_win_rate == 2.5 / 4


def test_game_length_leaves_broken_battles_out() -> None:
    run = run_of([battle(0, "p1", turns=10), battle(1, "p2", turns=20), battle(2, None, turns=500)])

    assert run.summary.avg_game_length == 15


def test_milliseconds_and_fallback_rate_are_over_the_decisions_asked_for() -> None:
    decisions = [
        move("p1", 1, ms=10),
        move("p1", 2, ms=30, outcome=Outcome.SUBSTITUTED, reason=Reason.EMPTY),
        move("p1", 3, ms=0, outcome=Outcome.ONLY_ACTION),
        move("p2", 1, ms=1),
    ]
    broken = battle(1, None, [move("p1", 1, ms=80), move("p1", 2, ms=40, outcome=Outcome.CHOSEN_AFTER_SECOND_ASK)])
    summary = run_of([battle(0, "p1", decisions), broken]).summary

    assert (summary.p1_decisions, summary.p1_substitutions) == (4, 1)
    assert (summary.p1_avg_decision_ms, summary.p1_fallback_rate) == (40, 0.25)
    assert (summary.p2_avg_decision_ms, summary.p2_fallback_rate) == (1, 0)


def test_the_duration_is_wall_clock_so_battles_at_once_are_not_counted_twice() -> None:
    assert run_of(battles(["p1", "p1", "p1"])).summary.total_duration_s == 2 + 2.5


def test_rows_follow_the_index_whatever_the_order_of_the_records() -> None:
    records = [battle(2, "p2", [switch("p2", 4)]), battle(0, "p1", [move("p1", 3)])]
    run = run_of(records, p1="a", p2="b")

    assert [row.game_id for row in run.battles] == [1, 3]
    assert [(row.battle_tag, row.turn, row.agent, row.policy) for row in run.turn_stats] == [
        ("m-00000", 3, "a", "p1"),
        ("m-00002", 4, "b", "p2"),
    ]


def test_a_substituted_decision_is_the_originals_fallback() -> None:
    run = run_of([battle(0, "p1", [move("p1", 1, outcome=outcome) for outcome in Outcome])])

    assert [row.used_fallback for row in run.turn_stats] == [outcome is Outcome.SUBSTITUTED for outcome in Outcome]


def test_versions_of_different_workers_stand_side_by_side() -> None:
    records = [battle(0, versions={"python": "3.11.7"}), battle(1, versions={"python": "3.12.1", "node": "20"})]

    assert run_of(records).versions == {"node": "20", "python": "3.11.7, 3.12.1"}


def test_a_run_without_a_battle_has_no_rates() -> None:
    summary = run_of([], asked=20, cancelled=True).summary

    assert (summary.n_games, summary.not_played) == (0, 20)
    rates = summary.model_dump(
        include={
            "p1_win_rate",
            "p1_win_rate_interval",
            "avg_game_length",
            "total_duration_s",
            "p1_avg_decision_ms",
            "p1_fallback_rate",
        }
    )
    assert set(rates.values()) == {None}


def test_a_run_reads_back_as_it_was_written() -> None:
    run = run_of(battles(["p1", "draw", None]), failures=["no simulator"])

    assert parse_run(run.model_dump_json().encode(), "it") == run


@pytest.mark.parametrize(
    ("p1", "stem"),
    [
        ("heuristic", "heuristic_vs_random_n2_m"),
        ("tgi:org/model@http://host:8080?t=0", "tgi-org-model-http-host-8080-t-0_vs_random_n2_m"),
        ("../../etc/passwd", "etc-passwd_vs_random_n2_m"),
        ("...", "policy_vs_random_n2_m"),
    ],
)
def test_a_file_stem_says_who_met_whom_and_how_often_not_how_often_at_most(p1: str, stem: str) -> None:
    assert file_stem(run_of(battles(["p1", None]), p1=p1, asked=400)) == stem


@given(p1=st.text(min_size=1, max_size=300), p2=st.text(min_size=1, max_size=300), matchup_id=st.text(max_size=80))
def test_a_file_stem_is_a_safe_file_name_whatever_the_policies_are_called(p1: str, p2: str, matchup_id: str) -> None:
    run = run_of(battles(["p1"]), p1=p1, p2=p2).model_copy(update={"matchup_id": matchup_id})
    stem = file_stem(run)

    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", stem)
    assert len(stem) <= 200
    assert not stem.endswith(".")


def test_a_number_too_long_to_reckon_with_makes_a_broken_file() -> None:
    raw = run_of(battles(["p1"])).model_dump_json().replace('"n_games":1', f'"n_games":1{"0" * 400}')

    with pytest.raises(BrokenRecord, match="a number has 401 digits"):
        parse_run(raw.encode(), "it")
