"""Battles in play, as they are told to whoever watches: a worker publishes, the API listens.

Whoever watches a matchup wishes for some of its battles, under a key in Redis that runs out unless it is renewed. A
worker looks at that key once a second, and as long as there is a wish it publishes what is new in the wished battles,
a few times a second: so watching costs the battles themselves nothing, and nothing at all where nobody watches. Each
telling says where it begins; whoever missed one wishes again by another name, and is told all from the beginning.

What the arena did is counted beside it, for whoever draws it: battles, decisions, tokens, money, time to answer. The
store has all of it exactly; these counts begin anew where Redis forgot, as Prometheus' counters may.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

import redis.asyncio
from pydantic import BaseModel, Field, ValidationError
from redis.exceptions import RedisError

from shared.battle.protocol import Seat, seen_by
from shared.errors import first_fault
from shared.jobs.limits import connected
from shared.records import BattleRecord, DecisionRecord
from shared.settings import Settings

log = logging.getLogger(__name__)

WISH_SECONDS = 10
"""A wish that was not renewed for this long has run out."""
LOOK_SECONDS = 1.0
_PUBLISH_SECONDS = 0.2
MAX_WISHED = 64


class Wish(BaseModel):
    """What somebody wants to be told of a matchup."""

    name: str
    battles: list[int] = Field(max_length=MAX_WISHED)


class Told(BaseModel):
    """Which battles a worker has in play, or what is new in one of them."""

    worker: str
    playing: list[int] | None = None
    battle: int | None = None
    p1_seat: Seat = "p1"
    log_from: int = 0
    """How many lines were told before, those included that a spectator does not see."""
    log_to: int = 0
    log: list[str] = []
    decisions_from: int = 0
    decisions: list[DecisionRecord] = []
    ended: bool = False


def wish_key(matchup_id: str) -> str:
    """Where the wish for a matchup stands."""
    return f"alphastral:watched:{matchup_id}"


def channel(matchup_id: str) -> str:
    """Where it is told."""
    return f"alphastral:live:{matchup_id}"


@dataclass(slots=True)
class _InPlay:
    p1_seat: Seat
    lines: Sequence[str]
    decisions: Sequence[Sequence[DecisionRecord]]
    """Of each player."""
    ended: bool = False
    wish: str = ""
    """The name of the wish by which the following was told."""
    lines_told: int = 0
    decisions_told: list[int] = field(default_factory=lambda: [0, 0])


class Stage:
    """The battles of one matchup that a worker has in play."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._battles: dict[int, _InPlay] = {}
        self.counts: Counter[str] = Counter()
        """What was recorded and is not yet added to the counts in Redis."""

    @contextmanager
    def battle(
        self, index: int, p1_seat: Seat, lines: Sequence[str], decisions: Sequence[Sequence[DecisionRecord]]
    ) -> Iterator[None]:
        """A battle is in play while inside. `lines`, `|split|` blocks still in, and both `decisions` grow meanwhile."""
        self._battles[index] = playing = _InPlay(p1_seat, lines, decisions)
        try:
            yield
        finally:
            playing.ended = True

    def playing(self) -> Told:
        return Told(worker=self._worker, playing=[index for index, each in self._battles.items() if not each.ended])

    def news(self, wish: Wish | None) -> list[Told]:
        """What is new of the wished battles since the last time. One that ended is told of once more."""
        told: list[Told] = []
        for index, battle in list(self._battles.items()):
            if wish is not None and index in wish.battles:
                if battle.wish != wish.name:
                    battle.wish, battle.lines_told, battle.decisions_told = wish.name, 0, [0, 0]
                told += self._since(index, battle)
            if battle.ended:
                del self._battles[index]
        return told

    def _since(self, index: int, battle: _InPlay) -> Iterator[Told]:
        lines_before, decisions_before = battle.lines_told, sum(battle.decisions_told)
        lines = battle.lines[lines_before:]
        decisions = [
            decision
            for made, before in zip(battle.decisions, battle.decisions_told, strict=True)
            for decision in made[before:]
        ]
        battle.lines_told = len(battle.lines)
        battle.decisions_told = [len(made) for made in battle.decisions]
        if lines or decisions or battle.ended:
            yield Told(
                worker=self._worker,
                battle=index,
                p1_seat=battle.p1_seat,
                log_from=lines_before,
                log_to=battle.lines_told,
                # The simulator tells of a `|split|` at once: none is cut in two here.
                log=list(seen_by(None, lines)),
                decisions_from=decisions_before,
                decisions=decisions,
                ended=battle.ended,
            )


@asynccontextmanager
async def staged(worker: str, matchup_id: str, settings: Settings) -> AsyncIterator[Stage]:
    """The stage of a worker, told of to whoever wishes while inside; to nobody where there is no Redis."""
    stage = Stage(worker)
    if settings.redis_url is None:
        yield stage
        return
    connection = connected(settings.redis_url, settings.redis_password_file)
    telling = asyncio.create_task(_tell(stage, matchup_id, connection))
    try:
        yield stage
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        with suppress(RedisError):
            await _count(stage, connection)
            if wish := await _wish(matchup_id, connection):
                await _publish(matchup_id, [*stage.news(wish), stage.playing()], connection)
        await connection.aclose()


async def _tell(stage: Stage, matchup_id: str, connection: redis.asyncio.Redis) -> None:
    wish, next_look = None, monotonic()
    while True:
        try:
            news = stage.news(wish)
            if monotonic() >= next_look:
                wish, next_look = await _wish(matchup_id, connection), monotonic() + LOOK_SECONDS
                await _count(stage, connection)
                news += [stage.playing()] if wish else []
            await _publish(matchup_id, news, connection)
        except RedisError as error:  # Nobody is told; the battles go on.
            log.debug("Redis does not take what is told of battles in play: %s", error)
            wish = None
        await asyncio.sleep(_PUBLISH_SECONDS if wish else LOOK_SECONDS)


async def _count(stage: Stage, connection: redis.asyncio.Redis) -> None:
    counts, stage.counts = stage.counts, Counter()
    try:
        async with connection.pipeline() as pipeline:
            for name, much in counts.items():
                pipeline.hincrbyfloat(COUNTS, name, much)
            await pipeline.execute()
    except RedisError:
        stage.counts += counts
        raise


async def _wish(matchup_id: str, connection: redis.asyncio.Redis) -> Wish | None:
    stands = await connection.get(wish_key(matchup_id))
    try:
        return Wish.model_validate_json(stands) if stands else None
    except ValidationError:
        return None


async def _publish(matchup_id: str, news: Sequence[Told], connection: redis.asyncio.Redis) -> None:
    for told in news:
        await connection.publish(channel(matchup_id), told.model_dump_json(exclude_defaults=True))


# ── who watches ─────────────────────────────────────────────────────────────────────────────────────


class Watch:
    """A wish for battles of one matchup, and what is told of them. Belongs to one event loop."""

    def __init__(self, matchup_id: str, settings: Settings) -> None:
        assert settings.redis_url is not None, "an API has its queues"
        self._matchup_id = matchup_id
        self._connection = connected(settings.redis_url, settings.redis_password_file)
        self._wish = Wish(name=uuid4().hex, battles=[])
        self._renewed = 0.0

    def wants(self, battles: Collection[int], *, again: bool = False) -> None:
        """Wish for these from now on. With `again`, for all of them from their beginning."""
        wished = sorted(battles)[:MAX_WISHED]
        if again or wished != self._wish.battles:
            name = uuid4().hex if again else self._wish.name
            self._wish, self._renewed = Wish(name=name, battles=wished), 0.0

    async def told(self) -> AsyncIterator[Told | None]:
        """What is told, as it comes; None once a second, so that one can see who still watches.

        While Redis is away, nothing is; afterwards all is told from the beginning.
        """
        while True:
            try:
                async with self._connection.pubsub() as heard:
                    await heard.subscribe(channel(self._matchup_id))
                    while True:
                        await self._renew()
                        message = await heard.get_message(ignore_subscribe_messages=True, timeout=LOOK_SECONDS)
                        yield _read(message["data"]) if message else None
            except RedisError as error:
                log.info("Battles in play are not told: Redis does not answer (%s).", error)
                self.wants(self._wish.battles, again=True)
                yield None
                await asyncio.sleep(LOOK_SECONDS)

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _renew(self) -> None:
        if monotonic() - self._renewed > WISH_SECONDS / 3:
            await self._connection.set(wish_key(self._matchup_id), self._wish.model_dump_json(), ex=WISH_SECONDS)
            self._renewed = monotonic()


def _read(data: bytes) -> Told | None:
    try:
        return Told.model_validate_json(data)
    except ValidationError as error:
        log.warning("What was told of a battle in play cannot be read: %s", first_fault(error))
        return None


COUNTS = "alphastral:counts"


def counts_of(record: BattleRecord) -> Counter[str]:
    """What a battle adds: `name:label` → how much."""
    counts: Counter[str] = Counter({f"battles:{'finished' if record.winner else 'broken'}": 1})
    for decision in record.decisions:
        counts[f"decisions:{decision.outcome}"] += 1
        for ask in decision.asked:
            _add(counts, "tokens:in", ask.tokens_in)
            _add(counts, "tokens:out", ask.tokens_out)
            _add(counts, "cost_usd:", ask.cost_usd)
            if ask.last_token_ms is not None:
                _add(counts, "answers:", 1)
                _add(counts, "answer_seconds:", ask.last_token_ms / 1000)
    return counts


def _add(counts: Counter[str], name: str, much: float | None) -> None:
    if much:
        counts[name] += much  # type: ignore[assignment]
