"""The way back from a run's rows to the records that it was assembled from, so that every figure can be made again."""

from pydantic import ValidationError

from shared.errors import BrokenRecord, first_fault
from shared.records import BattleRecord, DecisionRecord, Run, RunBattle, TurnStat

_IN_ROWS_ALONE = {"game_id", "p1_agent", "p2_agent", "n_turns", "timestamp"}
_IN_STATS_ALONE = {"battle_tag", "agent", "used_fallback"}


def records_of(run: Run) -> list[BattleRecord]:
    """The battle records of a run, as far as they are in it.

    Raises BrokenRecord when the run lacks what every run of ours has, as the original project's files do, or when its
    rows do not belong together.
    """
    decisions: dict[str, list[TurnStat]] = {battle.battle_tag or "": [] for battle in run.battles}
    if len(decisions) < len(run.battles):
        raise BrokenRecord("two battles of this run have the same tag, or none")
    for stat in run.turn_stats:
        if stat.battle_tag not in decisions:
            raise BrokenRecord(f"a decision belongs to the battle {stat.battle_tag}, which is not in the run")
        decisions[stat.battle_tag].append(stat)
    try:
        return [_record(run, battle, decisions[battle.battle_tag or ""]) for battle in run.battles]
    except ValidationError as error:
        where, _ = first_fault(error)
        raise BrokenRecord(f"this run lacks what its battles could be played again from: {where}") from error


def _record(run: Run, battle: RunBattle, stats: list[TurnStat]) -> BattleRecord:
    return BattleRecord.model_validate(
        battle.model_dump(exclude=_IN_ROWS_ALONE, exclude_none=False)
        | {
            "turns": battle.n_turns,
            "started_at": battle.timestamp,
            "versions": run.versions or {},
            "contract": run.contract or {},
            "decisions": tuple(_decision(stat, battle) for stat in stats),
        }
    )


def _decision(stat: TurnStat, battle: RunBattle) -> DecisionRecord:
    seat = battle.p1_seat if stat.policy == "p1" else {"p1": "p2", "p2": "p1"}.get(battle.p1_seat or "")
    return DecisionRecord.model_validate(stat.model_dump(exclude=_IN_STATS_ALONE) | {"seat": seat})
