"""Which jobs there are: what each carries, which function runs it, on which queue, how long, and how often.

Nothing else runs: RQ alone would import whatever dotted name a job holds; here a job names a row of ROUTES.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.jobs.payloads import (
    BuildDataset,
    LookAtMatchup,
    LookAtTournament,
    Payload,
    PlayShard,
    ScrapePages,
    TrainModel,
    WriteLeaderboard,
    WriteReport,
)


@dataclass(frozen=True, slots=True)
class Route:
    """How one kind of job is run. Functions are named, so that an API need not import them."""

    queue: str
    function: str
    """`module:function`, called as function(payload, context)."""
    give_up: str
    """`module:function`, called as give_up(payload, context, reason) when the job has failed for good."""
    payload: type[Payload]
    job_id: Callable[[Any], str]
    """The same work has the same id, and is on the queue once."""
    timeout_seconds: Callable[[Any], float]
    retries: int = 2
    at_front: bool = False
    """Before the jobs that wait already: it is short, and they may not be needed any more after it."""


ROUTES: Mapping[str, Route] = {
    "play_shard": Route(
        queue="arena",
        function="services.arena.tasks:play_shard",
        give_up="services.arena.tasks:give_up_shard",
        payload=PlayShard,
        job_id=lambda payload: f"{payload.matchup_id}-shard-{payload.start:05d}",
        timeout_seconds=lambda payload: 60 + (payload.stop - payload.start) * payload.seconds_per_battle,
    ),
    "look_at_matchup": Route(
        queue="arena",
        function="services.arena.tasks:look_at_matchup",
        give_up="services.arena.tasks:give_up_look",
        payload=LookAtMatchup,
        job_id=lambda payload: f"{payload.matchup_id}-look-{payload.revision}",
        timeout_seconds=lambda payload: 600,
        at_front=True,
    ),
    "look_at_tournament": Route(
        queue="arena",
        function="services.arena.tasks:look_at_tournament",
        give_up="services.arena.tasks:give_up_tournament",
        payload=LookAtTournament,
        job_id=lambda payload: f"{payload.tournament_id}-look-{payload.revision}",
        timeout_seconds=lambda payload: 600,
        at_front=True,
    ),
    "write_report": Route(
        queue="reporter",
        function="services.reporter.tasks:write_report",
        give_up="services.reporter.tasks:give_up_report",
        payload=WriteReport,
        job_id=lambda payload: f"{payload.matchup_id}-report-{payload.revision}",
        timeout_seconds=lambda payload: 600,
    ),
    "write_leaderboard": Route(
        queue="reporter",
        function="services.reporter.tasks:write_leaderboard",
        give_up="services.reporter.tasks:give_up_leaderboard",
        payload=WriteLeaderboard,
        job_id=lambda payload: f"{payload.tournament_id}-leaderboard-{payload.revision}",
        timeout_seconds=lambda payload: 600,
    ),
    "scrape_pages": Route(
        queue="scraper",
        function="services.scraper.tasks:scrape_pages",
        give_up="services.scraper.tasks:give_up_pages",
        payload=ScrapePages,
        job_id=lambda payload: f"{payload.scrape_id}-pages-{payload.number:05d}",
        # A site may ask to wait, and is asked slowly.
        timeout_seconds=lambda payload: 7_200,
    ),
    "build_dataset": Route(
        queue="scraper",
        function="services.scraper.tasks:build_dataset",
        give_up="services.scraper.tasks:give_up_dataset",
        payload=BuildDataset,
        job_id=lambda payload: f"{payload.name}-dataset",
        timeout_seconds=lambda payload: 86_400,
        retries=1,
    ),
    "train_model": Route(
        queue="train",
        function="services.trainer.tasks:train_model",
        give_up="services.trainer.tasks:give_up_training",
        payload=TrainModel,
        job_id=lambda payload: f"{payload.training_id}-train",
        timeout_seconds=lambda payload: 14 * 86_400,
        # A machine that is taken away now and then should not end a training that goes on from its checkpoint.
        retries=8,
    ),
}
