"""The reporter's job: a matchup's run and report, from what the store holds."""

from services.reporter.report import render
from services.reporter.run import assemble
from shared.jobs.payloads import WriteReport
from shared.jobs.worker import Context
from shared.store import Store


def write_report(payload: WriteReport, context: Context) -> None:
    """Write run and report. Safe to repeat, and whatever is recorded meanwhile is in them at the end."""
    store, matchup_id = context.store, payload.matchup_id
    seen = None
    while seen != (now := _seen(store, matchup_id)):
        # Looked at again afterwards, so that a slow report of less never covers a later one of more.
        seen = now
        request = store.request(matchup_id)
        failures = store.failures(matchup_id)
        failures.pop(request.battles, None)
        stopped = store.cancelled_because(matchup_id)
        run = assemble(
            request,
            store.battles(matchup_id),
            matchup_id=matchup_id,
            created_at=store.created_at(matchup_id).isoformat(timespec="seconds"),
            cancelled=store.is_cancelled(matchup_id) and stopped is None,
            stopped=stopped,
            failures=dict.fromkeys(failures.values()),
        )
        store.write_run(matchup_id, run)
        store.write_report(matchup_id, render(run))
        store.forget_failure(matchup_id, request.battles)


def give_up_report(payload: WriteReport, context: Context, reason: str) -> None:
    """Record that the report could not be written, in the place after the last battle."""
    request = context.store.request(payload.matchup_id)
    context.store.record_failure(payload.matchup_id, request.battles, f"the report could not be written: {reason}")


def _seen(store: Store, matchup_id: str) -> tuple[int, int, bool]:
    battles = store.request(matchup_id).battles
    failed_shards = sum(start != battles for start in store.failures(matchup_id))
    return len(store.recorded(matchup_id)), failed_shards, store.is_cancelled(matchup_id)
