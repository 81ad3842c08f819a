"""Battle records, decisions and runs made up for tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from services.reporter.run import assemble
from shared.battle.decision import Outcome, Reason
from shared.battle.protocol import Seat
from shared.records import BattleRecord, DecisionRecord, MatchupRequest, Run, Seeds
from shared.verdicts.scores import Winner

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def move(
    policy: Seat,
    turn: int,
    *,
    effectiveness: float | None = 1.0,
    outcome: Outcome = Outcome.CHOSEN,
    reason: Reason | None = None,
    ms: float = 2.0,
    reasoning: str | None = None,
) -> DecisionRecord:
    return DecisionRecord(
        turn=turn,
        policy=policy,
        seat=policy,
        order="move 1",
        action_type="move",
        action="Surf",
        move_id="surf",
        effectiveness=effectiveness,
        legal_actions=1 if outcome is Outcome.ONLY_ACTION else 9,
        outcome=outcome,
        reason=reason,
        decision_ms=ms,
        reasoning=reasoning,
    )


def switch(policy: Seat, turn: int, *, refused: str | None = None) -> DecisionRecord:
    return DecisionRecord(
        turn=turn,
        policy=policy,
        seat=policy,
        order="switch 2",
        action_type="switch",
        action="Rotom-Wash",
        legal_actions=9,
        outcome=Outcome.CHOSEN,
        decision_ms=1.0,
        refused_by_simulator=refused,
    )


def battle(
    index: int,
    winner: Winner | None = "p1",
    decisions: Sequence[DecisionRecord] = (),
    *,
    turns: int = 10,
    paired: bool = True,
    broken: str = "BattleBroken: the simulator died",
    worker: str = "one",
    versions: dict[str, str] | None = None,
) -> BattleRecord:
    """Battle `index`, which began `index` seconds after START and took 2.5; broken where nobody won."""
    return BattleRecord(
        index=index,
        battle_tag=f"m-{index:05d}",
        pair=index // 2 if paired else None,
        p1_seat="p2" if paired and index % 2 else "p1",
        winner=winner,
        broken=broken if winner is None else None,
        turns=turns,
        started_at=(START + timedelta(seconds=index)).isoformat(timespec="milliseconds"),
        duration_s=2.5,
        seeds=Seeds(dice="sodium,00", p1_team="sodium,01", p2_team="sodium,02", p1_policy=1, p2_policy=2),
        worker=worker,
        versions=versions or {"alphastral": "0.1.0"},
        decisions=tuple(decisions),
        input_log=('>start {"formatid":"gen9randombattle"}',),
        public_log=("|turn|1",),
    )


def battles(winners: Sequence[Winner | None], *, paired: bool = True) -> list[BattleRecord]:
    """Battles with those winners, each with a decision of both policies."""
    decided = [move("p1", 1), move("p2", 1)]
    return [battle(index, winner, decided, paired=paired) for index, winner in enumerate(winners)]


def run_of(
    records: Sequence[BattleRecord],
    *,
    p1: str = "heuristic",
    p2: str = "random",
    asked: int | None = None,
    cancelled: bool = False,
    failures: Sequence[str] = (),
    team1: str | None = None,
) -> Run:
    request = MatchupRequest(p1=p1, p2=p2, battles=asked or len(records) or 1, seed=7, team1=team1)
    return assemble(
        request,
        records,
        matchup_id="m",
        created_at="2026-01-02T03:04:05+00:00",
        cancelled=cancelled,
        failures=failures,
    )
