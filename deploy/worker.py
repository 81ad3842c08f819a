"""One worker process: `python -m deploy.worker arena`, or `reporter`, or `scraper`."""

import sys

from deploy.kinds import kinds
from shared.errors import AlphaStralError, UsageError
from shared.jobs.queue import connect
from shared.jobs.routes import ROUTES
from shared.jobs.worker import Worker
from shared.process import end_with_parent
from shared.settings import Settings
from shared.text import configure_logging
from shared.work import restore


def run(queue: str, settings: Settings) -> None:
    """Take jobs from a queue until told to stop. Raises UsageError for a queue that no route leads to."""
    queues = sorted({route.queue for route in ROUTES.values()})
    if queue not in queues:
        raise UsageError(f"no queue is called {queue!r}; the queues are: {', '.join(queues)}")
    if settings.redis_url is None:
        raise UsageError("a worker needs REDIS_URL to find its queue")
    end_with_parent()
    connection = connect(settings.redis_url, settings.redis_password_file)
    Worker(queue, connection, settings, restore=lambda store, queues: restore(kinds(store, settings), queues)).run()


def main() -> None:
    """Run the command and exit."""
    try:
        settings = Settings()
        configure_logging(settings.log_level)
        run(" ".join(sys.argv[1:]), settings)
    except AlphaStralError as error:
        sys.exit(f"error: {error.message}")


if __name__ == "__main__":
    main()
