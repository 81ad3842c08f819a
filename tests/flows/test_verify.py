"""`alphastral verify` accepts what was played, and finds what was changed since."""

import asyncio
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.cli.verify import verify
from services.arena.play import play
from services.reporter.run import assemble, records_of
from shared.battle.contract import CONTRACTS
from shared.battle.decision import Outcome
from shared.errors import UsageError
from shared.records import BattleRecord, MatchupRequest, Run, read_run

OLD_RUN = Path(__file__).parents[1] / "services" / "old_run.json"

CREATED_AT = "2026-01-02T03:04:05+00:00"

Change = Callable[[dict[str, Any]], object]


def played(**more: object) -> Run:
    request = MatchupRequest.model_validate({"p1": "heuristic", "p2": "random", "battles": 4, "seed": 5, **more})
    records: list[BattleRecord] = []
    asyncio.run(play(request, range(request.battles), matchup_id="m", worker="test", on_record=records.append))
    return assemble(request, records, matchup_id="m", created_at=CREATED_AT)


def counted_anew(run: Run) -> Run:
    """The run that somebody would write who changed rows and then every figure that follows from them."""
    assert run.request is not None
    return assemble(run.request, records_of(run), matchup_id="m", created_at=CREATED_AT)


def with_first(run: Run, **changes: object) -> Run:
    """The run with its first battle changed, and counted anew."""
    assert run.request is not None
    first, *others = records_of(run)
    return assemble(run.request, [first.model_copy(update=changes), *others], matchup_id="m", created_at=CREATED_AT)


@pytest.fixture(scope="module")
def run() -> Run:
    return played()


def changed(run: Run, change: Change) -> Run:
    document = run.model_dump(mode="json")
    change(document)
    return Run.model_validate(document)


def stat_of(document: dict[str, Any]) -> dict[str, Any]:
    """A decision that somebody was asked for, in the middle of the first battle."""
    stats: list[dict[str, Any]] = document["turn_stats"]
    of_first = [stat for stat in stats if stat["battle_tag"] == document["battles"][0]["battle_tag"]]
    return next(stat for stat in of_first[len(of_first) // 2 :] if stat["outcome"] == "chosen")


def alter_a_choice(document: dict[str, Any]) -> None:
    stat = stat_of(document)
    stat["order"] = "move 2" if stat["order"] == "move 1" else "move 1"


def alter_a_choice_of_the_input_log(document: dict[str, Any]) -> None:
    log = document["battles"][1]["input_log"]
    place = next(i for i, line in enumerate(log) if line.startswith(">p1 move"))
    log[place] = ">p1 switch 2"


def alter_a_log_line(document: dict[str, Any]) -> None:
    log = document["battles"][2]["public_log"]
    place = next(i for i, line in enumerate(log) if line.startswith("|-damage|"))
    log[place] = log[place].replace("/100", "/99")


def remove_a_battle(document: dict[str, Any]) -> None:
    removed = document["battles"].pop(1)
    document["turn_stats"] = [s for s in document["turn_stats"] if s["battle_tag"] != removed["battle_tag"]]


def remove_a_battle_and_count_anew(document: dict[str, Any]) -> None:
    remove_a_battle(document)
    document.update(counted_anew(Run.model_validate(document)).model_dump(mode="json"))


def inflate_the_summary(document: dict[str, Any]) -> None:
    document["summary"]["p1_wins"] += 1


def inflate_a_battle_and_count_anew(document: dict[str, Any]) -> None:
    lost = next(b for b in document["battles"] if b["winner"] is not None)
    lost["winner"] = "p2" if lost["winner"] == "p1" else "p1"
    document.update(counted_anew(Run.model_validate(document)).model_dump(mode="json"))


def change_a_substitution_flag(document: dict[str, Any]) -> None:
    stat_of(document)["used_fallback"] = True


def change_a_substitution_outcome(document: dict[str, Any]) -> None:
    stat = stat_of(document)
    stat["outcome"], stat["used_fallback"] = "substituted", True


def deny_that_anybody_was_asked(document: dict[str, Any]) -> None:
    stat_of(document)["outcome"] = "only_action"


def use_another_contracts_hash(document: dict[str, Any]) -> None:
    document["contract"] = {"v2": CONTRACTS["v1"].hash}


def use_an_unknown_contract(document: dict[str, Any]) -> None:
    document["contract"] = {"v9": CONTRACTS["v1"].hash}


def use_another_seed(document: dict[str, Any]) -> None:
    document["request"]["seed"] += 1


def call_a_battle_broken(document: dict[str, Any]) -> None:
    battle = document["battles"][0]
    battle["winner"], battle["broken"] = None, "it broke"
    document.update(counted_anew(Run.model_validate(document)).model_dump(mode="json"))


def name_another_move(document: dict[str, Any]) -> None:
    stat = next(stat for stat in document["turn_stats"] if stat["move_id"])
    stat["action"], stat["move_id"] = "Splash", "splash"


def swap_two_decisions_battles(document: dict[str, Any]) -> None:
    document["turn_stats"][0]["battle_tag"] = "elsewhere"


def make_a_decision_quicker(document: dict[str, Any]) -> None:
    stat_of(document)["decision_ms"] /= 2


CHANGES: dict[Change, str] = {
    alter_a_choice: "battle 1,",
    alter_a_choice_of_the_input_log: "battle 2, input log line",
    alter_a_log_line: "battle 3, log line",
    remove_a_battle: "battle 2:",
    remove_a_battle_and_count_anew: "battle 2:",
    inflate_the_summary: "summary, p1_wins",
    inflate_a_battle_and_count_anew: "battle 1, winner",
    change_a_substitution_flag: "used_fallback",
    change_a_substitution_outcome: "summary, p",
    deny_that_anybody_was_asked: "summary, p",
    use_another_contracts_hash: "hash of the contract v2",
    use_an_unknown_contract: "no such contract",
    use_another_seed: "battle 1, seeds",
    call_a_battle_broken: "battle 1, winner",
    name_another_move: "action",
    swap_two_decisions_battles: "elsewhere",
    make_a_decision_quicker: "avg_decision_ms",
}


def test_a_run_as_it_was_played_is_accepted(run: Run) -> None:
    found = verify(run)

    assert found.difference is None
    assert found.battles == 4 and found.decisions == len(run.turn_stats)
    assert found.recorded_with == found.played_again_with is not None


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_found(run: Run, change: Change) -> None:
    found = verify(changed(run, change))

    assert CHANGES[change] in str(found.difference)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", "soon"),
        ("timestamp", ""),
        ("timestamp", 1.5),
        ("timestamp", "2026-01-01T00:00:00"),
        ("timestamp", "9999-12-31T23:59:59+00:00"),
        ("timestamp", "0001-01-01T00:00:00+14:00"),
        ("duration_s", -1.0),
        ("duration_s", 1e308),
        ("duration_s", inf),
        ("duration_s", nan),
    ],
)
def test_a_time_that_cannot_be_is_a_difference(run: Run, field: str, value: object) -> None:
    found = verify(changed(run, lambda document: document["battles"][0].update({field: value})))

    assert found.difference is not None
    assert found.difference.where == "the run"


def test_team_formats_single_battles_and_a_true_contract_are_accepted_too() -> None:
    ou = played(format="gen9ou", battles=2)
    alone = played(p1="max-damage", p2="heuristic", battles=3, pairs=False)
    with_contract = alone.model_copy(update={"contract": {"v1": CONTRACTS["v1"].hash}})

    assert [verify(each).difference for each in (ou, alone, with_contract)] == [None, None, None]


def test_a_broken_battle_is_compared_as_far_as_it_went(run: Run) -> None:
    first = records_of(run)[0]
    half = len(first.decisions) // 2
    turn = first.decisions[half].turn
    broken = with_first(
        run,
        winner=None,
        broken="SimulatorError: the host died",
        turns=turn,
        decisions=tuple(decision for decision in first.decisions if decision.turn < turn),
        input_log=(),
        public_log=first.public_log[: first.public_log.index(f"|turn|{turn}")],
    )

    assert verify(broken).difference is None


def test_substitutions_that_are_counted_are_accepted(run: Run) -> None:
    decisions = tuple(
        decision.model_copy(update={"outcome": Outcome.SUBSTITUTED})
        if decision.outcome is Outcome.CHOSEN and decision.policy == "p2"
        else decision
        for decision in records_of(run)[0].decisions
    )

    substituted = with_first(run, decisions=decisions)

    assert verify(substituted).difference is None
    assert (substituted.summary.p2_substitutions or 0) > 0


def test_a_run_without_seeds_is_refused() -> None:
    with pytest.raises(UsageError, match="names no seeds"):
        verify(read_run(OLD_RUN))


def test_the_command_says_yes_or_shows_the_first_difference(run: Run, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.json", tmp_path / "wrong.json"
    right.write_text(run.model_dump_json())
    wrong.write_text(changed(run, inflate_the_summary).model_dump_json())

    accepted, refused = (CliRunner().invoke(app, ["verify", str(path)]) for path in (right, wrong))

    assert accepted.exit_code == 0 and "4 battles played again" in accepted.output
    assert refused.exit_code == 1 and "summary, p1_wins: recorded" in refused.output
