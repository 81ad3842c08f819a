"""Input logs run again: exactly, only what may be run, and only where the log comes out the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.scraper.rebuild.choices import Unknown
from services.scraper.replay import Replay
from services.scraper.rerun import Differs, Simulators, Why, commit_of, rerun
from shared.errors import InputRefused, UsageError
from shared.simulator import find_simulator
from shared.simulator.inputlog import NotRun, parse_inputlog
from shared.simulator.simulator import Simulator
from tests.services.simulated import replays

START = '>start {"formatid":"gen9randombattle","seed":"sodium,00000000000000000000000000000001"}'
PLAYERS = ('>player p1 {"name":"Red","seed":[1,2,3,4]}', '>player p2 {"name":"Blue","seed":"sodium,02"}')
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def played() -> Sequence[Replay]:
    return asyncio.run(replays(range(8)))


@pytest.fixture
async def simulators() -> AsyncIterator[Simulators]:
    async with Simulators() as simulators:
        yield simulators


async def why_not(replay: Replay, simulators: Simulators) -> Why:
    with pytest.raises(Differs) as differs:
        await rerun(replay, simulators)
    return differs.value.reason


def altered(replay: Replay, old: str, new: str) -> Replay:
    """The replay with the first such line of its input log changed."""
    assert replay.inputlog is not None
    at = next(number for number, line in enumerate(replay.inputlog) if line.startswith(old))
    return replace(replay, inputlog=(*replay.inputlog[:at], new, *replay.inputlog[at + 1 :]))


async def test_replays_of_the_pinned_simulator_are_run_again_exactly(
    played: Sequence[Replay], simulators: Simulators
) -> None:
    for replay in played:
        reading = await rerun(replay, simulators)

        choices = sum(line[:4] in (">p1 ", ">p2 ") for line in replay.inputlog or ())
        assert len(reading.decisions) + sum(reading.unknown.values()) == choices
        assert set(reading.unknown) <= {Unknown.ONLY_ACTION, Unknown.FORCED}
        assert all(made.complete and made.action in made.state.legal for made in reading.decisions)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_two_hundred_of_two_hundred_are_run_again_exactly(simulators: Simulators) -> None:
    for replay in await replays(range(1000, 1200)):
        await rerun(replay, simulators)


async def test_hp_in_percent_is_the_same_battle(simulators: Simulators) -> None:
    for replay in await replays(range(2), exact_hp=False):
        assert (await rerun(replay, simulators)).decisions


async def test_an_altered_choice_is_caught(played: Sequence[Replay], simulators: Simulators) -> None:
    for replay in played:
        moves = [line for line in replay.inputlog or () if line.startswith(">p1 move ")]
        other = next(line for line in moves if line != moves[0])

        with pytest.raises(Differs):
            await rerun(altered(replay, moves[0], other), simulators)


async def test_an_altered_hp_is_caught(played: Sequence[Replay], simulators: Simulators) -> None:
    replay = played[0]
    at = next(number for number, line in enumerate(replay.log) if line.startswith("|-damage|") and "/" in line)
    *fields, condition = replay.log[at].split("|")[:5]
    line = "|".join([*fields, f"1{condition}"])

    assert await why_not(replace(replay, log=(*replay.log[:at], line, *replay.log[at + 1 :])), simulators) is (
        Why.ANOTHER_LOG
    )


async def test_a_log_cut_short_is_caught(played: Sequence[Replay], simulators: Simulators) -> None:
    assert await why_not(replace(played[0], log=played[0].log[:-20]), simulators) is Why.ANOTHER_LOG


async def test_without_an_input_log_there_is_nothing_to_run(played: Sequence[Replay], simulators: Simulators) -> None:
    assert await why_not(replace(played[0], inputlog=None), simulators) is Why.NO_INPUT_LOG


async def test_a_battle_of_another_commit_is_not_run_in_the_wrong_simulator(
    played: Sequence[Replay], simulators: Simulators
) -> None:
    inputlog = (f">version {COMMIT}", *(played[0].inputlog or ()))

    assert await why_not(replace(played[0], inputlog=inputlog), simulators) is Why.NO_SIMULATOR


async def test_another_build_is_found_by_its_commit(played: Sequence[Replay], tmp_path: Path) -> None:
    build = a_build(tmp_path)
    (build / "COMMIT").write_text(COMMIT)
    inputlog = (f">version {COMMIT}", *(played[0].inputlog or ()))

    async with Simulators([build]) as simulators:
        assert (await rerun(replace(played[0], inputlog=inputlog), simulators)).decisions


def a_build(folder: Path) -> Path:
    """A build of the simulator that lies elsewhere."""
    build = folder / "pokemon-showdown"
    build.mkdir()
    for part in find_simulator().iterdir():
        (build / part.name).symlink_to(part)
    return build


def test_the_commit_of_a_checkout_is_read_from_git(tmp_path: Path) -> None:
    build = a_build(tmp_path)
    (build / ".git" / "refs" / "heads").mkdir(parents=True)
    (build / ".git" / "HEAD").write_text("ref: refs/heads/master\n")
    (build / ".git" / "refs" / "heads" / "master").write_text(f"{COMMIT}\n")

    assert commit_of(build) == COMMIT


def test_a_build_that_names_no_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not say from which commit"):
        commit_of(a_build(tmp_path))
    with pytest.raises(UsageError, match="is no build of the simulator"):
        commit_of(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        ">eval process.exit(1)",
        ">editbattle hp p1, 1, 100",
        ">reseed sodium,00",
        ">tiebreak",
        ">p3 move 1",
        ">p1 move 1\n>eval process.exit(1)",
        ">p1 eval",
        ">forcewin p3",
        '>player p1 {"name":"Red\\n>eval process.exit(1)"}',
        '>player p1 {"name":"Red|p2"}',
        '>player p1 {"name":"Red","__proto__":{"x":1}}',
        '>player p1 {"name":"Red","team":"a\\nb"}',
        '>player p3 {"name":"Green"}',
        START,
        f">start {'[' * 20_000}",
        "|move|p1a: Snorlax|Crunch|p2a: Gengar",
        f">p1 move {'a' * 30_000}",
        ">version HEAD; rm -rf",
    ],
)
def test_a_line_that_is_not_run_makes_the_whole_fall_back(line: str) -> None:
    parse_inputlog((START, *PLAYERS, ">p1 move 1", ">p2 switch 2"))

    with pytest.raises(NotRun):
        parse_inputlog((START, *PLAYERS, ">p1 move 1", line))


def test_what_was_said_is_left_out() -> None:
    read = parse_inputlog((f">version {COMMIT}", START, *PLAYERS, ">chat ☆Red|>eval 1", ">p1 undo", ">forcelose p2"))

    assert read.commits == (COMMIT,)
    assert [kind for kind, *_ in read.inputs] == ["player", "player", "undo", "forcelose"]


HOSTILE: Sequence[list[Any]] = (
    ["eval", "p1", "process.exit(1)"],
    ["editbattle", "p1", "hp p1, 1, 100"],
    ["constructor", "p1", ""],
    ["choose", "p3", "move 1"],
    ["choose", "p1", "eval process.exit(1)"],
    ["choose", "p1", "move 1\n>eval process.exit(1)"],
    ["player", "p1", {"name": "Red\n|win|Red"}],
    ["player", "p1", {"name": ["Red"]}],
    ["player", "p1", None],
    ["forcewin", "__proto__"],
    [],
)
OTHER_STARTS = ({"formatid": "gen9ou@@@!obtainable"}, {"formatid": "nosuch"}, {"seed": "x" * 9}, {"rated": "a\nb"})


async def test_the_host_keeps_to_the_same_list_by_itself() -> None:
    read = parse_inputlog((START, *PLAYERS))
    async with Simulator(step_timeout_seconds=20) as simulator:
        pid = simulator.pid
        for hostile in HOSTILE:
            with pytest.raises(InputRefused, match="which is not run"):
                await simulator.run_again(read.start, [*read.inputs, hostile])
        for start in OTHER_STARTS:
            with pytest.raises(InputRefused, match="which is not run"):
                await simulator.run_again({**read.start, **start}, read.inputs)

        assert len(await simulator.run_again(read.start, read.inputs)) == 2
        assert simulator.pid == pid
