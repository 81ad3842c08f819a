"""Type effectiveness of chosen moves, by worked examples."""

import pytest

from shared.battle.effectiveness import ChosenMove, chosen_effectiveness, type_multiplier
from shared.battle.pokedex import pokedex
from shared.battle.protocol import InSight


def seen(species: str, generation: int = 9, tera: str | None = None) -> InSight:
    return InSight("p1a: X", species, 80, pokedex(generation).types(species), tera)


@pytest.mark.parametrize(
    ("move", "target", "multiplier"),
    [
        ("Close Combat", "Kingambit", 4.0),
        ("Earthquake", "Corviknight", 0.0),
        ("Thunderbolt", "Raging Bolt", 0.25),
        ("Freeze-Dry", "Pelipper", 4.0),
        ("Flying Press", "Kingambit", 2.0),
        ("Thousand Arrows", "Corviknight", 2.0),
        ("Seismic Toss", "Gengar", 0.0),
        ("Seismic Toss", "Kingambit", 1.0),
        ("Struggle", "Gengar", 1.0),
        ("Stealth Rock", "Corviknight", None),
        ("hiddenpower", "Corviknight", None),
        ("Hidden Power Fire 70", "Kingambit", 2.0),
        ("Never Heard Of", "Kingambit", None),
        ("Close Combat", "Neither Of This", None),
    ],
)
def test_what_the_chart_makes_of_a_move(move: str, target: str, multiplier: float | None) -> None:
    assert type_multiplier(pokedex(9), move, seen("Mew"), seen(target)) == multiplier


@pytest.mark.parametrize(
    ("generation", "move", "target", "multiplier"),
    [
        (1, "Lick", "Alakazam", 0.0),  # Ghost did nothing to Psychic, against all intentions
        (1, "Twineedle", "Bulbasaur", 4.0),  # Bug and Poison were weak to each other
        (5, "Shadow Ball", "Metagross", 1.0),  # Steel resisted Ghost and Dark
        (6, "Shadow Ball", "Metagross", 2.0),
        (5, "Outrage", "Clefable", 1.0),  # Clefable was no Fairy yet
        (6, "Outrage", "Clefable", 0.0),
    ],
)
def test_the_chart_is_that_of_the_generation(generation: int, move: str, target: str, multiplier: float) -> None:
    user, victim = seen("Mew", generation), seen(target, generation)

    assert type_multiplier(pokedex(generation), move, user, victim) == multiplier


@pytest.mark.parametrize(
    ("move", "user", "tera", "weather", "target", "multiplier"),
    [
        ("Tera Blast", "Mew", None, None, "Skarmory", 0.5),
        ("Tera Blast", "Mew", "Fire", None, "Skarmory", 2.0),
        ("Ivy Cudgel", "Ogerpon-Wellspring", None, None, "Heatran", 2.0),
        ("Raging Bull", "Tauros-Paldea-Aqua", None, None, "Heatran", 2.0),
        ("Judgment", "Arceus-Ground", None, None, "Heatran", 4.0),
        ("Weather Ball", "Mew", None, "RainDance", "Heatran", 2.0),
        ("Weather Ball", "Mew", None, None, "Heatran", 0.5),
        ("Aura Wheel", "Morpeko-Hangry", None, None, "Alakazam", 2.0),
    ],
)
def test_a_move_has_the_type_its_user_gives_it_now(
    move: str, user: str, tera: str | None, weather: str | None, target: str, multiplier: float
) -> None:
    found = type_multiplier(pokedex(9), move, seen(user, tera=tera), seen(target), weather=weather)

    assert found == multiplier


def test_abilities_that_are_known_count() -> None:
    user, rotom = seen("Mew"), seen("Rotom")

    assert type_multiplier(pokedex(9), "Earthquake", user, rotom) == 2
    assert type_multiplier(pokedex(9), "Earthquake", user, rotom, target_ability="levitate") == 0
    assert (
        type_multiplier(pokedex(9), "Earthquake", user, rotom, user_ability="moldbreaker", target_ability="levitate")
        == 2
    )
    assert type_multiplier(pokedex(9), "Body Slam", user, seen("Gengar"), user_ability="scrappy") == 1
    assert type_multiplier(pokedex(9), "Hyper Voice", user, seen("Dragonite"), user_ability="pixilate") == 2


LOG = """
|switch|p1a: Zap|Zapdos, L80|100/100
|switch|p2a: Fish|Gyarados, L80, M|100/100
|turn|1
|move|p1a: Zap|Thunderbolt|p2a: Fish
|switch|p2a: Mole|Garchomp, L80, M|100/100
|turn|2
|-terastallize|p2a: Mole|Water
|turn|3
|-start|p2a: Mole|typechange|Grass
|turn|4
|switch|p2a: Fish|Gyarados, L80, M|60/100
|-start|p2a: Fish|typechange|Psychic
|turn|5
|-start|p2a: Fish|typeadd|Ghost
|turn|6
|-end|p2a: Fish|typechange|[silent]
|turn|7
|switch|p2a: Mole|Garchomp, L80, M, tera:Water|100/100
|turn|8
|switch|p2a: Blob|Ditto, L90|100/100
|-transform|p2a: Blob|p1a: Zap
|turn|9
|switch|p2a: Zoroark|Gyarados, L80|100/100
|replace|p2a: Zoroark|Zoroark, L80, M
|-formechange|p1a: Zap|Articuno||
|turn|10
""".strip().splitlines()


def test_a_choice_is_measured_against_what_stood_there_when_its_turn_began() -> None:
    thunderbolts: list[ChosenMove] = [(turn, "p1", "thunderbolt") for turn in range(1, 10)]

    assert chosen_effectiveness(LOG, thunderbolts, 9) == (*(4.0, 0.0, 2.0, 2.0, 1.0, 1.0, 4.0, 2.0, 1.0),)


def test_choices_of_both_seats_come_back_in_their_order_and_unknown_turns_give_none() -> None:
    choices: list[ChosenMove] = [
        (10, "p2", "darkpulse"),
        (1, "p2", "stoneedge"),
        (1, "p1", "roost"),
        (99, "p1", "thunderbolt"),
    ]

    assert chosen_effectiveness(LOG, choices, 9) == (1.0, 2.0, None, None)
