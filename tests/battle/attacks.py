"""What damage.py says of an attack beside what the simulator takes from the target: real battles, every attack in them.

The attacker's and the target's Pokémon are taken as they stand when the attack is made, with all that both sides know
of their own. Plain attacks hit once and are no critical hits.

    python -m tests.battle.attacks [BATTLES [FORMAT]]      prints how many are in range, and what the others are
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from shared.battle.action import Move, legal_actions, needs_answer, order
from shared.battle.damage import Calculator, fighter
from shared.battle.draw_state import _own_stats
from shared.battle.formula import Damage
from shared.battle.pokedex import pokedex
from shared.battle.protocol import SEATS, Seat, name_of, other, read_details, seat_of
from shared.battle.state import PokemonState, Side
from shared.battle.tracker import Tracker
from shared.simulator.simulator import SeatSetup, Simulator
from tests.battle.battles import NAMES, SWITCH_RATE

_ENDS_AN_ATTACK = ("move", "switch", "drag", "cant", "upkeep", "turn", "", "win", "tie")


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack that took HP from its target."""

    move: str
    taken: int
    hp: int
    """Of the target before it."""
    critical: bool
    hits: int
    user: PokemonState
    target: PokemonState
    truth: Damage | None
    """By all that is so."""
    known: Damage | None
    """By what the attacker knew."""
    hidden: str
    """What it did not know of the target."""

    @property
    def kind(self) -> str:
        """Why the range may not hold, or `plain`."""
        if "dynamax" in self.user.effects:
            return "Max Move"
        if self.move == "Hidden Power":
            return "of a type that no log tells"
        return "critical" if self.critical else "several hits" if self.hits > 1 else "plain"

    @property
    def is_plain(self) -> bool:
        """Whether it hit once, without a critical hit, and was of a known type."""
        return self.kind == "plain"

    def within(self, damage: Damage | None) -> bool:
        """Whether that is in the range of rolls."""
        if damage is None:
            return False
        left = self.hp - damage.leaves_one
        return min(damage.least, left) <= self.taken <= min(damage.most, left)


def attacks(format_id: str, battles: int, first: int = 0) -> list[Attack]:
    """Every attack of these battles between two players at random."""
    return asyncio.run(_all(format_id, range(first, first + battles)))


async def _all(format_id: str, seeds: range) -> list[Attack]:
    found: list[Attack] = []
    async with Simulator() as simulator:
        for seed in seeds:
            setup = {seat: SeatSetup(NAMES[seat], seed=_seed(n, seed)) for n, seat in enumerate(SEATS, 1)}
            battle = await simulator.open(format_id, _seed(0, seed), setup)
            found += await _watch(battle, int(format_id[3]), Random(seed))
    return found


async def _watch(battle: Any, generation: int, rng: Random) -> list[Attack]:
    watcher, found = _Watcher(generation), list[Attack]()
    try:
        while True:
            step = await battle.step()
            found += watcher.see(_whole(step.lines))
            if step.end is not None:
                return found
            choices = {}
            for seat, request in step.requests.items():
                watcher.requests[seat] = request
                if needs_answer(request):
                    watcher.trackers[seat].request(request)
                    legal = legal_actions(request)
                    moves = [action for action in legal if isinstance(action, Move)]
                    at_random = moves if moves and rng.random() > SWITCH_RATE else legal
                    choices[seat] = order(rng.choice(at_random), request)
            if choices:
                battle.choose(choices)
    finally:
        battle.close()


def _whole(lines: Sequence[str]) -> Iterator[str]:
    """As somebody sees it who sees everything: of a split, what its own side sees."""
    rest = iter(lines)
    for line in rest:
        if line.startswith("|split|"):
            yield next(rest)
            next(rest)
        else:
            yield line


class _Watcher:
    """Follows one battle with the eyes of both sides."""

    def __init__(self, generation: int) -> None:
        self._dex = pokedex(generation)
        self.trackers = {seat: Tracker(generation, seat, NAMES) for seat in SEATS}
        self.requests: dict[Seat, Mapping[str, Any]] = {}
        self._hp: dict[str, int] = {}

    def see(self, lines: Iterator[str]) -> Iterator[Attack]:
        said = [line.split("|") for line in lines]
        for at, line in enumerate(said):
            kind = line[1] if len(line) > 1 else ""
            seat = seat_of(line[2]) if kind == "move" and len(line) > 4 else None
            # One in disguise is met under a name of another.
            if seat and seat_of(line[4]) == other(seat) and name_of(line[4]) in self._hp:
                yield from self._attack(seat, line, said[at + 1 :])
            for tracker in self.trackers.values():
                tracker.hear(["|".join(line)])
            if kind in ("switch", "drag", "-damage", "-heal", "-sethp") and len(line) > 3:
                condition = line[4] if kind in ("switch", "drag") else line[3]
                self._hp[name_of(line[2])] = int(condition.partition(" ")[0].partition("/")[0])

    def _attack(self, seat: Seat, line: list[str], rest: Sequence[list[str]]) -> Iterator[Attack]:
        victim, hits, taken, critical = name_of(line[4]), 0, 0, False
        hp = before = self._hp[victim]
        for then in rest:
            kind = then[1] if len(then) > 1 else ""
            if kind in _ENDS_AN_ATTACK:
                break
            if kind == "-crit":
                critical = True
            if kind == "-damage" and name_of(then[2]) == victim and "[from]" not in "|".join(then):
                after = int(then[3].partition(" ")[0].partition("/")[0])
                hits, taken, before = hits + 1, taken + before - after, after
        if hits:
            yield from self._compare(seat, line[3], hp, taken, hits, critical)

    def _compare(self, seat: Seat, move: str, hp: int, taken: int, hits: int, critical: bool) -> Iterator[Attack]:
        own, foe = self._true(seat), self._true(other(seat))
        seen = self.trackers[seat].opponent()
        if own is None or foe is None or seen.active is None:
            return
        weather, fields = self.field()
        calculator = Calculator(self._dex, weather, fields)
        user, screens = fighter(self._dex, own[0], own[1], foe[0]), seen.conditions
        truth = calculator.damage(move, user, fighter(self._dex, foe[0], foe[1], own[0]), screens)
        known = calculator.damage(move, user, fighter(self._dex, seen.active, seen, own[0]), screens)
        unknown = [what for what in ("item", "ability") if getattr(seen.active, what) != getattr(foe[0], what)]
        hidden = " and ".join(unknown) or "stats"
        yield Attack(move, taken, hp, critical, hits, own[0], foe[0], truth, known, hidden)

    def field(self) -> tuple[str | None, Mapping[str, int]]:
        tracker = self.trackers["p1"]
        named = tracker.field_effects()
        weather = named[0] if named and named[0][:1].isupper() else None
        return weather, dict.fromkeys(named, 0)

    def _true(self, seat: Seat) -> tuple[PokemonState, Side] | None:
        """The active Pokémon as its opponent sees it, with what only its own side knows."""
        side = self.trackers[other(seat)].opponent()
        shown, tracker = side.active, self.trackers[other(seat)]
        request = self.requests.get(seat)
        ident = tracker._turns.field.active.get(seat)
        if shown is None or request is None or ident is None:
            return None
        mine = next((each for each in request["side"]["pokemon"] if each["ident"] == name_of(ident.ident)), None)
        if any("illusion" in (each["baseAbility"], each.get("ability")) for each in request["side"]["pokemon"]):
            # What is seen of its side may be somebody in disguise.
            return None
        if mine is None or read_details(mine["details"])[0] != shown.species:
            # It changed its forme since, and with it its stats.
            return None
        item = shown.item if shown.item is not None else mine["item"]
        ability = shown.ability or mine.get("ability") or mine["baseAbility"]
        return replace(shown, ability=ability, item=item, stats=_own_stats(mine)), side


def _seed(which: int, seed: int) -> str:
    return f"sodium,{which:02x}{seed:030x}"


def main() -> None:
    """Print the figures."""
    battles = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    format_id = sys.argv[2] if len(sys.argv) > 2 else "gen9randombattle"
    found = attacks(format_id, battles)
    for kind, count in Counter(attack.kind for attack in found).most_common():
        some = [attack for attack in found if attack.kind == kind]
        truth = sum(attack.within(attack.truth) for attack in some) / count
        known = sum(attack.within(attack.known) for attack in some) / count
        print(f"{kind}: {count:,}, in range by the truth {truth:.2%}, by what the attacker knew {known:.2%}")
    plain = [attack for attack in found if attack.is_plain]
    wrong = [attack for attack in plain if not attack.within(attack.truth)]
    print("plain, and out of range by the truth:")
    for move, count in Counter(attack.move for attack in wrong).most_common():
        off = [f"{one.taken} of {one.hp}, not {one.truth and (one.truth.least, one.truth.most)}" for one in wrong]
        print(f"  {move}: {count}, as {off[[one.move for one in wrong].index(move)]}")
    print("plain, and out of range for what the attacker did not know of the target:")
    missed = Counter(attack.hidden for attack in plain if attack not in wrong and not attack.within(attack.known))
    print("".join(f"  {hidden}: {count}\n" for hidden, count in missed.most_common()))


if __name__ == "__main__":
    main()
