"""The committed snapshot and what it answers."""

import subprocess
from pathlib import Path

import pytest

from shared.battle.pokedex import MoveFacts, Stats, pokedex, to_id
from shared.simulator import find_node, find_simulator

DATA = Path(__file__).parents[2] / "shared" / "battle" / "data"


def test_the_committed_snapshot_is_the_pinned_simulators(tmp_path: Path) -> None:
    written = tmp_path / "pokedex.json"
    subprocess.run(
        [str(find_node()), str(DATA / "build_pokedex.js"), str(find_simulator()), str(written)], check=True, timeout=60
    )

    for name in ("pokedex.json", "abilities.json", "mechanics.json", "unpressed.json"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("Rotom-Wash", ("Electric", "Water")),
        ("rotomwash", ("Electric", "Water")),
        ("Ogerpon-Wellspring-Tera", ("Grass", "Water")),
        ("Terapagos-Terastal", ("Normal",)),
        ("Arceus-Fire", ("Fire",)),
        ("Gastrodon-East", ("Water", "Ground")),
        ("Urshifu-*", ("Fighting", "Dark")),
        ("Absol-Mega", ("Dark",)),
        ("Toxtricity-Gmax", ("Electric", "Poison")),
        ("Ho-Oh", ("Fire", "Flying")),
        ("Farfetch’d", ("Normal", "Flying")),
        ("Pikachu-Of-Next-Year", ("Electric",)),
    ],
)
def test_formes_of_requests_and_logs_are_known(name: str, types: tuple[str, ...]) -> None:
    assert pokedex(9).types(name) == types


def test_an_unknown_name_is_answered_and_never_raised() -> None:
    assert pokedex(9).species("Newmon") is None
    assert pokedex(9).types("Newmon") == ()
    assert pokedex(9).move("New Move") is None
    assert pokedex(9).multiplier("Sound", ("Water",)) == 1
    assert pokedex(9).ability_name("newability") == "newability"
    assert pokedex(9).species("") is None


def test_a_generation_has_its_own_facts() -> None:
    assert pokedex(9).species("Raging Bolt") is not None
    assert pokedex(1).types("Magnemite") == ("Electric",)
    assert pokedex(5).types("Clefable") == ("Normal",)
    assert pokedex(9).types("Clefable") == ("Fairy",)
    bite, bite_of_old = pokedex(9).move("Bite"), pokedex(3).move("Bite")
    assert (bite and bite.category, bite_of_old and bite_of_old.category) == ("Physical", "Special")
    alakazam = pokedex(1).species("Alakazam")
    assert alakazam is not None
    assert alakazam.stats == Stats(55, 50, 45, 135, 135, 120)


def test_a_move_is_found_by_name_id_and_with_its_power_behind_it() -> None:
    assert pokedex(9).move("flashcannon") == MoveFacts("Flash Cannon", "Steel", "Special", 80, 100, 10, 0)
    assert pokedex(3).move("Return 102") == pokedex(3).move("return102") == pokedex(3).move("Return")
    hidden_power = pokedex(3).move("Hidden Power Fire 70")
    assert hidden_power is not None
    assert hidden_power.type == "Fire"


def test_an_id_is_what_showdown_makes_of_a_name() -> None:
    assert to_id("10,000,000 Volt Thunderbolt") == "10000000voltthunderbolt"
