"""What a run and its report say of models: sums, the second win rate, and nothing made up."""

import json
from dataclasses import replace

import pytest

from services.reporter.figures import Figures
from services.reporter.report import render
from services.reporter.sections import model_table, policy_table
from services.reporter.verdict import verdict
from shared.battle.decision import AskRecord, Outcome, Reason
from shared.battle.protocol import Seat
from shared.records import DecisionRecord, Run, parse_run
from shared.text import usd
from tests.services.made import battle, move, run_of

ASK = AskRecord("p", "a", tokens_in=100, tokens_out=10, last_token_ms=40.0, cost_usd=0.002, model="m-1", retries=1)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def asked(policy: Seat, turn: int, *asks: AskRecord, outcome: Outcome = Outcome.CHOSEN) -> DecisionRecord:
    reason = asks[-1].reason if asks else Reason.INEXPRESSIBLE if outcome is Outcome.SUBSTITUTED else None
    return move(policy, turn, outcome=outcome, reason=reason).model_copy(update={"asked": asks})


def model_run() -> Run:
    wrong = replace(ASK, reason=Reason.ILLEGAL, last_token_ms=60.0)
    return run_of(
        [
            battle(0, "p1", [asked("p1", 1, ASK), asked("p1", 2, wrong, ASK, outcome=Outcome.CHOSEN_AFTER_SECOND_ASK)]),
            battle(1, "p2", [asked("p1", 1, wrong, wrong, outcome=Outcome.SUBSTITUTED)]),
            battle(2, "p1", [asked("p1", 1, outcome=Outcome.SUBSTITUTED)]),
            battle(3, "p1", [asked("p1", 1, replace(ASK, cost_usd=None, tokens_out=None, last_token_ms=None))]),
        ],
        p1="mistral:m",
    )


def test_a_run_sums_what_asking_took_and_keeps_the_unknown_apart() -> None:
    asking = model_run().summary.p1_asking

    assert asking is not None
    assert (asking.asks, asking.second_asks, asking.retries) == (6, 2, 6)
    assert (asking.tokens_in, asking.tokens_out, asking.asks_without_tokens) == (600, 50, 1)
    assert asking.cost_usd == pytest.approx(0.01)
    assert asking.asks_without_cost == 1
    assert (asking.median_first_token_ms, asking.median_answer_ms) == (None, 60.0)
    assert asking.models == ("m-1",)
    assert model_run().summary.p2_asking is None


def test_the_second_win_rate_is_over_battles_without_any_substitution() -> None:
    summary = model_run().summary

    assert summary.unsubstituted is not None
    assert (summary.unsubstituted.n_games, summary.unsubstituted.p1_win_rate) == (2, 1.0)
    assert summary.p1_win_rate == 0.75
    (caveat,) = verdict(Figures.of(model_run())).caveats
    assert plain(caveat).startswith(
        "Without any substitution, on either side, 2 of 4 battles were decided; of those, m won 100 %"
    )


def test_a_run_without_substitutions_has_one_win_rate() -> None:
    run = run_of([battle(0, "p1", [asked("p1", 1, ASK)])], p1="mistral:m")

    assert verdict(Figures.of(run)).caveats == ()
    assert "Without substitutions" not in render(run)


def test_what_the_contract_cannot_express_is_not_called_the_models_doing() -> None:
    told = plain(verdict(Figures.of(model_run())).substitutions)

    assert told.startswith("Of m's 5 decisions, 2 or 40.0 % were substituted")
    assert told.endswith("1 of these was not the model's doing: its contract cannot express the legal actions.")
    assert model_run().summary.p1_substitutions_by_reason == {Reason.ILLEGAL: 1, Reason.INEXPRESSIBLE: 1}


def test_one_row_a_policy_tells_how_it_did_and_what_that_took() -> None:
    table, page = policy_table(Figures.of(model_run())), plain(render(model_run()))

    rows = [tuple(map(plain, row)) for row in table.rows]
    assert table.head == (
        "Policy",
        "Win rate",
        "Decided itself",
        "Cost",
        "Time a decision",
        "Tokens",
    )
    assert rows[0][0] == "m" and rows[0][1].startswith("75 % (")
    assert rows[0][2:] == ("60.0 % of 5", "$0.010 or more", "2.00 ms", "600 in, 50 out or more")
    assert rows[1] == ("random", rows[1][1], "unknown", "–", "–", "–") and rows[1][1].startswith("25 % (")
    assert "Asking the models" in page and all(cell in page for row in rows for cell in row[2:])


def test_an_unknown_price_is_unknown_and_not_zero() -> None:
    run = run_of([battle(0, "p1", [asked("p1", 1, replace(ASK, cost_usd=None))])], p1="mistral:m")

    ((_, _, _, cost, *_), _) = policy_table(Figures.of(run)).rows
    assert cost == "unknown: no price is known"


def test_a_run_of_baselines_says_nothing_of_models() -> None:
    run = run_of([battle(0, "p1", [move("p1", 1)])])

    assert model_table(Figures.of(run)) is None
    assert [row[3:] for row in policy_table(Figures.of(run)).rows] == [("–", "2.00\u00a0ms", "–"), ("–", "–", "–")]
    assert "Asking the models" not in render(run)


def test_what_a_model_says_is_text_on_the_page() -> None:
    hostile = replace(ASK, model="<img src=x onerror=alert(1)>")
    page = render(run_of([battle(0, "p1", [asked("p1", 1, hostile)])], p1="mistral:m"))

    assert "<img" not in page and "&lt;img" in page


def test_a_matchup_that_its_budget_ended_says_so() -> None:
    run = run_of([battle(0)], asked=10).model_copy(update={"stopped": "the budget of 1 USD is spent"})

    assert verdict(Figures.of(run)).caveats == (
        "The matchup ended with 9 battles not played: the budget of 1 USD is spent.",
    )


def test_a_run_written_before_there_were_models_still_reads() -> None:
    document = json.loads(run_of([battle(0, "p1", [move("p1", 1)])]).model_dump_json())
    for name in ("p1_asking", "p2_asking", "unsubstituted", "p1_forfeits", "p1_substitutions_by_reason"):
        del document["summary"][name]
    del document["turn_stats"][0]["asked"], document["battles"][0]["forfeited"], document["cards"], document["stopped"]
    del document["request"]["max_cost_usd"], document["request"]["max_tokens"]

    run = parse_run(json.dumps(document).encode(), "old")
    assert run.turn_stats[0].asked == ()
    assert "heuristic" in render(run)


@pytest.mark.parametrize(
    ("dollars", "text"), [(0, "$0.00"), (12.345, "$12.35"), (0.5, "$0.50"), (0.0123, "$0.012"), (0.00042, "$0.00042")]
)
def test_small_sums_keep_two_digits(dollars: float, text: str) -> None:
    assert usd(dollars) == text
