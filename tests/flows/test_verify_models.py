"""`alphastral verify` on runs of models: what they said is taken as it is, all that follows from it is made again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tests.standins.models as standins
from deploy.cli.verify import verify
from services.arena.backends.chat import DIALECTS, make_backend
from services.arena.budget import MatchupBudget
from services.reporter.report import render
from services.reporter.run import assemble, records_of
from shared.battle.contract import CONTRACTS
from shared.battle.decision import Outcome
from shared.jobs.limits import LocalLimiter
from shared.policies import KINDS, parse_policy
from shared.records import BattleRecord, MatchupRequest, Run
from shared.settings import Settings
from shared.text import milliseconds
from tests.services.test_model_matchups import played, plays_on, policy
from tests.standins.models import MISTRAL, OPENAI, TGI, StandIn

CREATED_AT = "2026-01-02T03:04:05+00:00"
WRONG = [standins.garbage, standins.prose, standins.illegal, standins.truncated, standins.empty, standins.unprocessable]


def run_of(model: StandIn, options: str = "", **asked: Any) -> Run:
    budget = asked.pop("budget", None)
    records = asyncio.run(played(model, options, budget=budget, **asked))
    told = {"p1": policy(model, options), "p2": asked.pop("against", "random"), "battles": asked.pop("battles", 2)}
    request = MatchupRequest.model_validate({**told, "seed": 5, "concurrency": 2, **asked})
    stopped = budget.stopped if budget else None
    return assemble(request, records, matchup_id="m", created_at=CREATED_AT, stopped=stopped)


@pytest.mark.parametrize(
    ("model", "options", "asked"),
    [
        (StandIn(TGI, [*WRONG, *WRONG, plays_on]), "", {}),
        (StandIn(MISTRAL, [*WRONG, plays_on]), "?substitute=max-damage&asks=1", {}),
        (StandIn(OPENAI, [*WRONG, plays_on]), "?history=2&reasoning=yes", {"battles": 1}),
        (StandIn(OPENAI, [standins.prose, plays_on]), "?constrain=no&asks=3&instructions=no", {}),
        (StandIn(TGI, [plays_on]), "?contract=v1", {"against": "heuristic"}),
        (StandIn(TGI, [plays_on] * 9 + [standins.garbage]), "?asks=1&substitute=forfeit", {}),
        (StandIn(TGI, [plays_on]), "", {"budget": MatchupBudget(max_tokens=5_000), "battles": 8, "max_tokens": 5_000}),
    ],
    ids=["second asks", "max-damage substitutes", "history and reasons", "plain text", "v1", "forfeits", "a budget"],
)
def test_a_run_of_a_model_is_accepted(model: StandIn, options: str, asked: dict[str, Any]) -> None:
    run = run_of(model, options, **asked)

    found = verify(run)

    assert found.difference is None
    assert found.battles == len(run.battles) >= 1
    assert any(stat.asked for stat in run.turn_stats)


# ── alterations ─────────────────────────────────────────────────────────────────────────────────────


def stats_of(document: dict[str, Any], outcome: Outcome = Outcome.CHOSEN) -> list[dict[str, Any]]:
    found = [stat for stat in document["turn_stats"] if stat["asked"] and stat["outcome"] == outcome]
    assert found, outcome
    return found


def change_a_prompt(document: dict[str, Any]) -> None:
    ask = stats_of(document)[3]["asked"][0]
    ask["prompt"] = ask["prompt"].replace("Foe", "Enemy", 1)


def have_it_say_something_else(document: dict[str, Any]) -> None:
    stats_of(document)[3]["asked"][0]["answer"] = '{"action": "move Splash"}'


def have_it_say_another_legal_action(document: dict[str, Any]) -> None:
    stat = next(stat for stat in stats_of(document) if "\nmove " in stat["asked"][0]["prompt"])
    listed = stat["asked"][0]["prompt"].partition("The legal actions:\n")[2].splitlines()
    said = stat["asked"][0]["answer"]
    other = next(line for line in listed if line.startswith(("move ", "switch ")) and f'"{line}"' not in said)
    stat["asked"][0]["answer"] = f'{{"action": "{other}"}}'


def deny_the_first_ask(document: dict[str, Any]) -> None:
    stat = stats_of(document, Outcome.CHOSEN_AFTER_SECOND_ASK)[0]
    stat["asked"], stat["outcome"], stat["reason"] = stat["asked"][1:], "chosen", None
    document.update(counted_anew(document))


def call_a_substitution_a_choice(document: dict[str, Any]) -> None:
    stat = stats_of(document, Outcome.SUBSTITUTED)[0]
    stat["outcome"], stat["reason"], stat["used_fallback"] = "chosen", None, False
    document.update(counted_anew(document))


def call_a_choice_a_substitution(document: dict[str, Any]) -> None:
    stat = stats_of(document)[2]
    stat["outcome"], stat["reason"], stat["used_fallback"] = "substituted", "unparsable", True
    document.update(counted_anew(document))


def make_it_cheaper(document: dict[str, Any]) -> None:
    stats_of(document)[0]["asked"][0]["tokens_in"] -= 50


def use_another_contracts_hash(document: dict[str, Any]) -> None:
    document["contract"] = {"v2": CONTRACTS["v1"].hash}


def leave_the_contract_out(document: dict[str, Any]) -> None:
    document["contract"] = {}


def say_that_nothing_held_it(document: dict[str, Any]) -> None:
    stats_of(document)[1]["asked"][0]["constraint"] = "none"


def counted_anew(document: dict[str, Any]) -> dict[str, Any]:
    """What somebody would write who changed rows and then every figure that follows from them."""
    changed = Run.model_validate(document)
    assert changed.request is not None
    again = assemble(changed.request, records_of(changed), matchup_id="m", created_at=CREATED_AT)
    return again.model_dump(mode="json")


CHANGES: dict[Callable[[dict[str, Any]], None], str] = {
    change_a_prompt: "asked",
    have_it_say_something_else: "battle ",
    have_it_say_another_legal_action: "battle ",
    deny_the_first_ask: "asked",
    call_a_substitution_a_choice: "outcome",
    call_a_choice_a_substitution: "outcome",
    make_it_cheaper: "summary, p1_asking",
    use_another_contracts_hash: "hash of the contract v2",
    leave_the_contract_out: "hash of the contract v2",
    say_that_nothing_held_it: "asked",
}


def test_a_run_whose_answers_were_streamed_is_accepted_and_reported_as_before() -> None:
    model = StandIn(TGI, [plays_on])
    records = [
        BattleRecord.model_validate_json(
            record.model_dump_json().replace('"first_token_ms":null', '"first_token_ms":250.0')
        )
        for record in asyncio.run(played(model, battles=1))
    ]
    request = MatchupRequest(p1=policy(model, "?stream=yes"), p2="random", battles=1, seed=5, concurrency=2)
    run = assemble(request, records, matchup_id="m", created_at=CREATED_AT)

    assert verify(run).difference is None
    page = render(run)
    assert "stream=yes" in page and "Median time to the first token" in page and milliseconds(250) in page


@pytest.fixture(scope="module")
def substituted() -> Run:
    """One decision substituted, the next one chosen after a second ask, all others chosen."""
    manners = [standins.garbage, standins.garbage, standins.illegal, plays_on]
    return run_of(StandIn(OPENAI, manners), "?history=1", battles=1)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_found(substituted: Run, change: Callable[[dict[str, Any]], None]) -> None:
    document = substituted.model_dump(mode="json")
    change(document)

    found = verify(Run.model_validate(document))

    assert CHANGES[change] in str(found.difference)


def test_the_form_of_each_kinds_answers_is_its_backends_own(tmp_path: Path) -> None:
    settings = Settings(_env_file=None)
    named = {"mistral": "mistral:m", "tgi": "tgi:http://h", "hf": "hf:m", "openai": "openai:m"}
    made = {kind: make_backend(parse_policy(name), settings, LocalLimiter()).form for kind, name in named.items()}

    assert made == {kind: DIALECTS[kind].form for kind in named}
    assert set(DIALECTS) == {kind.name for kind in KINDS.values() if kind.asks_a_model}
