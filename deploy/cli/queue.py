"""The commands about the queue: the local stack, and matchups asked of the API."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.options import AskedMatchup, LogLevel, asks_for_a_matchup
from deploy.cli.show import describe, err, interrupts_told, out, print_result, print_status, progress, result
from deploy.client import MATCHUPS, ApiClient, find_api, find_redis
from services.arena.views import MatchupStatus
from shared.errors import AlphaStralError
from shared.records import NewMatchup, parse_run
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging, percent
from shared.verdicts.scores import Tally
from shared.work import ENDED, State
from shared.work import resume as resume_all

ArenaWorkers = Annotated[int, typer.Option(help="Arena workers.", min=1, max=64)]
MatchupId = Annotated[str, typer.Argument(help="As `enqueue` and `matchups` show it.")]


def up(
    arena: ArenaWorkers = 2,
    trainer: Annotated[bool, typer.Option("--trainer", help="And a worker that trains; it needs torch.")] = False,
    log_level: LogLevel = None,
) -> None:
    """Run the local stack (Redis, API, arena and scraper workers, reporter) until interrupted."""
    from deploy.stack import LocalStack

    configure_logging(log_level or Settings().log_level)
    settings = Settings()
    if log_level is not None:
        settings = settings.model_copy(update={"log_level": log_level.upper()})
    with suppress(KeyboardInterrupt), LocalStack(settings, arena_workers=arena, trainers=int(trainer)) as stack:
        out.print(f"The API listens at {stack.url} (documentation: {stack.url}/docs). Ctrl-C ends everything.")
        stack.wait()


def demo(
    arena: ArenaWorkers = 2,
    stay: Annotated[bool, typer.Option("--stay", help="Leave the console open until Ctrl-C.")] = False,
) -> None:
    """Start the stack, play heuristic against random through API and queue, show the verdict, and stop everything."""
    from deploy.stack import LocalStack

    configure_logging("WARNING")
    err.print("starting Redis, the API, arena workers and a reporter …")
    with interrupts_told("interrupted; everything is stopped"), TemporaryDirectory(prefix="alphastral-demo-") as folder:
        settings = Settings().model_copy(update={"scraper_workers": 0})
        if settings.redis_url is None:
            # A store of its own, so that nothing of an earlier matchup is resumed here.
            settings = settings.model_copy(update={"store": f"{folder}/store"})
        with LocalStack(settings, arena_workers=arena, folder=Path("var/demo")) as stack, stack.client() as client:
            err.print(f"watch it at {escape(stack.url)}")
            _follow(client, NewMatchup(p1="heuristic", p2="random", battles=20, luck="off"))
            if stay:
                err.print(f"the console stays open at {escape(stack.url)} until Ctrl-C")
                stack.wait()


@asks_for_a_matchup
def enqueue(
    asked: AskedMatchup,
    output: Annotated[Path | None, typer.Option(help="Where the run goes; its report beside it.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow it to its end and write run and report here.")] = True,
) -> None:
    """Ask the API for a matchup, and follow it."""
    from deploy.cli.play import check_output

    new = asked()
    if wait:
        check_output(output)
    with api_client() as client:
        if not wait:
            status = client.ask(MATCHUPS, new)
            out.print(status.id)
            result(status)
            return
        with interrupts_told("no longer following; the matchup goes on: alphastral matchup ID, alphastral cancel ID"):
            _follow(client, new, output)


def matchups(limit: Annotated[int, typer.Option(min=1, max=200)] = 20) -> None:
    """List matchups, newest first, and what came of those that have ended."""
    with api_client() as client:
        lines = client.list(MATCHUPS, limit=limit).items
        for line in lines:
            rate = client.get(MATCHUPS, line.id).p1_win_rate if line.state in ENDED else None
            won = "" if rate is None else percent(rate)
            standing = f"{line.id}  {line.state:<9}  {line.recorded:>6}/{line.battles:<6} {won:>6}"
            out.print(f"{standing}  {escape(line.p1)} vs {escape(line.p2)}")
        result(lines)


def matchup(matchup_id: MatchupId) -> None:
    """Show how a matchup stands."""
    with api_client() as client:
        print_status(client.get(MATCHUPS, matchup_id), client.url)


def cancel(matchup_id: MatchupId) -> None:
    """Cancel a matchup; what is played already is kept and reported."""
    with api_client() as client:
        print_status(client.cancel(MATCHUPS, matchup_id), client.url)


def resume(
    retry_failed: Annotated[bool, typer.Option(help="Give what failed for good another try.")] = False,
) -> None:
    """Enqueue all unfinished work now: workers and API do so by themselves within half a minute."""
    from deploy.kinds import kinds
    from shared.jobs.queue import Queues, connect

    settings = Settings()
    queues = Queues(connect(find_redis(settings, Path("var")), settings.redis_password_file))
    added = resume_all(kinds(Store(settings.store), settings), queues, retry_failed=retry_failed)
    out.print(f"{added} jobs enqueued")
    result({"jobs": added})


def _follow(client: ApiClient, asked: NewMatchup, output: Path | None = None) -> None:
    """Ask for a matchup, show it to its end, and write its run and report to this folder."""
    from deploy.cli.play import write_result

    status = client.ask(MATCHUPS, asked)
    err.print(f"matchup {status.id}: {escape(describe(status.request))}")
    with progress("battles", status.battles) as advance:

        def show(now: MatchupStatus) -> None:
            advance(Tally(now.p1_wins, now.p2_wins, now.draws, now.broken), now.sequential_test, now.cost_usd)

        status = client.wait(MATCHUPS, status.id, show, _has_ended)
    if status.links.run is None:
        raise AlphaStralError(f"matchup {status.id} has {status.state}: {'; '.join(status.failures) or 'no report'}")
    run = parse_run(client.read(MATCHUPS, status.id, "run"), f"the run of {status.id}")
    print_result(run, *write_result(run, output))
    if status.state is not State.FINISHED and status.stopped is None:
        raise AlphaStralError(f"matchup {status.id} has {status.state}")


def _has_ended(status: MatchupStatus) -> bool:
    # A cancelled one has when its report is there: it tells what was played.
    return status.state in ENDED and (status.state is not State.CANCELLED or status.links.report is not None)


def api_client() -> ApiClient:
    """A client of the API that the settings or the local stack name. Raises Unreachable without one."""
    settings = Settings()
    token = settings.api_token.get_secret_value() if settings.api_token else None
    return ApiClient(find_api(settings, Path("var")), token=token)
