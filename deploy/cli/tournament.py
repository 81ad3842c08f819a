"""`alphastral tournament`: many matchups in a folder of their own.

    FOLDER/matchups/ID/{run.json.gz,report.html,…}
    FOLDER/tournaments/ID/…, FOLDER/leaderboard.html

The folder is a store, and what is played next is what the queue would play. So what was interrupted, or killed, goes
on with the very battle that was missing, and no model is paid twice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from deploy.cli.judge import print_table, rated
from deploy.cli.options import Policies, PolicyFile, read_policies, read_toml
from deploy.cli.play import drain, jobs_of, write_file
from deploy.cli.queue import api_client
from deploy.cli.show import err, out, result
from deploy.client import TOURNAMENTS
from services.arena.tournaments import check_suite
from shared.errors import Conflict, UsageError, first_fault
from shared.jobs.limits import LocalLimiter
from shared.jobs.routes import ROUTES
from shared.records import MatchupRequest
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging, one_line
from shared.tournaments import NewTournament, Suite, Tournaments

if TYPE_CHECKING:
    from services.arena.policies import Connect
    from services.reporter.leaderboard import Leaderboard, Note


def tournament(
    suite_file: Annotated[Path, typer.Argument(help="A TOML file: policies, budget; see docs/verdicts.md.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Its folder; default: tournaments/<name of the suite>.")
    ] = None,
    policies: PolicyFile = None,
    enqueue: Annotated[bool, typer.Option("--enqueue", help="Ask the API for it instead, and show its id.")] = False,
) -> None:
    """Let many policies meet, those first whose matchup tells most, until the budget is used up; again to go on."""
    from services.arena.policies.language_model import connector

    configure_logging("WARNING")
    settings = Settings()
    suite = read_tournament(suite_file, read_policies(policies))
    if enqueue:
        with api_client() as client:
            told = client.ask(TOURNAMENTS, NewTournament.model_validate(suite.model_dump()))
        out.print(told.id)
        result(told)
        err.print(escape(f"how it stands: {client.url}{told.links.self}, its page: {told.links.self}/leaderboard"))
        return
    folder = output or Path("tournaments") / suite_file.stem
    played = play_tournament(suite, folder, settings=settings, connect=connector(settings, LocalLimiter()))
    print_table(played.table)
    for note in played.notes:
        out.print(escape(note.text))
    out.print(f"Leaderboard: {escape(str(folder / 'leaderboard.html'))}")
    told_of = rated(played.table, folder / "leaderboard.html")
    result({**told_of, "notes": [note.text for note in played.notes], "over": played.over})
    if not played.over:
        err.print("interrupted; the same command goes on from here")
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class PlayedTournament:
    """What a tournament came to."""

    table: "Leaderboard"
    notes: "tuple[Note, ...]"
    """What was spent, and what did not end as it should: a sentence each."""
    over: bool
    """False where Ctrl-C ended it before."""


def play_tournament(suite: Suite, folder: Path, *, settings: Settings, connect: "Connect") -> PlayedTournament:
    """Play on from what is in `folder`.

    Raises Conflict when the folder holds another tournament, and UsageError where there is nothing to rate yet.
    """
    from services.arena.tournaments import TournamentProgress, go_on
    from services.reporter.leaderboard import notes, render_leaderboard, tournament_table

    store = Store(str(folder))
    tournament_id = _open(store, suite, folder, settings)
    suite = Tournaments(store).request(tournament_id)
    # A matchup was killed when all was played and nothing written, say, or its model's server was away.
    left = [job for matchup_id in Tournaments(store).matchup_ids(tournament_id) for job in jobs_of(store, matchup_id)]

    def label(matchup_id: str, request: MatchupRequest) -> str:
        number = int(matchup_id.rpartition("-")[2]) + 1
        return one_line(f"matchup {number} of {suite.matchups}: {request.p1} vs {request.p2}", 100)

    left.append(TournamentProgress.of(store, tournament_id).look())
    # The page lies in the folder, and so is written here.
    routes = {name: route for name, route in ROUTES.items() if name != "write_leaderboard"}
    drain(store, settings, left, label, routes=routes, connect=connect)
    progress = go_on(store, tournament_id)
    table = tournament_table(suite, progress.results, "matchups", "report.html")
    said = tuple(notes(suite, progress.results))
    write_file(folder / "leaderboard.html", render_leaderboard(table, said))
    return PlayedTournament(table, said, not progress.open)


def _open(store: Store, suite: Suite, folder: Path, settings: Settings) -> str:
    """The id of the tournament in this folder, made if there is none, with the budget that is asked for now."""
    from services.arena.tournaments import pinned_suite

    tournaments = Tournaments(store)
    there = tournaments.ids()
    before = tournaments.request(there[0]) if there else None
    suite = pinned_suite(suite, Registry(Store(settings.store)), settings, before=before)
    if before and before.id != suite.id:
        raise Conflict(f"{folder} holds another tournament; choose another folder with --output")
    tournaments.replace(suite.id, suite)
    return suite.id


def read_tournament(path: Path, named: Policies) -> Suite:
    """A suite from its TOML file, with the policies that `named` has other names for.

    Raises UsageError, naming the field, when it is not one or cannot be played.
    """
    document = read_toml(path, "the suite")
    for field in ("policies", "anchors"):
        if named and isinstance(document.get(field), list):
            document[field] = [named.get(name, name) for name in document[field]]
    try:
        suite = Suite.model_validate(document)
    except ValidationError as error:
        where, why = first_fault(error)
        raise UsageError(f"{path}: {where or 'the suite'}: {why}") from error
    check_suite(suite)
    return suite
