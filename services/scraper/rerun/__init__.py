"""Runs a replay's input log again in the simulator of its commit: what each side saw, exactly.

The public log of the repetition must equal the replay's, battle line by battle line; what a room adds (chat, clocks,
who came and left) is no part of the battle. Otherwise the replay is not what its input log says, or not of that
simulator, and nothing of the repetition is used.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import Any

from services.scraper.rebuild.choices import Unknown
from services.scraper.replay import Advised, BattleRead, MadeDecision, Replay, action_kind
from shared.battle.action import Action, Move, legal_actions, meant, needs_answer
from shared.battle.decision import fault_of
from shared.battle.protocol import SEATS, Seat, seen_by
from shared.battle.tracker import Tracker
from shared.errors import AlphaStralError, InputRefused, SimulatorError, UnknownFormat, UsageError
from shared.policies import check_format
from shared.records import ActionAdvice
from shared.simulator.inputlog import InputLog, NotRun, parse_inputlog
from shared.simulator.simulator import Simulator, Step

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_BYTES = 1_000_000
_COMPARED = frozenset(
    {
        *("cant", "clearpoke", "detailschange", "drag", "faint", "gametype", "gen", "move", "player", "poke", "rated"),
        *("replace", "rule", "start", "swap", "switch", "t:", "teampreview", "teamsize", "tie", "tier", "turn"),
        *("upkeep", "win"),
    }
)
"""Lines of a battle, beside those that begin with `-`."""


class Simulators:
    """One process for each build, started when it is first needed.

    The pinned simulator has no commit: it is a package, and leaves none in the input logs of its battles.
    """

    def __init__(self, builds: Sequence[Path] = (), *, node: Path | None = None) -> None:
        """Raises UsageError for a folder that is no build of the simulator, or that does not say of which commit."""
        self._pinned = Simulator(node)
        self._by_commit = {commit_of(build): Simulator(node, build=build) for build in builds}

    async def __aenter__(self) -> "Simulators":
        return self

    async def __aexit__(self, *_: object) -> None:
        for simulator in (self._pinned, *self._by_commit.values()):
            await simulator.__aexit__(None, None, None)

    def find(self, commits: Sequence[str]) -> Simulator | None:
        """The build of one of these commits; the pinned one where none is named."""
        if not commits:
            return self._pinned
        return next((self._by_commit[commit] for commit in commits if commit in self._by_commit), None)


class Why(StrEnum):
    """Why a replay cannot be had exactly."""

    NO_INPUT_LOG = "no input log"
    NOT_RUN = "an input log that is not run"
    NO_SIMULATOR = "no simulator of its commit"
    BROKE = "the simulator broke it off"
    ANOTHER_LOG = "another log when run again"


class Differs(AlphaStralError):
    """A replay that falls back to what its public log tells."""

    def __init__(self, reason: Why, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


async def rerun(replay: Replay, simulators: Simulators) -> BattleRead:
    """Both sides' decisions, as they were met. Raises Differs, with a reason, where they can't be had so."""
    if not replay.inputlog:
        raise Differs(Why.NO_INPUT_LOG)
    try:
        played = parse_inputlog(replay.inputlog)
        generation = check_format(played.format).generation
    except (NotRun, UnknownFormat) as error:
        raise Differs(Why.NOT_RUN, str(error)) from error
    simulator = simulators.find(played.commits)
    if simulator is None:
        raise Differs(Why.NO_SIMULATOR)
    try:
        frames = await simulator.run_again(played.start, played.inputs)
    except InputRefused as error:
        raise Differs(Why.NOT_RUN, error.message) from error
    except SimulatorError as error:
        raise Differs(Why.BROKE, error.message) from error
    compare(replay.log, frames)
    return _Walk(generation, played, replay.advised).through(frames)


def compare(log: Sequence[str], frames: Sequence[Step]) -> None:
    """Hold the replay's log beside that of the repetition. Raises Differs, naming the first line.

    A site shows HP as spectators see it, or, once a battle with random teams is over, as the players do.
    """
    again = [line for frame in frames for line in frame.lines]
    recorded = list(_battle_lines(log))
    first = ""
    for shown in (seen_by(None, again), _uncovered(again)):
        pairs = enumerate(zip_longest(recorded, _battle_lines(shown)), 1)
        differing = next((number for number, (line, found) in pairs if line != found), None)
        if differing is None:
            return
        first = first or f"battle line {differing}"
    raise Differs(Why.ANOTHER_LOG, first)


def _battle_lines(log: Sequence[str] | Iterator[str]) -> Iterator[str]:
    begun = False
    for line in log:
        kind = line[1:].partition("|")[0] if line[:1] == "|" else ""
        if kind == "start":
            begun = True
        if kind == "t:":
            yield "|t:|"
        elif (kind in _COMPARED or kind[:1] == "-") and kind != "-message" and not (kind == "player" and begun):
            yield line


def _uncovered(lines: Sequence[str]) -> Iterator[str]:
    rest = iter(lines)
    for line in rest:
        if line.startswith("|split|"):
            line = next(rest, "")
            next(rest, None)
        if line:
            yield line


class _Walk:
    """Follows a repetition from both seats, as the arena does a battle."""

    def __init__(self, generation: int, played: InputLog, advised: Mapping[Seat, Sequence[Advised]]) -> None:
        self._played = played
        self._advised = {seat: iter(advised.get(seat, ())) for seat in SEATS}
        self._parted: set[Seat] = set()
        """Whose recorded decisions are not those of the input log: nothing that was said of them is believed."""
        self._names: dict[Seat, str] = {}
        self._called: dict[str, Seat] = {}
        for kind, seat, *rest in played.inputs:
            if kind == "player":
                self._names.setdefault(seat, rest[0]["name"])
                self._called[rest[0]["name"]] = seat
        self._trackers = {seat: Tracker(generation, seat, self._names) for seat in SEATS}
        self._asked: dict[Seat, Mapping[str, Any]] = {}
        self._chosen: dict[Seat, str] = {}
        self._made: list[MadeDecision] = []
        self._unknown: Counter[str] = Counter()
        self._block = 0
        self._winner: Seat | None = None

    def through(self, frames: Sequence[Step]) -> BattleRead:
        """What was decided, from the first frame to the last. Raises Differs when a choice was refused."""
        for (kind, seat, *rest), frame in zip(self._played.inputs, frames, strict=True):
            if kind == "choose":
                self._chosen[seat] = rest[0]
            elif kind == "undo":
                self._chosen.pop(seat, None)
            if frame.errors:
                raise Differs(Why.ANOTHER_LOG, "a choice is refused")
            if frame.lines:
                self._decide()
                self._hear(frame.lines)
            for asked, request in frame.requests.items():
                if needs_answer(request):
                    self._trackers[asked].request(request)
                    self._asked[asked] = request
                else:
                    self._asked.pop(asked, None)
        made = (replace(each, advice=()) if each.seat in self._parted else each for each in self._made)
        return BattleRead(tuple(made), self._unknown, self._names, self._winner)

    def _decide(self) -> None:
        for seat in SEATS:
            request, choice = self._asked.pop(seat, None), self._chosen.pop(seat, None)
            if request is None or choice is None:
                continue
            legal = legal_actions(request)
            action = meant(choice, legal)
            advice = self._said(seat, action, legal)
            if action is None:
                self._unknown[Unknown.CONTRADICTED] += 1
            elif isinstance(action, Move) and action.id in ("struggle", "recharge"):
                self._unknown[Unknown.FORCED] += 1
            elif len(legal) == 1:
                self._unknown[Unknown.ONLY_ACTION] += 1
            else:
                state = self._trackers[seat].state()
                kind = action_kind(action, state)
                self._made.append(MadeDecision(state.turn, seat, state, action, kind, self._block, True, advice))

    def _said(self, seat: Seat, action: Action | None, legal: Sequence[Action]) -> tuple[ActionAdvice, ...]:
        """What was said of the next choice of that seat, of each of the legal actions."""
        recorded = next(self._advised[seat], None)
        if recorded is None or action is None or meant(recorded.order, legal) != action:
            self._parted.add(seat)
            return ()
        by_action = {meant(said.order, legal): said for said in recorded.advice}
        advice = tuple(by_action[each] for each in legal if each in by_action)
        fault = fault_of([each.probability for each in advice], [each.value for each in advice], len(legal))
        return () if fault else advice

    def _hear(self, lines: Sequence[str]) -> None:
        for tracker in self._trackers.values():
            tracker.hear(lines)
        for line in lines:
            if line.startswith("|t:|"):
                self._block += 1
            elif line.startswith("|win|"):
                self._winner = self._called.get(line[5:])


# ── the builds of the simulator at hand ─────────────────────────────────────────────────────────────


def commit_of(build: Path) -> str:
    """The commit that a folder was built from: of its git checkout, or named in a file COMMIT or in package.json.

    Raises UsageError.
    """
    if not (build / "package.json").is_file() or not (build / "dist" / "sim").is_dir():
        raise UsageError(f"{build} is no build of the simulator: it should hold package.json and dist/sim")
    for found in (_text(build / "COMMIT"), _checked_out(build), _published(build)):
        if found is not None and _COMMIT.fullmatch(found):
            return found
    raise UsageError(
        f"{build} does not say from which commit it was built; write the commit's full hash into {build / 'COMMIT'}"
    )


def _published(build: Path) -> str | None:
    try:
        head = json.loads(_text(build / "package.json") or "{}").get("gitHead")
    except (ValueError, AttributeError):
        return None
    return head if isinstance(head, str) else None


def _checked_out(build: Path) -> str | None:
    git = build / ".git"
    pointer = _text(git)
    if pointer is not None and pointer.startswith("gitdir: "):
        git = build / pointer.removeprefix("gitdir: ")
    head = _text(git / "HEAD")
    if head is None or not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    common = git / (_text(git / "commondir") or ".")
    packed = (line.split(" ") for line in (_text(common / "packed-refs") or "").splitlines())
    return _text(common / name) or next((line[0] for line in packed if line[1:] == [name]), None)


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
