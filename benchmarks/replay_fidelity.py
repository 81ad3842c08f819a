"""How true to the battle what is rebuilt from a public log is: beside battles of which everything is known.

    python benchmarks/replay_fidelity.py DATA_DIR

DATA_DIR holds `replays/FORMAT/*.json` and `*.log`, all of which are read, and for some of them
`ground-truth/ID.jsonl.gz`: a line of facts, then in order `{"update": chunk}` (public, with `|split|` blocks) and
`{"side": "p1", "line": "|request|…"}` (private), and last `{"choices": […]}`, the choices really made. Prints
disagreements by cause and, last, one line of JSON, shares from 0 to 1.

A decision that was really made is a choice among several legal actions whose turn was not lost to `|cant|`: forced
turns and those lost so are no choices (docs/replays.md). The share of all choices sent is printed above it.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from services.scraper.rebuild import rebuild
from services.scraper.rebuild.choices import Unknown, read_choices
from services.scraper.rebuild.public_log import GENERATION, battle_lines
from services.scraper.replay import BattleRead, MadeDecision, UnfitBattle
from shared.battle.action import Action, Move, Switch, meant, needs_answer
from shared.battle.protocol import SEATS, Seat
from shared.battle.state import BattleState, Side
from shared.battle.tracker import Tracker

Place = tuple[Seat, int]
"""Seat and block: where in a battle a decision was made."""


@dataclass(frozen=True, slots=True)
class Real:
    """A decision as it really was."""

    state: BattleState
    action: Action


@dataclass(slots=True)
class Tally:
    """What was compared."""

    sent: int = 0
    """Choices among several legal actions."""
    lost: int = 0
    """Of them, those whose turn was lost to `|cant|`, and that are not kept."""
    kept: int = 0
    kept_of_those: int = 0
    """Kept, and sent: a decision may turn out to have had one legal action, of an item that never showed."""
    labels_agree: int = 0
    states_agree: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


def read_log(path: Path) -> tuple[str, ...]:
    """The lines of a replay's public log."""
    text = path.read_text(errors="replace")
    return tuple((json.loads(text)["log"] if path.suffix == ".json" else text).split("\n"))


def truth(path: Path) -> Mapping[Place, Real]:
    """The decisions of a battle, from the real requests and choices."""
    with gzip.open(path, "rt") as file:
        facts, *heard, last = (json.loads(line) for line in file)
    names: Mapping[Seat, str] = dict(zip(SEATS, facts["players"], strict=True))
    choices = {seat: iter([text[4:] for text in last["choices"] if text[1:3] == seat]) for seat in SEATS}
    trackers = {seat: Tracker(GENERATION, seat, names) for seat in SEATS}
    found: dict[Place, Real] = {}
    asked: dict[Seat, dict[str, Any]] = {}
    block = 0
    for each in heard:
        if "side" in each:
            # A request comes before the lines that led to it.
            if each["line"].startswith("|request|"):
                asked[each["side"]] = json.loads(each["line"][9:])
            continue
        lines = each["update"].split("\n")
        block += sum(line.startswith("|t:|") for line in lines)
        for seat, tracker in trackers.items():
            tracker.hear(lines)
            request = asked.pop(seat, None)
            if request is None or not needs_answer(request):
                continue
            tracker.request(request)
            choice = next(choices[seat], None)
            if choice is not None:
                state = tracker.state()
                action = meant(choice, state.legal)
                # One that fits no legal action was sent after the simulator had refused another.
                if action is not None:
                    found[seat, block] = Real(state, action)
    return found


def lost_turns(log: Sequence[str]) -> frozenset[Place]:
    """Where a turn was lost to `|cant|`."""
    choices = read_choices(battle_lines(log))
    return frozenset((each.seat, each.block) for each in choices if each.shown is Unknown.LOST_TURN)


def compare(
    reading: BattleRead, true: Mapping[Place, Real], tally: Tally, battle: str, lost: Collection[Place] = ()
) -> None:
    """Count where they agree, and where not, by cause."""
    kept = {(made.seat, made.block) for made in reading.decisions}
    sent = {place for place, real in true.items() if len(real.state.legal) > 1}
    tally.sent += len(sent)
    tally.lost += sum(place in lost and place not in kept for place in sent)
    tally.unknown.update(reading.unknown)
    for made in reading.decisions:
        real = true.get((made.seat, made.block))
        place = f"{battle} {made.seat} turn {made.turn}"
        tally.kept += 1
        if real is None:
            tally.causes["label: no such decision was made"] += 1
            tally.examples.setdefault("label: no such decision was made", f"{place}: {made.action}")
            continue
        tally.kept_of_those += len(real.state.legal) > 1
        if same_action(made, real):
            tally.labels_agree += 1
        else:
            cause = f"label: {type(real.action).__name__} read as {type(made.action).__name__}"
            tally.causes[cause] += 1
            tally.examples.setdefault(cause, f"{place}: {real.action} read as {made.action}")
        differing = list(differences(made.state, real.state))
        tally.states_agree += not differing
        for cause, rebuilt, really in differing:
            tally.causes[f"state: {cause}"] += 1
            tally.examples.setdefault(f"state: {cause}", f"{place}: {really} rebuilt as {rebuilt}")


def same_action(made: MadeDecision, real: Real) -> bool:
    """Whether both are the same move, with the same gimmick, or a switch to the same Pokémon."""
    match made.action, real.action:
        case Move(id=rebuilt, gimmick=gimmick), Move(id=really, gimmick=real_gimmick):
            return (rebuilt, gimmick) == (really, real_gimmick)
        case Switch() as rebuilt_switch, Switch() as real_switch:
            ours, theirs = made.state.switched_to(rebuilt_switch), real.state.switched_to(real_switch)
            return (ours.species, ours.level) == (theirs.species, theirs.level)
        case _:
            return False


def differences(rebuilt: BattleState, real: BattleState) -> Iterator[tuple[str, object, object]]:
    """What differs of one's own active Pokémon in sight, and of everything that is public."""
    for name in ("species", "hp_percent", "status", "boosts"):
        ours, theirs = getattr(rebuilt.own.active, name, None), getattr(real.own.active, name, None)
        if ours != theirs:
            yield f"own {name}", ours, theirs
    for name in ("turn", "asked", "weather", "fields", "last_turn", "foe_moves_seen"):
        if getattr(rebuilt, name) != getattr(real, name):
            yield name, getattr(rebuilt, name), getattr(real, name)
    if rebuilt.own.conditions != real.own.conditions:
        yield "own conditions", rebuilt.own.conditions, real.own.conditions
    yield from _foe(rebuilt.foe, real.foe)


def _foe(rebuilt: Side, real: Side) -> Iterator[tuple[str, object, object]]:
    if rebuilt == real:
        return
    for name in ("unseen", "conditions"):
        if getattr(rebuilt, name) != getattr(real, name):
            yield f"foe {name}", getattr(rebuilt, name), getattr(real, name)
    ours, theirs = ((side.active, *side.bench) for side in (rebuilt, real))
    if len(ours) != len(theirs):
        yield "foe team", len(ours), len(theirs)
        return
    for where, (one, another) in enumerate(zip(ours, theirs, strict=True)):
        if one is None or another is None:
            if one is not another:
                yield "foe active", one, another
            continue
        for each in fields(one):
            if getattr(one, each.name) != getattr(another, each.name):
                name = f"foe {'bench' if where else 'active'} {each.name}"
                yield name, getattr(one, each.name), getattr(another, each.name)


def main(arguments: Sequence[str]) -> int:
    """Print the figures."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    data = Path(arguments[0])
    tally, dropped, read = Tally(), Counter[str](), 0
    for path in sorted((data / "replays").glob("*/*")):
        if path.suffix not in (".json", ".log") or path.parent.name == "search":
            continue
        try:
            reading = rebuild(read_log(path))
        except UnfitBattle as error:
            dropped[error.reason] += 1
            continue
        read += 1
        beside = data / "ground-truth" / f"{path.stem}.jsonl.gz"
        if beside.exists():
            log = read_log(path)
            compare(reading, truth(beside), tally, path.stem, lost_turns(log))
    really_made = tally.sent - tally.lost
    print(f"{tally.sent} choices among several actions sent, {tally.kept_of_those / max(tally.sent, 1):.2%} kept")
    print(f"{really_made} decisions really made, {tally.kept_of_those} kept; not kept, by reason:")
    for reason, count in tally.unknown.most_common():
        print(f"  {count:5}  {reason}")
    print("Disagreements by cause, with the first of each:")
    for cause, count in tally.causes.most_common():
        print(f"  {count:5}  {cause}: {tally.examples[cause]}"[:400])
    figures = {
        "label_agreement": round(tally.labels_agree / max(tally.kept, 1), 5),
        "state_agreement": round(tally.states_agree / max(tally.kept, 1), 5),
        "decisions_kept": round(tally.kept_of_those / max(really_made, 1), 5),
        "replays_read": read,
        "replays_dropped": dict(dropped),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
