"""Our own battles as replays: out of run files, and out of the records that workers store."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from services.scraper.replay import MAX_ID_CHARACTERS, Replay, Unfit, UnfitBattle, Unusable, checked, format_of
from shared.battle.decision import Outcome
from shared.battle.protocol import Seat, other
from shared.errors import BrokenRecord
from shared.records import AnyBattle, BattleRecord, parse_run
from shared.text import one_line

Substituted = frozenset[tuple[Seat, int, str]]
"""Seat, turn and action of each decision that a substitute made."""


def read_run(raw: bytes, stem: str) -> Iterator[Replay | Unusable]:
    """Every battle of a run file. Raises UnfitBattle where it is none."""
    try:
        run = parse_run(raw, stem)
    except BrokenRecord:
        raise UnfitBattle(Unfit.BROKEN_RUN) from None
    p1_seats: dict[str | None, Seat] = {battle.battle_tag: battle.p1_seat or "p1" for battle in run.battles}
    substituted: dict[str, set[tuple[Seat, int, str]]] = {}
    for decision in run.turn_stats:
        tag = decision.battle_tag
        if decision.outcome is Outcome.SUBSTITUTED and decision.policy and tag in p1_seats:
            seat = p1_seats[tag] if decision.policy == "p1" else other(p1_seats[tag])
            substituted.setdefault(tag, set()).add((seat, decision.turn, decision.action or ""))
    for battle in run.battles:
        tag = one_line(battle.battle_tag or f"{stem}-{battle.game_id}", MAX_ID_CHARACTERS)
        policies: Mapping[Seat, str] = {"p1": battle.p1_agent, "p2": battle.p2_agent}
        format_id = run.request.format if run.request else None
        try:
            yield _replay(battle, tag, policies, frozenset(substituted.get(tag, ())), format_id)
        except UnfitBattle as refused:
            yield Unusable(tag, refused.reason)


def read_record(raw: bytes, stem: str) -> Replay:
    """A stored battle. Raises UnfitBattle where it is none, and where it broke."""
    try:
        record = BattleRecord.model_validate_json(raw)
    except ValidationError:
        raise UnfitBattle(Unfit.BROKEN_RUN) from None
    return replay_of(record, stem)


def replay_of(record: BattleRecord, stem: str, policies: Mapping[Seat, str] | None = None) -> Replay:
    """A stored battle. Without `policies`, they are called what the log calls them. Raises UnfitBattle."""
    called: Mapping[Seat, str] = {
        "p1": _called(record.public_log, record.p1_seat),
        "p2": _called(record.public_log, other(record.p1_seat)),
    }
    substituted: Substituted = frozenset(
        (decision.seat, decision.turn, decision.action)
        for decision in record.decisions
        if decision.outcome is Outcome.SUBSTITUTED
    )
    return _replay(record, one_line(record.battle_tag or stem, MAX_ID_CHARACTERS), policies or called, substituted)


def _replay(
    battle: AnyBattle,
    id: str,
    policies: Mapping[Seat, str],
    substituted: Substituted,
    format_id: str | None = None,
) -> Replay:
    if battle.broken is not None:
        raise UnfitBattle(Unfit.BROKEN_BATTLE)
    if not battle.public_log:
        raise UnfitBattle(Unfit.NO_LOG)
    lines, seat = checked(battle.public_log), battle.p1_seat or "p1"
    return Replay(
        id=id,
        format=format_id or format_of(lines),
        log=lines,
        inputlog=checked(battle.input_log) if battle.input_log else None,
        source="run",
        policies={seat: policies["p1"], other(seat): policies["p2"]},
        teams_seeds=f"{battle.seeds.p1_team} {battle.seeds.p2_team}" if battle.seeds else None,
        substituted=substituted,
    )


def _called(log: tuple[str, ...], seat: Seat) -> str:
    start = f"|player|{seat}|"
    name = next((line[len(start) :].split("|", 1)[0] for line in log if line.startswith(start)), "")
    return one_line(name, 60).removesuffix(" (p1)").removesuffix(" (p2)") or "?"
