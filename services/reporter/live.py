"""A matchup as it is played, for any number of watchers: one listener, one film a battle, server-sent events.

What is new is worked out once. Each watcher has but a place in every film, so that one who comes late gets the whole
battle so far, and one who reads slowly gets less often more: nothing is kept for it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

from services.reporter.films import Document, called, opened, told_decision
from shared.battle.film import Film
from shared.errors import Unreachable
from shared.jobs.live import Told, Watch
from shared.records import MatchupRequest

log = logging.getLogger(__name__)

SHOWN_AT_ONCE = 4
MAX_WATCHERS = 500
_STAYS_SECONDS = 4.0
"""How long a battle that ended stays in sight before another may take its place."""
_FORGOTTEN_SECONDS = 60.0
_IN_PLAY_SECONDS = 4.0
"""A worker that did not say for this long what it plays is gone."""
_HEARTBEAT_SECONDS = 15.0


@dataclass(slots=True)
class _Shown:
    """One battle, as far as it was told."""

    film: Film
    lines: int = 0
    decisions: list[Document] = field(default_factory=list)
    ended: float | None = None
    """When, by this process's clock."""
    version: int = 0
    """Goes up when it begins anew."""


class Show:
    """One matchup that is being watched."""

    def __init__(self, request: MatchupRequest) -> None:
        self._request = request
        self.shown: dict[int, _Shown] = {}
        self.on_show: list[int] = []
        """The battles that watchers see who did not choose."""
        self.chosen: dict[int, int] = {}
        """Battle → how many watchers chose it."""
        self.playing: dict[int, float] = {}
        """Battle → when it was last said to be in play."""
        self.news = asyncio.Event()

    def hear(self, told: Told) -> bool:
        """Take in what was told. False where something before it is missing."""
        if told.playing is not None:
            self.playing |= dict.fromkeys(told.playing, monotonic())
        elif told.battle is not None:
            shown = self.shown.get(told.battle)
            if told.log_from == 0 and told.decisions_from == 0:
                version = shown.version + 1 if shown else 0
                shown = self.shown[told.battle] = _Shown(opened(self._request, told.p1_seat), version=version)
            elif shown is None or (shown.lines, len(shown.decisions)) != (told.log_from, told.decisions_from):
                return False
            try:
                shown.film.hear(told.log)
                shown.film.cut()
            except (LookupError, ValueError, TypeError) as error:
                log.warning("A part of battle %s cannot be shown: %s", told.battle, error)
            shown.lines = told.log_to
            shown.decisions += map(told_decision, told.decisions)
            if told.ended:
                shown.ended = monotonic()
                self.playing.pop(told.battle, None)
        self._tell()
        return True

    def direct(self) -> set[int]:
        """Choose what is shown to those who did not; the battles to be told of."""
        now = monotonic()
        self.playing = {battle: seen for battle, seen in self.playing.items() if now - seen < _IN_PLAY_SECONDS}
        waiting = [battle for battle in sorted(self.playing) if battle not in self.on_show]
        seen = [battle for battle in self.on_show if battle not in self.playing and not self._lingers(battle, now)]
        gone = set(seen[: len(waiting)])
        on_show = [*(battle for battle in self.on_show if battle not in gone), *waiting][:SHOWN_AT_ONCE]
        if on_show != self.on_show:
            self.on_show = on_show
            self._tell()
        wanted = {*on_show, *self.chosen}
        for battle, shown in list(self.shown.items()):
            if battle not in wanted and (shown.ended is None or now - shown.ended > _FORGOTTEN_SECONDS):
                del self.shown[battle]
        return wanted

    def since(self, battle: int, place: "_Place") -> Document | None:
        """What is new of a battle to somebody who saw it up to `place`, which moves on; None where nothing is."""
        shown = self.shown.get(battle)
        if shown is None:
            return None
        if place.version != shown.version:
            place.version, place.steps, place.pokemon, place.decisions, place.ended = shown.version, 0, 0, 0, False
        film, ended = shown.film, shown.ended is not None
        if (place.steps, place.decisions, place.ended) == (len(film.steps), len(shown.decisions), ended):
            return None
        news: Document = {
            "battle": battle,
            "from": place.steps,
            "steps": film.steps[place.steps :],
            "pokemon": film.pokemon[place.pokemon :],
            "decisions": shown.decisions[place.decisions :],
            "ended": ended,
            "winner": film.winner,
        }
        place.steps, place.pokemon, place.decisions = len(film.steps), len(film.pokemon), len(shown.decisions)
        place.ended = ended
        return news

    def _lingers(self, battle: int, now: float) -> bool:
        shown = self.shown.get(battle)
        return shown is not None and (shown.ended is None or now - shown.ended < _STAYS_SECONDS)

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


@dataclass(slots=True)
class _Place:
    """How much of a battle a watcher was sent."""

    version: int = -1
    steps: int = 0
    pokemon: int = 0
    decisions: int = 0
    ended: bool = False


class Shows:
    """The matchups that are watched, each by one listener that ends with its last watcher."""

    def __init__(self, watch: Callable[[str], Watch]) -> None:
        self._watch = watch
        self._shows: dict[str, Show] = {}
        self._listeners: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[str, int] = {}

    def check(self) -> None:
        """Raises Unreachable where there are too many watchers already."""
        if sum(self._watchers.values()) >= MAX_WATCHERS:
            raise Unreachable(f"{MAX_WATCHERS} people are watching already")

    async def events(self, matchup_id: str, request: MatchupRequest, battles: Sequence[int]) -> AsyncIterator[str]:
        """Server-sent events of these battles, or of some in play where none is named.

        `standing` tells what is in play and what is shown, `film` what is new in a battle.
        """
        async with self._watching(matchup_id, request, battles) as show:
            places: dict[int, _Place] = {}
            standing = ""
            yield _event("matchup", {"names": called(request), "format": request.format, "battles": request.battles})
            while True:
                news, on_show = show.news, list(battles) or show.on_show
                if standing != (now := _event("standing", {"playing": sorted(show.playing), "shown": on_show})):
                    standing = now
                    yield standing
                for battle in on_show:
                    if (told := show.since(battle, places.setdefault(battle, _Place()))) is not None:
                        yield _event("film", told)
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        await news.wait()
                except TimeoutError:
                    yield ": still here\n\n"  # By which a connection that is gone is noticed.

    @asynccontextmanager
    async def _watching(self, matchup_id: str, request: MatchupRequest, battles: Sequence[int]) -> AsyncIterator[Show]:
        if matchup_id not in self._shows:
            self._shows[matchup_id] = Show(request)
            self._listeners[matchup_id] = asyncio.create_task(self._listen(matchup_id, self._shows[matchup_id]))
        show = self._shows[matchup_id]
        self._watchers[matchup_id] = self._watchers.get(matchup_id, 0) + 1
        for battle in battles:
            show.chosen[battle] = show.chosen.get(battle, 0) + 1
        try:
            yield show
        finally:
            for battle in battles:
                show.chosen[battle] -= 1
                if not show.chosen[battle]:
                    del show.chosen[battle]
            self._watchers[matchup_id] -= 1
            if not self._watchers[matchup_id]:
                del self._watchers[matchup_id], self._shows[matchup_id]
                self._listeners.pop(matchup_id).cancel()

    async def _listen(self, matchup_id: str, show: Show) -> None:
        watch = self._watch(matchup_id)
        try:
            async for told in watch.told():
                complete = told is None or show.hear(told)
                watch.wants(show.direct(), again=not complete)
        finally:
            await watch.aclose()


def _event(name: str, data: Document) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
