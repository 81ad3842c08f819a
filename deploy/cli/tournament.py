"""A tournament in one process: plays what is most worth playing until the budget is used up, and can be resumed.

    FOLDER/leaderboard.html
    FOLDER/matchups/ID-NNNNN/{run.json.gz,report.html,…}
    FOLDER/tournaments/ID/…

The folder is a store of its own, and what is played next is what the queue would play. So a tournament that was
interrupted, or killed, goes on with the very battle that was missing, and no model is paid twice.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from deploy.cli.play import write_file
from deploy.cli.show import err, progress
from services.arena.budget import MatchupBudget
from services.arena.matchups import Progress
from services.arena.play import play
from services.arena.policies import Connect
from services.arena.tournaments import go_on, pinned_suite
from services.reporter.leaderboard import Leaderboard, render_leaderboard
from services.reporter.tasks import notes, tournament_table, write_run_and_report
from shared.errors import Conflict
from shared.matchups import Matchups
from shared.process import interruptible_in_loop
from shared.records import BattleRecord
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import one_line
from shared.tournaments import Suite, Tournaments
from shared.verdicts.scores import Tally


@dataclass(frozen=True, slots=True)
class Played:
    """What a tournament came to."""

    table: Leaderboard
    notes: tuple[str, ...]
    """What was spent, and what did not end as it should: a sentence each."""
    over: bool
    """False where Ctrl-C ended it before."""


def play_tournament(suite: Suite, folder: Path, *, settings: Settings, connect: Connect) -> Played:
    """Play on from what is in `folder`.

    Raises Conflict when the folder holds another tournament, and UsageError where there is nothing to rate yet.
    """
    store = Store(str(folder))
    tournament_id = _open(store, suite, folder, settings)
    over = asyncio.run(_play_on(store, tournament_id, settings, connect))
    results = go_on(store, tournament_id).results
    for each in results:
        # It was killed when all was played and nothing written.
        if not Matchups(store).has_report(each.result.matchup_id):
            write_run_and_report(store, each.result.matchup_id)
    suite = Tournaments(store).request(tournament_id)
    table = tournament_table(suite, results, "matchups", "report.html")
    said = tuple(notes(suite, results))
    write_file(folder / "leaderboard.html", render_leaderboard(table, said))
    return Played(table, said, over)


def _open(store: Store, suite: Suite, folder: Path, settings: Settings) -> str:
    """The id of the tournament in this folder, made if there is none, with the budget that is asked for now."""
    tournaments = Tournaments(store)
    there = tournaments.ids()
    before = tournaments.request(there[0]) if there else None
    suite = pinned_suite(suite, Registry(Store(settings.store)), settings, before=before)
    if before and before.id != suite.id:
        raise Conflict(f"{folder} holds another tournament; choose another folder with --output")
    tournaments.replace(suite.id, suite)
    return suite.id


async def _play_on(store: Store, tournament_id: str, settings: Settings, connect: Connect) -> bool:
    with interruptible_in_loop(lambda sentence: err.print(escape(sentence))) as interrupted:
        while True:
            now = await asyncio.to_thread(go_on, store, tournament_id)
            if interrupted.is_set() or not now.open:
                return not now.open
            number, matchup = min(now.open.items())
            label = f"matchup {number + 1} of {now.suite.matchups}: {matchup.request.p1} vs {matchup.request.p2}"
            await _play_missing(store, matchup, label, interrupted, settings, connect)


async def _play_missing(
    store: Store, matchup: Progress, label: str, interrupted: asyncio.Event, settings: Settings, connect: Connect
) -> None:
    """Play a matchup's battles that have no record yet, and write its report."""
    request, matchup_id = matchup.request, matchup.matchup_id
    records = {record.index: record for record in Matchups(store).battles(matchup_id)}
    budget = MatchupBudget.of(request)
    budget.note(records.values())
    with progress(one_line(label, 100), request.battles) as advance:

        def keep(record: BattleRecord) -> None:
            records[record.index] = record
            Matchups(store).record(matchup_id, record)
            advance(Tally.of(each.winner for each in records.values()))

        await play(
            request,
            [index for index in range(request.battles) if index not in records],
            matchup_id=matchup_id,
            worker="command line",
            on_record=keep,
            stopping=interrupted.is_set,
            connect=connect,
            budget=budget,
        )
    if budget.stopped is not None:
        Matchups(store).cancel(matchup_id, budget.stopped)
    write_run_and_report(store, matchup_id)
