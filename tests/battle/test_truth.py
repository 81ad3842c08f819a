"""What every state says is so: beside what the simulator itself holds, and in the ways that a log leaves out.

TRUTH_BATTLES=500 compares 500 ordinary and 500 odd battles in place of one of each generation.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from shared.battle.action import needs_answer
from shared.battle.contract import CONTRACTS
from shared.battle.effects import EFFECTS, is_passed
from shared.battle.pokedex import to_id
from shared.battle.protocol import SEATS, Seat
from shared.battle.state import BattleState, KnownMove, Question
from shared.battle.tracker import Tracker
from shared.simulator import find_node, find_simulator
from shared.simulator.simulator import SeatSetup, Simulator
from tests.battle.truth import NAMES, battles, compare_all

BATTLES = int(os.environ.get("TRUTH_BATTLES", "9"))
SNORLAX = "Snorlax\nAbility: Thick Fat\n- Body Slam\n- Splash"
BLISSEY = "Blissey\nAbility: Natural Cure\n- Splash\n- Soft-Boiled\n\nSnorlax\nAbility: Thick Fat\n- Splash"


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * BATTLES)
@pytest.mark.parametrize("kind", ["randombattle", "odd"])
def test_no_state_says_what_is_not_so(kind: str) -> None:
    compared = asyncio.run(compare_all(battles(kind, BATTLES)))

    assert [f"{each.format} {each.seed}: {difference}" for each in compared for difference in each.differences] == []
    assert [line for each in compared for line in each.untracked] == []
    assert sum(each.states for each in compared) > 20 * BATTLES


@dataclass(frozen=True, slots=True)
class Case:
    """A scripted battle, what one side's prompt then says, and what it does not."""

    p1: str
    p1_choices: tuple[str, ...]
    p2_choices: tuple[str, ...]
    turn: int
    seat: Seat
    says: tuple[str, ...] = ()
    not_said: tuple[str, ...] = ()
    holds: Callable[[BattleState], bool] = lambda _: True
    """What is true of the state beyond the prompt's words."""
    asked: Question = "move"
    p2: str = BLISSEY
    format: str = "gen9customgame"


def member(species: str, ability: str, *moves: str, item: str = "", more: str = "") -> str:
    lines = [f"{species} @ {item}" if item else species, f"Ability: {ability}", *filter(None, [more])]
    return "\n".join([*lines, *(f"- {move}" for move in moves)])


CASES = {
    "Baton Pass hands on boosts": Case(
        p1=f"{member('Espeon', 'Synchronize', 'Baton Pass', 'Calm Mind')}\n\n{SNORLAX}",
        p1_choices=("team 12", "move 2", "move 1", "switch 2"),
        p2_choices=("team 12", "move 1", "move 1"),
        turn=3,
        seat="p2",
        says=("Foe: Snorlax", "spa+1 spd+1"),
    ),
    "Baton Pass hands on a substitute and not a lock": Case(
        p1=f"{member('Espeon', 'Synchronize', 'Baton Pass', 'Substitute')}\n\n{SNORLAX}",
        p1_choices=("team 12", "move 2", "move 1", "switch 2"),
        p2_choices=("team 12", "move 1", "move 1"),
        turn=3,
        seat="p2",
        says=("Foe: Snorlax", "substitute"),
    ),
    "Shed Tail hands on its substitute": Case(
        p1=f"{member('Cyclizar', 'Regenerator', 'Shed Tail', 'Rapid Spin')}\n\n{SNORLAX}",
        p1_choices=("team 12", "move 1", "switch 2"),
        p2_choices=("team 12", "move 1"),
        turn=2,
        seat="p2",
        says=("Foe: Snorlax", "substitute"),
    ),
    "recharging is over after the turn it took": Case(
        p1=member("Snorlax", "Thick Fat", "Hyper Beam", "Splash"),
        p1_choices=("team 1", "move 1", "move 1", "move 2"),
        p2_choices=("team 12", "move 1", "move 1"),
        turn=3,
        seat="p1",
        not_said=("must recharge",),
    ),
    "recharging is told while it is due": Case(
        p1=member("Snorlax", "Thick Fat", "Hyper Beam", "Splash"),
        p1_choices=("team 1", "move 1"),
        p2_choices=("team 12", "move 1"),
        turn=2,
        seat="p2",
        says=("must recharge",),
    ),
    "Destiny Bond lasts until the next move": Case(
        p1=member("Gengar", "Cursed Body", "Destiny Bond", "Splash"),
        p1_choices=("team 1", "move 1", "move 2"),
        p2_choices=("team 12", "move 1", "move 1"),
        turn=3,
        seat="p2",
        not_said=("destiny bond",),
    ),
    "yawn is shown": Case(
        p1=member("Snorlax", "Thick Fat", "Yawn", "Splash"),
        p1_choices=("team 1", "move 1"),
        p2_choices=("team 12", "move 1"),
        turn=2,
        seat="p2",
        says=("You: Blissey", "yawn"),
    ),
    "what struck at once is not prepared": Case(
        p1=member("Archaludon", "Sturdy", "Meteor Beam", "Splash", item="Power Herb"),
        p1_choices=("team 1", "move 1"),
        p2_choices=("team 12", "move 1"),
        turn=2,
        seat="p2",
        not_said=("preparing",),
    ),
    "what is prepared is told": Case(
        p1=member("Archaludon", "Sturdy", "Meteor Beam", "Splash"),
        p1_choices=("team 1", "move 1"),
        p2_choices=("team 12", "move 1"),
        turn=2,
        seat="p2",
        says=("preparing meteorbeam",),
    ),
    "nobody is trapped when the trapper has left": Case(
        p1=f"{member('Gengar', 'Cursed Body', 'Mean Look', 'Splash')}\n\n{SNORLAX}",
        p1_choices=("team 12", "move 1", "switch 2"),
        p2_choices=("team 12", "move 1", "move 1"),
        turn=3,
        seat="p2",
        says=("switch Snorlax",),
        not_said=("trapped",),
    ),
    "screens of generation 1 are told": Case(
        p1=member("Alakazam", "No Ability", "Reflect", "Teleport"),
        p2=member("Snorlax", "No Ability", "Splash"),
        p1_choices=("move 1",),
        p2_choices=("move 1",),
        turn=2,
        seat="p2",
        says=("Foe: Alakazam", "reflect"),
        format="gen1customgame",
    ),
    "a terastallized Pokémon in disguise has its tera type": Case(
        p1="\n\n".join(
            (
                member("Zoroark-Hisui", "Illusion", "Nasty Plot", "Splash", more="Tera Type: Fire"),
                member("Blissey", "Natural Cure", "Splash"),
                SNORLAX,
            )
        ),
        p1_choices=("team 123", "move 1 terastallize", "switch 2", "switch 2"),
        p2_choices=("team 12", "move 1", "move 1", "move 1"),
        turn=4,
        seat="p1",
        says=("You: Zoroark-Hisui, fire,", "tera fire now"),
    ),
    "Greninja-Bond is called by its name": Case(
        p1=member("Greninja-Bond", "Battle Bond", "Splash"),
        p1_choices=("team 1",),
        p2_choices=("team 12",),
        turn=1,
        seat="p1",
        says=("You: Greninja-Bond,",),
    ),
    "a Pokémon that burned its only type up has none": Case(
        p1=member("Arcanine", "Justified", "Burn Up", "Splash"),
        p1_choices=("team 1", "move 1"),
        p2_choices=("team 12", "move 1"),
        turn=2,
        seat="p2",
        says=("Foe: Arcanine, ???,",),
    ),
    "Return has the power that the request tells": Case(
        p1=member("Snorlax", "Thick Fat", "Return", "Earthquake"),
        p1_choices=("team 1",),
        p2_choices=("team 12",),
        turn=1,
        seat="p1",
        says=("normal physical 102 x1 pp32 move Return 102",),
        format="gen7customgame",
    ),
    "Mega Alakazam has the ability that it traced": Case(
        p1=member("Alakazam", "Inner Focus", "Splash", item="Alakazite"),
        p1_choices=("team 1", "move 1 mega"),
        p2_choices=("team 12", "move 1"),
        turn=2,
        seat="p1",
        says=("You: Alakazam-Mega", "Natural Cure"),
        format="gen6customgame",
    ),
    "Pickpocket is the taker's": Case(
        p1=member("Quagsire", "Damp", "Aqua Tail", item="Leftovers"),
        p1_choices=("team 1", "move 1"),
        p2=member("Weavile", "Pickpocket", "Splash"),
        p2_choices=("team 1", "move 1"),
        turn=2,
        seat="p1",
        says=("Foe: Weavile", "Pickpocket"),
        holds=lambda state: state.own.active is not None and state.own.active.ability == "damp",
    ),
    "Pickpocket is not the robbed one's": Case(
        p1=member("Quagsire", "Damp", "Aqua Tail", item="Leftovers"),
        p1_choices=("team 1", "move 1"),
        p2=member("Weavile", "Pickpocket", "Splash"),
        p2_choices=("team 1", "move 1"),
        turn=2,
        seat="p2",
        says=("Foe: Quagsire",),
        holds=lambda state: state.foe.active is not None and state.foe.active.ability is None,
    ),
    "As One is neither of its halves": Case(
        p1=member("Calyrex-Ice", "As One (Glastrier)", "Splash"),
        p1_choices=("team 1",),
        p2_choices=("team 12",),
        turn=1,
        seat="p2",
        says=("Foe: Calyrex-Ice",),
        not_said=("Unnerve",),
    ),
    "As One shows which of the two it is": Case(
        p1=member("Calyrex-Ice", "As One (Glastrier)", "Glacial Lance"),
        p2=f"{member('Bellsprout', 'Chlorophyll', 'Splash')}\n\n{SNORLAX}",
        p1_choices=("team 1", "move 1"),
        p2_choices=("team 12", "move 1", "switch 2"),
        turn=2,
        seat="p2",
        says=("As One (Glastrier)", "atk+1"),
    ),
    "whoever is revived is terastallized no more": Case(
        p1="\n\n".join(
            (
                member("Electrode", "Static", "Explosion", more="Tera Type: Fighting"),
                member("Pawmot", "Natural Cure", "Revival Blessing"),
            )
        ),
        p1_choices=("team 12", "move 1 terastallize", "switch 2", "move 1", "switch 2"),
        p2_choices=("team 12", "move 1", "move 1"),
        turn=3,
        seat="p2",
        holds=lambda state: (
            [(each.hp_percent, each.types, each.tera_type, each.terastallized) for each in state.foe.bench]
            == [(50, ("Electric",), None, False)]
        ),
    ),
    "whoever is revived has the ability of its first forme": Case(
        p1="\n\n".join(
            (
                member(
                    "Ogerpon-Wellspring", "Water Absorb", "Explosion", item="Wellspring Mask", more="Tera Type: Water"
                ),
                member("Pawmot", "Natural Cure", "Revival Blessing"),
            )
        ),
        p2=member("Aggron", "Sturdy", "Splash"),
        p1_choices=("team 12", "move 1 terastallize", "switch 2", "move 1", "switch 2"),
        p2_choices=("team 1", "move 1", "move 1"),
        turn=3,
        seat="p2",
        holds=lambda state: (
            [(each.species, each.types, each.ability) for each in state.foe.bench]
            == [("Ogerpon-Wellspring", ("Grass", "Water"), "waterabsorb")]
        ),
    ),
    "Morpeko stays in the forme that it terastallized in": Case(
        p1=f"{member('Morpeko', 'Hunger Switch', 'Splash', more='Tera Type: Fire')}\n\n{SNORLAX}",
        p1_choices=("team 12", "move 1", "move 1 terastallize", "switch 2"),
        p2_choices=("team 12", "move 1", "move 1", "move 1"),
        turn=4,
        seat="p2",
        holds=lambda state: state.foe.bench[0].species == "Morpeko-Hangry",
    ),
    "in generation 1, whoever is put to sleep needs not recharge": Case(
        p1=member("Snorlax", "No Ability", "Hyper Beam"),
        p2=member("Parasect", "No Ability", "Spore"),
        p1_choices=("move 1",),
        p2_choices=("move 1",),
        turn=2,
        seat="p2",
        says=("Foe: Snorlax", "slp"),
        not_said=("must recharge",),
        format="gen1customgame",
    ),
    "in generation 1, Rage that does not hit does not go on": Case(
        p1=member("Tauros", "No Ability", "Rage", "Body Slam"),
        p2=member("Gengar", "No Ability", "Splash"),
        p1_choices=("move 1",),
        p2_choices=("move 1",),
        turn=2,
        seat="p2",
        says=("Foe: Tauros",),
        holds=lambda state: state.foe.active is not None and "rage" not in state.foe.active.effects,
        format="gen1customgame",
    ),
    "in generation 1, binding puts off what is prepared": Case(
        p1=member("Aerodactyl", "No Ability", "Solar Beam"),
        p2=member("Snorlax", "No Ability", "Wrap"),
        p1_choices=("move 1", "move 1"),
        p2_choices=("move 1", "move 1"),
        turn=3,
        seat="p2",
        says=("preparing solarbeam",),
        format="gen1customgame",
    ),
    "Pressure takes PP of a move that fails": Case(
        p1=f"{member('Onix', 'Sturdy', 'Venom Drench')}\n\n{SNORLAX}",
        p2=member("Suicune", "Pressure", "Roar"),
        p1_choices=("team 12", "move 1"),
        p2_choices=("team 1", "move 1"),
        turn=2,
        seat="p1",
        holds=lambda state: state.own.bench[0].moves == (KnownMove("Venom Drench", 30, 32),),
        format="gen8customgame",
    ),
    "Pressure takes PP of the move that called another": Case(
        p1=f"{member('Snorlax', 'Comatose', 'Sleep Talk', 'Tackle')}\n\n{SNORLAX.replace('Snorlax', 'Blissey')}",
        p2=member("Suicune", "Pressure", "Roar"),
        p1_choices=("team 12", "move 1"),
        p2_choices=("team 1", "move 1"),
        turn=2,
        seat="p1",
        holds=lambda state: state.own.bench[0].moves == (KnownMove("Sleep Talk", 14, 16), KnownMove("Tackle", 56, 56)),
    ),
    "what nobody is pressed by": Case(
        p1=f"{member('Galvantula', 'Swarm', 'Sticky Web')}\n\n{SNORLAX}",
        p2=member("Suicune", "Pressure", "Roar"),
        p1_choices=("team 12", "move 1"),
        p2_choices=("team 1", "move 1"),
        turn=2,
        seat="p1",
        holds=lambda state: state.own.bench[0].moves == (KnownMove("Sticky Web", 31, 32),),
    ),
    "Pressure that is suppressed takes nothing": Case(
        p1=f"{member('Weezing', 'Neutralizing Gas', 'Tackle')}\n\n{SNORLAX}",
        p2=member("Suicune", "Pressure", "Roar"),
        p1_choices=("team 12", "move 1"),
        p2_choices=("team 1", "move 1"),
        turn=2,
        seat="p1",
        holds=lambda state: state.own.bench[0].moves == (KnownMove("Tackle", 55, 56),),
    ),
    "whoever Sky Drop takes up has lost its turn": Case(
        p1=member("Haunter", "Levitate", "Destiny Bond", "Splash"),
        p2=member("Galvantula", "Unnerve", "Sky Drop", "Splash"),
        p1_choices=("team 1", "move 1", "move 1"),
        p2_choices=("team 1", "move 2", "move 1"),
        turn=3,
        seat="p1",
        not_said=("destiny bond",),
        format="gen6customgame",
    ),
    "in generation 1, whoever is bound needs not recharge": Case(
        p1=member("Persian", "No Ability", "Hyper Beam"),
        p2=member("Snorlax", "No Ability", "Wrap"),
        p1_choices=("move 1",),
        p2_choices=("move 1",),
        turn=2,
        seat="p2",
        not_said=("must recharge",),
        format="gen1customgame",
    ),
    "before generation 5, Baton Pass hands on whom the one that leaves had trapped": Case(
        p1=f"{member('Umbreon', 'No Ability', 'Mean Look', 'Baton Pass')}\n\n{SNORLAX}",
        p1_choices=("move 1", "move 2", "switch 2"),
        p2_choices=("move 1", "move 1"),
        turn=3,
        seat="p2",
        says=("You: Blissey", "trapped"),
        not_said=("switch",),
        format="gen2customgame",
    ),
    "since generation 5, nobody stays trapped by one that passed": Case(
        p1=f"{member('Umbreon', 'Synchronize', 'Mean Look', 'Baton Pass')}\n\n{SNORLAX}",
        p1_choices=("team 12", "move 1", "move 2", "switch 2"),
        p2_choices=("team 12", "move 1", "move 1"),
        turn=3,
        seat="p2",
        says=("You: Blissey", "switch"),
        not_said=("trapped",),
        format="gen5customgame",
    ),
    "whoever traced as another's copy has its own ability again": Case(
        p1=f"{member('Ditto', 'Imposter', 'Transform')}\n\n{SNORLAX}",
        p2=f"{member('Porygon2', 'Trace', 'Splash')}\n\n{SNORLAX}",
        p1_choices=("team 12", "move 1", "switch 2"),
        p2_choices=("team 12", "switch 2", "move 1"),
        turn=3,
        seat="p2",
        holds=lambda state: [each.ability for each in state.foe.bench] == ["imposter"],
        format="gen7customgame",
    ),
    "Defog tells twice that Mist is over": Case(
        p1=member("Lapras", "Shell Armor", "Mist", "Splash"),
        p2=member("Mandibuzz", "Overcoat", "Defog", "Splash"),
        p1_choices=("team 1", "move 1", "move 2"),
        p2_choices=("team 1", "move 2", "move 1"),
        turn=3,
        seat="p1",
        not_said=("mist",),
        format="gen5customgame",
    ),
    "Quick Claw brings a move forward and calls none": Case(
        p1=member("Slowbro", "Own Tempo", "Splash", "Calm Mind", item="Quick Claw"),
        p1_choices=("move 1",) * 6 + ("move 2",),
        p2_choices=("move 1",) * 7,
        turn=8,
        seat="p2",
        holds=lambda state: (
            state.foe.active is not None
            and state.foe.active.item == "quickclaw"
            and state.foe.active.moves == (KnownMove("Splash"), KnownMove("Calm Mind"))
        ),
        format="gen4customgame",
    ),
    **{
        f"types that are the disguise's, for {seat}": Case(
            p1="\n\n".join(
                (
                    member("Zoroark", "Illusion", "Splash"),
                    member("Blissey", "Natural Cure", "Splash"),
                    member("Snorlax", "Thick Fat", "Splash", more="Tera Type: Fairy"),
                )
            ),
            p2=member("Snorlax", "Thick Fat", "Splash", "Tackle"),
            p1_choices=("team 321", "move 1 terastallize", "switch 3", "move 1"),
            p2_choices=("team 1", "move 1", "move 1", "move 2"),
            turn=turn,
            seat=seat,
            says=(f"{who}: Zoroark, dark,",),
        )
        for seat, who, turn in zip(SEATS, ("You", "Foe"), (3, 4), strict=True)
    },
    "a guard of a side stands until the turn ends": Case(
        p1=f"{member('Persian', 'Technician', 'U-turn')}\n\n{SNORLAX}",
        p2=member("Mienshao", "Inner Focus", "Wide Guard"),
        p1_choices=("team 12", "move 1"),
        p2_choices=("team 1", "move 1"),
        turn=1,
        seat="p1",
        asked="switch",
        says=("Foe side: wide guard",),
    ),
    "a guard of a side is over with the turn": Case(
        p1=member("Persian", "Technician", "Splash"),
        p2=member("Mienshao", "Inner Focus", "Wide Guard"),
        p1_choices=("team 1", "move 1"),
        p2_choices=("team 1", "move 1"),
        turn=2,
        seat="p1",
        not_said=("wide guard",),
    ),
}


_ASKS_WHAT_PASSES = """
const [simulator, ...effects] = process.argv.slice(1);
const {Dex} = require(simulator);
console.log(JSON.stringify([2, 3, 4, 5, 6, 7, 8, 9].map(generation => {
    const dex = Dex.mod(`gen${generation}`);
    const isThere = effect => !dex.moves.get(effect).exists || dex.moves.get(effect).gen <= generation;
    const isOfField = effect => dex.moves.get(effect).pseudoWeather;
    const there = effects.filter(effect => isThere(effect) && !isOfField(effect));
    return Object.fromEntries(there.map(effect => [effect, !dex.conditions.getByID(effect).noCopy]));
})));
"""
_NEVER_PASSES = {
    *("autotomize", "bide", "grudge", "lightscreen", "mustrecharge", "rage", "reflect", "slowstart", "uproar")
}
"""Over by the time of a Baton Pass, a side's since generation 2, or held as weight or with an ability."""


def test_baton_pass_hands_on_what_the_simulator_does() -> None:
    known = {to_id(effect): effect for effect in (*EFFECTS, "gastro acid", "lock on", "must recharge", "trapped")}
    asked = [effect for effect in known if effect not in _NEVER_PASSES and not effect.startswith("gmax")]
    found = subprocess.run(
        [find_node(), "-e", _ASKS_WHAT_PASSES, find_simulator(), *asked], capture_output=True, text=True, check=True
    )

    for generation, passed in enumerate(json.loads(found.stdout), 2):
        assert {effect: is_passed(known[effect], generation) for effect in passed} == passed


@pytest.fixture(scope="module")
def states() -> dict[str, BattleState]:
    """What each case's side knows at its turn."""
    return asyncio.run(play_all())


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_tells_what_a_log_leaves_out(states: dict[str, BattleState], name: str) -> None:
    prompt = CONTRACTS["v2"].prompt(states[name])
    facts = prompt.split("Last:")[0].split("Choose:")[0]

    assert [words for words in CASES[name].says if words not in prompt] == []
    assert [words for words in CASES[name].not_said if words in facts] == []
    assert CASES[name].holds(states[name])


async def play_all() -> dict[str, BattleState]:
    async with Simulator() as simulator:
        return {name: await play(simulator, case) for name, case in CASES.items()}


async def play(simulator: Simulator, case: Case) -> BattleState:
    """The state of the case's seat at its turn."""
    trackers = {seat: Tracker(int(case.format[3]), seat, NAMES) for seat in SEATS}
    choices = {"p1": iter(case.p1_choices), "p2": iter(case.p2_choices)}
    teams = {"p1": case.p1, "p2": case.p2}
    turn = 0
    setup = {seat: SeatSetup(NAMES[seat], await simulator.validate_team(case.format, teams[seat])) for seat in SEATS}
    battle = await simulator.open(case.format, f"sodium,{3:032x}", setup)
    while True:
        step = await battle.step()
        assert not step.errors, step.errors
        for tracker in trackers.values():
            tracker.hear(step.lines)
        turn = max([turn, *(int(line[6:]) for line in step.lines if line.startswith("|turn|"))])
        orders: dict[Seat, str] = {}
        for seat, request in step.requests.items():
            if not needs_answer(request):
                continue
            trackers[seat].request(request)
            asked = "lead" if request.get("teamPreview") else "move" if request.get("active") else "switch"
            if (seat, turn, asked) == (case.seat, case.turn, case.asked):
                battle.close()
                state = trackers[seat].state()
                assert not trackers[seat].untracked
                return state
            orders[seat] = next(choices[seat], "default")
        battle.choose(orders)
