"""Battles of our own as replays: of a run file, a record, the store; with what a teacher said of their decisions."""

from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from services.scraper.replay import MAX_ID_CHARACTERS, Advised, Replay, Unfit, UnfitBattle, Unusable, checked, format_of
from shared.battle.decision import Outcome
from shared.battle.protocol import Seat, other
from shared.errors import BrokenRecord
from shared.records import ActionAdvice, AnyBattle, AnyDecision, BattleRecord, MatchupRequest, parse_run
from shared.text import one_line


def read_run(raw: bytes, stem: str) -> Iterator[Replay | Unusable]:
    """Every battle of a run file. Raises UnfitBattle where it is none."""
    try:
        run = parse_run(raw, stem)
    except BrokenRecord:
        raise UnfitBattle(Unfit.BROKEN_RUN) from None
    p1_seats: dict[str | None, Seat] = {battle.battle_tag: battle.p1_seat or "p1" for battle in run.battles}
    decisions: dict[str | None, list[tuple[Seat, AnyDecision]]] = {}
    for decision in run.turn_stats:
        tag = decision.battle_tag
        if decision.policy and tag in p1_seats:
            seat = p1_seats[tag] if decision.policy == "p1" else other(p1_seats[tag])
            decisions.setdefault(tag, []).append((seat, decision))
    for battle in run.battles:
        tag = one_line(battle.battle_tag or f"{stem}-{battle.game_id}", MAX_ID_CHARACTERS)
        policies: Mapping[Seat, str] = {"p1": battle.p1_agent, "p2": battle.p2_agent}
        try:
            yield _replay(battle, tag, policies, decisions.get(battle.battle_tag, ()), run.request)
        except UnfitBattle as refused:
            yield Unusable(tag, refused.reason)


def read_record(raw: bytes, stem: str) -> Replay:
    """A stored battle. Raises UnfitBattle where it is none, and where it broke."""
    try:
        record = BattleRecord.model_validate_json(raw)
    except ValidationError:
        raise UnfitBattle(Unfit.BROKEN_RUN) from None
    return replay_of(record, stem)


def replay_of(record: BattleRecord, stem: str, request: MatchupRequest | None = None) -> Replay:
    """A stored battle. Without its matchup's request, policies are as the log calls them. Raises UnfitBattle."""
    called: Mapping[Seat, str] = {
        "p1": _called(record.public_log, record.p1_seat),
        "p2": _called(record.public_log, other(record.p1_seat)),
    }
    policies: Mapping[Seat, str] = {"p1": request.p1, "p2": request.p2} if request else called
    decisions = [(decision.seat, decision) for decision in record.decisions]
    return _replay(record, one_line(record.battle_tag or stem, MAX_ID_CHARACTERS), policies, decisions, request)


def _replay(
    battle: AnyBattle,
    id: str,
    policies: Mapping[Seat, str],
    decisions: Iterable[tuple[Seat, AnyDecision]],
    request: MatchupRequest | None,
) -> Replay:
    if battle.broken is not None:
        raise UnfitBattle(Unfit.BROKEN_BATTLE)
    if not battle.public_log:
        raise UnfitBattle(Unfit.NO_LOG)
    lines, seat = checked(battle.public_log), battle.p1_seat or "p1"
    called: Mapping[Seat, str] = {seat: policies["p1"], other(seat): policies["p2"]}
    teacher = request.teacher if request else None
    substituted: set[tuple[Seat, int, str]] = set()
    advised: dict[Seat, list[Advised]] = {"p1": [], "p2": []}
    refused: dict[Seat, tuple[ActionAdvice, ...]] = {}
    for whose, decision in decisions:
        if decision.outcome is Outcome.SUBSTITUTED:
            substituted.add((whose, decision.turn, decision.action or ""))
        # After a refusal the same question is put again, with what the refusal told: the first counts.
        said = refused.pop(whose, decision.advice)
        if decision.refused_by_simulator is not None:
            refused[whose] = said
        else:
            advised[whose].append(Advised(said, decision.order or ""))
    return Replay(
        id=id,
        format=request.format if request else format_of(lines),
        log=lines,
        inputlog=checked(battle.input_log) if battle.input_log else None,
        source="run",
        policies=called,
        teams_seeds=f"{battle.seeds.p1_team} {battle.seeds.p2_team}" if battle.seeds else None,
        substituted=frozenset(substituted),
        teachers={
            whose: teacher or called[whose]
            for whose, choices in advised.items()
            if teacher or any(choice.advice for choice in choices)
        },
        advised={whose: tuple(choices) for whose, choices in advised.items()},
    )


def _called(log: tuple[str, ...], seat: Seat) -> str:
    start = f"|player|{seat}|"
    name = next((line[len(start) :].split("|", 1)[0] for line in log if line.startswith(start)), "")
    return one_line(name, 60).removesuffix(" (p1)").removesuffix(" (p2)") or "?"
