"""The job that looks back at recorded battles: how likely each side was to win, and how much of it was luck.

A review follows from the battle's record, the matchup's seed and the value model that the request names, so whoever
makes it again gets the same one.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from services.arena.tasks import go_on_with_matchup
from shared.battle.protocol import Seat, other
from shared.errors import AlphaStralError, InputRefused
from shared.jobs import Context, HandedBack
from shared.jobs.routes import ReviewBattles
from shared.matchups import Matchups
from shared.records import BattleRecord, BattleReview, LuckAsked, MatchupRequest, ReviewStep
from shared.simulator.inputlog import NotRun, parse_inputlog
from shared.simulator.simulator import Simulator
from shared.text import one_line
from shared.value import ValueModel, shipped_value

log = logging.getLogger(__name__)

BATTLES_AT_ONCE = 2
"""One is worked out while the answer about another is read."""
SECONDS_AT_MOST = 100.0
"""For one battle: a thousand turns take less."""
_DECIMALS = 5


def review(payload: ReviewBattles, context: Context) -> None:
    """Review the battles that are recorded and have no review yet; then see what comes next in the matchup.

    Raises HandedBack when the worker is told to stop before all are reviewed.
    """
    store, matchup_id = context.store, payload.matchup_id
    matchups = Matchups(store)
    request = matchups.request(matchup_id)
    missing = matchups.recorded(matchup_id) - matchups.reviewed(matchup_id)
    wanted = [index for index in range(payload.start, payload.stop) if index in missing]
    records = [matchups.battle(matchup_id, index) for index in wanted]

    def keep(found: BattleReview) -> None:
        matchups.record_review(matchup_id, found)
        context.tell(found)

    if request.luck is not None and records:
        asyncio.run(review_all(request, request.luck, records, keep, context.stopping, context.settings.node))
        if not matchups.reviewed(matchup_id).issuperset(wanted):
            raise HandedBack
    go_on_with_matchup(context, matchup_id)


def give_up_review(payload: ReviewBattles, context: Context, reason: str) -> None:
    """Record that these battles have no review: they count as played."""
    matchups = Matchups(context.store)
    request = matchups.request(payload.matchup_id)
    missing = matchups.recorded(payload.matchup_id) - matchups.reviewed(payload.matchup_id)
    for index in missing & set(range(payload.start, payload.stop)):
        if request.luck is not None:
            record = matchups.battle(payload.matchup_id, index)
            matchups.record_review(payload.matchup_id, _none(record, request.luck, one_line(reason)))
    go_on_with_matchup(context, payload.matchup_id)


async def review_all(
    request: MatchupRequest,
    asked: LuckAsked,
    records: Sequence[BattleRecord],
    keep: Callable[[BattleReview], None],
    stopping: Callable[[], bool] = lambda: False,
    node: Path | None = None,
) -> None:
    """Review these battles, giving each review to `keep`; once `stopping()` is true, no further one is begun.

    Raises AlphaStralError where the value model is not the one that was asked for.
    """
    value = shipped_value(request.format)
    if value is None or value.hash != asked.value:
        raise AlphaStralError(f"the value model {asked.value} of {request.format} does not come with this version")
    waiting = iter(records)

    async with Simulator(node, step_timeout_seconds=SECONDS_AT_MOST) as simulator:

        async def in_turn() -> None:
            for record in waiting:
                if stopping():
                    return
                keep(await _review(simulator, request, asked, value, record))

        async with asyncio.TaskGroup() as group:
            for _ in range(BATTLES_AT_ONCE):
                group.create_task(in_turn())


async def _review(
    simulator: Simulator, request: MatchupRequest, asked: LuckAsked, value: ValueModel, record: BattleRecord
) -> BattleReview:
    if record.winner is None:
        return _none(record, asked, "the battle broke")
    dice = sha256(f"alphastral/{request.seed}/{record.index}/other dice".encode()).hexdigest()
    try:
        found = await simulator.review(parse_inputlog(record.input_log), value, copies=asked.copies, dice=dice)
    except (NotRun, InputRefused) as error:
        log.warning("Battle %s cannot be reviewed: %s", record.battle_tag, error)
        return _none(record, asked, one_line(error))
    policies: dict[Seat, Seat] = {record.p1_seat: "p1", other(record.p1_seat): "p2"}
    is_turned = record.p1_seat == "p2"

    def p1s(chance: float) -> float:
        return round(1 - chance if is_turned else chance, _DECIMALS)

    return BattleReview(
        index=record.index,
        pair=record.pair,
        winner=record.winner,
        asked=asked,
        first=p1s(found["first"]),
        steps=tuple(
            ReviewStep(
                turn=step["turn"],
                chose=tuple(sorted(policies[seat] for seat in step["chose"])),
                value=p1s(step["value"]),
                luck=round(-step["luck"] if is_turned else step["luck"], _DECIMALS),
            )
            for step in found["steps"]
        ),
    )


def _none(record: BattleRecord, asked: LuckAsked, why: str) -> BattleReview:
    return BattleReview(index=record.index, pair=record.pair, winner=record.winner, asked=asked, refused=why)
