"""What a report says first."""

import pytest

from services.reporter import verdict as verdicts
from services.reporter.figures import Figures
from services.reporter.report import render
from services.reporter.verdict import Verdict, battles_needed
from shared.battle.decision import Outcome
from shared.records import Run
from shared.text import milliseconds, percent
from shared.verdicts.scores import Winner
from tests.services.made import battle, battles, move, run_of


def verdict(run: Run) -> Verdict:
    return verdicts.verdict(Figures.of(run))


def winners(p1: int, p2: int, draws: int = 0, broken: int = 0) -> list[Winner | None]:
    counts: list[tuple[Winner | None, int]] = [("p1", p1), ("p2", p2), ("draw", draws), (None, broken)]
    return [winner for winner, count in counts for _ in range(count)]


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_a_clear_result_names_the_stronger_policy() -> None:
    told = verdict(run_of(battles(winners(19, 1), paired=False)))

    assert plain(told.result) == "heuristic won 19 of 20 battles: 95 % (76 % to 99 %)."
    assert told.judgement == "It is stronger than random at gen9randombattle."
    assert told.substitutions == "No decision was substituted."
    assert told.caveats == ()


def test_the_leading_policy_is_spoken_of_also_when_it_is_p2() -> None:
    told = verdict(run_of(battles(winners(1, 19), paired=False)))

    assert plain(told.result) == "random won 19 of 20 battles: 95 % (76 % to 99 %)."
    assert told.judgement == "It is stronger than heuristic at gen9randombattle."


def test_an_interval_around_one_half_is_no_result_and_says_what_would_be() -> None:
    told = verdict(run_of(battles(winners(33, 27), paired=False)))

    assert plain(told.result) == "heuristic won 33 of 60 battles: 55 % (42 % to 67 %)."
    assert plain(told.judgement) == (
        "Too close to call: the interval contains 50 %. "
        "If 55.0 % is the true rate, about 730 more battles would decide it."
    )


def test_a_policy_that_chose_nothing_itself_has_not_won_and_not_lost() -> None:
    decisions = [move("p1", 1, outcome=Outcome.SUBSTITUTED), move("p1", 2, outcome=Outcome.ONLY_ACTION), move("p2", 1)]
    run = run_of([battle(index, "p2", decisions, paired=False) for index in range(12)])
    told = verdict(run)

    assert run.summary.played_by_substitutes == ("p1",)
    assert told.result == "heuristic made no decision itself: a substitute played."
    assert told.judgement == "So this run does not say who is stronger."
    assert "Of heuristic's 12 decisions, 12 or" in told.substitutions


def test_the_interval_respects_pairs_and_the_report_says_what_they_were_worth() -> None:
    # 15 pairs: 10 won, 4 split, 1 lost. Win rate 24 of 30 = 0.8. Squares of the pairs' sums about 1.6:
    # 10 · 0.4² + 4 · 0.6² + 1 · 1.6² = 5.6; independent battles would give 30 · 0.8 · 0.2 = 4.8.
    # (5.6 + 0.5) / (4.8 + 0.5) = 1.151: pairs added 15 %, and 30 battles are worth 30 / 1.151 = 26.
    outcomes = [*winners(20, 0), *winners(1, 1) * 4, *winners(0, 2)]

    (note,) = verdict(run_of(battles(outcomes))).notes

    assert plain(note) == (
        "The paired Wilson interval takes a pair as one observation. "
        "Playing in pairs added 15 % of the variance: 30 battles, worth 26 independent ones."
    )


def test_the_win_rate_without_substitutions_is_said_once_beside_the_one_as_played() -> None:
    records = [
        battle(
            index, winner, [move("p1", 1, outcome=Outcome.SUBSTITUTED if index < 2 else Outcome.CHOSEN)], paired=False
        )
        for index, winner in enumerate(winners(8, 4))
    ]

    told = verdict(run_of(records))

    # 8 of 12 as played; the two with a substitution were won, so 6 of 10 are left: Wilson, 31 % to 83 %.
    assert plain(told.result).startswith("heuristic won 8 of 12 battles: 67 %")
    (caveat,) = told.caveats
    assert plain(caveat) == (
        "Without any substitution, on either side, 10 of 12 battles were decided; of those, heuristic won "
        "60 % (31 % to 83 %). Which battles those are is no accident, so read it beside the other."
    )
    assert told.notes == ()
    assert plain(render(run_of(records))).count("60 % (31 % to 83 %)") == 1


def test_a_policy_that_always_substitutes_has_no_battle_of_its_own_choices() -> None:
    records = [battle(index, "p1", [move("p1", 1, outcome=Outcome.SUBSTITUTED)], paired=False) for index in range(4)]

    (caveat,) = verdict(run_of(records)).caveats

    assert caveat == "No battle was finished without a substitution, so nothing is known of the policies' own choices."


def test_few_battles_are_not_extrapolated() -> None:
    assert plain(verdict(run_of(battles(["p1"]))).judgement) == "Too few battles to call: the interval contains 50 %."


def test_an_even_score_is_called_level() -> None:
    assert verdict(run_of(battles(winners(10, 10)))).judgement.startswith("Level after 20 battles")


def test_an_interval_that_ends_just_above_one_half_is_not_rounded_onto_it() -> None:
    told = verdict(run_of(battles(winners(31, 17), paired=False)))

    assert plain(told.result) == "heuristic won 31 of 48 battles: 64.6 % (50.4 % to 76.6 %)."
    assert told.judgement == "It is stronger than random at gen9randombattle, but only just."


def test_draws_are_named_with_their_worth() -> None:
    told = verdict(run_of(battles(winners(17, 2, draws=1), paired=False)))

    assert plain(told.result) == "heuristic won 17 and drew 1 of 20 battles: 88 % (67 % to 96 %), a draw as half a win."


def test_a_policy_that_meets_itself_is_not_called_stronger() -> None:
    told = verdict(run_of(battles(winners(19, 1)), p1="random", p2="random"))

    assert "stronger" not in told.judgement


def test_broken_battles_say_what_they_could_have_changed() -> None:
    (caveat,) = verdict(run_of(battles(winners(6, 2, broken=2)))).caveats

    assert plain(caveat) == (
        "2 battles broke and count for neither; had they gone all one way or all the other, "
        "heuristic's win rate would be 60 % or 80 %."
    )


def test_many_substitutions_qualify_the_win_rate() -> None:
    decisions = [
        move("p1", turn, outcome=Outcome.SUBSTITUTED if turn == 1 else Outcome.CHOSEN) for turn in range(1, 11)
    ]
    told = verdict(run_of([battle(0, "p1", [*decisions, move("p2", 1)])]))

    assert plain(told.substitutions) == (
        "Of heuristic's 10 decisions, 1 or 10.0 % were substituted, so the win rate is its substitute's too."
    )


def test_a_run_without_a_finished_battle_compares_nothing() -> None:
    told = verdict(run_of([], asked=20, cancelled=True, failures=["no simulator"]))

    assert told.result == "No battle was finished."
    assert told.caveats == ("The matchup was cancelled with 20 battles not played.", "A shard failed: no simulator")


@pytest.mark.parametrize(("rate", "battles"), [(0.55, 783), (0.6, 194), (0.75, 29), (0.45, 783)])
def test_the_battles_needed_are_those_of_the_textbook(rate: float, battles: int) -> None:
    assert battles_needed(rate) == battles


def test_no_number_of_battles_shows_a_difference_that_is_not_there() -> None:
    assert battles_needed(0.5) is None


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.999, ">99 %"), (1, "100 %"), (0.953, "95 %")]
)
def test_only_all_and_nothing_read_as_100_and_0_percent(share: float, text: str) -> None:
    assert plain(percent(share)) == text


@pytest.mark.parametrize(("ms", "text"), [(0.0123, "0.012 ms"), (4.56, "4.56 ms"), (45.6, "45.6 ms"), (3210, "3.2 s")])
def test_milliseconds_keep_their_digits(ms: float, text: str) -> None:
    assert plain(milliseconds(ms)) == text
