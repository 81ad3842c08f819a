"""The skew meter: what models are trained on, beside what they are served.

Our own battles are taken as if they were strangers' replays: rebuilt from their public log, and run again from their
input log. Their prompts are compared with those that the policies really had before them. Every difference must have
one of a fixed list of causes, each a thing that a public log cannot hold; what is left is a mistake.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from services.scraper.rebuild import rebuild
from services.scraper.replay import MadeDecision, Replay, UnfitBattle
from services.scraper.rerun import Differs, Simulators, rerun
from shared.battle.action import Action, Move, Switch
from shared.battle.contract import CONTRACTS
from shared.battle.draw_state import SHOWN_AS_ANOTHER
from shared.battle.protocol import SEATS, Event, Seat
from shared.battle.state import BattleState, PokemonState
from shared.records import BattleRecord

LEAST_IDENTICAL: Mapping[str, float] = {"v1": 0.98, "v2": 0.0, "v3": 0.0}
"""Of rebuilt prompts, by contract. What the others show beyond v1 is much that a public log cannot hold."""
_CURES_ON_THE_BENCH = ("naturalcure", "regenerator")
_SHOWN = {told: shown for (shown, _), told in SHOWN_AS_ANOTHER.items()}
_OWN_FACTS = ("item", "ability", "tera_type", "stats")

Served = Mapping[tuple[int, Seat], Sequence[BattleState]]
"""By battle's index and seat: every state that a policy was asked to decide by, in order."""


@dataclass(slots=True)
class Grade:
    """Prompts of one contract, of one grade of truth."""

    compared: int = 0
    identical: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    """Hidden fact → prompts that differ by it, and maybe by others."""
    unexplained: list[str] = field(default_factory=list)
    """Where, for those that differ by more than hidden facts."""

    @property
    def share(self) -> float:
        """The share of identical prompts; 1 where there is none to compare."""
        return self.identical / self.compared if self.compared else 1.0


@dataclass(slots=True)
class Skew:
    """What a run's battles showed."""

    served: int = 0
    rebuilt: dict[str, Grade] = field(default_factory=lambda: {version: Grade() for version in CONTRACTS})
    exact: dict[str, Grade] = field(default_factory=lambda: {version: Grade() for version in CONTRACTS})
    not_run_again: Counter[str] = field(default_factory=Counter)
    not_read: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Whether the two are what they should be: exact prompts identical, rebuilt ones explained."""
        enough = all(grade.share >= LEAST_IDENTICAL[version] for version, grade in self.rebuilt.items())
        told = not any(grade.unexplained for grade in self.rebuilt.values())
        return enough and told and not self.not_run_again and all(grade.share == 1 for grade in self.exact.values())


async def measure(records: Sequence[BattleRecord], format_id: str, served: Served) -> Skew:
    """Compare the prompts of these battles, which were played on the simulator to their end."""
    skew = Skew(served=sum(map(len, served.values())))
    async with Simulators() as simulators:
        for record in records:
            replay = Replay(record.battle_tag, format_id, record.public_log, record.input_log, source="run")
            try:
                exact = (await rerun(replay, simulators)).decisions
            except Differs as differs:
                skew.not_run_again[differs.reason] += 1
                continue
            states = {
                (seat, made.block): state
                for seat in SEATS
                for made, state in _paired(exact, seat, served.get((record.index, seat), ()))
            }
            _count(skew.exact, record.battle_tag, exact, states)
            try:
                _count(skew.rebuilt, record.battle_tag, rebuild(record.public_log).decisions, states)
            except UnfitBattle as unread:
                skew.not_read[unread.reason] += 1
    return skew


def _paired(
    exact: Sequence[MadeDecision], seat: Seat, served: Iterable[BattleState]
) -> Iterator[tuple[MadeDecision, BattleState]]:
    """Both in the order of the battle. What was served but is no choice (Struggle) is passed over."""
    # After a refusal the same question is put again, with what the refusal told: the first counts.
    same = groupby(served, lambda state: (state.turn, state.asked, state.own, state.foe, state.last_turn))
    waiting = (next(states) for _, states in same)
    for made in (each for each in exact if each.seat == seat):
        for state in waiting:
            if (state.turn, state.asked) == (made.state.turn, made.state.asked):
                yield made, state
                break


def _count(
    grades: Mapping[str, Grade],
    battle: str,
    decisions: Iterable[MadeDecision],
    served: Mapping[tuple[Seat, int], BattleState],
) -> None:
    for made in decisions:
        state = served.get((made.seat, made.block))
        if state is None:
            # Locked by an item that never shows, with nobody left to switch to: it was asked nothing.
            continue
        for version, contract in CONTRACTS.items():
            grade = grades[version]
            grade.compared += 1
            if contract.prompt(made.state) == contract.prompt(state):
                grade.identical += 1
                continue
            causes, is_all = causes_of(made.state, state, complete=made.complete)
            grade.causes.update(causes)
            if not is_all:
                grade.unexplained.append(f"{battle}, {made.seat}, turn {made.turn}")


def tell(skew: Skew, say: Callable[[str], None]) -> None:
    """The figures, in words."""
    say(f"{skew.served:,} prompts served")
    for name, grades in (("from the input log", skew.exact), ("from the public log alone", skew.rebuilt)):
        for version, grade in grades.items():
            say(f"{version}, {name}: {grade.identical:,} of {grade.compared:,} identical, {grade.share:.2%}")
            # v1 shows so little that its share says it all.
            for cause, count in grade.causes.most_common() if version != "v1" else ():
                say(f"    {count:6,}  {cause}")
            for where in grade.unexplained[:10]:
                say(f"    unexplained: {where}")
            if len(grade.unexplained) > 10:
                say(f"    and {len(grade.unexplained) - 10:,} more unexplained")
    for reason, count in (skew.not_run_again + skew.not_read).items():
        say(f"{count:,} battles not compared: {reason}")


# ── why a rebuilt state may differ ──────────────────────────────────────────────────────────────────


def causes_of(rebuilt: BattleState, served: BattleState, *, complete: bool) -> tuple[tuple[str, ...], bool]:
    """What a public log cannot hold that two states of one moment differ by, and whether that is all.

    `complete` says whether the rebuilt state claims to know all legal actions; then they must be the same.
    """
    own, theirs = rebuilt.own.active, served.own.active
    if theirs is not None and "illusion" in (theirs.ability or "") and own != theirs:
        return ("own Pokémon in a disguise that nothing lifts",), True
    same_actions = _offered(rebuilt) == _offered(served)
    causes = list(_of_own_side(rebuilt, served))
    if not complete and not same_actions:
        causes.append("legal actions that follow from these")
    if rebuilt.last_turn != served.last_turn:
        causes.append("damage to own Pokémon, of HP in percent")
    if rebuilt.foe != served.foe:
        causes.append("own moves that a transformed opponent took on")
    is_all = _what_is_left(rebuilt, served) == _what_is_left(served, rebuilt) and (same_actions or not complete)
    return tuple(dict.fromkeys(causes)), is_all


def _of_own_side(rebuilt: BattleState, served: BattleState) -> Iterator[str]:
    if rebuilt.own.active is not None and served.own.active is not None:
        yield from _of_pokemon(rebuilt.own.active, served.own.active)
    ours, theirs = ({_who(member): member for member in state.own.bench} for state in (rebuilt, served))
    if set(ours) != set(theirs):
        yield "own Pokémon that never shows"
    for who in set(ours) & set(theirs):
        yield from _of_pokemon(ours[who], theirs[who])
    if _in_both(ours, theirs) != _in_both(theirs, ours):
        yield "order of own Pokémon"


def _of_pokemon(rebuilt: PokemonState, served: PokemonState) -> Iterator[str]:
    for fact in _OWN_FACTS:
        if getattr(rebuilt, fact) != getattr(served, fact):
            yield f"own {fact.replace('_', ' ')} that never shows"
    if rebuilt.species != served.species and _who(rebuilt) == _who(served):
        yield "own forme that an ability alone tells"
    if rebuilt.hp_percent != served.hp_percent:
        yield "HP between 99 and 100 %"
    ours, theirs = ({move.name: move.pp for move in pokemon.moves} for pokemon in (rebuilt, served))
    if set(ours) != set(theirs):
        yield "own move that never shows"
    if any(ours[name] != theirs[name] for name in set(ours) & set(theirs)):
        yield "PP"
    if _in_both(ours, theirs) != _in_both(theirs, ours):
        yield "order of own moves"


def _in_both(ours: Mapping[Any, object], theirs: Mapping[Any, object]) -> list[Any]:
    return [each for each in ours if each in theirs]


def _who(pokemon: PokemonState) -> tuple[str, int]:
    return _SHOWN.get(pokemon.species, pokemon.species), pokemon.level


def _offered(state: BattleState) -> frozenset[str]:
    return frozenset(_shown(action, state) for action in state.legal)


def _shown(action: Action, state: BattleState) -> str:
    match action:
        case Move(id=move, gimmick=gimmick):
            return f"{move} {gimmick}"
        case Switch():
            return str(_who(state.switched_to(action)))
        case _:
            return "pass"


def _what_is_left(state: BattleState, beside: BattleState) -> BattleState:
    """The state without what a public log cannot hold, as far as the one beside it differs there."""
    theirs = {_who(member): member for member in beside.own.bench}
    bench = tuple(sorted((_plain(m, theirs[_who(m)]) for m in state.own.bench if _who(m) in theirs), key=_who))
    active = state.own.active
    if active is not None and beside.own.active is not None:
        active = _plain(active, beside.own.active)
    foe = state.foe
    if foe.active is not None and foe.active.transformed_into is not None:
        foe = replace(foe, active=replace(foe.active, moves=(), ability=None))
    return replace(
        state,
        own=replace(state.own, active=active, bench=bench),
        foe=foe,
        legal=(),
        last_turn=_about(state.last_turn, beside.last_turn),
    )


def _plain(pokemon: PokemonState, beside: PokemonState) -> PokemonState:
    close = {pokemon.hp_percent, beside.hp_percent} == {99, 100}
    cured = any((one.ability or "") in _CURES_ON_THE_BENCH for one in (pokemon, beside))
    return replace(
        pokemon,
        species=_who(pokemon)[0],
        hp_percent=0 if close or cured else pokemon.hp_percent,
        status=None if cured else pokemon.status,
        item=None,
        ability=None,
        tera_type=None,
        stats={},
        moves=(),
    )


def _about(events: tuple[Event, ...], beside: tuple[Event, ...]) -> tuple[Event, ...]:
    if len(events) != len(beside):
        return events
    return tuple(
        replace(event, damage_percent=None) if _nearly(event.damage_percent, other.damage_percent) else event
        for event, other in zip(events, beside, strict=True)
    )


def _nearly(one: int | None, another: int | None) -> bool:
    return one is not None and another is not None and abs(one - another) <= 2
