"""Damage: beside what the simulator takes in real battles, and in cases made by hand."""

from dataclasses import replace
from typing import Any

import pytest

from shared.battle.action import Move, Switch
from shared.battle.damage import Calculator, fighter
from shared.battle.formula import Damage
from shared.battle.pokedex import pokedex
from shared.battle.prompt_v3 import prompt_v3
from shared.battle.state import KnownMove, PokemonState, Side
from tests.battle.attacks import attacks
from tests.battle.builders import FLASH_CANNON, GYARADOS, MAGNEZONE, RAGING_BOLT, THUNDERBOLT, a_state

BATTLES = 36
"""More than a thousand plain attacks."""


@pytest.mark.timeout(300)
def test_plain_attacks_are_within_the_range_that_was_worked_out() -> None:
    plain = [attack for attack in attacks("gen9randombattle", BATTLES) if attack.is_plain]

    assert len(plain) >= 1000
    assert sum(attack.within(attack.truth) for attack in plain) >= 0.97 * len(plain)
    # What is hidden from the attacker (items, abilities) costs it some.
    assert sum(attack.within(attack.known) for attack in plain) >= 0.85 * len(plain)


def damage(move: str, user: PokemonState, target: PokemonState, weather: str | None = None, **effects: int) -> Damage:
    dex = pokedex(9)
    found = Calculator(dex, weather, effects).damage(move, fighter(dex, user), fighter(dex, target), effects)
    assert found is not None
    return found


SNORLAX = PokemonState("Snorlax", level=80, hp_percent=100, types=("Normal",))
CHARIZARD = PokemonState("Charizard", level=80, hp_percent=100, types=("Fire", "Flying"))


SYLVEON = PokemonState("Sylveon", level=80, hp_percent=100, types=("Fairy",), ability="pixilate")
DRAGONITE = PokemonState("Dragonite", level=80, hp_percent=100, types=("Dragon", "Flying"), ability="multiscale")
CHIEN_PAO = PokemonState("Chien-Pao", level=80, hp_percent=100, types=("Dark", "Ice"), ability="swordofruin")
ALAKAZAM = PokemonState("Alakazam", level=80, hp_percent=100, types=("Psychic",))
FIERY = replace(CHARIZARD, ability="solarpower", item="lifeorb")
TERA_FIRE = replace(CHARIZARD, tera_type="Fire", terastallized=True, types=("Fire",), boosts={"spa": 2})
TERA_DRAGON = replace(CHARIZARD, tera_type="Dragon", terastallized=True, types=("Dragon",))


# What `calculate` of @smogon/calc 0.12 says, at level 80 with 84 EVs in each stat.
@pytest.mark.parametrize(
    ("move", "user", "target", "around", "least", "most"),
    [
        ("Flamethrower", CHARIZARD, SNORLAX, {}, 78, 93),
        ("Flamethrower", FIERY, replace(SNORLAX, ability="thickfat"), {"weather": "SunnyDay"}, 114, 136),
        ("Flamethrower", TERA_FIRE, replace(SNORLAX, item="assaultvest"), {}, 140, 166),
        ("Tera Blast", TERA_DRAGON, SNORLAX, {}, 70, 84),
        ("Facade", replace(SNORLAX, status="brn"), CHARIZARD, {}, 159, 187),
        ("Heavy Slam", replace(SNORLAX, item="choiceband"), CHARIZARD, {}, 68, 80),
        ("Hyper Voice", SYLVEON, CHARIZARD, {}, 57, 68),
        ("Icicle Crash", CHIEN_PAO, SNORLAX, {}, 157, 186),
        ("Earthquake", DRAGONITE, SYLVEON, {"grassy terrain": 1}, 51, 61),
        ("Moonblast", SYLVEON, DRAGONITE, {"light screen": 1}, 45, 53),
        ("Knock Off", replace(CHIEN_PAO, species="Weavile", ability=None), SNORLAX, {}, 135, 159),
        ("Psyshock", ALAKAZAM, replace(SNORLAX, boosts={"def": 1}), {"psychic terrain": 1}, 106, 126),
    ],
)
def test_it_says_what_the_calculator_of_the_field_says(
    move: str, user: PokemonState, target: PokemonState, around: dict[str, Any], least: int, most: int
) -> None:
    found = damage(move, user, target, **around)

    assert (found.least, found.most) == (least, most)


def test_what_is_not_known_counts_as_nothing() -> None:
    holding = replace(SNORLAX, item="assaultvest")

    assert damage("Flamethrower", CHARIZARD, SNORLAX).most > damage("Flamethrower", CHARIZARD, holding).most


@pytest.mark.parametrize(
    ("target", "move"),
    [
        (replace(SNORLAX, effects=("substitute",)), "Explosion"),
        (replace(SNORLAX, ability="sturdy"), "Explosion"),
        (replace(SNORLAX, item="focussash"), "Explosion"),
    ],
)
def test_nothing_is_knocked_out_that_holds_on(target: PokemonState, move: str) -> None:
    strong = replace(CHARIZARD, boosts={"atk": 6})

    assert damage(move, strong, SNORLAX).knocks_out(1) == "surely"
    assert damage(move, strong, target).knocks_out(1) == "never"


def test_a_move_that_does_no_damage_or_none_that_can_be_told_has_no_figure() -> None:
    dex = pokedex(9)
    one, other = fighter(dex, SNORLAX), fighter(dex, CHARIZARD)

    assert Calculator(dex).damage("Roost", other, one, {}) is None
    assert Calculator(dex).damage("Counter", one, other, {}) is None


def test_v3_tells_at_each_action_what_comes_of_it() -> None:
    bolt = replace(RAGING_BOLT, hp_percent=20, moves=(KnownMove("Thunderclap"),))
    strong = replace(MAGNEZONE, boosts={"spa": 4}, tera_type="Ground")
    mate = replace(GYARADOS, moves=(KnownMove("Waterfall"), KnownMove("Dragon Dance")))
    tera = Move(1, "flashcannon", "Flash Cannon", "tera")
    state = a_state(
        own=Side(strong, (mate,), conditions={"stealth rock": 1}),
        foe=Side(bolt, unseen=5),
        legal=(FLASH_CANNON, tera, THUNDERBOLT, Switch(2, "Gyarados")),
    )

    prompt = prompt_v3(state)

    foe = next(line for line in prompt.splitlines() if line.startswith("Foe: "))
    assert foe.startswith("Foe: Raging Bolt, electric/dragon, 20%: Thunderclap ") and " first; unseen dragon " in foe
    cannon, thunderbolt, changed, switch = prompt.partition("Choose:\n")[2].splitlines()
    assert cannon.startswith("steel hits 100 KO second takes ") and cannon.endswith(": move Flash Cannon")
    assert changed.startswith("tera ground hits 100 KO second takes ") and changed.endswith(": move Flash Cannon tera")
    assert changed != cannon
    assert thunderbolt.startswith("electric hits ")
    assert " entry 25 hits " in switch and switch.endswith("faints: switch Gyarados")
