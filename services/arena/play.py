"""Plays battles of a matchup, many at once, and records each: seats, seeds, teams, policies, and how it went."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from random import Random
from secrets import token_hex
from time import perf_counter
from types import MappingProxyType

from services.arena.battlefields import (
    Battlefield,
    BattleSetup,
    FoughtBattle,
    SimulatorBattlefield,
    battle_seeds,
    p1_seat,
    pair_of,
)
from services.arena.battlefields.server import ServerBattlefield
from services.arena.budget import MatchupBudget
from services.arena.checks import check_matchup
from services.arena.player import Advisor, Player
from services.arena.policies import Connect, Policy, make_policy, make_teacher, no_models
from services.arena.policies.baselines import Person
from services.arena.policies.language_model import LanguageModel
from services.arena.policies.search import Search
from shared.battle.effectiveness import chosen_effectiveness
from shared.battle.protocol import SEATS, Seat, other, seen_by
from shared.battle.tracker import Tracker
from shared.errors import BattleBroken, HostUnfit, InvalidTeam, NotServed, Unreachable, UsageError, at_field
from shared.jobs.live import Stage
from shared.policies import check_format, parse_policy, person_behind
from shared.records import BattleRecord, DecisionRecord, MatchupRequest
from shared.settings import Settings
from shared.text import one_line

log = logging.getLogger(__name__)

SAMPLE_TEAMS = Path(__file__).with_name("sample_teams")
TRIES = 4
"""How often a battle is begun that a fault of ours breaks off."""
_TRIES_BESIDE_OTHERS = 2
"""After those it is played again while no other is that was broken off: what ends a process may be one of them."""
_NAME_CHARACTERS = 18  # Showdown's limit.
PoliciesOf = Callable[[int], Mapping[Seat, Policy]]
"""Index of a battle → the policies that play it as p1 and p2."""
Teachers = Mapping[Seat, Advisor]
"""Who advises beside p1 and p2, where anybody does."""


async def play(
    request: MatchupRequest,
    indices: Sequence[int],
    *,
    matchup_id: str,
    worker: str,
    on_record: Callable[[BattleRecord], object],
    stopping: Callable[[], bool] = lambda: False,
    battlefield: Battlefield | None = None,
    connect: Connect = no_models,
    budget: MatchupBudget | None = None,
    policies_of: PoliciesOf | None = None,
    teachers: Teachers = MappingProxyType({}),
    stage: Stage | None = None,
    tell: Callable[[str], None] = log.info,
) -> None:
    """Play the battles of `indices`, `request.concurrency` at a time, and call `on_record` after each.

    A battle that breaks is recorded as broken and takes no other with it. One that a fault of ours breaks off, such as
    the end of a process, is begun again from its seeds, TRIES times at most. Once `stopping()` is true or the budget
    does not reach for another, no new battle begins; the call returns when those in play have ended. The policies and
    the teacher are those that the request names, unless `policies_of` and `teachers` give others. What is in play
    stands on `stage`. `tell` is given what a first question to each model showed, and what the matchup will probably
    take. Raises UsageError (among them InvalidTeam, UnknownPolicy) before the first battle when the request cannot be
    played as asked, NotServed when a model cannot be asked or declines all of its first questions alike, and HostUnfit
    where no simulator can be started here.
    """
    budget = budget or MatchupBudget.of(request)
    async with AsyncExitStack() as closing:
        if policies_of is None:
            check_matchup(request, person_may_play=True)
            policies_of, named = await _named(request, len(indices), connect, budget, stopping, closing, tell)
            teachers = teachers or named
            if stopping():
                return
        field = await closing.enter_async_context(battlefield or make_battlefield(request, Settings()))
        teams = await resolve_teams(request, field)
        versions = {name: version(name) for name in ("alphastral", "poke-env")} | {"python": python_version()}
        versions |= await field.versions()
        names = _log_names(request)
        stage = stage or Stage(worker)
        battles = _Battles(
            request, matchup_id, worker, field, policies_of, teachers, names, teams, versions, stage, asyncio.Lock()
        )
        await battles.play(indices, on_record, stopping, budget)


def make_battlefield(
    request: MatchupRequest, settings: Settings, tell: Callable[[str], None] = log.info
) -> Battlefield:
    """The battlefield that a request names. `tell` is given what those who watch or play on a server should know."""
    if request.battlefield == "simulator":
        return SimulatorBattlefield(settings.node)
    if settings.showdown_url is None:
        raise UsageError("no Showdown server is given to play on; set ALPHASTRAL_SHOWDOWN_URL", field="battlefield")
    return ServerBattlefield(settings.showdown_url, person=person_behind(request.p2), node=settings.node, tell=tell)


@dataclass(frozen=True, slots=True)
class Teams:
    """Packed teams by seat, and what ours are called; nothing for a format that draws its own."""

    packed: Mapping[Seat, str] | None = None
    names: tuple[str, str] | None = None


async def resolve_teams(request: MatchupRequest, field: Battlefield) -> Teams:
    """The teams that both seats play: given in Showdown's export format, or two of our own.

    Raises InvalidTeam, with the simulator's own reasons, when the format forbids one.
    """
    if not check_format(request.format).needs_team:
        return Teams()
    samples = sorted(SAMPLE_TEAMS.glob(f"{request.format}-*.txt"))
    ours: Sequence[Path | None] = samples or (None, None)
    packed: dict[Seat, str] = {}
    names: list[str] = []
    for seat, team, sample in zip(SEATS, (request.team1, request.team2), ours, strict=True):
        name = f"team{seat[1]}"
        try:
            packed[seat] = await field.validate_team(request.format, team or (sample.read_text() if sample else ""))
        except InvalidTeam as error:
            raise InvalidTeam(f"{name} may not be used in {request.format}:", error.reasons, field=name) from error
        names.append(sample.stem if sample and not team else name)
    return Teams(packed, (names[0], names[1]))


@dataclass(frozen=True, slots=True)
class _Battles:
    """What the battles of one call have in common."""

    request: MatchupRequest
    matchup_id: str
    worker: str
    field: Battlefield
    policies_of: PoliciesOf
    teachers: Teachers
    names: Mapping[Seat, str]
    """What each policy is called in battle logs."""
    teams: Teams
    versions: Mapping[str, str]
    stage: Stage
    alone: asyncio.Lock
    """Held by a battle that was broken off more than once."""

    async def play(
        self,
        indices: Sequence[int],
        on_record: Callable[[BattleRecord], object],
        stopping: Callable[[], bool],
        budget: MatchupBudget,
    ) -> None:
        waiting = iter(indices)

        async def play_in_turn() -> None:
            for index in waiting:
                if stopping() or not await budget.begin():
                    return
                record = await self.play_battle(index, budget)
                on_record(record)
                await budget.end(record)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.request.concurrency, len(indices))):
                    group.create_task(play_in_turn())
        except ExceptionGroup as errors:
            # A battle raises only where none can be played here, or no model asked; else this is `on_record` or
            # `stopping`. One of them is enough to know.
            raise errors.exceptions[0] from errors

    async def play_battle(self, index: int, budget: MatchupBudget) -> BattleRecord:
        """Play battle `index` and tell how it went, whatever happens in it; what is broken by ourselves, again.

        Raises NotServed.
        """
        for number in range(1, TRIES + 1):
            async with self.alone if number > _TRIES_BESIDE_OTHERS else nullcontext():
                record, ours = await self._try_battle(index)
            if not ours:
                break
            log.warning("Battle %s was broken off (%s of %s): %s", record.battle_tag, number, TRIES, record.broken)
            if number < TRIES:
                budget.lose(record)
        else:
            # What has no simulator at all would have recorded every battle as broken.
            await self.field.versions()
        return record

    async def _try_battle(self, index: int) -> tuple[BattleRecord, bool]:
        """One go at a battle, and whether a fault of ours broke it off."""
        request, policies = self.request, self.policies_of(index)
        generation = check_format(request.format).generation
        seat_of_p1 = p1_seat(index, pairs=request.pairs)
        plays: Mapping[Seat, Seat] = {seat_of_p1: "p1", other(seat_of_p1): "p2"}
        seeds = battle_seeds(request.seed, index, pairs=request.pairs)
        names = {seat: self.names[plays[seat]] for seat in SEATS}
        rng_seed = {"p1": seeds.p1_policy, "p2": seeds.p2_policy}
        players = {
            seat: Player(
                policies[plays[seat]],
                plays=plays[seat],
                seat=seat,
                tracker=Tracker(generation, seat, names),
                rng=Random(rng_seed[seat]),
                teacher=(teacher, Random(f"teacher/{rng_seed[seat]}"))
                if (teacher := self.teachers.get(plays[seat]))
                else None,
                move_delay_seconds=request.move_delay,
            )
            for seat in SEATS
        }
        setup = BattleSetup(
            tag=f"{self.matchup_id}-{index:05d}",
            format=request.format,
            names=names,
            seeds=seeds if request.battlefield == "simulator" else None,
            teams=self.teams.packed,
        )
        lines: list[str] = []
        started_at, started = datetime.now(UTC), perf_counter()
        fought: FoughtBattle | None = None
        broken: str | None = None
        ours = False
        try:
            with self.stage.battle(index, seat_of_p1, lines, [player.decisions for player in players.values()]):
                fought = await self.field.fight(setup, players, lines)
        except (HostUnfit, NotServed):
            # No battle of this matchup will do better here.
            raise
        except Exception as error:
            # The one broad catch: whatever broke this battle, its neighbours play on.
            broken, ours = (
                one_line(f"{type(error).__name__}: {error}"),
                not isinstance(error, BattleBroken | Unreachable),
            )
            log.warning("Battle %s broke: %s", setup.tag, broken, exc_info=log.isEnabledFor(logging.DEBUG))
        public_log = tuple(seen_by(None, lines))
        decisions = sorted((d for p in players.values() for d in p.decisions), key=lambda d: (d.turn, d.seat))
        record = BattleRecord(
            index=index,
            battle_tag=setup.tag,
            pair=pair_of(index, request.battles, pairs=request.pairs),
            p1_seat=seat_of_p1,
            winner=None if fought is None else plays[fought.winner] if fought.winner else "draw",
            broken=broken,
            forfeited=next((player.plays for player in players.values() if player.forfeited), None),
            turns=fought.turns if fought else max((d.turn for d in decisions), default=0),
            started_at=started_at.isoformat(timespec="milliseconds"),
            duration_s=round(perf_counter() - started, 3),
            seeds=setup.seeds,
            teams=self.teams.names,
            worker=self.worker,
            versions=self.versions,
            contract={**policies["p1"].contract, **policies["p2"].contract},
            cards={seat: policy.card for seat, policy in policies.items() if isinstance(policy, LanguageModel)},
            decisions=_with_effectiveness(decisions, public_log, generation),
            input_log=fought.input_log if fought else (),
            public_log=public_log,
        )
        return record, ours


async def _named(
    request: MatchupRequest,
    battles: int,
    connect: Connect,
    budget: MatchupBudget,
    stopping: Callable[[], bool],
    closing: AsyncExitStack,
    tell: Callable[[str], None],
) -> tuple[PoliciesOf, Teachers]:
    """The policies that the request names, made ready, and who advises; what they hold open ends with `closing`."""
    policies: Mapping[Seat, Policy] = {
        "p1": make_policy(request.p1, connect),
        "p2": Person() if person_behind(request.p2) else make_policy(request.p2, connect),
    }
    for seat, policy in policies.items():
        _end_with(closing, policy)
        if isinstance(policy, LanguageModel):
            _check_price(policy, budget)
            with at_field(seat):
                first = await policy.prepare(stopping)
            if first is not None:
                tell(f"{one_line(policy.spec.text, 120)}: {first.told(policy.price, battles, request.concurrency)}")
    return lambda index: policies, teachers_of(request, closing)


def _end_with(closing: AsyncExitStack, policy: Policy) -> None:
    """What a policy holds open ends with `closing`."""
    if isinstance(policy, LanguageModel | Search):
        closing.push_async_callback(policy.aclose)


def teachers_of(request: MatchupRequest, closing: AsyncExitStack) -> Teachers:
    """Who advises: the request's teacher, but no policy that is the same and says itself what it thinks."""
    if request.teacher is None:
        return {}
    teacher = make_teacher(request.teacher)
    _end_with(closing, teacher)
    asked = replace(parse_policy(request.teacher), text="")
    names: Mapping[Seat, str] = {"p1": request.p1, "p2": request.p2}
    return {
        seat: teacher
        for seat, name in names.items()
        if not person_behind(name) and replace(parse_policy(name), text="") != asked
    }


def _check_price(model: LanguageModel, budget: MatchupBudget) -> None:
    """Raises UsageError where a budget in money cannot be kept."""
    if budget.max_cost_usd is not None and model.price is None:
        raise UsageError(
            f"no price is known for {model.spec.text!r}, so a budget in money cannot be kept: use --max-tokens, or add "
            "its price to the price table",
            field="max_cost_usd",
        )


def _log_names(request: MatchupRequest) -> Mapping[Seat, str]:
    """What each policy is called in battle logs. On a server that is an account, which two processes must not share."""
    account = f" {token_hex(2)}" if request.battlefield == "server" else ""

    def name(text: str, policy: Seat) -> str:
        behind = f" {policy}{account}" if account else f" ({policy})"
        stem = "".join(character for character in text if character.isalnum() or character in " -._")
        return stem[: _NAME_CHARACTERS - len(behind)].strip() + behind

    return {"p1": name(request.p1, "p1"), "p2": person_behind(request.p2) or name(request.p2, "p2")}


def _with_effectiveness(
    decisions: Sequence[DecisionRecord], public_log: Sequence[str], generation: int
) -> tuple[DecisionRecord, ...]:
    # By its name, since Hidden Power's id does not tell its type.
    choices = [(d.turn, d.seat, d.action) for d in decisions if d.move_id is not None]
    found = iter(chosen_effectiveness(public_log, choices, generation))
    return tuple(d if d.move_id is None else d.model_copy(update={"effectiveness": next(found)}) for d in decisions)
