"""The reporter's jobs: a matchup's run and report, a tournament's table and leaderboard, from what the store holds."""

from services.reporter.writing import write_run_and_report, write_table
from shared.jobs.payloads import WriteLeaderboard, WriteReport
from shared.jobs.worker import Context
from shared.matchups import Matchups
from shared.tournaments import RatingTable, Tournaments, revision


def write_report(payload: WriteReport, context: Context) -> None:
    """Write run and report. Safe to repeat."""
    write_run_and_report(context.store, payload.matchup_id)


def give_up_report(payload: WriteReport, context: Context, reason: str) -> None:
    """Record that the report could not be written, in the place after the last battle."""
    matchups = Matchups(context.store)
    request = matchups.request(payload.matchup_id)
    matchups.fail(payload.matchup_id, f"the report could not be written: {reason}", request.battles)


def write_leaderboard(payload: WriteLeaderboard, context: Context) -> None:
    """Write table and leaderboard. Safe to repeat."""
    write_table(context.store, payload.tournament_id)


def give_up_leaderboard(payload: WriteLeaderboard, context: Context, reason: str) -> None:
    """Record that the table could not be made, in its place."""
    tournaments = Tournaments(context.store)
    now = revision(tournaments.results(payload.tournament_id))
    missing = RatingTable(revision=now, missing=f"the leaderboard could not be written: {reason}")
    tournaments.write_table(payload.tournament_id, missing, None)
