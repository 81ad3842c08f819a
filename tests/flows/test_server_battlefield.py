"""Battles on the official Showdown server, between policies and against a person; and how the server starts and ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import pytest
from poke_env import AccountConfiguration, ServerConfiguration
from poke_env.player import RandomPlayer
from poke_env.ps_client import PSClient

from services.arena.battlefields import BattleSetup
from services.arena.battlefields.server import ServerBattlefield
from services.arena.matchup import make_battlefield, play
from services.arena.player import Player
from services.arena.policies import make_policy
from shared.battle.observe import Tracker
from shared.battle.protocol import SEATS, Seat
from shared.errors import BattleBroken, SimulatorError, Unreachable, UsageError
from shared.records import BattleRecord, MatchupRequest
from shared.simulator.showdown_server import ShowdownServer

PERSON = "Ash Ketchum"


@pytest.fixture
async def server() -> AsyncIterator[ShowdownServer]:
    async with ShowdownServer() as server:
        yield server


async def played(
    url: str, *, tell: Callable[[str], None] = print, on_record: Callable[[BattleRecord], None] | None = None, **asked: Any
) -> list[BattleRecord]:
    request = MatchupRequest(**{"p1": "random", "p2": "random", "battlefield": "server", "pairs": False, **asked})
    records: list[BattleRecord] = []

    def keep(record: BattleRecord) -> None:
        records.append(record)
        if on_record:
            on_record(record)

    field = make_battlefield(request, url, tell)
    indices = range(request.battles)
    await play(request, indices, matchup_id="test", worker="test", on_record=keep, battlefield=field)
    return records


def seated(names: dict[Seat, str], kind: type[Player] = Player) -> dict[Seat, Player]:
    policy = make_policy("random")
    return {
        seat: kind(policy, plays=seat, seat=seat, tracker=Tracker(9, seat, names), rng=Random(seat)) for seat in SEATS
    }


# ── policies ────────────────────────────────────────────────────────────────────────────────────────


async def test_policies_fight_several_battles_at_once_and_the_records_say_who_won(server: ShowdownServer) -> None:
    records = await played(server.url, p1="heuristic", battles=4, concurrency=4)

    assert [record.broken for record in records] == [None] * 4
    for record in records:
        log = record.public_log
        name = {line.split("|")[2]: line.split("|")[3] for line in log if line.startswith("|player|")}
        assert (name["p1"][:13], name["p2"][:10]) == ("heuristic p1 ", "random p2 ")
        assert log[-1] == f"|win|{name[record.winner or '']}"
        assert record.turns == sum(line.startswith("|turn|") for line in log)
        assert {decision.policy for decision in record.decisions} == {"p1", "p2"}
        assert (record.seeds, record.pair, record.p1_seat) == (None, None, "p1")
    assert records[0].versions["showdown-server"] == server.url


async def test_the_public_log_is_what_a_spectator_sees(server: ShowdownServer) -> None:
    [record] = await played(server.url)

    damages = [line.split("|")[3].split(" ")[0] for line in record.public_log if line.startswith("|-damage|")]
    assert damages
    assert {damage.partition("/")[2] for damage in damages} <= {"100", ""}, "exact HP is for its owner alone"
    kinds = {line.split("|")[1] for line in record.public_log}
    assert not kinds & {"request", "split", "j", "init", "error"}


async def test_a_format_with_teams_is_played_with_the_teams_of_both_seats(server: ShowdownServer) -> None:
    records = await played(server.url, format="gen9ou", battles=2)

    for record in records:
        assert record.broken is None
        assert record.teams == ("gen9ou-balance", "gen9ou-offense")
        assert [decision.action_type for decision in record.decisions].count("lead") == 2
        assert sum(line.startswith("|poke|p1|Great Tusk") for line in record.public_log) == 1


async def test_a_choice_that_the_server_calls_invalid_breaks_its_battle_and_no_other(server: ShowdownServer) -> None:
    class Cheat(Player):
        async def answer(self, request: dict[str, Any]) -> str:
            await super().answer(request)
            return "move 9"

    names: dict[Seat, str] = {"p1": "first", "p2": "second"}
    setup = BattleSetup(tag="test", format="gen9randombattle", names=names, seeds=None, teams=None)
    log: list[str] = []
    async with ServerBattlefield(server.url) as field:
        with pytest.raises(BattleBroken, match=r"\[Invalid choice\]"):
            await field.fight(setup, seated(names, Cheat), log)
        fought = await field.fight(setup, seated(names), log)

    assert fought.winner in SEATS


async def test_a_forked_process_can_fight_although_poke_envs_own_loop_is_dead_there(server: ShowdownServer) -> None:
    fork = get_context("fork")
    results = fork.SimpleQueue()
    child = fork.Process(target=lambda: results.put([r.broken for r in asyncio.run(played(server.url))]))
    child.start()
    await asyncio.to_thread(child.join, 30)

    assert child.exitcode == 0
    assert results.get() == [None]


# ── a person ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_person_is_challenged_when_they_come_and_only_the_policy_has_decisions(server: ShowdownServer) -> None:
    told: list[str] = []
    where = ServerConfiguration(f"{server.url}/showdown/websocket", "")
    loop = asyncio.get_running_loop()

    async def person() -> None:
        while not told:
            await asyncio.sleep(0.05)
        player = RandomPlayer(AccountConfiguration(PERSON, None), server_configuration=where, loop=loop)
        await player._accept_challenges(None, 2, None)
        await player.ps_client.stop_listening()

    playing = asyncio.create_task(person())
    records = await played(server.url, p2=f"human:{PERSON}", battles=2, tell=told.append)
    await playing

    assert server.page in told[0]
    assert PERSON in told[0]
    for record in records:
        assert record.broken is None
        assert any(line.startswith(f"|player|p2|{PERSON}|") for line in record.public_log)
        assert {decision.policy for decision in record.decisions} == {"p1"}


async def test_a_person_who_declines_ends_the_battle_with_that_reason(server: ShowdownServer) -> None:
    async def decline(message: list[str]) -> None:
        await client.send_message(f"/reject {message[2]}")

    client = PSClient(
        AccountConfiguration(PERSON, None),
        server_configuration=ServerConfiguration(f"{server.url}/showdown/websocket", ""),
        on_challenge_request=decline,
        loop=asyncio.get_running_loop(),
    )
    await client.logged_in.wait()

    [record] = await played(server.url, p2=f"human:{PERSON}")
    await client.stop_listening()

    assert record.winner is None
    assert f"{PERSON} rejected the challenge" in str(record.broken)


async def test_a_person_cannot_be_asked_for_anywhere_else() -> None:
    with pytest.raises(UsageError, match="only on the Showdown server"):
        await played("ws://127.0.0.1:1", p2=f"human:{PERSON}", battlefield="simulator")


# ── a server that is not there, or no longer ────────────────────────────────────────────────────────


async def test_an_address_where_nothing_answers_is_named_in_the_error() -> None:
    with pytest.raises(Unreachable, match=r"no Showdown server answers at ws://127\.0\.0\.1:1: "):
        await played("ws://127.0.0.1:1")


async def test_an_address_of_something_else_is_refused_as_well() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ready\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        with pytest.raises(Unreachable, match="no Showdown server answers at"):
            await played(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}")
    with pytest.raises(UsageError, match="it should look like ws://"):
        await played("http://127.0.0.1:8000")


async def test_a_server_that_dies_breaks_the_battles_in_play_and_those_to_come(server: ShowdownServer) -> None:
    records = await played(
        server.url, battles=6, concurrency=2, on_record=lambda record: os.kill(server.pid, signal.SIGKILL)
    )

    assert records[0].broken is None
    assert len(records) == 6
    assert all("Unreachable" in str(record.broken) for record in records[2:])


# ── the server process ──────────────────────────────────────────────────────────────────────────────


async def test_the_server_listens_on_loopback_only_and_leaves_nothing_behind() -> None:
    async with ShowdownServer() as server:
        pid, folder = server.pid, Path(f"/proc/{server.pid}/cwd").readlink()
        addresses = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()]
        assert [address for address in addresses if address.endswith(f":{server.port:04X}")][0].startswith("0100007F:")
        assert f"{server.port:04X}" not in Path("/proc/net/tcp6").read_text()
        with pytest.raises(SimulatorError, match=f"port {server.port} is taken"):
            await ShowdownServer(port=server.port).__aenter__()

    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


async def test_the_server_ends_with_its_parent_however_that_ends() -> None:
    program = (
        "import asyncio\n"
        "from shared.simulator.showdown_server import ShowdownServer\n"
        "async def main():\n"
        "    async with ShowdownServer(processes='several') as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    folder = Path(f"/proc/{pid}/cwd").readlink()
    assert _with_folder(folder) > {pid}
    parent.kill()
    await asyncio.to_thread(parent.communicate)

    async with asyncio.timeout(5):
        while _with_folder(folder) or folder.exists():
            await asyncio.sleep(0.05)


def _with_folder(folder: Path) -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.add(int(process.name))
        except OSError:
            continue
    return found
