"""A replay, a stranger's or made of a battle of our own; and what is read of it: its players' decisions.

A replay is the public log of a finished battle, and what its site or its owner says about it: a stranger's text. What
is asked of it before anything else reads it stands here, and what will not do is refused with one of a fixed list of
reasons, so that they can be counted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import ValidationError

from shared.battle.action import Action, Move
from shared.battle.decision import Outcome
from shared.battle.pokedex import to_id
from shared.battle.protocol import Seat, other
from shared.battle.state import BattleState
from shared.datasets import ActionKind
from shared.errors import BrokenRecord
from shared.records import ActionAdvice, AnyBattle, AnyDecision, BattleRecord, MatchupRequest, parse_run
from shared.text import one_line

MAX_LINES = 100_000
MAX_LINE_CHARACTERS = 100_000
"""Some lines hold a page's worth of HTML."""
MAX_ID_CHARACTERS = 100
MAX_REPLAY_BYTES = 8 << 20
"""Unpacked. A thousand turns, where the simulator ends a battle, take about one megabyte."""


@dataclass(frozen=True, slots=True)
class Advised:
    """What was said of a decision of our own when it was met, and what came of it."""

    advice: tuple[ActionAdvice, ...]
    """On every legal action; empty where nobody advised."""
    order: str
    """What was sent to the simulator, and taken."""


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay, read but not believed: its lines are those of its source, bounded in number and length."""

    id: str
    """What it is called where it comes from, and unique there: `gen9randombattle-2212345678`."""
    format: str
    log: tuple[str, ...]
    """The public log, line by line, without line ends."""
    inputlog: tuple[str, ...] | None = None
    """Seeds and choices, where the source tells them: a way to run the battle again."""
    rating: int | None = None
    """The lower of both players' after the battle; None where it was not rated."""
    source: str = "replay"
    """`replay` for a stranger's battle, `run` for one of our own."""
    policies: Mapping[Seat, str] = field(default_factory=dict)
    """Who sat where, in a battle of our own."""
    teams_seeds: str | None = None
    """What the teams were drawn from, in a battle of our own: battles of the same teams belong together."""
    substituted: frozenset[tuple[Seat, int, str]] = frozenset()
    """Seat, turn and action's name of each decision that a substitute made, in a battle of our own."""
    teachers: Mapping[Seat, str] = field(default_factory=dict)
    """Who advised at which seat, in a battle of our own."""
    advised: Mapping[Seat, tuple[Advised, ...]] = field(default_factory=dict)
    """What they said of each choice of that seat, in the order of the battle."""


@dataclass(frozen=True, slots=True)
class MadeDecision:
    """One decision: what its side knew, and what it did."""

    turn: int
    seat: Seat
    state: BattleState
    action: Action
    """One of `state.legal`."""
    kind: ActionKind
    block: int
    """How many batches of choices came before: the log's `|t:|` lines counted."""
    complete: bool
    """Whether `state.legal` is known to be what the player could choose from."""
    advice: tuple[ActionAdvice, ...] = ()
    """What was said of each of `state.legal`, in their order."""


@dataclass(frozen=True, slots=True)
class BattleRead:
    """What a battle tells of its players' decisions, whatever it was read from."""

    decisions: tuple[MadeDecision, ...]
    """In the order of the battle."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """Decisions that were no choices, or that the source does not tell, by reason."""
    players: Mapping[Seat, str] = field(default_factory=dict)
    """The names at the beginning, before anybody left or was renamed."""
    winner: Seat | None = None
    """None for a tie, and where the log does not tell."""


def action_kind(action: Action, state: BattleState) -> ActionKind:
    """What kind of decision it is. Choosing a lead counts as a switch of one's own will."""
    if isinstance(action, Move):
        return "tera" if action.gimmick == "tera" else "move"
    return "forced switch" if state.asked == "switch" else "voluntary switch"


class Unfit(StrEnum):
    """Why a file, or a battle in it, cannot be used."""

    UNREADABLE = "the disk does not give it"
    BROKEN_GZIP = "broken or cut-off gzip"
    TOO_LARGE = "too large"
    NOT_TEXT = "not UTF-8 text"
    NOT_JSON = "broken or cut-off JSON"
    NEITHER = "neither a replay nor a run"
    NO_LOG = "no log in it"
    PAGE_WITHOUT_LOG = "a page without a battle log"
    TOO_MANY_LINES = "too many lines"
    LONG_LINE = "a line that is too long"
    BROKEN_RUN = "a run that cannot be read"
    BROKEN_BATTLE = "a battle of our own that broke"
    NO_BATTLE = "no battle in it"
    OTHER_FORMAT = "another format"
    CUSTOM_RULES = "custom rules"
    TOO_LONG = "too long"
    NO_BLOCKS = "without the |t:| lines that tell where choices were made"
    MALFORMED = "not a log as the simulator writes it"
    TAMPERED = "changed by hand while it was played"


@dataclass(frozen=True, slots=True)
class Unusable:
    """What was found in place of a battle that can be read."""

    name: str
    reason: str


class UnfitBattle(Exception):
    """Raised where a battle is read, and turned into Unusable where the battle's place among others is known."""

    def __init__(self, reason: Unfit) -> None:
        super().__init__(reason)
        self.reason = reason


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a log. Raises UnfitBattle where there are too many, or too long ones."""
    if text.count("\n") >= MAX_LINES:
        raise UnfitBattle(Unfit.TOO_MANY_LINES)
    return checked(tuple(line.rstrip("\r") for line in text.rstrip("\r\n").split("\n")))


def checked(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The lines themselves. Raises UnfitBattle where there are too many, or too long ones."""
    if len(lines) > MAX_LINES:
        raise UnfitBattle(Unfit.TOO_MANY_LINES)
    if any(len(line) > MAX_LINE_CHARACTERS for line in lines):
        raise UnfitBattle(Unfit.LONG_LINE)
    return lines


CUSTOM = "@@@"
"""Stands between a format and the rules that its players chose for it (`gen9randombattle@@@scalemonsmod`)."""
_RANDOM = ("HP Percentage Mod", "Sleep Clause Mod")
_STANDARD = (
    *(*_RANDOM, "Endless Battle Clause", "Evasion Items Clause", "Evasion Moves Clause", "OHKO Clause"),
    "Species Clause",
)
_RULES: Mapping[str, frozenset[str]] = {
    "gen1randombattle": frozenset({*_STANDARD, "Desync Clause Mod", "Freeze Clause Mod"}),
    "gen2randombattle": frozenset({*_STANDARD, "Beat Up Nicknames Mod", "Freeze Clause Mod"}),
    "gen3randombattle": frozenset({*_STANDARD, "Beat Up Nicknames Mod", "Switch Priority Clause Mod"}),
    "gen4randombattle": frozenset(_RANDOM),
    **dict.fromkeys([f"gen{n}randombattle" for n in (5, 6, 7)], frozenset({*_RANDOM, "Illusion Level Mod"})),
    **dict.fromkeys(
        [f"gen{n}randombattle" for n in (8, 9)], frozenset({*_RANDOM, "Illusion Level Mod", "Species Clause"})
    ),
    "gen9ou": frozenset({*_STANDARD, "Evasion Abilities Clause", "Sleep Moves Clause"}),
}
"""The rules of its own that a format's log names (`|rule|Species Clause: …`), now or earlier."""
_RULES_BOX = re.compile(r"\|raw\|.*>\d+ custom rules?:<")


def has_custom_rules(replay: Replay) -> bool:
    """Whether a battle was played by rules that its players chose, as its room, its input log or its log tells."""
    own = _RULES.get(replay.format)
    told = (replay.id, replay.format, *(line for line in replay.inputlog or () if line.startswith(">start")))
    return any(CUSTOM in text for text in told) or any(_is_custom(line, own) for line in replay.log)


def _is_custom(line: str, own: frozenset[str] | None) -> bool:
    kind, _, rest = line[1:].partition("|")
    if kind == "rule":
        return own is not None and rest.partition(":")[0] not in own
    return CUSTOM in rest if kind == "tier" else kind == "raw" and _RULES_BOX.match(line) is not None


def format_id(name: str) -> str:
    """`[Gen 9] Random Battle` → `gen9randombattle`; `gen9randombattle@@@` where rules were chosen for it."""
    base, custom, _ = name.partition(CUSTOM)
    return to_id(base)[:60] + custom


def format_of(lines: tuple[str, ...]) -> str:
    """From the line `|tier|[Gen 9] Random Battle`; `?` where there is none."""
    tier = next((line[6:] for line in lines if line.startswith("|tier|")), "")
    return format_id(tier) or "?"


# ── battles of our own ──────────────────────────────────────────────────────────────────────────────


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
    named = request and (request.p1, request.p2)
    p1, p2 = named or (_called(record.public_log, seat) for seat in (record.p1_seat, other(record.p1_seat)))
    decisions = [(decision.seat, decision) for decision in record.decisions]
    tag = one_line(record.battle_tag or stem, MAX_ID_CHARACTERS)
    return _replay(record, tag, {"p1": p1, "p2": p2}, decisions, request)


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
        teachers={seat: teacher or called[seat] for seat in advised if teacher or any(c.advice for c in advised[seat])},
        advised={whose: tuple(choices) for whose, choices in advised.items()},
    )


def _called(log: tuple[str, ...], seat: Seat) -> str:
    start = f"|player|{seat}|"
    name = next((line[len(start) :].split("|", 1)[0] for line in log if line.startswith(start)), "")
    return one_line(name, 60).removesuffix(" (p1)").removesuffix(" (p2)") or "?"
