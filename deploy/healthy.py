"""Whether this container's process is well, for its health check: `python -m deploy.healthy worker`, or with a URL.

Exit code 0 when it is: the worker of this host has given Redis a sign of life, or the URL answers 200.
"""

import socket
import sys
from urllib.request import urlopen

from shared.errors import AlphaStralError, Unreachable, UsageError
from shared.settings import Settings

TIMEOUT_SECONDS = 5.0


def check(what: str, settings: Settings) -> None:
    """Raises AlphaStralError when it is not well."""
    if what.startswith("http://"):
        try:
            urlopen(what, timeout=TIMEOUT_SECONDS).close()
        except OSError as error:
            raise Unreachable(f"{what} does not answer: {error}") from error
        return
    if what != "worker":
        raise UsageError(f"give `worker` or an http:// URL, not {what!r}")
    # A URL is looked at often, and needs no Redis.
    from shared.jobs.queue import Queues, connect

    if settings.redis_url is None:
        raise UsageError("a worker needs REDIS_URL to find its queue")
    workers = Queues(connect(settings.redis_url, settings.redis_password_file)).workers()
    if not any(worker.name.startswith(f"{socket.gethostname()}-") for worker in workers):
        raise Unreachable(f"Redis knows no worker on {socket.gethostname()}")


def main() -> None:
    """Run the check and exit."""
    try:
        check(" ".join(sys.argv[1:]), Settings())
    except AlphaStralError as error:
        sys.exit(f"not well: {error.message}")


if __name__ == "__main__":
    main()
