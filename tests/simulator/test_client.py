"""The simulator host, for real: what it plays, what it refuses, and how it dies."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from shared import policies
from shared.battle.action import legal_actions, needs_answer, order
from shared.battle.protocol import SEATS
from shared.errors import InvalidTeam, SimulatorError
from shared.simulator import find_node, find_simulator
from shared.simulator.simulator import BattleEnd, SeatSetup, SimulatedBattle, Simulator

TEAMS = Path(__file__).parents[2] / "services" / "arena" / "sample_teams"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(step_timeout_seconds=20) as simulator:
        yield simulator


async def open_battle(simulator: Simulator, seed: int = 1) -> SimulatedBattle:
    seats = {seat: SeatSetup(f"player {seat}", seed=f"sodium,{seed:031x}{seat[1]}") for seat in SEATS}
    return await simulator.open("gen9randombattle", f"sodium,{seed:032x}", seats)


async def play_to_end(battle: SimulatedBattle, seed: int) -> tuple[BattleEnd, list[str]]:
    rng, log = Random(seed), list[str]()
    while True:
        step = await battle.step()
        log.extend(step.lines)
        assert all(message.startswith("[Unavailable choice]") for _, message in step.errors)
        if step.end is not None:
            battle.close()
            return step.end, [line for line in log if not line.startswith("|t:|")]
        asked = {seat: request for seat, request in step.requests.items() if needs_answer(request)}
        if asked:
            battle.choose({seat: order(rng.choice(legal_actions(request)), request) for seat, request in asked.items()})


async def test_a_battle_ends_with_a_winner_and_its_input_log(simulator: Simulator) -> None:
    end, log = await play_to_end(await open_battle(simulator), seed=1)

    assert end.winner in ("player p1", "player p2", "")
    assert end.turns > 1
    assert end.input_log[0].startswith(">start")
    assert f"|win|{end.winner}" in log


async def test_the_same_seeds_and_choices_give_the_same_log(simulator: Simulator) -> None:
    first = await play_to_end(await open_battle(simulator, seed=7), seed=7)
    second = await play_to_end(await open_battle(simulator, seed=7), seed=7)

    assert first == second


async def test_battles_interleave_without_touching_each_other(simulator: Simulator) -> None:
    alone = [await play_to_end(await open_battle(simulator, seed), seed) for seed in range(4)]
    together = await asyncio.gather(*[play_to_end(await open_battle(simulator, seed), seed) for seed in range(4)])

    assert alone == together


async def test_an_illegal_order_is_refused_and_the_battle_waits(simulator: Simulator) -> None:
    battle = await open_battle(simulator)
    await battle.step()

    battle.choose({"p1": "move 99"})
    step = await battle.step()

    assert [(seat, message[:16]) for seat, message in step.errors] == [("p1", "[Invalid choice]")]
    assert step.end is None


async def test_orders_cannot_reach_the_simulators_console(simulator: Simulator) -> None:
    battle = await open_battle(simulator)
    await battle.step()

    battle.choose({"p1": "move 1\n>eval process.exit(3)", "p2": ">eval process.exit(3)"})
    await battle.step()

    assert simulator.pid is not None


async def test_an_unknown_format_breaks_only_its_own_battle(simulator: Simulator) -> None:
    neighbour = await open_battle(simulator)
    seats = {seat: SeatSetup(seat) for seat in SEATS}
    broken = await simulator.open("gen9nosuchformat", "sodium,00", seats)

    with pytest.raises(SimulatorError, match="broke off the battle"):
        await broken.step()
    await play_to_end(neighbour, seed=1)


async def test_a_killed_host_fails_its_battles_and_the_next_battle_gets_a_new_one(simulator: Simulator) -> None:
    battles = [await open_battle(simulator, seed) for seed in (1, 2)]
    for battle in battles:
        await battle.step()
    first_pid = simulator.pid
    assert first_pid is not None

    os.kill(first_pid, signal.SIGKILL)

    for battle in battles:
        with pytest.raises(SimulatorError, match="ended with status"):
            await battle.step()
        battle.close()
    end, _ = await play_to_end(await open_battle(simulator, 3), seed=3)
    assert end.turns > 1
    assert simulator.pid != first_pid


async def test_a_hanging_host_is_ended(simulator: Simulator) -> None:
    async with Simulator(step_timeout_seconds=20) as hanging:
        battle = await open_battle(hanging)
        await battle.step()
        pid = hanging.pid
        assert pid is not None

        battle._step_timeout_seconds = 1
        os.kill(pid, signal.SIGSTOP)
        battle.choose({"p1": "move 1", "p2": "move 1"})

        with pytest.raises(SimulatorError, match="said nothing"):
            await battle.step()


async def test_the_host_ends_when_its_input_does() -> None:
    async with Simulator() as simulator:
        pid = simulator.pid
        assert pid is not None

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_valid_team_is_packed_and_an_invalid_one_refused_with_the_simulators_reasons(
    simulator: Simulator,
) -> None:
    team = (TEAMS / "gen9ou-balance.txt").read_text()

    assert (await simulator.validate_team("gen9ou", team)).count("]") == 5
    with pytest.raises(InvalidTeam) as refused:
        await simulator.validate_team("gen9ou", team.replace("Great Tusk", "Koraidon"))
    assert any("Koraidon" in reason for reason in refused.value.reasons)


@pytest.mark.parametrize("text", ["", "\n\n", "not a team at all", "a|b]c|d", "x" * 20_000])
async def test_text_that_is_no_team_is_refused_with_reasons(simulator: Simulator, text: str) -> None:
    with pytest.raises(InvalidTeam) as refused:
        await simulator.validate_team("gen9ou", text)

    assert refused.value.reasons


async def test_the_formats_that_are_told_apart_are_those_of_the_simulator() -> None:
    asked = """
        const { Dex } = require(process.argv[1]);
        const all = Dex.formats.all().filter((each) => each.exists && each.effectType === "Format");
        const own = (each) => !each.team && /^gen[1-9]$/.test(each.mod) && each.id.startsWith(each.mod);
        const singles = all.filter((each) => each.gameType === "singles" && own(each));
        const others = all.filter((each) => each.gameType !== "singles");
        const ids = (formats) => formats.map((each) => each.id).sort();
        console.log(JSON.stringify({ singles: ids(singles), others: ids(others) }));
    """
    command = [str(find_node()), "-e", asked, str(find_simulator())]
    told = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, text=True)

    assert json.loads(told.stdout) == json.loads((Path(policies.__file__).parent / "formats.json").read_text())
