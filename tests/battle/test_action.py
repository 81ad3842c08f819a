"""Legal actions, read off requests as the simulator writes them."""

from typing import Any

import pytest

from shared.battle.action import Move, Pass, Switch, legal_actions, order


def pokemon(name: str, *, active: bool = False, condition: str = "100/100", **more: Any) -> dict[str, Any]:
    return {"ident": f"p1: {name}", "details": f"{name}, L80, F", "condition": condition, "active": active, **more}


def request(
    *, active: dict[str, Any] | None = None, team: list[dict[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    team = team or [pokemon("Pikachu", active=True), pokemon("Rotom-Wash"), pokemon("Snorlax", condition="0 fnt")]
    return {**({"active": [active]} if active else {}), "side": {"id": "p1", "pokemon": team}, **more}


THUNDERBOLT = {"move": "Thunderbolt", "id": "thunderbolt", "pp": 15, "maxpp": 24, "disabled": False}
PROTECT = {"move": "Protect", "id": "protect", "pp": 0, "maxpp": 16, "disabled": True}


def orders(asked: dict[str, Any]) -> list[str]:
    return [order(action, asked) for action in legal_actions(asked)]


def test_moves_come_first_then_switches_and_neither_disabled_moves_nor_fainted_pokemon() -> None:
    asked = request(active={"moves": [THUNDERBOLT, PROTECT]})

    assert legal_actions(asked) == (Move(1, "thunderbolt", "Thunderbolt"), Switch(2, "Rotom-Wash"))
    assert orders(asked) == ["move 1", "switch 2"]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("canTerastallize", "Electric", "move 1 terastallize"),
        ("canMegaEvo", True, "move 1 mega"),
        ("canMegaEvoX", True, "move 1 megax"),
        ("canMegaEvoY", True, "move 1 megay"),
        ("canUltraBurst", True, "move 1 ultra"),
        ("canDynamax", True, "move 1 dynamax"),
        ("canZMove", [{"move": "Gigavolt Havoc", "target": "normal"}], "move 1 zmove"),
    ],
)
def test_a_gimmick_doubles_its_move(field: str, value: object, expected: str) -> None:
    assert orders(request(active={"moves": [THUNDERBOLT], field: value})) == ["move 1", expected, "switch 2"]


def test_while_dynamaxed_the_max_moves_say_what_is_disabled() -> None:
    max_moves = {"maxMoves": [{"move": "maxlightning"}, {"move": "maxguard", "disabled": True}]}
    active = {"moves": [THUNDERBOLT, {**PROTECT, "disabled": False}], "maxMoves": max_moves}

    assert orders(request(active=active)) == ["move 1", "switch 2"]


def test_a_trapped_pokemon_cannot_switch() -> None:
    assert orders(request(active={"moves": [THUNDERBOLT], "trapped": True})) == ["move 1"]


def test_an_only_maybe_trapped_pokemon_may_try() -> None:
    assert orders(request(active={"moves": [THUNDERBOLT], "maybeTrapped": True})) == ["move 1", "switch 2"]


def test_a_locked_in_move_has_no_pp_and_no_disabled_field() -> None:
    assert orders(request(active={"moves": [{"move": "Outrage", "id": "outrage"}], "trapped": True})) == ["move 1"]


def test_struggle_is_a_move() -> None:
    struggle = {"move": "Struggle", "id": "struggle", "target": "randomNormal", "disabled": False}

    assert legal_actions(request(active={"moves": [struggle]}))[0] == Move(1, "struggle", "Struggle")


def test_a_forced_switch_offers_the_healthy() -> None:
    assert orders(request(forceSwitch=[True])) == ["switch 2"]


def test_revival_blessing_offers_the_fainted() -> None:
    team = [pokemon("Pawmot", active=True, reviving=True), pokemon("Rotom-Wash"), pokemon("Snorlax", condition="0 fnt")]

    assert orders(request(forceSwitch=[True], team=team)) == ["switch 3"]


def test_at_team_preview_every_pokemon_may_lead() -> None:
    assert orders(request(teamPreview=True)) == ["team 1", "team 2", "team 3"]


def test_where_nothing_can_be_done_the_only_action_is_to_pass() -> None:
    asked = request(forceSwitch=[True], team=[pokemon("Pikachu", active=True, condition="0 fnt")])

    assert legal_actions(asked) == (Pass(),)
    assert orders(asked) == ["pass"]
    assert legal_actions({"wait": True, "side": {"pokemon": []}}) == (Pass(),)
