"""The job that looks back at recorded battles: how likely each side was to win, and how much of it was luck.

A review follows from the battle's record, the matchup's seed and the value model that the request names, so whoever
makes it again gets the same one.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from services.arena.tasks import go_on_with_matchup
from shared.battle.protocol import SEATS, Seat, other
from shared.choices import ChoiceReview, ChoicesAsked, DecisionKind, LegalChoice, OnField, ReviewedDecision
from shared.errors import AlphaStralError, InputRefused, SimulatorError, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.routes import ReviewBattles
from shared.matchups import Matchups
from shared.records import BattleRecord, BattleReview, DecisionRecord, LuckAsked, MatchupRequest, ReviewStep
from shared.simulator.inputlog import NotRun, parse_inputlog
from shared.simulator.simulator import Simulator
from shared.text import one_line
from shared.value import ValueModel, shipped_value

log = logging.getLogger(__name__)

BATTLES_AT_ONCE = 2
"""One is worked out while the answer about another is read."""
SECONDS_AT_MOST = 100.0
"""For one battle: a thousand turns take less."""
SECONDS_FOR_CHOICES = 600.0
"""A battle takes some seconds, and one of a thousand turns some minutes."""
_DECIMALS = 5
_MAX_REASONING_CHARACTERS = 1_500


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


# ── what decisions cost ─────────────────────────────────────────────────────────────────────────────


def choices_asked(format: str, fresh: int) -> ChoicesAsked:
    """How the choices of this format's battles are weighed. Raises UsageError where no value model comes with it."""
    value = shipped_value(format)
    if value is None:
        raise UsageError(f"no value model of {format} comes with this version, so its battles cannot be reviewed")
    return ChoicesAsked(value=value.hash, fresh=fresh)


async def review_choices(
    request: MatchupRequest,
    asked: ChoicesAsked,
    records: Iterable[BattleRecord],
    keep: Callable[[ChoiceReview], None],
    *,
    processes: int = 1,
    node: Path | None = None,
) -> None:
    """Weigh the decisions of these battles, in so many processes, giving those of each battle to `keep`."""
    value, waiting = shipped_value(request.format), iter(records)
    assert value is not None and value.hash == asked.value

    async def in_turn() -> None:
        async with Simulator(node, step_timeout_seconds=SECONDS_FOR_CHOICES) as simulator:
            for record in waiting:
                keep(await _choices(simulator, request, asked, value, record))

    async with asyncio.TaskGroup() as group:
        for _ in range(processes):
            group.create_task(in_turn())


async def _choices(
    simulator: Simulator, request: MatchupRequest, asked: ChoicesAsked, value: ValueModel, record: BattleRecord
) -> ChoiceReview:
    told = {"index": record.index, "tag": record.battle_tag, "winner": record.winner, "asked": asked}
    dice = sha256(f"alphastral/{request.seed}/{record.index}/other choices".encode()).hexdigest()
    how = asked.model_dump(exclude={"value"})
    try:
        found = await simulator.choices(parse_inputlog(record.input_log), value, dice=dice, **how)
    except (NotRun, InputRefused, SimulatorError) as error:
        log.warning("The choices of battle %s cannot be weighed: %s", record.battle_tag, error)
        return ChoiceReview(**told, refused=one_line(error))
    policies: dict[Seat, Seat] = {record.p1_seat: "p1", other(record.p1_seat): "p2"}
    made: dict[Seat, list[DecisionRecord]] = {
        policy: [each for each in record.decisions if each.policy == policy and not each.refused_by_simulator]
        for policy in SEATS
    }
    decisions = (_weighed(each, policies[each["seat"]], made) for each in found["decisions"])
    return ChoiceReview(**told, decisions=tuple(decisions))


def _weighed(found: Mapping[str, Any], policy: Seat, made: Mapping[Seat, Sequence[DecisionRecord]]) -> ReviewedDecision:
    """What the host found, with what is recorded of the decision."""
    own = SEATS.index(found["seat"])
    recorded = dict(enumerate(made[policy])).get(found["number"])
    is_it = recorded is not None and recorded.turn == found["turn"]
    word, *rest = found["options"][0]["order"].split(" ")
    kind: DecisionKind = "tera" if len(rest) > 1 and word == "move" else "move" if word == "move" else "switch"
    (loss, error), (hindsight, hindsight_error) = found["loss"], found["hindsight"]
    return ReviewedDecision(
        policy=policy,
        number=found["number"],
        turn=found["turn"],
        kind="lead" if word == "team" else "forced switch" if found["request"] == "switch" else kind,
        own=OnField(**found["position"][own]),
        opposing=OnField(**found["position"][1 - own]),
        options=tuple(
            LegalChoice(**each | {name: round(each[name], _DECIMALS) for name in ("value", "hindsight")})
            for each in found["options"]
        ),
        best=found["best"],
        loss=round(loss, _DECIMALS),
        error=round(error, _DECIMALS),
        hindsight=round(hindsight, _DECIMALS),
        hindsight_error=round(hindsight_error, _DECIMALS),
        wins=found["wins"],
        reasoning=(recorded.reasoning or "")[:_MAX_REASONING_CHARACTERS] or None if recorded and is_it else None,
    )


def _none(record: BattleRecord, asked: LuckAsked, why: str) -> BattleReview:
    return BattleReview(index=record.index, pair=record.pair, winner=record.winner, asked=asked, refused=why)
