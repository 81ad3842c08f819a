"""Contract v2's prompt: all that a player may know, in about 300 tokens.

Facts of the game only, never a policy's opinion of them. In the line of a legal action the facts come
before its name, because a causal model reads from left to right. The caps, and the order in which parts
are left out when the text grows too long, stand below and, in words, in docs/prompts.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from shared.battle.action import Move, Switch
from shared.battle.completion import completions_v2
from shared.battle.effectiveness import attack_type, type_multiplier
from shared.battle.pokedex import Pokedex, pokedex
from shared.battle.protocol import Event
from shared.battle.state import BattleState, PokemonState
from shared.text import one_line

MAX_CHARACTERS = 900
MAX_NAME = 40
MAX_MOVES = 4
MAX_EFFECTS = 4
MAX_EVENTS = 4
MAX_CONDITIONS = 5
MAX_BENCH = 6


class PromptPart(Enum):
    """What can be left out, in the order in which it is."""

    OWN_BENCH_ITEMS = auto()
    EVENTS = auto()
    FOE_BENCH_MOVES = auto()
    OWN_BENCH_MOVES = auto()
    FOE_BENCH = auto()


def prompt_v2(state: BattleState) -> str:
    """The prompt: a line a subject, then a line a legal action."""
    return Page(state, pokedex(state.generation)).fitting(MAX_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Page:
    """A prompt in the making."""

    state: BattleState
    dex: Pokedex
    left_out: set[PromptPart] = field(default_factory=set)

    def fitting(self, most_characters: int) -> str:
        """The text, without as many parts as it takes to be no longer than that."""
        text = self.text()
        for part in PromptPart:
            if len(text) <= most_characters:
                break
            self.left_out.add(part)
            text = self.text()
        return text

    def text(self) -> str:
        """All of it that is not left out."""
        lines = (
            self._field(),
            self._active("You", self.state.own.active),
            self._active("Foe", self.state.foe.active),
            _conditions("Your side", self.state.own.conditions),
            _conditions("Foe side", self.state.foe.conditions),
            self._own_bench(),
            self._foe_bench(),
            self._events(),
            "Choose:",
            *self._actions(),
        )
        return "\n".join(line for line in lines if line)

    def _field(self) -> str:
        state = self.state
        asked = {"move": "", "switch": ", must switch", "lead": ", choose a lead"}[state.asked]
        conditions = [*((state.weather,) if state.weather else ()), *list(state.fields)[:MAX_CONDITIONS]]
        return f"Gen {state.generation} turn {state.turn}{asked}" + "".join(f", {name}" for name in conditions)

    def _active(self, title: str, pokemon: PokemonState | None) -> str:
        if pokemon is None or pokemon.fainted:
            return ""
        moves = self._shown(pokemon) if title == "Foe" else ""
        facts = (
            _types(pokemon),
            self._speed(pokemon),
            _health(pokemon),
            f"as {name(pokemon.transformed_into)}" if pokemon.transformed_into else "",
            self.dex.ability_name(pokemon.ability) if pokemon.ability else "",
            "no item" if pokemon.item == "" and self.dex.generation > 1 else self._item(pokemon),
            _tera(pokemon),
            " ".join(f"{stat}{stages:+d}" for stat, stages in pokemon.boosts.items()),
            *pokemon.effects[:MAX_EFFECTS],
        )
        known = ", ".join(fact for fact in facts if fact)
        return f"{title}: {name(pokemon.species)}, {known}" + (f": {moves}" if moves else "")

    def _speed(self, pokemon: PokemonState) -> str:
        base = self.dex.species(pokemon.transformed_into or pokemon.species)
        return f"spe{base.stats.speed}" if base else ""

    def _shown(self, foe: PokemonState) -> str:
        return ", ".join(name(move.name) for move in foe.moves[:MAX_MOVES])

    def _own_bench(self) -> str:
        # Those that can be switched to have their line among the actions.
        offered = {id(self.state.switched_to(action)) for action in self.state.legal if isinstance(action, Switch)}
        kept = [mate for mate in self.state.own.bench if id(mate) not in offered and not mate.fainted]
        return self._bench("Your bench", kept, PromptPart.OWN_BENCH_MOVES)

    def _foe_bench(self) -> str:
        foe = self.state.foe
        healthy = [mate for mate in foe.bench if not mate.fainted and PromptPart.FOE_BENCH not in self.left_out]
        fainted = sum(mate.fainted for mate in foe.bench)
        counts = (f"{fainted} fainted" if fainted else "", f"{foe.unseen} unseen" if foe.unseen else "")
        return self._bench("Foe bench", healthy, PromptPart.FOE_BENCH_MOVES, *filter(None, counts))

    def _bench(self, title: str, bench: Sequence[PokemonState], moves: PromptPart, *counts: str) -> str:
        shown = [
            *(f"{name(mate.species)} {_health(mate)}{self._moves(mate, moves)}" for mate in bench[:MAX_BENCH]),
            *counts,
        ]
        return f"{title}: {'; '.join(shown)}" if shown else ""

    def _events(self) -> str:
        # Who fainted, and who was sent in on one's own side, the lines above tell already.
        told = [event for event in self.state.last_turn if _is_news(event)][-MAX_EVENTS:]
        return "Last: " + ", ".join(map(_event, told)) if told and PromptPart.EVENTS not in self.left_out else ""

    def _actions(self) -> Iterable[str]:
        flags: dict[int, list[Move]] = {}
        for action in self.state.legal:
            if isinstance(action, Move):
                flags.setdefault(action.slot, []).append(action)
        for text, action in completions_v2(self.state).items():
            match action:
                case Move(slot=slot) if action is flags[slot][0]:
                    others = " ".join(f"+{move.gimmick}" for move in flags[slot][1:])
                    yield f"{self._move(action)} {text} {others}".rstrip()
                case Switch():
                    yield f"{self._mate(self.state.switched_to(action))}: {text}"
                case Move():
                    continue
                case _:
                    yield text

    def _move(self, action: Move) -> str:
        own, foe = self.state.own.active, self.state.foe.active
        facts = self.dex.move(action.name)
        if facts is None or own is None:
            return "-"
        user = own.in_sight
        multiplier: float | None = None
        if foe is not None and not foe.fainted:
            multiplier = type_multiplier(
                self.dex,
                action.name,
                user,
                foe.in_sight,
                weather=self.state.weather,
                user_ability=own.ability,
                target_ability=foe.ability,
            )
        power = facts.power if action.told_power is None else action.told_power
        pp = next((move.pp for move in own.moves if move.name == action.name), None)
        shown = (
            attack_type(action.name, facts, user, weather=self.state.weather, ability=own.ability).lower(),
            facts.category.lower(),
            str(power) if power else "",
            f"x{multiplier:g}" if multiplier is not None else "",
            f"acc{facts.accuracy}" if facts.accuracy not in (None, 100) else "",
            f"priority {facts.priority:+d}" if facts.priority else "",
            f"pp{pp}" if pp is not None else "",
        )
        return " ".join(fact for fact in shown if fact)

    def _mate(self, mate: PokemonState) -> str:
        facts = [_health(mate), _types(mate)]
        if PromptPart.OWN_BENCH_ITEMS not in self.left_out:
            facts.append(self._item(mate))
        return " ".join(fact for fact in facts if fact) + self._moves(mate, PromptPart.OWN_BENCH_MOVES)

    def _moves(self, mate: PokemonState, part: PromptPart) -> str:
        if part in self.left_out or not mate.moves:
            return ""
        return f" ({', '.join(name(move.name) for move in mate.moves[:MAX_MOVES])})"

    def _item(self, pokemon: PokemonState) -> str:
        return name(self.dex.item_name(pokemon.item)) if pokemon.item else ""


def name(text: str | None) -> str:
    """A name as prompts write it."""
    return one_line(text or "", MAX_NAME)


def _types(pokemon: PokemonState) -> str:
    return "/".join(pokemon.types).lower()


def _health(pokemon: PokemonState) -> str:
    if pokemon.fainted:
        return "fainted"
    hp = "full" if pokemon.hp_percent == 100 else f"{pokemon.hp_percent}%"
    return hp + (f" {pokemon.status}" if pokemon.status else "")


def _tera(pokemon: PokemonState) -> str:
    if pokemon.tera_type is None:
        return ""
    return f"tera {pokemon.tera_type.lower()}" + (" now" if pokemon.terastallized else "")


def _conditions(title: str, conditions: Mapping[str, int]) -> str:
    shown = [f"{name} {count}" if "spikes" in name else name for name, count in conditions.items()]
    return f"{title}: {', '.join(shown[:MAX_CONDITIONS])}" if shown else ""


def _is_news(event: Event) -> bool:
    return event.what != "faint" and (event.what != "switch" or event.who == "foe")


def _event(event: Event) -> str:
    who = "you" if event.who == "own" else "foe"
    match event.what:
        case "move":
            damage = f" {event.damage_percent}%" if event.damage_percent is not None else ""
            return f"{who} {name(event.detail)}{damage}"
        case "switch":
            return f"{who} {event.detail or 'switched'} to {name(event.pokemon)}"
        case "cant":
            return f"{who} couldn't move ({name(event.detail)})"
        case _:
            return f"{who} {event.what} {name(event.detail).lower()}".rstrip()
