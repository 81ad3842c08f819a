"""Whether a run is what it says it is: every battle played again, every figure made again, no policy asked.

Of a model, what it said is taken as recorded; its prompts, what its answers mean and the substitutes are made again.
What cannot be found out without the policies themselves: whether they would decide or answer the same again, how long
that took and what it cost, and, of a baseline, who substituted for whom, where a file is changed everywhere alike.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isclose

from pydantic import BaseModel

from services.arena.battlefields import Battlefield
from services.arena.play_again import Divergence, divergences, play_again
from services.arena.reviews import review_all
from services.reporter.run import assemble, records_of
from shared.battle.contract import CONTRACTS
from shared.errors import BrokenRecord, UsageError
from shared.policies import KINDS, parse_policy
from shared.records import Asking, BattleRecord, BattleReview, MatchupRequest, Run
from shared.verdicts.sequential import Decided

SIMULATOR = "pokemon-showdown"
_ROUNDED = 2.5e-5


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and the first difference; None when there is none."""

    battles: int
    log_lines: int
    decisions: int
    difference: Divergence | None
    recorded_with: str | None = None
    """The simulator's version that the run names."""
    played_again_with: str | None = None
    """The simulator's version here; None where it came to no battle."""


def verify(run: Run, *, battlefield: Battlefield | None = None) -> Verified:
    """Play a run's battles again and compare everything that can be compared.

    Raises UsageError for a run that cannot be played again at all: from a server, or from the original project.
    """
    request = run.request
    if request is None or run.matchup_id is None:
        raise UsageError("this run names no seeds and no matchup, so its battles cannot be played again")
    if request.battlefield != "simulator":
        raise UsageError("battles on the Showdown server have no seeds, so they cannot be played again")
    return asyncio.run(_verify(run, request, run.matchup_id, battlefield))


async def _verify(run: Run, request: MatchupRequest, matchup_id: str, battlefield: Battlefield | None) -> Verified:
    try:
        records = records_of(run)
    except BrokenRecord as error:
        return Verified(0, 0, 0, Divergence("the run", "rows that belong together", error.message))
    here = None
    difference = next(_in_figures(run, request, records), None)
    if difference is None and records:
        again = await play_again(request, records, matchup_id=matchup_id, battlefield=battlefield)
        difference = next((each for record in records for each in divergences(record, again[record.index])), None)
        here = again[records[0].index].versions.get(SIMULATOR)
        difference = difference or await _in_reviews(run, request, records)
    return Verified(
        battles=len(records),
        log_lines=sum(len(record.public_log) for record in records),
        decisions=sum(len(record.decisions) for record in records),
        difference=difference,
        recorded_with=(run.versions or {}).get(SIMULATOR),
        played_again_with=here,
    )


async def _in_reviews(run: Run, request: MatchupRequest, records: list[BattleRecord]) -> Divergence | None:
    """The first review that comes out otherwise when it is made again."""
    recorded = {battle.review.index: battle.review for battle in run.battles if battle.review}
    again: dict[int, BattleReview] = {}
    if request.luck is not None and recorded:
        if any(review.asked != request.luck for review in recorded.values()):
            return Divergence("the reviews", "what luck was asked for", "made by something else")
        wanted = [record for record in records if record.index in recorded]
        await review_all(request, request.luck, wanted, lambda found: again.update({found.index: found}))
    for index, review in sorted(recorded.items()):
        if (found := again.get(index)) is None or not _alike(review, found):
            return Divergence(f"battle {index + 1}, review", review, found)
    return None


def _alike(review: BattleReview, other: BattleReview) -> bool:
    """Up to rounding: another machine's exponential function may differ in its last digit."""
    numbers = [
        [(each.first or 0.0), *(number for step in each.steps for number in (step.value, step.luck))]
        for each in (review, other)
    ]
    steps = [[(step.turn, step.chose) for step in each.steps] for each in (review, other)]
    return (
        steps[0] == steps[1]
        and review.refused == other.refused
        and all(isclose(one, two, abs_tol=_ROUNDED) for one, two in zip(*numbers, strict=True))
    )


def _in_figures(run: Run, request: MatchupRequest, records: list[BattleRecord]) -> Iterator[Divergence]:
    """Where the run contradicts itself."""
    yield from _in_contract(run, request)
    yield from _in_battles(run, request, [record.index for record in records])
    again = assemble(
        request,
        records,
        reviews={battle.review.index: battle.review for battle in run.battles if battle.review},
        matchup_id=run.matchup_id or "",
        created_at=run.created_at or "",
        cancelled=run.cancelled,
        failures=run.failures,
    )
    yield from _in_fields("summary", run.summary, again.summary)
    for kind, rows, rows_again in (
        ("battle", run.battles, again.battles),
        ("decision", run.turn_stats, again.turn_stats),
    ):
        yield from _in_rows(kind, rows, rows_again)


def _in_contract(run: Run, request: MatchupRequest) -> Iterator[Divergence]:
    policies = (parse_policy(name, recorded=True) for name in (request.p1, request.p2))
    for version in sorted({each.options.contract for each in policies if KINDS[each.kind].asks_a_model}):
        if run.battles and version not in (run.contract or {}):
            yield Divergence(f"hash of the contract {version}", None, CONTRACTS[version].hash)
    for version, recorded in (run.contract or {}).items():
        found = CONTRACTS[version].hash if version in CONTRACTS else "no such contract"
        if recorded != found:
            yield Divergence(f"hash of the contract {version}", recorded, found)


def _in_battles(run: Run, request: MatchupRequest, indices: list[int]) -> Iterator[Divergence]:
    if len(set(indices)) < len(indices) or not set(indices) <= set(range(request.battles)):
        yield Divergence("battles", indices, f"battles 0 to {request.battles - 1}, each once")
    missing = sorted(set(range(request.battles)) - set(indices))
    decided = run.summary.sequential_test is not None and run.summary.sequential_test.decided is not Decided.UNDECIDED
    if missing and not (run.cancelled or run.stopped or run.failures or decided):
        yield Divergence(
            f"battle {missing[0] + 1}", None, "a battle of the matchup that neither failed nor was cancelled"
        )


def _in_rows(kind: str, rows: Iterable[BaseModel], again: Iterable[BaseModel]) -> Iterator[Divergence]:
    for number, (row, row_again) in enumerate(zip(rows, again, strict=True), 1):
        yield from _in_fields(f"{kind} {number}", row, row_again)


def _in_fields(where: str, recorded: BaseModel, again: BaseModel) -> Iterator[Divergence]:
    # A field that the file lacks, because it is older, says nothing.
    for name in type(recorded).model_fields:
        if name in recorded.model_fields_set and not _same(getattr(recorded, name), getattr(again, name)):
            yield Divergence(f"{where}, {name}", getattr(recorded, name), getattr(again, name))


def _same(recorded: object, again: object) -> bool:
    """Whether two values are, but for the last digits of a sum, which hang on the version of Python."""
    if isinstance(recorded, float) and isinstance(again, float):
        return isclose(recorded, again, rel_tol=1e-9)
    if isinstance(recorded, Asking) and isinstance(again, Asking):
        return all(_same(getattr(recorded, name), getattr(again, name)) for name in Asking.model_fields)
    return recorded == again
