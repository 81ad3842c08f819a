"""The facts of PokeAPI (https://pokeapi.co), put in place of the simulator's in the snapshot that prompts read.

PokeAPI tells the latest generation. What it does not tell (the type chart, earlier generations, formes that it lists
only as a look of another) stays the simulator's. Answers are kept on disk for good, as its fair-use policy asks.
"""

import asyncio
import gzip
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from services.scraper.website import Website
from shared.battle.pokedex import LATEST_GENERATION
from shared.errors import AlphaStralError, BrokenRecord, NotFound, first_fault
from shared.store import replace_file

URL = "https://pokeapi.co/api/v2"
Resource = Literal["pokemon", "move"]
Snapshot = Mapping[str, Any]
_Answer = TypeVar("_Answer", bound=BaseModel)

_STATS = ("hp", "attack", "defense", "special-attack", "special-defense", "speed")
_FIRST_FORME_ID = 10_000
"""PokeAPI's numbers below it are the species' own, and of their default forme."""
_OTHER_NAMES: Mapping[str, str] = {
    "greninja-bond": "greninja-battle-bond",
    "darmanitan-galar": "darmanitan-galar-standard",
    "maushold": "maushold-family-of-three",
    "maushold-four": "maushold-family-of-four",
    "minior": "minior-red",
    "minior-meteor": "minior-red-meteor",
    "necrozma-dawn-wings": "necrozma-dawn",
    "necrozma-dusk-mane": "necrozma-dusk",
    "ogerpon-teal-tera": "ogerpon",
    "toxtricity-gmax": "toxtricity-amped-gmax",
    "urshifu-gmax": "urshifu-single-strike-gmax",
    "vise-grip": "vice-grip",
}
# PokeAPI writes out what Showdown's names leave away.
_WRITTEN_OUT: tuple[tuple[str, str], ...] = (
    (r"-f$", "-female"),
    (r"^(ogerpon-(?:cornerstone|hearthflame|wellspring))(?:-tera)?$", r"\1-mask"),
    (r"^(pikachu-(?:alola|hoenn|kalos|original|partner|sinnoh|unova|world))$", r"\1-cap"),
    (r"^(squawkabilly-(?:blue|white|yellow))$", r"\1-plumage"),
    (r"^(tauros-paldea-(?:aqua|blaze|combat))$", r"\1-breed"),
)


class _Named(BaseModel):
    name: str


class _Listed(_Named):
    url: str


class _List(BaseModel):
    results: list[_Listed]


class _Type(BaseModel):
    slot: int
    type: _Named


class _Stat(BaseModel):
    base_stat: int
    stat: _Named


class _Pokemon(BaseModel):
    types: list[_Type]
    stats: list[_Stat]


class _Move(BaseModel):
    type: _Named
    damage_class: _Named | None
    power: int | None
    accuracy: int | None
    pp: int | None
    priority: int


@dataclass(frozen=True, slots=True)
class FactDifference:
    """One fact that the two sources tell differently."""

    kind: Resource
    name: str
    fact: str
    simulator: str
    pokeapi: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A snapshot with PokeAPI's facts, and how it differs from the simulator's."""

    snapshot: Snapshot
    differences: tuple[FactDifference, ...]
    told: int
    """Entries that PokeAPI tells."""
    untold: tuple[str, ...]
    """Names that it does not tell; they keep the simulator's facts."""


class PokeApi:
    """PokeAPI's answers, each asked for once and then read from `cache`."""

    def __init__(self, site: Website, cache: Path) -> None:
        self._site = site
        self._cache = cache

    async def numbers(self, kind: Resource) -> Mapping[str, int]:
        """Every name of that kind → its number. Asked anew each time: there may be new ones."""
        raw = await self._site.get(f"/{kind}", {"limit": 100_000})
        try:
            listed = _List.model_validate_json(raw).results
            return {entry.name: int(entry.url.rstrip("/").rsplit("/", 1)[-1]) for entry in listed}
        except ValueError as error:
            raise BrokenRecord(f"{self._site.url}/{kind} answers with something that is no list") from error

    async def answer(self, kind: Resource, name: str) -> bytes:
        """What PokeAPI says of one name, as JSON. Raises NotFound, Unreachable and BrokenRecord."""
        kept = self._cache / kind / f"{name}.json.gz"
        if kept.exists():
            return gzip.decompress(kept.read_bytes())
        raw = await self._site.get(f"/{kind}/{name}")
        try:
            json.loads(raw)
        except ValueError as error:
            raise BrokenRecord(f"{self._site.url}/{kind}/{name} answers with something that is not JSON") from error
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, gzip.compress(raw))
        return raw


def name_in_pokeapi(name: str, numbers: Mapping[str, int]) -> str | None:
    """What PokeAPI calls a species, forme or move of Showdown's: `Landorus` → `landorus-incarnate`; None: nothing."""
    plain = _slug(name)
    if plain in numbers:
        return plain
    spelled = _OTHER_NAMES.get(plain, plain)
    for short, written_out in _WRITTEN_OUT:
        spelled = re.sub(short, written_out, spelled)
    if spelled in numbers:
        return spelled
    default = [known for known, n in numbers.items() if n < _FIRST_FORME_ID and known.startswith(f"{plain}-")]
    return default[0] if len(default) == 1 else None


async def compare(simulator: Snapshot, api: PokeApi, advance: Callable[[int, int], None]) -> Compared:
    """Ask PokeAPI for every entry of the latest generation, and put its facts in place of the simulator's.

    `advance` is told how many answers are there, and of how many.
    """
    latest, before = str(LATEST_GENERATION), str(LATEST_GENERATION - 1)
    snapshot = deepcopy(dict(simulator))
    snapshot["source"] = f"PokeAPI, {simulator['source']}"
    told: dict[tuple[Resource, str], list[Any]] = {}
    untold: list[str] = []
    asked: list[tuple[Resource, str, str]] = []
    for kind, about in _KINDS.items():
        numbers = await api.numbers(kind)
        for key, ours in simulator[about.table][latest].items():
            name = name_in_pokeapi(ours[0], numbers)
            if name is None:
                untold.append(ours[0])
            else:
                asked.append((kind, key, name))

    async def ask(kind: Resource, key: str, name: str) -> None:
        ours = simulator[_KINDS[kind].table][latest][key]
        try:
            told[kind, key] = _KINDS[kind].read(ours, await api.answer(kind, name))
        except NotFound:
            untold.append(ours[0])
        advance(len(told), len(asked))

    try:
        async with asyncio.TaskGroup() as asking:
            for one in asked:
                asking.create_task(ask(*one))
    except* AlphaStralError as errors:
        raise errors.exceptions[0] from errors

    differences: list[FactDifference] = []
    for (kind, key), theirs in sorted(told.items()):
        about = _KINDS[kind]
        ours = simulator[about.table][latest][key]
        found = list(_differences(kind, ours, theirs))
        if found:
            differences += found
            snapshot[about.table][latest][key] = theirs
            # Earlier generations hold only what differs from the next: what they took from this one stays as it was.
            snapshot[about.table][before].setdefault(key, ours)
    return Compared(snapshot, tuple(differences), len(told), tuple(sorted(untold)))


def written(snapshot: Snapshot) -> str:
    """A snapshot as JSON: sorted, one entry a line, and the same bytes for the same facts."""
    return _lines(snapshot, 3) + "\n"


def _pokemon(ours: list[Any], raw: bytes) -> list[Any]:
    told = _read(_Pokemon, raw, ours[0])
    stats = {entry.stat.name: entry.base_stat for entry in told.stats}
    types = [entry.type.name.capitalize() for entry in sorted(told.types, key=lambda entry: entry.slot)]
    if not types or not stats.keys() >= set(_STATS):
        raise BrokenRecord(f"PokeAPI's answer for {ours[0]} lacks types or stats")
    return [ours[0], types, [stats[name] for name in _STATS]]


def _move(ours: list[Any], raw: bytes) -> list[Any]:
    told = _read(_Move, raw, ours[0])
    category = told.damage_class.name.capitalize() if told.damage_class else ours[2]
    return [
        *(ours[0], told.type.name.capitalize(), category, told.power or 0, told.accuracy),
        *(ours[5] if told.pp is None else told.pp, told.priority),
    ]


@dataclass(frozen=True, slots=True)
class _About:
    table: str
    facts: tuple[str, ...]
    """What stands behind the name in an entry of the snapshot."""
    read: Callable[[list[Any], bytes], list[Any]]


_KINDS: Mapping[Resource, _About] = {
    "pokemon": _About("species", ("types", "stats"), _pokemon),
    "move": _About("moves", ("type", "category", "power", "accuracy", "PP", "priority"), _move),
}


def _read(model: type[_Answer], raw: bytes, name: str) -> _Answer:
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        where, why = first_fault(error)
        raise BrokenRecord(f"PokeAPI's answer for {name} is not what it should be: {where}: {why}") from error


def _differences(kind: Resource, ours: list[Any], theirs: list[Any]) -> Iterable[FactDifference]:
    for fact, left, right in zip(_KINDS[kind].facts, ours[1:], theirs[1:], strict=True):
        if left != right:
            yield FactDifference(kind, ours[0], fact, _shown(left), _shown(right))


def _shown(fact: Any) -> str:
    if isinstance(fact, list):
        return "/".join(map(str, fact))
    return "–" if fact is None else str(fact)


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.replace("♀", "-f").replace("♂", "-m")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[.':,%]", "", plain.lower())).strip("-")


def _lines(value: Any, depth: int) -> str:
    if depth == 0 or not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if not value:
        return "{}"
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_lines(value[key], depth - 1)}" for key in sorted(value)) + "\n}"
