"""What a drawn state says beside what the simulator itself holds: battles of every generation, ordinary and odd.

The simulator of `telling_simulator` adds to each step what it holds. Everything that a state tells is compared with
it, each of its orders with those that the simulator would take. What a player can't know yet is no difference: an
unknown ability, item, move or tera type may be missing, a known one may not be wrong. What else may differ stands in
EXCUSED with its reason.

    python -m tests.battle.truth [BATTLES [FIRST [KIND]]]      prints what differs, once of each battle
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from shared.battle.action import Action, Move, legal_actions, needs_answer, order
from shared.battle.contract import CONTRACTS
from shared.battle.pokedex import to_id
from shared.battle.protocol import SEATS, Seat, other
from shared.battle.state import BattleState, PokemonState, Side
from shared.battle.tracker import Tracker
from shared.simulator.simulator import SeatSetup, Simulator

BUILD = Path(__file__).parent / "telling_simulator"
NAMES: Mapping[Seat, str] = {"p1": "Red", "p2": "Blue"}
MOST_STEPS = 150
"""Odd battles may go on for ever."""
SWITCH_RATE = 0.15

VOLATILES = frozenset(
    {
        *("aquaring", "attract", "bide", "charge", "confusion", "curse", "destinybond", "disable"),
        *("dragoncheer", "dynamax", "embargo", "encore", "flashfire", "focusenergy", "foresight", "gastroacid"),
        *("glaiverush", "grudge", "healblock", "imprison", "ingrain", "laserfocus", "leechseed", "lightscreen"),
        *("lockon", "magnetrise", "miracleeye", "mist", "mudsport", "mustrecharge", "nightmare", "noretreat"),
        *("octolock", "powershift", "powertrick", "rage", "reflect", "saltcure", "smackdown"),
        *("substitute", "syrupbomb", "tarshot", "taunt", "telekinesis", "throatchop", "torment", "trapped"),
        *("uproar", "watersport", "yawn", "gmaxchistrike"),
    }
)
"""Those of the simulator's that a player sees."""
NO_VOLATILE = ("autotomize", "fallen", "slow start")
"""Told by a log, and held elsewhere by the simulator."""
WEATHERS: Mapping[str, str | None] = {
    "": None,
    "raindance": "RainDance",
    "sunnyday": "SunnyDay",
    "sandstorm": "Sandstorm",
    "hail": "Hail",
    "snowscape": "Snowscape",
    "desolateland": "DesolateLand",
    "primordialsea": "PrimordialSea",
    "deltastream": "DeltaStream",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that a state says and that is not so."""

    what: str
    """Without names, so that the same kinds count together: `foe boosts`."""
    ours: Any
    truth: Any
    generation: int
    asked: str
    turn: int
    seat: Seat
    pokemon: Mapping[str, Any] | None = None
    """As the simulator holds the one that it is about."""
    shown: PokemonState | None = None
    """As the state has it."""

    def __str__(self) -> str:
        about = f" of {self.pokemon['species']} ({self.pokemon['ability']})" if self.pokemon else ""
        return f"{self.what}{about} in turn {self.turn} for {self.seat}: {self.ours} and not {self.truth}"


@dataclass(slots=True)
class Compared:
    """One battle, and where its states were wrong."""

    format: str
    seed: int
    states: int = 0
    differences: list[Difference] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)


# ── what is compared ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Look:
    """One state beside the truth."""

    state: BattleState
    truth: Mapping[str, Any]
    seat: Seat
    disguised: frozenset[Seat]
    """Seats where somebody was ever in disguise: what was seen of it, its opponent takes for another's."""

    def differences(self) -> Iterator[Difference]:
        state, truth = self.state, self.truth
        yield from self._unless("turn", state.turn, truth["turn"])
        yield from self._unless("weather", state.weather, WEATHERS[truth["weather"]])
        # Rules are held as conditions of the field; that Echoed Voice was used is told by its line alone.
        told = {name for name in truth["pseudo"] if not name.endswith(("mod", "echoedvoice"))}
        fields = told | ({truth["terrain"]} if truth["terrain"] else set())
        yield from self._unless("fields", {to_id(name) for name in state.fields}, fields)
        for who, side, seat in (("own", state.own, self.seat), ("foe", state.foe, other(self.seat))):
            yield from self._side(who, side, truth["sides"][seat], seat)
        yield from self._orders()

    def _where(self) -> tuple[int, str, int, Seat]:
        return self.state.generation, self.state.asked, self.truth["turn"], self.seat

    def _unless(
        self, what: str, ours: object, truth: object, pokemon: Any = None, shown: PokemonState | None = None
    ) -> Iterator[Difference]:
        if ours != truth:
            yield Difference(what, ours, truth, *self._where(), pokemon, shown)

    def _side(self, who: str, side: Side, truth: Mapping[str, Any], seat: Seat) -> Iterator[Difference]:
        layers = {to_id(name): count if "spikes" in name else 1 for name, count in side.conditions.items()}
        yield from self._unless(f"{who} conditions", layers, truth["conditions"])
        shown = len(side.bench) + (side.active is not None)
        yield from self._unless(f"{who} team size", shown + side.unseen, len(truth["team"]))
        active = truth["active"] if self.state.asked != "lead" else None
        yield from self._unless(f"{who} is active", side.active is not None, active is not None)
        if side.active is not None and active is not None:
            yield from self._pokemon(f"{who} active", side.active, active, seat)
        if who == "own":
            # A request lists the active one first, then the others as the simulator has them.
            bench = truth["team"][1:] if active is not None else truth["team"]
            for mate, real in zip(side.bench, bench, strict=True):
                yield from self._pokemon("own bench", mate, real, seat)
        elif seat not in self.disguised:
            for mate in side.bench:
                same = [real for real in truth["team"] if real is not active and _is_one(mate, real)]
                if not same:
                    yield Difference("foe bench: nobody", mate.species, None, *self._where())
                elif len(same) == 1:
                    yield from self._pokemon("foe bench", mate, same[0], seat)

    def _pokemon(self, who: str, shown: PokemonState, real: Mapping[str, Any], seat: Seat) -> Iterator[Difference]:
        percent = 0 if real["fainted"] or real["hp"] <= 0 else -(-100 * real["hp"] // real["maxhp"])
        own = who.startswith("own")
        # A player sees percents, before generation 7 without a rule for it 48ths.
        near = 0 if own else 1 if self.state.generation > 6 else 3
        if (shown.hp_percent == 0) != (percent == 0) or abs(shown.hp_percent - percent) > near:
            yield Difference(f"{who} HP", shown.hp_percent, percent, *self._where(), real)
        if percent == 0:
            return
        facts: list[tuple[str, object, object]] = [
            ("status", shown.status or "", real["status"]),
            ("boosts", dict(shown.boosts), {stat: stages for stat, stages in real["boosts"].items() if stages}),
            ("effects", _seen(shown.effects), _effects(real)),
            ("terastallized", (shown.terastallized and shown.tera_type) or "", real["terastallized"]),
        ]
        # A log gives one in disguise the level of whom it looks like.
        if own or not real["illusion"]:
            facts.append(("level", shown.level, real["level"]))
        if not (own is False and (real["illusion"] or seat in self.disguised)):
            facts.append(("species", shown.transformed_into or shown.species, real["species"]))
            if own or shown.types:
                facts.append(("types", sorted(shown.types), sorted(real["types"])))
            if own or shown.ability is not None:
                facts.append(("ability", shown.ability or "", _ability(real["ability"])))
            if own or shown.item is not None:
                facts.append(("item", shown.item, real["item"]))
            if shown.tera_type is not None:
                facts.append(("tera type", shown.tera_type, real["teraType"]))
            facts.append(("moves", *self._moves(shown, real, own=own)))
        for what, ours, truth in facts:
            yield from self._unless(f"{who} {what}", ours, truth, real, shown)

    def _moves(self, shown: PokemonState, real: Mapping[str, Any], *, own: bool) -> tuple[object, object]:
        have = {move["id"]: move for move in real["moves"]}
        ours = {_bare(move.name): move for move in shown.moves}
        if not own:
            known = set(ours) - set(have) - set(real["ownMoves"])
            return known, set()
        if not shown.moves or set(ours) <= {"struggle", "recharge", "fight"} or len(ours) < len(have):
            return [], []
        return (
            {name: move.pp if move.pp is not None else have.get(name, {}).get("pp") for name, move in ours.items()},
            {name: move["pp"] for name, move in have.items()},
        )

    def _orders(self) -> Iterator[Difference]:
        answers = self.truth["sides"][self.seat]["orders"]
        for action in self.state.legal:
            asks = order(action, {"teamPreview": self.state.asked == "lead"})
            # What only trying shows (Shadow Tag, Imprison) is offered until then.
            refused = answers.get(asks, True)
            if refused is not True and not str(refused).startswith("[Unavailable choice]"):
                yield Difference("offered", asks, refused, *self._where())
        offered = {order(action, {"teamPreview": self.state.asked == "lead"}) for action in self.state.legal}
        # Of one that is locked into a move, dynamaxed, or left no move (by Imprison, unseen), it reads no more.
        locked = sum(asks.startswith("move") for asks in offered) == 1
        own = self.state.own.active
        struggles = self.truth["sides"][self.seat]["struggles"]
        plain = locked or struggles or (own is not None and "dynamax" in own.effects)
        for asks, answer in answers.items():
            unread = (locked and asks.startswith("move")) or (plain and asks.count(" ") > 1)
            if answer is True and not unread and asks not in offered:
                yield Difference("not offered", asks, True, *self._where())


def _seen(effects: Iterable[str]) -> set[str]:
    return {to_id(effect) for effect in effects if not effect.startswith(NO_VOLATILE)}


def _effects(real: Mapping[str, Any]) -> set[str]:
    found = set()
    for volatile, state in real["volatiles"].items():
        match volatile:
            case "perishsong":
                found.add(f"perish{min(state['duration'], 3)}")
            case "stockpile":
                found.add(f"stockpile{state['layers']}")
            case "protosynthesis" | "quarkdrive":
                found.add(f"{volatile}{state['stat']}")
            case "twoturnmove":
                found.add(f"preparing{state['move']}")
            case "partiallytrapped" if state.get("by"):
                found.add(state["by"])
            case _ if volatile in VOLATILES:
                found.add(volatile)
    return found


def _ability(ability: str) -> str:
    return "" if ability == "noability" else ability


def _bare(name: str) -> str:
    move = to_id(name)
    # A request writes type and power behind them.
    return next((each for each in ("hiddenpower", "return", "frustration") if move.startswith(each)), move)


def _is_one(shown: PokemonState, real: Mapping[str, Any]) -> bool:
    species: str = real["base"]
    return shown.species.split("-")[0] == species.split("-")[0] and bool(shown.level == real["level"])


# ── how it is played ────────────────────────────────────────────────────────────────────────────────


async def compare_all(battles: Iterable[tuple[str, int]]) -> list[Compared]:
    """Play these (format, seed), some at a time; formats `genNodd` are custom games of odd teams."""
    async with Simulator(build=BUILD) as simulator:
        at_once = asyncio.Semaphore(4)

        async def in_turn(format_id: str, seed: int) -> Compared:
            async with at_once:
                return await compare(simulator, format_id, seed)

        return list(await asyncio.gather(*(in_turn(*battle) for battle in battles)))


async def compare(simulator: Simulator, format_id: str, seed: int) -> Compared:
    """One battle, both sides choosing among the legal actions at random."""
    compared = Compared(format_id, seed)
    odd = format_id.endswith("odd")
    setup = {
        seat: SeatSetup(NAMES[seat], team=f"odd {2 * seed + index}")
        if odd
        else SeatSetup(NAMES[seat], seed=_seed(index + 1, seed))
        for index, seat in enumerate(SEATS)
    }
    rng = Random(f"{format_id} {seed}")
    trackers = {seat: Tracker(int(format_id[3]), seat, NAMES) for seat in SEATS}
    disguised: set[Seat] = set()
    battle = await simulator.open(f"{format_id[:4]}customgame" if odd else format_id, _seed(0, seed), setup)
    try:
        for _ in range(MOST_STEPS):
            step = await battle.step()
            compared.log.extend(step.lines)
            for tracker in trackers.values():
                tracker.hear(step.lines)
            inside = next((json.loads(line[8:]) for _, line in step.private if line.startswith("|inside|")), None)
            if step.end is not None or inside is None:
                break
            disguised |= {seat for seat in SEATS if any(each["illusion"] for each in inside["sides"][seat]["team"])}
            orders: dict[Seat, str] = {}
            for seat, request in step.requests.items():
                if not needs_answer(request):
                    continue
                trackers[seat].request(request)
                state = trackers[seat].state()
                compared.states += 1
                for difference in _Look(state, inside, seat, frozenset(disguised)).differences():
                    reason = next((why for why, excuses in EXCUSED.items() if excuses(difference)), None)
                    if reason is None:
                        compared.differences.append(difference)
                    else:
                        compared.excused[reason] += 1
                for contract in CONTRACTS.values():
                    contract.prompt(state)
                orders[seat] = order(_choose(rng, legal_actions(request)), request)
            if not orders:
                break
            battle.choose(orders)
    finally:
        battle.close()
    compared.untracked.extend(line for tracker in trackers.values() for line in tracker.untracked)
    return compared


def _choose(rng: Random, legal: tuple[Action, ...]) -> Action:
    # Uniform over all actions, half of the turns would be switches and no battle would end.
    moves = [action for action in legal if isinstance(action, Move)]
    return rng.choice(moves if moves and rng.random() > SWITCH_RATE else legal)


def _seed(which: int, seed: int) -> str:
    return f"sodium,{which:02x}{seed:030x}"


_BINDING_OF_OLD = {"bind", "clamp", "firespin", "wrap"}


def _hidden_on_the_bench(difference: Difference) -> bool:
    ability = difference.pokemon["ability"] if difference.pokemon else ""
    return (difference.what, ability) in (("foe bench HP", "regenerator"), ("foe bench status", "naturalcure"))


def _struck_before_the_turn_ended(difference: Difference) -> bool:
    if not difference.what.endswith("active effects") or difference.asked != "switch":
        return False
    more: set[str] = difference.truth - difference.ours
    return difference.ours < difference.truth and all(effect.startswith("preparing") for effect in more)


def _unknowable_pp(difference: Difference) -> bool:
    return difference.what.startswith("own") and difference.what.endswith("moves") and difference.generation in (1, 3)


EXCUSED: Mapping[str, Callable[[Difference], bool]] = {
    "Regenerator and Natural Cure show when their holder is back": _hidden_on_the_bench,
    "team preview does not tell the forme": lambda each: (
        each.what == "foe bench species"
        and str(each.truth).startswith(f"{each.ours}-")
        and each.shown is not None
        and each.shown == PokemonState(str(each.ours), each.shown.level, 100, each.shown.types)
    ),
    "only its ability tells a Greninja-Bond from a Greninja, a Rockruff-Dusk from a Rockruff": lambda each: (
        each.what.endswith("species")
        and (each.ours, each.truth) in (("Greninja", "Greninja-Bond"), ("Rockruff", "Rockruff-Dusk"))
        and each.shown is not None
        and each.pokemon is not None
        and (each.shown.ability is None or each.pokemon["baseAbility"] not in ("battlebond", "owntempo"))
    ),
    "before generation 7, no request tells an ability taken from an opponent whose is unknown": lambda each: (
        each.what == "own active ability" and each.ours == "" and each.generation < 7
    ),
    "a move that struck is prepared no more, though the simulator keeps it until the turn ends": (
        _struck_before_the_turn_ended
    ),
    "no request tells the PP of one that is locked or on the bench; not told either: what a move costs that goes on or "
    "is called in generation 1, and Pressure in generation 3": _unknowable_pp,
    "in generation 1, the simulator takes any move of one that a binding move holds": lambda each: (
        each.what == "not offered" and each.generation == 1 and str(each.ours).startswith("move")
    ),
    "in generation 1, nobody is told whether a binding move still holds": lambda each: (
        each.what.endswith("active effects") and each.generation == 1 and (each.ours ^ each.truth) <= _BINDING_OF_OLD
    ),
}


def battles(kind: str, number: int, first: int = 0) -> list[tuple[str, int]]:
    """So many of a kind (`randombattle`, `odd`), of each generation in turn, from the one of that number on."""
    return [(f"gen{1 + seed % 9}{kind}", seed) for seed in range(first, first + number)]


def main(arguments: list[str]) -> int:
    """Print what differs."""
    number = int(arguments[0]) if arguments else 45
    first = int(arguments[1]) if len(arguments) > 1 else 0
    kinds = arguments[2:] or ["randombattle", "odd"]
    compared = asyncio.run(compare_all(battle for kind in kinds for battle in battles(kind, number, first)))
    found: dict[str, dict[str, str]] = {}
    for each in compared:
        for difference in each.differences:
            found.setdefault(difference.what, {}).setdefault(f"{each.format} {each.seed}", str(difference))
    for what, examples in sorted(found.items(), key=lambda item: -len(item[1])):
        print(what, *(f"{battle}: {example}" for battle, example in examples.items()), sep="\n    ")
    print("Lines that were not taken in:", Counter(line for each in compared for line in each.untracked).most_common(9))
    print("Excused:", *sum((each.excused for each in compared), Counter[str]()).most_common(), sep="\n    ")
    states, differences = sum(each.states for each in compared), sum(len(each.differences) for each in compared)
    print(f"{len(compared)} battles, {states} states, {differences} differences")
    return bool(differences)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
