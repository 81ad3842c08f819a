"""PokeAPI's facts: found under its names, asked for once, and put in place of the simulator's where they differ."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.scraper.pokeapi import Compared, PokeApi, compare, name_in_pokeapi, written
from services.scraper.website import Website
from shared.battle.pokedex import SNAPSHOT, Pokedex
from shared.errors import BrokenRecord
from tests.standins.http import Received, Send, Server

NUMBERS = {
    "pikachu": 25,
    "pikachu-alola-cap": 10099,
    "landorus-incarnate": 645,
    "landorus-therian": 10021,
    "indeedee-male": 876,
    "indeedee-female": 10186,
    "tauros": 128,
    "tauros-paldea-combat-breed": 10250,
    "ogerpon": 1017,
    "ogerpon-cornerstone-mask": 10275,
    "mr-mime": 122,
    "flabebe": 669,
    "nidoran-f": 29,
    "farfetchd": 83,
    "zygarde-50": 718,
    "mew": 151,
    "mewtwo": 150,
    "tackle": 33,
    "u-turn": 369,
    "10-000-000-volt-thunderbolt": 719,
    "vice-grip": 11,
}


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("Pikachu", "pikachu"),
        ("Pikachu-Alola", "pikachu-alola-cap"),
        ("Landorus", "landorus-incarnate"),
        ("Landorus-Therian", "landorus-therian"),
        ("Indeedee", "indeedee-male"),
        ("Indeedee-F", "indeedee-female"),
        ("Tauros-Paldea-Combat", "tauros-paldea-combat-breed"),
        ("Ogerpon-Cornerstone-Tera", "ogerpon-cornerstone-mask"),
        ("Mr. Mime", "mr-mime"),
        ("Flabébé", "flabebe"),
        ("Nidoran-F", "nidoran-f"),
        ("Farfetch’d", "farfetchd"),
        ("Zygarde", "zygarde-50"),
        ("Mew", "mew"),
        ("U-turn", "u-turn"),
        ("Vise Grip", "vice-grip"),
        ("Arceus-Bug", None),
        ("Tack", None),
    ],
)
def test_showdowns_names_are_found(name: str, theirs: str | None) -> None:
    assert name_in_pokeapi(name, NUMBERS) == theirs


def pokemon(types: list[str], stats: list[int]) -> dict[str, Any]:
    names = ("hp", "attack", "defense", "special-attack", "special-defense", "speed")
    return {
        "types": [{"slot": n + 1, "type": {"name": name}} for n, name in enumerate(types)][::-1],
        "stats": [{"base_stat": value, "stat": {"name": name}} for name, value in zip(names, stats, strict=True)],
    }


def move(power: int | None, accuracy: int | None, pp: int) -> dict[str, Any]:
    kind = {"type": {"name": "normal"}, "damage_class": {"name": "physical"}}
    return {**kind, "power": power, "accuracy": accuracy, "pp": pp, "priority": 0}


class Site:
    """Serves these answers as PokeAPI does."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, request: Received) -> Send:
        path = request.path.partition("?")[0]
        self.asked.append(path)
        if path in ("/pokemon", "/move"):
            names = [one.rsplit("/", 1)[-1] for one in self.answers if one.startswith(path + "/")]
            listed = [{"name": name, "url": f"/api/v2{path}/{n + 1}/"} for n, name in enumerate(names)]
            return Send({"count": len(listed), "results": listed})
        return Send(self.answers[path]) if self.answers.get(path) is not None else Send(status=404)


async def compared(site: Site, cache: Path) -> Compared:
    simulator = json.loads(SNAPSHOT.read_bytes())
    async with Server(site) as server, Website(server.url, requests_per_second=1e6) as website:
        return await compare(simulator, PokeApi(website, cache), lambda there, of: None)


AGREEING = {
    "/pokemon/abomasnow": pokemon(["grass", "ice"], [90, 92, 75, 92, 85, 60]),
    "/move/tackle": move(40, 100, 35),
}


async def test_what_both_tell_alike_changes_nothing(tmp_path: Path) -> None:
    found = await compared(Site(AGREEING), tmp_path)

    assert found.told == 2
    assert found.differences == ()
    assert "Pikachu" in found.untold
    assert {**found.snapshot, "source": ""} == {**json.loads(SNAPSHOT.read_bytes()), "source": ""}


async def test_a_difference_is_shown_and_taken_over_for_the_latest_generation_alone(tmp_path: Path) -> None:
    found = await compared(Site({**AGREEING, "/move/tackle": move(55, 95, 35)}), tmp_path)
    latest, before = (Pokedex(generation, found.snapshot, "") for generation in (9, 8))
    now, then = latest.move("tackle"), before.move("tackle")

    assert [(one.fact, one.simulator, one.pokeapi) for one in found.differences] == [
        ("power", "40", "55"),
        ("accuracy", "100", "95"),
    ]
    assert now is not None and (now.power, now.accuracy) == (55, 95)
    assert then is not None and (then.power, then.accuracy) == (40, 100)


async def test_each_answer_is_asked_for_once_and_for_good(tmp_path: Path) -> None:
    first, second = Site(AGREEING), Site(AGREEING)
    once = await compared(first, tmp_path)
    again = await compared(second, tmp_path)

    assert sorted(first.asked) == ["/move", "/move/tackle", "/pokemon", "/pokemon/abomasnow"]
    assert sorted(second.asked) == ["/move", "/pokemon"]
    assert once == again


async def test_a_name_that_is_listed_and_has_no_page_stays_as_it_is(tmp_path: Path) -> None:
    found = await compared(Site({**AGREEING, "/pokemon/pikachu": None}), tmp_path)

    assert "Pikachu" in found.untold
    assert found.told == 2


@pytest.mark.parametrize("answer", [b"<html>", b"{}", {"types": [], "stats": []}, [1]], ids=str)
async def test_an_answer_that_is_none_names_itself(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(BrokenRecord, match=r"[aA]bomasnow"):
        await compared(Site({**AGREEING, "/pokemon/abomasnow": answer}), tmp_path)


def test_the_snapshot_is_written_as_the_simulators_build_step_writes_it() -> None:
    raw = SNAPSHOT.read_text(encoding="utf-8")

    assert written(json.loads(raw)) == raw
