"""Our own battles as replays: out of run files, and out of the records that workers store."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from services.scraper.replay import MAX_ID_CHARACTERS, Replay, Unfit, UnfitBattle, Unusable, checked, format_of
from shared.battle.decision import Outcome
from shared.battle.protocol import Seat, other
from shared.errors import BrokenRecord
from shared.records import BattleRecord, Run, RunBattle, parse_run
from shared.text import one_line


def read_run(raw: bytes, stem: str) -> Iterator[Replay | Unusable]:
    """Every battle of a run file. Raises UnfitBattle where it is none."""
    try:
        run = parse_run(raw, stem)
    except BrokenRecord:
        raise UnfitBattle(Unfit.BROKEN_RUN) from None
    substituted = _substituted(run)
    for battle in run.battles:
        tag = one_line(battle.battle_tag or f"{stem}-{battle.game_id}", MAX_ID_CHARACTERS)
        try:
            yield _own_battle(run, battle, tag, substituted.get(tag, frozenset()))
        except UnfitBattle as refused:
            yield Unusable(tag, refused.reason)


def _own_battle(run: Run, battle: RunBattle, tag: str, substituted: frozenset[tuple[Seat, int, str]]) -> Replay:
    if battle.broken is not None:
        raise UnfitBattle(Unfit.BROKEN_BATTLE)
    if not battle.public_log:
        raise UnfitBattle(Unfit.NO_LOG)
    lines = checked(battle.public_log)
    seat = battle.p1_seat or "p1"
    return Replay(
        id=tag,
        format=run.request.format if run.request else format_of(lines),
        log=lines,
        inputlog=checked(battle.input_log) if battle.input_log else None,
        source="run",
        policies={seat: battle.p1_agent, other(seat): battle.p2_agent},
        teams_seeds=f"{battle.seeds.p1_team} {battle.seeds.p2_team}" if battle.seeds else None,
        substituted=substituted,
    )


def _substituted(run: Run) -> Mapping[str, frozenset[tuple[Seat, int, str]]]:
    """Battle tag → the decisions that a substitute made."""
    p1_seats = {battle.battle_tag: battle.p1_seat or "p1" for battle in run.battles}
    found: dict[str, set[tuple[Seat, int, str]]] = {}
    for decision in run.turn_stats:
        if decision.outcome is Outcome.SUBSTITUTED and decision.policy and decision.battle_tag in p1_seats:
            p1_seat = p1_seats[decision.battle_tag]
            seat = p1_seat if decision.policy == "p1" else other(p1_seat)
            found.setdefault(decision.battle_tag, set()).add((seat, decision.turn, decision.action or ""))
    return {tag: frozenset(decisions) for tag, decisions in found.items()}


def read_record(raw: bytes, stem: str) -> Replay:
    """A stored battle. Raises UnfitBattle where it is none, and where it broke."""
    try:
        record = BattleRecord.model_validate_json(raw)
    except ValidationError:
        raise UnfitBattle(Unfit.BROKEN_RUN) from None
    return replay_of(record, stem)


def replay_of(record: BattleRecord, stem: str, policies: Mapping[Seat, str] | None = None) -> Replay:
    """A stored battle of ours. Without `policies`, they are called what the log calls them. Raises UnfitBattle."""
    if record.broken is not None:
        raise UnfitBattle(Unfit.BROKEN_BATTLE)
    lines = checked(record.public_log)
    seats: Mapping[Seat, Seat] = {"p1": record.p1_seat, "p2": other(record.p1_seat)}
    named = policies or {policy: _called(lines, seat) for policy, seat in seats.items()}
    return Replay(
        id=one_line(record.battle_tag or stem, MAX_ID_CHARACTERS),
        format=format_of(lines),
        log=lines,
        inputlog=checked(record.input_log) if record.input_log else None,
        source="run",
        policies={seats[policy]: name for policy, name in named.items()},
        teams_seeds=f"{record.seeds.p1_team} {record.seeds.p2_team}" if record.seeds else None,
        substituted=frozenset(
            (decision.seat, decision.turn, decision.action)
            for decision in record.decisions
            if decision.outcome is Outcome.SUBSTITUTED
        ),
    )


def _called(log: tuple[str, ...], seat: Seat) -> str:
    start = f"|player|{seat}|"
    name = next((line[len(start) :].split("|", 1)[0] for line in log if line.startswith(start)), "")
    return one_line(name, 60).removesuffix(" (p1)").removesuffix(" (p2)") or "?"
