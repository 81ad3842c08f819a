"""Plays a finished matchup again from its seeds and what is recorded, without asking any policy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from services.arena.battlefields import Battlefield
from services.arena.play import play
from services.arena.policies import Policy, View
from services.arena.policies.repeats import Repeats, RepeatsModel
from shared.battle.decision import Decision, Outcome
from shared.battle.protocol import SEATS, Seat
from shared.policies import KINDS, PolicySpec, parse_policy
from shared.records import BattleRecord, DecisionRecord, MatchupRequest

_COMPARED = ("battle_tag", "pair", "p1_seat", "seeds", "teams")


Watch = Callable[[int, View], None]
"""Called with the index of a battle and what a policy is shown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where what was recorded and what is found part ways."""

    where: str
    recorded: object
    found: object

    def __str__(self) -> str:
        return f"{self.where}: recorded {_shown(self.recorded)}, found {_shown(self.found)}"


async def play_again(
    request: MatchupRequest,
    records: Sequence[BattleRecord],
    *,
    matchup_id: str,
    battlefield: Battlefield | None = None,
    watch: Watch | None = None,
) -> Mapping[int, BattleRecord]:
    """Index → record of each battle, played again. One that does not go on as recorded comes back broken.

    `watch` is told of every view that a policy was asked to decide by, in the order of the battle.
    """
    recorded = {record.index: record for record in records}
    names: Mapping[Seat, str] = {"p1": request.p1, "p2": request.p2}
    again: dict[int, BattleRecord] = {}

    def policies_of(index: int) -> Mapping[Seat, Policy]:
        again = {seat: _again(parse_policy(names[seat]), recorded[index].decisions, seat) for seat in SEATS}
        return {seat: _Watched(policy, index, watch) for seat, policy in again.items()} if watch else again

    def keep(record: BattleRecord) -> None:
        again[record.index] = record

    await play(
        request.model_copy(update={"move_delay": 0.0, "max_cost_usd": None, "max_tokens": None}),
        sorted(recorded),
        matchup_id=matchup_id,
        worker="again",
        on_record=keep,
        battlefield=battlefield,
        policies_of=policies_of,
    )
    return again


class _Watched:
    """A policy, looked over the shoulder."""

    def __init__(self, policy: Policy, index: int, watch: Watch) -> None:
        self._policy = policy
        self._index = index
        self._watch = watch

    @property
    def contract(self) -> Mapping[str, str]:
        """Of the policy."""
        return self._policy.contract

    async def decide(self, view: View) -> Decision:
        """What the policy decides."""
        self._watch(self._index, view)
        return await self._policy.decide(view)


def _again(spec: PolicySpec, decisions: Sequence[DecisionRecord], policy: Seat) -> Policy:
    asked = [each for each in decisions if each.policy == policy and each.outcome is not Outcome.ONLY_ACTION]
    return RepeatsModel(spec, asked) if KINDS[spec.kind].asks_a_model else Repeats(asked)


def differences(recorded: BattleRecord, again: BattleRecord) -> Iterator[Difference]:
    """Where a battle and its repetition part ways, the log first: the rest follows from it.

    A broken battle is compared as far as it went. What the clock decides is not compared.
    """
    battle = f"battle {recorded.index + 1}"
    for name in _COMPARED:
        if getattr(recorded, name) != getattr(again, name):
            yield Difference(f"{battle}, {name}", getattr(recorded, name), getattr(again, name))
    if recorded.winner is None and again.winner is not None:
        yield Difference(f"{battle}, winner", "none: it broke", again.winner)
    whole = recorded.winner is not None
    yield from _lines(f"{battle}, log line", recorded.public_log, again.public_log, whole=whole)
    yield from _decisions(battle, recorded.decisions, again.decisions, whole=whole)
    if whole:
        yield from _lines(f"{battle}, input log line", recorded.input_log, again.input_log, whole=True)
        for name in ("broken", "winner", "turns"):
            if getattr(recorded, name) != getattr(again, name):
                yield Difference(f"{battle}, {name}", getattr(recorded, name), getattr(again, name))


def _lines(where: str, recorded: Sequence[str], again: Sequence[str], *, whole: bool) -> Iterator[Difference]:
    pairs = zip_longest(recorded, again) if whole else zip(recorded, again, strict=False)
    for number, (line, found) in enumerate(pairs, 1):
        if line != found and not (line and found and line.startswith("|t:|") and found.startswith("|t:|")):
            yield Difference(f"{where} {number}", line, found)


def _decisions(
    battle: str, recorded: Sequence[DecisionRecord], again: Sequence[DecisionRecord], *, whole: bool
) -> Iterator[Difference]:
    pairs = zip_longest(recorded, again) if whole else zip(recorded, again, strict=False)
    for number, (decision, found) in enumerate(pairs, 1):
        where = f"{battle}, decision {number}"
        if decision is None or found is None:
            yield Difference(where, decision and decision.order, found and found.order)
            return
        for name in DecisionRecord.model_fields:
            if name != "decision_ms" and getattr(decision, name) != getattr(found, name):
                yield Difference(
                    f"{where} (turn {decision.turn}), {name}", getattr(decision, name), getattr(found, name)
                )


def _shown(value: object) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= 160 else f"{text[:159]}…"
