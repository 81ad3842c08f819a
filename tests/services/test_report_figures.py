"""The figures of a report, by worked examples."""

from math import nan

import pytest

from services.reporter.figures import (
    MAX_CURVE_POINTS,
    MAX_REASONING_CHARACTERS,
    MAX_REASONINGS,
    MAX_VIOLIN_POINTS,
    Figures,
    PairFigures,
    Substitutions,
    quantile,
)
from shared.battle.decision import Outcome, Reason
from shared.verdicts.intervals import wilson_interval
from tests.services.made import battle, battles, move, run_of, switch

CHOSEN, AGAIN = Outcome.CHOSEN, Outcome.CHOSEN_AFTER_SECOND_ASK
ONLY, SUBSTITUTED = Outcome.ONLY_ACTION, Outcome.SUBSTITUTED


def test_the_curve_takes_a_draw_as_half_a_win_and_leaves_broken_battles_out() -> None:
    points = Figures.of(run_of(battles(["p1", None, "draw", "p2"], paired=False))).curve

    assert [(point.battles, point.estimate) for point in points] == [(1, 1.0), (2, 0.75), (3, 0.5)]
    assert points[-1].interval == wilson_interval(1.5, 3)


def test_the_curve_of_many_battles_is_thinned_and_still_ends_at_the_win_rate() -> None:
    run = run_of([battle(index, "p1" if index % 3 else "p2") for index in range(1000)])
    points = Figures.of(run).curve

    assert len(points) == MAX_CURVE_POINTS
    assert (points[0].battles, points[-1].battles) == (1, 1000)
    assert points[-1].estimate == run.summary.p1_win_rate


def test_the_grid_keeps_the_two_battles_of_a_pair_together() -> None:
    run = run_of([battle(0), battle(1), battle(2), battle(3), battle(4, paired=False), battle(5, paired=False)])

    assert [[cell.index for cell in group] for group in Figures.of(run).grid] == [[0, 1], [2, 3], [4], [5]]


def test_pairs_are_counted_by_who_won_both_and_only_where_both_finished() -> None:
    pairs = Figures.of(run_of(battles(["p1", "p1", "p2", "p2", "p1", "p2", "draw", "draw", "p1", None]))).pairs

    assert pairs == PairFigures(both_p1=1, both_p2=1, other=2)


def test_a_run_without_pairs_has_no_figures_of_pairs() -> None:
    assert Figures.of(run_of([battle(0, paired=False), battle(1, paired=False)])).pairs is None


def test_a_switch_counts_only_at_the_start_of_a_turn() -> None:
    in_order = [
        switch("p1", 0),  # a lead, before the first turn
        move("p1", 1),
        switch("p1", 1),  # after a faint
        switch("p1", 2),
        move("p1", 3),
        move("p1", 4, outcome=ONLY),
        move("p1", 5, outcome=SUBSTITUTED),
        switch("p1", 6, refused="[Unavailable choice] trapped"),
        move("p1", 6),
        move("p2", 1),
    ]
    rates = Figures.of(run_of([battle(0, "p1", in_order)])).switches

    assert (rates["p1"].switches, rates["p1"].choices) == (1, 4)
    assert rates["p1"].rate == 0.25
    assert (rates["p2"].switches, rates["p2"].choices) == (0, 1)


def test_game_lengths_fill_bins_of_whole_turns() -> None:
    lengths = Figures.of(
        run_of([battle(0, "p1", turns=9), battle(1, "p2", turns=10), battle(2, "draw", turns=41), battle(3, None)])
    ).lengths

    assert lengths is not None
    assert [(each.first, each.last, dict(each.battles)) for each in lengths.bins] == [
        (0, 9, {"p1": 1}),
        (10, 19, {"p2": 1}),
        (20, 29, {}),
        (30, 39, {}),
        (40, 49, {"draw": 1}),
    ]
    assert (lengths.shortest, lengths.median, lengths.mean, lengths.longest) == (9, 10, 20, 41)


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.25, 1.75), (0.5, 2.5), (0.9, 3.7), (1, 4)])
def test_a_quantile_lies_between_its_neighbours(share: float, value: float) -> None:
    assert quantile([1, 2, 3, 4], share) == pytest.approx(value)


def test_decision_times_leave_out_what_nobody_was_asked_and_what_is_no_time() -> None:
    in_order = [move("p1", 1, ms=5), move("p1", 2, ms=0, outcome=ONLY), move("p1", 3, ms=nan), move("p1", 4, ms=-1)]
    times = Figures.of(run_of([battle(0, "p1", in_order)])).times

    assert list(times) == ["p1"]
    assert (times["p1"].decisions, times["p1"].median, times["p1"].points) == (1, 5, (5,))


def test_many_decision_times_are_thinned_to_quantiles_with_both_ends() -> None:
    run = run_of([battle(0, "p1", [move("p1", turn, ms=turn) for turn in range(1, 5001)])])
    times = Figures.of(run).times["p1"]

    assert len(times.points) == MAX_VIOLIN_POINTS
    assert (times.points[0], times.points[-1]) == (1, 5000)
    assert times.points[250] == pytest.approx(2505, abs=5)
    assert times.median == 2500.5


def test_effectiveness_is_of_a_policys_own_damaging_moves() -> None:
    multipliers = (0, 0.25, 0.5, 1, 2, 2, 4)
    own = [move("p1", turn, effectiveness=multiplier) for turn, multiplier in enumerate(multipliers, 1)]
    other = [
        move("p1", 8, effectiveness=nan),
        move("p1", 9, effectiveness=None),
        move("p1", 10, effectiveness=4, outcome=SUBSTITUTED),
    ]
    classes = Figures.of(run_of([battle(0, "p1", [*own, *other])])).effectiveness

    assert classes == {"p1": (1, 1, 1, 1, 2, 1)}


def test_substitutions_are_a_share_of_the_decisions_asked_for() -> None:
    in_order = [move("p1", 1), move("p1", 2, outcome=SUBSTITUTED), move("p1", 3, outcome=ONLY), move("p2", 1)]
    found = Figures.of(run_of([battle(0, "p1", in_order)])).substitutions

    assert found["p1"] == Substitutions(rate=0.5, substituted=1, decisions=2)
    assert found["p2"] == Substitutions(rate=0.0, substituted=0, decisions=1)


def test_reasons_are_told_apart_by_what_came_of_them() -> None:
    in_order = [
        move("p1", 1, outcome=AGAIN, reason=Reason.ILLEGAL),
        move("p1", 2, outcome=SUBSTITUTED, reason=Reason.TIMED_OUT),
        move("p1", 3, outcome=SUBSTITUTED, reason=Reason.TIMED_OUT),
        move("p2", 1),
    ]
    run = run_of([battle(0, "p1", in_order)])

    assert Figures.of(run).reasons == {"p1": {(SUBSTITUTED, Reason.TIMED_OUT): 2, (AGAIN, Reason.ILLEGAL): 1}}
    assert Figures.of(run).outcomes == {"p1": {AGAIN: 1, SUBSTITUTED: 2}, "p2": {CHOSEN: 1}}


def test_the_reasoning_log_is_bounded_in_number_and_length() -> None:
    said = [move("p1", turn, reasoning="x" * 10_000) for turn in range(1, 500)]
    log = Figures.of(run_of([battle(0, "p1", [*said, move("p1", 500, reasoning="  ")])]))

    assert (len(log.reasonings), log.reasonings_in_all) == (MAX_REASONINGS, 499)
    assert all(reasoning.cut and len(reasoning.text) == MAX_REASONING_CHARACTERS for reasoning in log.reasonings)


def test_a_policy_that_meets_itself_is_told_apart_by_its_side() -> None:
    run = run_of([battle(0, "p1", [move("p1", 1), move("p2", 1)])], p1="random", p2="random")

    assert (Figures.of(run).names["p1"], Figures.of(run).names["p2"]) == ("random (p1)", "random (p2)")
    assert list(Figures.of(run).times) == ["p1", "p2"]


def test_two_long_names_that_begin_alike_are_told_apart_by_their_side() -> None:
    labels = Figures.of(run_of([], p1="m" * 100 + "1", p2="m" * 100 + "2")).names

    assert labels["p1"] != labels["p2"]
