"""How a matchup's battle records become its run: the summary, a row a battle, a row a decision."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from services.reporter.asking import asking, forfeits, unsubstituted
from shared.battle.decision import Outcome
from shared.battle.protocol import Seat
from shared.records import (
    SCHEMA_VERSION,
    BattleRecord,
    DecisionRecord,
    MatchupRequest,
    Run,
    RunBattle,
    Summary,
    TurnStat,
)
from shared.verdicts.intervals import Interval, win_rate
from shared.verdicts.scores import Played, Scores, Tally
from shared.verdicts.sequential import Decided, SequentialTest
from shared.verdicts.until import latest_look

_Name = TypeVar("_Name", bound=str)
_MAX_NAME_CHARACTERS = 60
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def assemble(
    request: MatchupRequest,
    battles: Iterable[BattleRecord],
    *,
    matchup_id: str,
    created_at: str,
    cancelled: bool = False,
    stopped: str | None = None,
    failures: Iterable[str] = (),
) -> Run:
    """The run of a matchup, from the records there are, in the order of their index. Pure."""
    records = sorted(battles, key=lambda record: record.index)
    agents: Mapping[Seat, str] = {"p1": request.p1, "p2": request.p2}
    return Run(
        summary=_summary(request, records),
        battles=tuple(_battle(record, agents) for record in records),
        turn_stats=tuple(
            _turn_stat(decision, record.battle_tag, agents) for record in records for decision in record.decisions
        ),
        schema_version=SCHEMA_VERSION,
        matchup_id=matchup_id,
        request=request,
        contract=_merged(record.contract for record in records),
        cards=_merged(record.cards for record in records),
        versions=_merged(record.versions for record in records),
        created_at=created_at,
        cancelled=cancelled,
        stopped=stopped,
        failures=tuple(failures),
    )


def file_stem(request: MatchupRequest, matchup_id: str) -> str:
    """`<p1>_vs_<p2>_n<n>_<id>`: a file name without its extension, safe on every file system."""
    return f"{_safe(request.p1)}_vs_{_safe(request.p2)}_n{request.battles}_{_safe(matchup_id)}"


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name)[:_MAX_NAME_CHARACTERS].strip("._-") or "policy"


def _summary(request: MatchupRequest, records: Sequence[BattleRecord]) -> Summary:
    """The figures of a run.

    Game length is over finished battles. Decisions, their milliseconds and the substituted share of them are over
    every decision that a policy was asked for, those of broken battles too; a decision with one legal action, where
    nobody was asked, is not among them.
    """
    tally = Tally.of(record.winner for record in records)
    as_played = win_rate(Scores.of(Played(record.pair, record.winner) for record in records))
    test = _sequential_test(request, records)
    lengths = [record.turns for record in records if record.winner is not None]
    asked: Mapping[Seat, list[DecisionRecord]] = {"p1": [], "p2": []}
    for record in records:
        for decision in record.decisions:
            if decision.outcome is not Outcome.ONLY_ACTION:
                asked[decision.policy].append(decision)
    reasons = {
        policy: Counter(decision.reason for decision in decisions if decision.outcome is Outcome.SUBSTITUTED)
        for policy, decisions in asked.items()
    }
    substituted = {policy: counted.total() for policy, counted in reasons.items()}
    return Summary(
        p1_agent=request.p1,
        p2_agent=request.p2,
        n_games=tally.finished,
        p1_wins=tally.p1_wins,
        p2_wins=tally.p2_wins,
        draws=tally.draws,
        p1_win_rate=tally.p1_win_rate,
        avg_game_length=_mean(lengths),
        total_duration_s=_wall_clock_seconds(records),
        p1_avg_decision_ms=_mean([decision.decision_ms for decision in asked["p1"]]),
        p2_avg_decision_ms=_mean([decision.decision_ms for decision in asked["p2"]]),
        p1_fallback_rate=_share(substituted["p1"], len(asked["p1"])),
        p2_fallback_rate=_share(substituted["p2"], len(asked["p2"])),
        broken=tally.broken,
        not_played=0 if test and test.decided is not Decided.UNDECIDED else max(0, request.battles - len(records)),
        p1_win_rate_interval=_ends(as_played.interval) if as_played else None,
        variance_removed_by_pairs=as_played.variance_removed if as_played else None,
        sequential_test=test,
        p1_substitutions=substituted["p1"],
        p2_substitutions=substituted["p2"],
        p1_decisions=len(asked["p1"]),
        p2_decisions=len(asked["p2"]),
        p1_forfeits=forfeits(records, "p1"),
        p2_forfeits=forfeits(records, "p2"),
        p1_substitutions_by_reason={reason: times for reason, times in reasons["p1"].items() if reason},
        p2_substitutions_by_reason={reason: times for reason, times in reasons["p2"].items() if reason},
        unsubstituted=unsubstituted(records),
        p1_asking=asking(decision.asked for decision in asked["p1"]),
        p2_asking=asking(decision.asked for decision in asked["p2"]),
    )


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _sequential_test(request: MatchupRequest, records: Sequence[BattleRecord]) -> SequentialTest | None:
    if request.until_decided is None:
        return None
    played = {record.index: Played(record.pair, record.winner) for record in records}
    return latest_look(played, request.until_decided, most=request.battles, pairs=request.pairs)


def _battle(record: BattleRecord, agents: Mapping[Seat, str]) -> RunBattle:
    return RunBattle(
        game_id=record.index + 1,
        p1_agent=agents["p1"],
        p2_agent=agents["p2"],
        winner=record.winner,
        n_turns=record.turns,
        timestamp=record.started_at,
        battle_tag=record.battle_tag,
        index=record.index,
        pair=record.pair,
        p1_seat=record.p1_seat,
        broken=record.broken,
        forfeited=record.forfeited,
        duration_s=record.duration_s,
        seeds=record.seeds,
        teams=record.teams,
        worker=record.worker,
        input_log=record.input_log,
        public_log=record.public_log,
    )


def _turn_stat(decision: DecisionRecord, battle_tag: str, agents: Mapping[Seat, str]) -> TurnStat:
    return TurnStat(
        battle_tag=battle_tag,
        turn=decision.turn,
        agent=agents[decision.policy],
        decision_ms=decision.decision_ms,
        used_fallback=decision.outcome is Outcome.SUBSTITUTED,
        history_msgs=decision.history_msgs,
        action_type=decision.action_type,
        reasoning=decision.reasoning,
        move_id=decision.move_id,
        effectiveness=decision.effectiveness,
        policy=decision.policy,
        outcome=decision.outcome,
        reason=decision.reason,
        action=decision.action,
        gimmick=decision.gimmick,
        order=decision.order,
        legal_actions=decision.legal_actions,
        refused_by_simulator=decision.refused_by_simulator,
        asked=decision.asked,
    )


def _wall_clock_seconds(records: Sequence[BattleRecord]) -> float | None:
    """From the first battle's start to the last one's end, so that battles at once are not counted twice."""
    if not records:
        return None
    starts = [datetime.fromisoformat(record.started_at) for record in records]
    ends = [start + timedelta(seconds=record.duration_s) for start, record in zip(starts, records, strict=True)]
    return round((max(ends) - min(starts)).total_seconds(), 3)


def _merged(mappings: Iterable[Mapping[_Name, str]]) -> dict[_Name, str]:
    """One mapping of all; where workers differed, their values stand side by side."""
    values: dict[_Name, set[str]] = {}
    for mapping in mappings:
        for name, value in mapping.items():
            values.setdefault(name, set()).add(value)
    return {name: ", ".join(sorted(values[name])) for name in sorted(values)}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
