"""The arena's jobs: play a shard, or record that it cannot be played; see whether a matchup or tournament goes on."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from services.arena.budget import MatchupBudget
from services.arena.matchups import Progress, look_after, look_again, shards_of
from services.arena.play import make_battlefield, play
from services.arena.policies import no_models
from services.arena.policies.language_model import connector
from services.arena.tournaments import go_on
from shared.asked import now_and_then
from shared.errors import NotServed, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.limits import limiter_of
from shared.jobs.live import counts_of, staged
from shared.jobs.routes import LookAtMatchup, LookAtTournament, PlayShard
from shared.matchups import Matchups
from shared.policies import asks_a_model
from shared.records import BattleRecord, MatchupRequest
from shared.standings import Standings
from shared.store import Store
from shared.verdicts.sequential import Decided

log = logging.getLogger(__name__)


def play_shard(payload: PlayShard, context: Context) -> None:
    """Play the battles of a shard that have no record yet, and have the report written after the last one.

    Raises HandedBack when the worker is told to stop before all are played.
    """
    store, matchup_id = context.store, payload.matchup_id
    matchups = Matchups(store)
    request = matchups.request(matchup_id)
    ended = now_and_then(lambda: _has_ended(store, matchup_id))
    missing = _missing(payload, store)
    playing = bool(missing) and payload.start not in matchups.failures(matchup_id) and not ended()
    if playing:
        budget = context.budget or MatchupBudget.of(request, lambda known: matchups.battles(matchup_id, known))
        try:
            asyncio.run(_play(request, missing, matchup_id, context, budget, lambda: context.stopping() or ended()))
        except (NotServed, UsageError) as error:
            if context.in_person:
                raise
            # An invalid team, say, or a version that was waited for in vain: no shard of this matchup can do better.
            _fail_matchup(store, matchup_id, error.message)
        else:
            if budget.stopped is not None and budget is not context.budget and matchups.cancelled(matchup_id) is None:
                matchups.cancel(matchup_id, budget.stopped)
            if _missing(payload, store) and not _has_ended(store, matchup_id):
                raise HandedBack
            if not context.in_person:
                Standings(store).keep(matchup_id, payload.start, min(payload.stop, request.battles), request.battles)
    if playing or not missing or not matchups.has_report(matchup_id):
        go_on_with_matchup(context, matchup_id)


def look_at_matchup(payload: LookAtMatchup, context: Context) -> None:
    """Look what comes next in a matchup, shards or its report, and enqueue it. It keeps nothing: the store tells.

    In one that is played until decided: whether it is. In another: what has come to be missing.
    """
    progress = look_again(context.store, payload.matchup_id)
    if progress.test is not None:
        context.tell(progress.test)
    if progress.settled:
        context.enqueue(progress.report())
    else:
        for job in progress.next_shards() if progress.request.until_decided else progress.jobs():
            context.enqueue(job)


def give_up_look_at_matchup(payload: LookAtMatchup, context: Context, reason: str) -> None:
    """Record that a matchup cannot be looked at, at the shard that would come next."""
    progress = Progress.of(context.store, payload.matchup_id)
    for shard in progress.next_shards()[:1]:
        Matchups(context.store).fail(payload.matchup_id, f"the matchup could not be looked at: {reason}", shard.start)
    go_on_with_matchup(context, payload.matchup_id)


async def _play(
    request: MatchupRequest,
    indices: Sequence[int],
    matchup_id: str,
    context: Context,
    budget: MatchupBudget,
    stopping: Callable[[], bool],
) -> None:
    """Play. A model is one that this worker's settings reach, asked in the slots that all workers share."""

    def keep(record: BattleRecord) -> None:
        if Matchups(context.store).record(matchup_id, record):
            stage.counts += counts_of(record)
            context.tell(record)
        else:
            log.warning("Battle %s has a record already, which stands: it was played twice.", record.battle_tag)

    settings = context.settings
    async with AsyncExitStack() as closing:
        stage = await closing.enter_async_context(staged(context.worker, matchup_id, settings))
        connect = context.connect or no_models
        if context.connect is None and (asks_a_model(request.p1) or asks_a_model(request.p2)):
            limiter = await closing.enter_async_context(limiter_of(settings))
            # Who was there before is restarting; and a new version takes its time to come up.
            was_there = bool(Matchups(context.store).recorded(matchup_id))
            connect = connector(settings, limiter, waits_for=lambda spec: was_there or spec.pinned is not None)
        tell = context.tell if context.in_person else log.info
        await play(
            request,
            indices,
            matchup_id=matchup_id,
            worker=context.worker,
            on_record=keep,
            stopping=stopping,
            battlefield=make_battlefield(request, settings, tell),
            connect=connect,
            budget=budget,
            stage=stage,
            tell=tell,
        )


def give_up_play_shard(payload: PlayShard, context: Context, reason: str) -> None:
    """Record that a shard failed for good."""
    if _missing(payload, context.store):
        sentence = f"battles {payload.start} to {payload.stop - 1} could not be played: {reason}"
        Matchups(context.store).fail(payload.matchup_id, sentence, payload.start)
    go_on_with_matchup(context, payload.matchup_id)


def _missing(payload: PlayShard, store: Store) -> list[int]:
    matchups = Matchups(store)
    recorded, battles = matchups.recorded(payload.matchup_id), matchups.request(payload.matchup_id).battles
    return [index for index in range(payload.start, min(payload.stop, battles)) if index not in recorded]


def _fail_matchup(store: Store, matchup_id: str, sentence: str) -> None:
    progress = Progress.of(store, matchup_id)
    for shard in shards_of(progress.request):
        if not progress.recorded.issuperset(shard):
            Matchups(store).fail(matchup_id, sentence, shard.start)


def _has_ended(store: Store, matchup_id: str) -> bool:
    """Whether nothing more of a matchup is to be begun: it was cancelled, or is decided."""
    if Matchups(store).cancelled(matchup_id) is not None:
        return True
    test = Matchups(store).latest_look(matchup_id)
    return test is not None and test.decided is not Decided.UNDECIDED


def look_at_tournament(payload: LookAtTournament, context: Context) -> None:
    """See what comes next in a tournament; enqueue its matchups, and its table. It keeps nothing: the store tells."""
    progress = go_on(context.store, payload.tournament_id)
    for matchup in progress.open.values():
        for job in matchup.jobs():
            context.enqueue(job)
    if not progress.has_table:
        context.enqueue(progress.leaderboard())


def give_up_look_at_tournament(payload: LookAtTournament, context: Context, reason: str) -> None:
    """Nothing is recorded: the next matchup that ends looks again, and so does `resume`."""
    log.error("Tournament %s could not be looked at: %s", payload.tournament_id, reason)


def go_on_with_matchup(context: Context, matchup_id: str) -> None:
    """Enqueue what comes next in a matchup of which something has just ended."""
    # Every shard looks when it ends. Of two that end at once, the one that looks last sees both, and the name of
    # the job says what was seen, so that neither an earlier report nor a second request for this one stands in the way.
    progress = Progress.of(context.store, matchup_id)
    if reviews := progress.reviews():
        # The last of them comes back here.
        for job in reviews:
            context.enqueue(job)
    elif progress.request.until_decided and not progress.decided:
        context.enqueue(progress.look())
    elif progress.settled:
        context.enqueue(progress.report())
        if look := look_after(context.store, matchup_id):
            context.enqueue(look)
