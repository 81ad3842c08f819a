"""The skew meter: what models are trained on, beside what they are served.

Our own battles are taken as if they were strangers' replays: rebuilt from their public log, and run again from their
input log. Their prompts are compared with those that the policies really had before them, which playing the run again
makes anew.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from deploy.hidden import explained
from services.arena.play_again import play_again
from services.arena.policies import View
from services.reporter.recorded import records_of
from services.scraper.reading import MadeDecision
from services.scraper.rebuild import rebuild
from services.scraper.rebuild.public_log import UnreadableReplay
from services.scraper.replay import Replay
from services.scraper.rerun import Differs, Simulators, rerun
from shared.battle.contract import CONTRACTS, Contract
from shared.battle.protocol import SEATS, Seat
from shared.battle.state import BattleState
from shared.errors import UsageError
from shared.records import BattleRecord, Run

LEAST_IDENTICAL: Mapping[str, float] = {"v1": 0.98, "v2": 0.0}
"""Of rebuilt prompts, by contract. What v2 shows beyond v1 is much that a public log cannot hold."""


@dataclass(slots=True)
class Grade:
    """Prompts of one contract, of one grade of truth."""

    compared: int = 0
    identical: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    """Hidden fact → prompts that differ by it, and maybe by others."""
    unexplained: list[str] = field(default_factory=list)
    """Where, for those that differ by more than hidden facts."""

    @property
    def share(self) -> float:
        """Of identical prompts; 1 where there is none to compare."""
        return self.identical / self.compared if self.compared else 1.0


@dataclass(slots=True)
class Skew:
    """What was found."""

    served: int = 0
    rebuilt: dict[str, Grade] = field(default_factory=lambda: {version: Grade() for version in CONTRACTS})
    exact: dict[str, Grade] = field(default_factory=lambda: {version: Grade() for version in CONTRACTS})
    not_run_again: Counter[str] = field(default_factory=Counter)
    not_read: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Whether the two are what they should be: exact prompts identical, rebuilt ones explained."""
        enough = all(grade.share >= LEAST_IDENTICAL[version] for version, grade in self.rebuilt.items())
        told = not any(grade.unexplained for grade in self.rebuilt.values())
        return enough and told and not self.not_run_again and all(grade.share == 1 for grade in self.exact.values())


def measure(run: Run) -> Skew:
    """Compare a run's prompts. Raises UsageError for a run that cannot be played again."""
    if run.request is None or run.matchup_id is None or run.request.battlefield != "simulator":
        raise UsageError("the skew can be measured of runs of ours alone that were played on the simulator")
    return asyncio.run(_measure(run))


async def _measure(run: Run) -> Skew:
    assert run.request is not None and run.matchup_id is not None
    records = [record for record in records_of(run) if record.winner is not None]
    served: dict[tuple[int, Seat], list[BattleState]] = {}

    def watch(index: int, view: View) -> None:
        served.setdefault((index, view.request["side"]["id"]), []).append(view.state)

    await play_again(run.request, records, matchup_id=run.matchup_id, watch=watch)
    skew = Skew(served=sum(map(len, served.values())))
    async with Simulators() as simulators:
        for record in records:
            await _compare(record, run.request.format, served, simulators, skew)
    return skew


async def _compare(
    record: BattleRecord,
    format_id: str,
    served: Mapping[tuple[int, Seat], Sequence[BattleState]],
    simulators: Simulators,
    skew: Skew,
) -> None:
    replay = Replay(record.battle_tag, format_id, record.public_log, record.input_log, source="run")
    try:
        exact = (await rerun(replay, simulators)).decisions
    except Differs as differs:
        skew.not_run_again[differs.reason] += 1
        return
    true: dict[tuple[Seat, int], BattleState] = {}
    for seat in SEATS:
        own = [made for made in exact if made.seat == seat]
        for made, state in _paired(own, _without_refused(served.get((record.index, seat), ()))):
            true[seat, made.block] = state
    _count(skew.exact, record.battle_tag, exact, true)
    try:
        _count(skew.rebuilt, record.battle_tag, rebuild(record.public_log).decisions, true)
    except UnreadableReplay as unread:
        skew.not_read[unread.reason] += 1


def _without_refused(states: Sequence[BattleState]) -> Sequence[BattleState]:
    """Once for each question: after a refusal the same one is put again, with what the refusal told."""
    first: list[BattleState] = []
    for state in states:
        if not first or _question(first[-1]) != _question(state):
            first.append(state)
    return first


def _question(state: BattleState) -> tuple[object, ...]:
    """What two askings of one question have in common."""
    return state.turn, state.asked, state.own, state.foe, state.last_turn


def _paired(exact: Sequence[MadeDecision], served: Sequence[BattleState]) -> Iterator[tuple[MadeDecision, BattleState]]:
    """Both in the order of the battle. What was served but is no choice (Struggle) is passed over."""
    waiting = iter(served)
    for made in exact:
        for state in waiting:
            if (state.turn, state.asked) == (made.state.turn, made.state.asked):
                yield made, state
                break


def _count(
    grades: Mapping[str, Grade],
    battle: str,
    decisions: Iterable[MadeDecision],
    true: Mapping[tuple[Seat, int], BattleState],
) -> None:
    for made in decisions:
        state = true.get((made.seat, made.block))
        if state is None:
            # Locked by an item that never shows, with nobody left to switch to: it was asked nothing.
            continue
        for version, contract in CONTRACTS.items():
            _hold_beside(grades[version], contract, made, state, f"{battle}, {made.seat}, turn {made.turn}")


def _hold_beside(grade: Grade, contract: Contract, made: MadeDecision, served: BattleState, where: str) -> None:
    grade.compared += 1
    if contract.prompt(made.state) == contract.prompt(served):
        grade.identical += 1
        return
    causes, is_all = explained(made.state, served, complete=made.complete)
    grade.causes.update(causes)
    if not is_all:
        grade.unexplained.append(where)


Tell = Callable[[str], None]


def tell(skew: Skew, say: Tell) -> None:
    """The figures, in words."""
    say(f"{skew.served:,} prompts served")
    for name, grades in (("from the input log", skew.exact), ("from the public log alone", skew.rebuilt)):
        for version, grade in grades.items():
            say(f"{version}, {name}: {grade.identical:,} of {grade.compared:,} identical, {grade.share:.2%}")
            # v1 shows so little that its share says it all.
            for cause, count in grade.causes.most_common() if version != "v1" else ():
                say(f"    {count:6,}  {cause}")
            for where in grade.unexplained[:10]:
                say(f"    unexplained: {where}")
            if len(grade.unexplained) > 10:
                say(f"    and {len(grade.unexplained) - 10:,} more unexplained")
    for reason, count in (skew.not_run_again + skew.not_read).items():
        say(f"{count:,} battles not compared: {reason}")
