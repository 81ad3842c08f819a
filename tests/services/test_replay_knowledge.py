"""What a rebuilt prompt may know: nothing of the turn that is being decided, and nothing that is not true."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scraper.rebuild import rebuild
from services.scraper.rebuild.choices import Unknown
from services.scraper.rebuild.own_team import learn
from services.scraper.rebuild.public_log import MAX_LINE_CHARACTERS, battle_lines
from services.scraper.replay import BattleRead, MadeDecision, Replay, Unfit, UnfitBattle
from services.scraper.rerun import Simulators, rerun
from services.scraper.skew import causes_of
from shared.battle.action import Action, Move, Switch
from shared.battle.contract import CONTRACTS
from shared.simulator.inputlog import parse_inputlog
from shared.simulator.simulator import Simulator
from tests.services.simulated import replays, uncovered

OTHER_MOVES = ("Tackle", "Earthquake", "Recover", "Explosion", "Trick Room")
OTHER_LINES = (
    "|switch|{foe}a: Shuckle|Shuckle, L90, M|200/250",
    "|-terastallize|{foe}a: Shuckle|Ghost",
    "|cant|{foe}a: Shuckle|par",
    "|-weather|Sandstorm",
    "|-sidestart|{foe}: Blue|Spikes",
    "|-formechange|{foe}a: Shuckle|Snorlax|",
)


@pytest.fixture(scope="module")
def played() -> Sequence[Replay]:
    return asyncio.run(replays(range(50, 56)))


@pytest.fixture(scope="module")
def both(played: Sequence[Replay]) -> Sequence[tuple[BattleRead, BattleRead]]:
    """Rebuilt, and as it really was."""

    async def run() -> Sequence[tuple[BattleRead, BattleRead]]:
        async with Simulators() as simulators:
            return [(rebuild(replay.log), await rerun(replay, simulators)) for replay in played]

    return asyncio.run(run())


def pairs(both: Sequence[tuple[BattleRead, BattleRead]]) -> Iterator[tuple[MadeDecision, MadeDecision]]:
    for rebuilt, exact in both:
        true = {(made.seat, made.block): made for made in exact.decisions}
        for made in rebuilt.decisions:
            if (made.seat, made.block) in true:
                yield made, true[made.seat, made.block]


def prompts(made: MadeDecision) -> dict[str, str]:
    return {version: contract.prompt(made.state) for version, contract in CONTRACTS.items()}


def end_of(log: Sequence[str], block: int) -> int:
    """The line of the log where the block of choices after `block` earlier ones begins."""
    clocks = [number for number, line in enumerate(log) if line.startswith("|t:|")]
    return clocks[block] if block < len(clocks) else len(log)


def test_labels_are_what_was_chosen(both: Sequence[tuple[BattleRead, BattleRead]]) -> None:
    compared = list(pairs(both))
    wrong = [
        (made.action, true.action)
        for made, true in compared
        if made.action.__class__ is not true.action.__class__
        or (isinstance(made.action, Move) and isinstance(true.action, Move) and made.action.id != true.action.id)
        or made.kind != true.kind
    ]

    assert len(compared) > 300
    assert len(wrong) <= 0.005 * len(compared)


def test_complete_legal_actions_are_those_that_there_were(both: Sequence[tuple[BattleRead, BattleRead]]) -> None:
    complete = [(made.state, true.state) for made, true in pairs(both) if made.complete]

    assert len(complete) > 100
    for rebuilt, true in complete:
        ours = {(a.id, a.gimmick) for a in rebuilt.legal if isinstance(a, Move)}
        assert ours == {(a.id, a.gimmick) for a in true.legal if isinstance(a, Move)}
        assert len(rebuilt.legal) == len(true.legal)


SETS = (
    ("Zoroark-Hisui", "Illusion", "Bitter Malice\n- Sludge Bomb\n- Nasty Plot\n- Protect"),
    ("Greninja", "Torrent", "Surf\n- Ice Beam\n- Spikes\n- Protect"),
    ("Blissey", "Natural Cure", "Seismic Toss\n- Soft-Boiled\n- Protect\n- Thunder Wave"),
    ("Slowbro @ Life Orb", "Regenerator", "Scald\n- Slack Off\n- Protect\n- Calm Mind"),
)
BLOCKED = (
    ("Klefki @ Light Clay", "Prankster", "Torment\n- Magic Room\n- Dazzling Gleam\n- Protect"),
    ("Krookodile @ Choice Band", "Intimidate", "Knock Off\n- Earthquake\n- Stone Edge\n- Torment"),
    ("Kingambit @ Choice Scarf", "Defiant", "Iron Head\n- Kowtow Cleave\n- Stone Edge\n- Torment"),
    ("Grimmsnarl @ Assault Vest", "Frisk", "Torment\n- Spirit Break\n- Trick\n- Reflect"),
)


@pytest.mark.parametrize(
    ("team", "seeds", "met"),
    [
        (SETS, range(70, 74), ("|replace|",)),
        # Torment leaves Struggle, which frees a move again; in Magic Room nothing that is held locks or blocks a move.
        (
            BLOCKED,
            (71, 72, 73, 74, 75),
            ("|-start|p1a: Kingambit|Torment", "|-fieldstart|move: Magic Room", "move: Struggle"),
        ),
    ],
    ids=["Illusion", "Torment and Magic Room"],
)
async def test_what_is_complete_in_a_log_in_percent_is_true(
    team: Sequence[tuple[str, str, str]], seeds: Sequence[int], met: Sequence[str]
) -> None:
    packed = "\n\n".join(f"{name}\nAbility: {ability}\nEVs: 252 HP\n- {moves}" for name, ability, moves in team)
    kept, log = 0, list[str]()
    async with Simulators() as simulators:
        for replay in await replays(seeds, exact_hp=False, team=packed):
            rebuilt, exact = rebuild(replay.log), await rerun(replay, simulators)
            log.extend(replay.log)
            for made, true in pairs([(rebuilt, exact)]):
                if made.complete:
                    kept += 1
                    assert called(made.action) == called(true.action), (replay.id, made.turn)
                    assert {called(a) for a in made.state.legal} == {called(a) for a in true.state.legal}
    assert kept > 50
    assert [what for what in met if not any(what in line for line in log)] == []


def log_of(lead: str, turns: Sequence[Sequence[str]], size: int = 1) -> list[str]:
    """A log in percent of p1's lead against a Snorlax: what each turn shows."""
    log = [
        *("|player|p1|Red|1|", "|player|p2|Blue|2|", f"|teamsize|p1|{size}", "|teamsize|p2|6", "|gametype|singles"),
        *("|gen|9", "|tier|[Gen 9] Random Battle", "|t:|0", "|start", f"|switch|p1a: {lead}|{lead}, M|100/100"),
        "|switch|p2a: Snorlax|Snorlax, M|100/100",
    ]
    for turn, lines in enumerate(turns, 1):
        log += [f"|turn|{turn}", f"|t:|{turn}", *lines, "|upkeep"]
    return [*log, "|win|Red"]


def called(action: Action) -> tuple[str, str | None]:
    match action:
        case Move(id=move, gimmick=gimmick):
            return move, gimmick
        case Switch(name=name):
            return name, None
        case _:
            return "pass", None


@pytest.mark.parametrize(
    "stay",
    [
        # Five moves, where a Pokémon has four.
        [*(f"|move|p1a: Greninja|{move}|p2a: Snorlax" for move in ("Surf", "Spikes", "Ice Beam", "Protect", "Hex"))],
        # Half its HP on the bench, and alive again.
        ["|-damage|p1a: Greninja|90/100|[from] item: Life Orb", "out", "in 40/100", "|move|p1a: Greninja|Surf|"],
        ["|-damage|p1a: Greninja|0 fnt|[from] psn", "|faint|p1a: Greninja", "out", "in 100/100"],
        # What all see of who it was is told all the same.
        [
            "|-terastallize|p1a: Greninja|Fairy",
            *("|-damage|p1a: Greninja|90/100|[from] item: Life Orb", "out", "in 40/100", "out"),
            "|move|p1a: Blissey|Soft-Boiled|",
        ],
    ],
)
def test_a_name_that_two_bore_is_nobodys(stay: list[str]) -> None:
    turns = []
    for line in stay:
        if line == "out":
            line = "|switch|p1a: Blissey|Blissey, F|100/100"
        elif line.startswith("in "):
            line = f"|switch|p1a: Greninja|Greninja, M|{line[3:]}"
        turns.append([line, "|move|p2a: Snorlax|Rest|"])
    reading = rebuild(log_of("Greninja", turns, size=6))

    assert reading.unknown[Unknown.DISGUISED]
    for made in reading.decisions:
        assert made.seat == "p2" or made.state.own.active is None or made.state.own.active.species == "Blissey"
        assert not isinstance(made.action, Switch) or made.action.name == "Blissey"
        mates = made.state.own.bench if made.seat == "p1" else ()
        assert all(mate.types == ("Fairy",) for mate in mates if mate.terastallized)


@pytest.mark.parametrize(
    "eaten",
    [
        "|-enditem|p1a: Swalot|Sitrus Berry|[eat]",
        "|-enditem|p2a: Snorlax|Sitrus Berry|[from] stealeat|[move] Bug Bite|[of] p1a: Swalot",
    ],
)
def test_a_berry_eaten_frees_belch_for_the_whole_battle(eaten: str) -> None:
    there, away = "|switch|p1a: Swalot|Swalot, M|100/100", "|switch|p1a: Blissey|Blissey, F|100/100"
    turns = [[eaten], [away], [there], ["|move|p1a: Swalot|Belch|p2a: Snorlax"]]
    made = next(made for made in rebuild(log_of("Swalot", turns)).decisions if made.turn == 4)

    assert called(made.action) == ("belch", None)


@pytest.mark.parametrize(
    ("how", "ability"), [("|", ""), ("|[from] ability: Imposter", "imposter")], ids=["Transform", "Imposter"]
)
@pytest.mark.parametrize(
    "shown",
    ["|-ability|p1a: Mew|Intimidate|boost", "|-damage|p2a: Snorlax|88/100|[from] ability: Rough Skin|[of] p1a: Mew"],
)
def test_an_ability_taken_over_by_transforming_is_not_its_own(shown: str, how: str, ability: str) -> None:
    log = log_of("Mew", [["|move|p1a: Mew|Transform|p2a: Snorlax", f"|-transform|p1a: Mew|p2a: Snorlax{how}", shown]])

    assert learn(battle_lines(log)).teams["p1"]["p1: Mew"].ability == ability


@pytest.mark.parametrize(
    ("status_moves_in", "complete"),
    [(range(3, 5), False), (range(1, 3), True), (range(6, 8), True), (range(2, 3), False), (range(5, 6), False)],
    ids=["in the room only", "before it", "after it", "in the turn it began", "in the turn it ended"],
)
def test_a_vest_that_never_shows_is_ruled_out_by_status_moves_outside_magic_room(
    status_moves_in: range, *, complete: bool
) -> None:
    turns = []
    for turn, attack in enumerate(("Surf", "Psychic", "Surf", "Psychic", "Surf", "Psychic", "Surf", "Psychic"), 1):
        room = {2: "|-fieldstart|move: Magic Room|[of] p2a: Snorlax", 5: "|-fieldend|move: Magic Room"}.get(turn, "|")
        status = "Slack Off" if turn % 2 else "Calm Mind"
        used = [status] if turn in status_moves_in else [attack]
        # The two status moves are known in any case: a move without PP is named.
        told = [f"|cant|p1a: Slowbro|nopp|{move}" for move in ("Slack Off", "Calm Mind")] if turn == 8 else []
        turns.append([room, *(f"|move|p1a: Slowbro|{move}|" for move in used), *told])
    made = [made for made in rebuild(log_of("Slowbro", turns)).decisions if made.seat == "p1" and made.turn == 1]

    assert [each.complete for each in made] == [complete]


def test_what_lasts_for_a_turn_is_over_when_somebody_is_sent_in_after_it() -> None:
    log = [
        *("|player|p1|Red|1|", "|player|p2|Blue|2|", "|teamsize|p1|6", "|teamsize|p2|6", "|gametype|singles", "|gen|9"),
        *("|tier|[Gen 9] Random Battle", "|t:|1", "|start", "|switch|p1a: Vespiquen|Vespiquen, F|100/100"),
        *("|switch|p2a: Snorlax|Snorlax, M|100/100", "|turn|1", "|t:|2"),
        *("|move|p1a: Vespiquen|Roost|p1a: Vespiquen", "|-singleturn|p1a: Vespiquen|move: Roost", "|"),
        *("|-damage|p2a: Snorlax|0 fnt|[from] brn", "|faint|p2a: Snorlax", "|upkeep", "|", "|t:|3"),
        *("|switch|p2a: Blissey|Blissey, F|100/100", "|turn|2", "|t:|4", "|win|Red"),
    ]
    (sent,) = (made for made in rebuild(log).decisions if made.state.asked == "switch")

    assert sent.state.foe.active is not None and sent.state.foe.active.types == ("Bug", "Flying")


def test_the_opponents_action_of_the_same_turn_changes_no_prompt(played: Sequence[Replay]) -> None:
    compared = 0
    for replay in played[:3]:
        decisions = rebuild(replay.log).decisions
        for made in decisions[::8]:
            foe = "p2" if made.seat == "p1" else "p1"
            start, end = end_of(replay.log, made.block), end_of(replay.log, made.block + 1)
            changed = list(replay.log)
            for number in range(start, end):
                fields = changed[number].split("|")
                if fields[1] == "move" and fields[2].startswith(foe):
                    fields[3] = OTHER_MOVES[number % len(OTHER_MOVES)]
                    changed[number] = "|".join(fields)
            changed.insert(start + 1, OTHER_LINES[made.block % len(OTHER_LINES)].format(foe=foe))
            for each in rebuild(changed).decisions:
                if (each.seat, each.block) == (made.seat, made.block):
                    compared += 1
                    assert prompts(each) == prompts(made)

    assert compared > 15


async def told_otherwise(
    replay: Replay, exact: BattleRead, simulator: Simulator
) -> AsyncIterator[tuple[MadeDecision, BattleRead, BattleRead]]:
    """Some decisions, the battle up to the end of their turn, and the same with another choice of the opponent's."""
    log = parse_inputlog(replay.inputlog or ())
    frames = await simulator.run_again(log.start, log.inputs)
    at = {made.block: [each for each in exact.decisions if each.block == made.block] for made in exact.decisions}
    block = 0
    for number, frame in enumerate(frames):
        both = at.get(block, [])
        if block % 4 == 2 and log.inputs[number][:2] == ("choose", "p1") and len(both) == 2:
            made, foes = both if block % 8 == 2 else both[::-1]
            others = [action for action in foes.state.legal if action != foes.action]
            as_it_was, otherwise = log.inputs[number : number + 2], [("choose", made.seat, written(made.action))]
            otherwise.append(("choose", foes.seat, written(others[block % len(others)])))
            readings = []
            for last in (as_it_was, otherwise):
                again = await simulator.run_again(log.start, [*log.inputs[:number], *last])
                readings.append(rebuild(uncovered([line for each in again for line in each.lines])))
            yield made, readings[0], readings[1]
        block += sum(line.startswith("|t:|") for line in frame.lines)


def written(action: Action) -> str:
    """As an input log writes it."""
    match action:
        case Move(id=move, gimmick=gimmick):
            return f"move {move} terastallize" if gimmick else f"move {move}"
        case Switch(slot=slot):
            return f"switch {slot}"
        case _:
            return "pass"


async def test_had_the_opponent_chosen_otherwise_the_prompt_would_be_the_same(
    played: Sequence[Replay], both: Sequence[tuple[BattleRead, BattleRead]]
) -> None:
    compared = 0
    async with Simulator(step_timeout_seconds=20) as simulator:
        for replay, (_, exact) in list(zip(played, both, strict=True))[:3]:
            async for made, as_it_was, otherwise in told_otherwise(replay, exact, simulator):
                found = [
                    next(
                        (each for each in reading.decisions if (each.seat, each.block) == (made.seat, made.block)), None
                    )
                    for reading in (as_it_was, otherwise)
                ]
                if found[0] is None or found[1] is None:
                    continue
                compared += 1
                one, another = found[0].state, found[1].state
                assert CONTRACTS["v1"].prompt(one) == CONTRACTS["v1"].prompt(another)
                # What shows of its own side in that turn a player knew before; of the opponent, nothing may differ.
                assert (one.foe, one.weather, one.fields, one.last_turn) == (
                    another.foe,
                    another.weather,
                    another.fields,
                    another.last_turn,
                )
                assert causes_of(one, another, complete=False)[1]

    assert compared > 10


def test_what_comes_later_tells_of_ones_own_side_alone(played: Sequence[Replay]) -> None:
    for replay in played[:4]:
        whole = {(made.seat, made.block): made for made in rebuild(replay.log).decisions}
        for block in sorted({block for _, block in whole})[5::6]:
            cut = replay.log[: end_of(replay.log, block + 1)]
            for made in rebuild(cut).decisions:
                if (made.seat, made.block) not in whole:
                    continue
                later = whole[made.seat, made.block].state
                assert (made.state.foe, made.state.weather, made.state.fields) == (
                    later.foe,
                    later.weather,
                    later.fields,
                )
                assert made.state.last_turn == later.last_turn
                assert prompts(made)["v1"] == CONTRACTS["v1"].prompt(later)


def test_the_order_of_own_moves_and_pokemon_tells_nothing(both: Sequence[tuple[BattleRead, BattleRead]]) -> None:
    for rebuilt, _ in both:
        for made in rebuilt.decisions:
            ids = [action.id for action in made.state.legal if isinstance(action, Move) and not action.gimmick]
            assert ids == sorted(ids)


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_cut_shuffled_and_scribbled_on_is_read_or_dropped(played: Sequence[Replay], data: st.DataObject) -> None:
    log = list(data.draw(st.sampled_from(played)).log)
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(log) - 1))
        match data.draw(st.sampled_from(["drop", "repeat", "swap", "field", "text", "cut"])):
            case "drop":
                log[at] = ""
            case "repeat":
                log.insert(at, log[data.draw(st.integers(0, len(log) - 1))])
            case "swap":
                other = data.draw(st.integers(0, len(log) - 1))
                log[at], log[other] = log[other], log[at]
            case "field":
                fields = log[at].split("|")
                fields[data.draw(st.integers(0, len(fields) - 1))] = data.draw(st.text(max_size=12))
                log[at] = "|".join(fields)
            case "text":
                log[at] = data.draw(st.text(max_size=60))
            case _:
                log[at] = log[at][: data.draw(st.integers(0, 20))]
    reading = BattleRead(())
    with suppress(UnfitBattle):
        reading = rebuild(log)
    for made in reading.decisions:
        assert made.action in made.state.legal
        assert all(prompts(made).values())


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ((), Unfit.NO_BATTLE),
        (("|" * 100_000,), Unfit.NO_BATTLE),
        (("x" * (MAX_LINE_CHARACTERS + 1),) * 10, Unfit.NO_BATTLE),
        (tuple(f"|turn|{turn}" for turn in range(1, 50_000)), Unfit.TOO_LONG),
        (("|turn|1",) * 1_000_000, Unfit.TOO_LONG),
        (("|turn|" + "9" * 1_000,), Unfit.MALFORMED),
        (("|turn|²",), Unfit.MALFORMED),
    ],
)
def test_what_is_no_battle_is_dropped_with_its_reason(log: Sequence[str], reason: Unfit) -> None:
    with pytest.raises(UnfitBattle) as dropped:
        rebuild(log)

    assert dropped.value.reason is reason


def test_a_battle_that_was_changed_by_hand_is_dropped(played: Sequence[Replay]) -> None:
    replay = replace(played[0], log=(*played[0].log[:60], "||>>> p1.pokemon[0].hp = 1", *played[0].log[60:]))

    with pytest.raises(UnfitBattle) as dropped:
        rebuild(replay.log)

    assert dropped.value.reason is Unfit.TAMPERED
