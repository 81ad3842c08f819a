"""A matchup asked of the API, followed on the command line to its end."""

from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from deploy.cli.show import describe, err, print_result, progress
from deploy.client import ApiClient, find_api
from services.arena.views import MatchupStatus
from shared.errors import AlphaStralError
from shared.records import NewMatchup
from shared.settings import Settings
from shared.verdicts.scores import Tally
from shared.work import State


def follow(
    client: ApiClient, asked: NewMatchup, output: Path | None = None, check: Callable[[], None] = lambda: None
) -> None:
    """Ask for a matchup, show it to its end, and write its run and report to this folder.

    `check` is called now and then, and raises when going on makes no sense.
    """
    from deploy.cli.play import write_result

    status = client.enqueue(asked)
    err.print(f"matchup {status.id}: {escape(describe(status.request))}")
    with progress("battles", status.battles) as advance:

        def show(now: MatchupStatus) -> None:
            check()
            advance(Tally(now.p1_wins, now.p2_wins, now.draws, now.broken), now.sequential_test, now.cost_usd)

        status = client.wait(status.id, show)
    if status.links.run is None:
        raise AlphaStralError(f"matchup {status.id} has {status.state}: {'; '.join(status.failures) or 'no report'}")
    run = client.run(status.id)
    print_result(run, *write_result(run, output))
    if status.state is not State.FINISHED and status.stopped is None:
        raise AlphaStralError(f"matchup {status.id} has {status.state}")


def api_client() -> ApiClient:
    """A client of the API that the settings or the local stack name. Raises Unreachable without one."""
    settings = Settings()
    token = settings.api_token.get_secret_value() if settings.api_token else None
    return ApiClient(find_api(settings, Path("var")), token=token)
