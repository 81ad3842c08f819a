"""How a matchup's battle records become its run: the summary, a row a battle, a row a decision. And the way back."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, TypeVar

from pydantic import ValidationError

from shared.battle.decision import AskRecord, Outcome, Reason
from shared.battle.protocol import Seat
from shared.errors import BrokenRecord, first_fault
from shared.matchups import Matchups
from shared.records import (
    SCHEMA_VERSION,
    AnyBattle,
    AnyDecision,
    Asking,
    BattleRecord,
    DecisionRecord,
    MatchupRequest,
    Run,
    RunBattle,
    Summary,
    TurnStat,
)
from shared.verdicts.intervals import win_rate
from shared.verdicts.scores import Played, Scores, Tally, own_choices
from shared.verdicts.sequential import Decided, SequentialTest, latest_look

_Name = TypeVar("_Name", bound=str)
_Number = TypeVar("_Number", int, float)
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
        turn_stats=tuple(_row(decision, record, agents) for record in records for decision in record.decisions),
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


def run_of(matchups: Matchups, matchup_id: str) -> Run:
    """The run of what is recorded of a matchup."""
    request = matchups.request(matchup_id)
    failures = matchups.failures(matchup_id)
    failures.pop(request.battles, None)
    cancelled = matchups.cancelled(matchup_id)
    return assemble(
        request,
        matchups.battles(matchup_id),
        matchup_id=matchup_id,
        created_at=matchups.created_at(matchup_id).isoformat(timespec="seconds"),
        cancelled=cancelled == "",
        stopped=cancelled or None,
        failures=dict.fromkeys(failures.values()),
    )


def file_stem(run: Run) -> str:
    """`<p1>_vs_<p2>_n<battles played>_<id>`: a file name without its extension, safe on every file system."""
    summary = run.summary
    names = "_vs_".join(map(_safe, (summary.p1_agent, summary.p2_agent)))
    return f"{names}_n{summary.n_games + summary.broken}_{_safe(run.matchup_id or '')}"


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name)[:_MAX_NAME_CHARACTERS].strip("._-") or "policy"


def _summary(request: MatchupRequest, records: Sequence[BattleRecord]) -> Summary:
    """The figures of a run.

    Game length is over finished battles. Decisions, their milliseconds and the substituted share of them are over
    every decision that a policy was asked for, those of broken battles too; a decision with one legal action, where
    nobody was asked, is not among them.
    """
    played = [_played(record) for record in records]
    own, test = own_choices(played), _sequential_test(request, records)
    rate, decided = win_rate(Scores.of(played)), test is not None and test.decided is not Decided.UNDECIDED
    return Summary.model_validate(
        {
            **_counts(played),
            "avg_game_length": _mean([record.turns for record in records if record.winner is not None]),
            "total_duration_s": _wall_clock_seconds(records),
            "broken": sum(battle.winner is None for battle in played),
            "not_played": 0 if decided else max(0, request.battles - len(records)),
            "variance_removed_by_pairs": rate.variance_removed if rate else None,
            "sequential_test": test,
            "unsubstituted": _counts(own),
        }
        | {f"p1_{name}": value for name, value in _of_policy("p1", request.p1, records).items()}
        | {f"p2_{name}": value for name, value in _of_policy("p2", request.p2, records).items()}
    )


def _played(record: BattleRecord) -> Played:
    substituted = any(decision.outcome is Outcome.SUBSTITUTED for decision in record.decisions)
    return Played(record.pair, record.winner, substituted)


def _counts(played: Sequence[Played]) -> dict[str, Any]:
    """What the summary tells of all battles, and again of those without a substitution."""
    tally, rate = Tally.of(battle.winner for battle in played), win_rate(Scores.of(played))
    return {
        "n_games": tally.finished,
        "p1_wins": tally.p1_wins,
        "p2_wins": tally.p2_wins,
        "draws": tally.draws,
        "p1_win_rate": tally.p1_win_rate,
        "p1_win_rate_interval": rate.interval if rate else None,
    }


def _of_policy(policy: Seat, name: str, records: Sequence[BattleRecord]) -> dict[str, Any]:
    every = [decision for record in records for decision in record.decisions if decision.policy == policy]
    asked = [decision for decision in every if decision.outcome is not Outcome.ONLY_ACTION]
    reasons = Counter(decision.reason for decision in asked if decision.outcome is Outcome.SUBSTITUTED)
    return {
        "agent": name,
        "avg_decision_ms": _mean([decision.decision_ms for decision in asked]),
        "fallback_rate": reasons.total() / len(asked) if asked else None,
        "substitutions": reasons.total(),
        "decisions": len(asked),
        "forfeits": sum(record.forfeited == policy for record in records),
        "substitutions_by_reason": {reason: times for reason, times in reasons.items() if reason},
        "asking": _asking(decision.asked for decision in asked),
    }


def _sequential_test(request: MatchupRequest, records: Sequence[BattleRecord]) -> SequentialTest | None:
    if request.until_decided is None:
        return None
    played = {record.index: _played(record) for record in records}
    return latest_look(played, request.until_decided, most=request.battles, pairs=request.pairs)


def _asking(decisions: Iterable[Sequence[AskRecord]]) -> Asking | None:
    """The sums over the asks of each decision; None where nobody was asked."""
    of_decision = [asks for asks in decisions if asks]
    asks = [ask for asks in of_decision for ask in asks]
    if not asks:
        return None
    costs = [ask.cost_usd for ask in asks if ask.cost_usd is not None]
    answered = (ask.last_token_ms for ask in asks if ask.reason is not Reason.TIMED_OUT)
    return Asking(
        asks=len(asks),
        second_asks=len(asks) - len(of_decision),
        retries=sum(ask.retries for ask in asks),
        tokens_in=_of_known(sum, (ask.tokens_in for ask in asks)),
        tokens_out=_of_known(sum, (ask.tokens_out for ask in asks)),
        asks_without_tokens=sum(ask.tokens_in is None or ask.tokens_out is None for ask in asks),
        cost_usd=sum(costs) if costs else None,
        asks_without_cost=len(asks) - len(costs),
        median_first_token_ms=_of_known(median, (ask.first_token_ms for ask in asks)),
        median_answer_ms=_of_known(median, answered),
        waited_s=round(sum(ask.waited_ms for ask in asks) / 1000, 3),
        models=tuple(sorted({ask.model for ask in asks if ask.model})),
    )


def _battle(record: BattleRecord, agents: Mapping[Seat, str]) -> RunBattle:
    own = {"game_id": record.index + 1, "n_turns": record.turns, "timestamp": record.started_at}
    return RunBattle.model_validate({**vars(record), **own, "p1_agent": agents["p1"], "p2_agent": agents["p2"]})


def _row(decision: DecisionRecord, record: BattleRecord, agents: Mapping[Seat, str]) -> TurnStat:
    own = {"used_fallback": decision.outcome is Outcome.SUBSTITUTED, "agent": agents[decision.policy]}
    return TurnStat.model_validate({**vars(decision), **own, "battle_tag": record.battle_tag})


def records_of(run: Run) -> list[BattleRecord]:
    """The battle records that a run was assembled from, so that every figure can be made again.

    Raises BrokenRecord when the run lacks what every run of ours has, as the original project's files do, or when its
    rows do not belong together.
    """
    decisions: dict[str | None, list[TurnStat]] = {battle.battle_tag: [] for battle in run.battles}
    if len(decisions) < len(run.battles):
        raise BrokenRecord("two battles of this run have the same tag, or none")
    for stat in run.turn_stats:
        if stat.battle_tag not in decisions:
            raise BrokenRecord(f"a decision belongs to the battle {stat.battle_tag}, which is not in the run")
        decisions[stat.battle_tag].append(stat)
    try:
        return [_record(run, battle, decisions[battle.battle_tag]) for battle in run.battles]
    except ValidationError as error:
        where, _ = first_fault(error)
        raise BrokenRecord(f"this run lacks what its battles could be played again from: {where}") from error


def _record(run: Run, battle: RunBattle, stats: Iterable[TurnStat]) -> BattleRecord:
    other = {"p1": "p2", "p2": "p1"}.get(battle.p1_seat or "")
    seats = {"p1": battle.p1_seat, "p2": other}
    told = {name: getattr(battle, name) for name in AnyBattle.model_fields}
    own = {"turns": battle.n_turns, "started_at": battle.timestamp, "versions": run.versions or {}}
    decisions = tuple(
        {name: getattr(stat, name) for name in AnyDecision.model_fields} | {"seat": seats.get(stat.policy or "")}
        for stat in stats
    )
    return BattleRecord.model_validate(told | own | {"contract": run.contract or {}, "decisions": decisions})


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


def _of_known(figure: Callable[[list[_Number]], _Number], values: Iterable[_Number | None]) -> _Number | None:
    known = [value for value in values if value is not None]
    return figure(known) if known else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
