"""The same jobs in this process, without Redis: what a command asked for is drained here.

    inline = Inline(store, Settings())
    ask(kind, body, inline)
    with interruptible(tell) as interrupted:
        inline.drain(interrupted)

It is the second executor beside shared.jobs.worker, over the same ROUTES and the same Context.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from shared.errors import HostUnfit, NotServed, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.routes import ROUTES, Payload, PlayShard, ReviewBattles, Route
from shared.matchups import Matchups
from shared.settings import Settings
from shared.store import Store
from shared.text import one_line

log = logging.getLogger(__name__)


class Inline:
    """Jobs that wait in this process, each of them once, and what it takes to do them one after another.

    What a person can put right, a wrong option, a missing program or a server that does not come, is raised at once
    and recorded nowhere, so that the same command can be given again. Any other failure is tried again, recorded and
    raised as said at `drain`.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        routes: Mapping[str, Route] = ROUTES,
        worker: str = "command line",
        tell: Callable[[Any], None] = lambda told: None,
        **more: Any,
    ) -> None:
        """Jobs without one of the `routes` are not done here. `tell` and `more` are the Context's; `tell` is given
        each job's payload, too, when it begins.
        """
        self._matchups = Matchups(store)
        self._routes = {route.payload: route for route in routes.values()}
        self._waiting: deque[Payload] = deque()
        self._running: list[Payload] = []
        self._context = partial(
            Context,
            # Without Redis, the limits on model servers are those of this process.
            settings=settings.model_copy(update={"redis_url": None}),
            store=store,
            enqueue=self.enqueue,
            worker=worker,
            tell=tell,
            in_person=True,
            **more,
        )

    def ping(self) -> None:
        """This process can always be given jobs."""

    def enqueue(self, payload: Payload) -> bool:
        """False, and nothing done, where the same job waits or runs already, or is none of those done here."""
        route = self._routes.get(type(payload))
        if route is None or self._id(payload) in map(self._id, (*self._waiting, *self._running)):
            return False
        (self._waiting.appendleft if route.at_front else self._waiting.append)(payload)
        return True

    def drain(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Do what waits, and what that enqueues, until nothing is left or a job hands itself back.

        Once `stopping()` is true, nothing new begins; what is left waits for the next call. A job that fails has as
        many attempts as a worker gives it, and is then given up as there. The first such failure is raised when all
        else is done. Raises UsageError, HostUnfit and NotServed at once.
        """
        failed: Exception | None = None
        while self._waiting and not stopping():
            self._running = self._take()
            try:
                self._do(self._context(stopping=stopping))
            except HandedBack:
                self._waiting.extendleft(reversed(self._running))
                break
            except (HostUnfit, NotServed, UsageError):
                raise
            except Exception as error:  # noqa: BLE001 - of whatever kind, it waits until the others had their turn
                failed = failed or error
            finally:
                self._running = []
        if failed is not None:
            raise failed

    def _take(self) -> list[Payload]:
        """The next job; and with a shard, or the review of one, those that follow on it: no battle's end is waited for
        between two, and the simulator is started once.

        Not where the matchup is played until decided: a look comes between its shards.
        """
        taken = [self._waiting.popleft()]
        if isinstance(taken[0], _RANGES) and self._matchups.request(taken[0].matchup_id).until_decided is None:
            while found := next(filter(partial(_follows, taken[-1]), self._waiting), None):
                self._waiting.remove(found)
                taken.append(found)
        return taken

    def _do(self, context: Context) -> None:
        """Do the running job, or give it up and raise why."""
        first, last = self._running[0], self._running[-1]
        payload = first.model_copy(update={"stop": last.stop}) if isinstance(last, _RANGES) else first
        route = self._routes[type(payload)]
        context.tell(payload)
        for attempts_left in range(route.retries, -1, -1):
            try:
                route.load()(payload, context)
                return
            except (HandedBack, HostUnfit, NotServed, UsageError):
                raise
            except Exception as error:
                if attempts_left:
                    log.info("Job %s failed and is tried again: %s", self._id(payload), one_line(error))
                    continue
                for each in self._running:
                    route.load("give_up_")(each, context, str(error))
                raise

    def _id(self, payload: Payload) -> str:
        return self._routes[type(payload)].job_id(payload)


_RANGES = (PlayShard, ReviewBattles)
"""Payloads about the battles `start` … `stop` - 1 of a matchup."""


def _follows(shard: Payload, other: Payload) -> bool:
    return (
        isinstance(shard, _RANGES)
        and isinstance(other, type(shard))
        and (other.matchup_id, other.start) == (shard.matchup_id, shard.stop)
    )
