"""`alphastral review`: which decisions cost most, and whether dice or choices lost the battles."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.show import err, interrupts_told, out, print_rows, result, steps
from services.reporter.turning import TurningPoints, of_battles
from shared.choices import ChoiceReview, ChoicesAsked, beside, keep_choices, read_choices
from shared.errors import NotFound, UsageError
from shared.matchups import Matchups
from shared.process import cores
from shared.records import BattleRecord, Run, read_run
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging


def review(
    run: Annotated[str, typer.Argument(help="A run file of ours, or the ID of a stored matchup.")],
    battle: Annotated[int | None, typer.Option(min=0, help="This battle alone, counted from 0.")] = None,
    dice: Annotated[
        int, typer.Option(min=2, max=256, help="For each decision that seems to have cost something.")
    ] = 16,
    top: Annotated[int, typer.Option(min=1, max=100, help="How many decisions are shown.")] = 10,
) -> None:
    """Weigh every decision against the other legal ones, and show those that cost most: seconds of CPU a battle.

    What was found is kept beside the run and shown by `report` and `show`; the same call again takes no time.
    """
    from services.arena.reviews import choices_asked
    from services.reporter.labels import named
    from services.reporter.run import records_of

    configure_logging("ERROR")
    settings, path = Settings(), Path(run)
    stored = None if path.is_file() else Matchups(Store(settings.store))
    found = read_run(path) if stored is None else _stored(stored, run)
    if found.request is None or found.request.battlefield != "simulator":
        raise UsageError("only battles of ours that were played on the simulator can be reviewed")
    asked = choices_asked(found.request.format, dice)
    records = [each for each in records_of(found) if battle in (None, each.index)]
    if not records:
        raise NotFound(f"the run has no battle {battle}" if battle is not None else "the run has no battles")
    if stored is None:
        known = read_choices(path, found.battles)
    else:
        kept = {index: stored.choices(run, index) for index in stored.weighed(run)}
        known = {index: each for index, each in kept.items() if each is not None}
    known = {index: each for index, each in known.items() if each.asked == asked and not each.refused}

    def keep(each: ChoiceReview) -> None:
        known[each.index] = each
        stored.record_choices(run, each) if stored else keep_choices(path, each)

    missing = [record for record in records if record.index not in known and record.winner is not None]
    with interrupts_told("interrupted; what was found so far is kept, and the same call goes on from there"):
        _weigh(found, asked, missing, keep, settings)
    wanted = {record.index for record in records}
    chosen = [each for each in found.battles if each.index in wanted]
    points = of_battles(named(found.request), chosen, known)
    if stored is not None and missing:
        from services.reporter.report import write_results

        write_results(stored, run)
    _tell(points, top)
    for each in known.values():
        if each.refused and each.index in wanted:
            err.print(escape(f"battle {each.index} cannot be reviewed: {each.refused}"))
    where = f"its report, and matchups/{run}/choices" if stored else str(beside(path))
    out.print(escape(f"Kept in {where}" + ("." if stored else "; `report` and `show` use it.")))
    result({"matchup": found.matchup_id, "policies": points.names, **points.document(top)})


def _stored(matchups: Matchups, id: str) -> Run:
    try:
        return matchups.run(id)
    except NotFound as error:
        raise NotFound(f"{id} is no run file, and {error.message}") from error


def _weigh(
    run: Run,
    asked: ChoicesAsked,
    records: Sequence[BattleRecord],
    keep: Callable[[ChoiceReview], None],
    settings: Settings,
) -> None:
    from services.arena.reviews import review_choices

    if run.request is None or not records:
        return
    with steps("decisions of battles", len(records)) as advance:
        done = 0

        def kept(each: ChoiceReview) -> None:
            nonlocal done
            keep(each)
            done += 1
            advance(done, {})

        processes = min(cores(), len(records))
        asyncio.run(review_choices(run.request, asked, records, kept, processes=processes, node=settings.node))


def _tell(points: TurningPoints, top: int) -> None:
    out.print(escape(points.sentence))
    for sentence in points.lost:
        out.print(escape(sentence))
    table = points.table()
    print_rows([table.head, *table.rows])
    for number, point in enumerate(points.worst(top), 1):
        decision = point.decision
        out.print()
        where = (
            f"{number}. Battle {point.battle}, turn {decision.turn}: {points.names[decision.policy]} ({point.result})"
        )
        out.print(escape(f"{where}, {point.position}"))
        out.print(escape(f"   It chose {point.chosen}. Better: {point.better}. {point.says}.{point.doubt}"))
        if decision.reasoning:
            out.print(escape(f'   It said: "{" ".join(decision.reasoning.split())[:300]}"'))
