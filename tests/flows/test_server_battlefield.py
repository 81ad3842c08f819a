"""Battles on the official Showdown server, between policies and against a person."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from random import Random
from typing import Any

import pytest
from poke_env import AccountConfiguration, ServerConfiguration
from poke_env.player import RandomPlayer
from poke_env.ps_client import PSClient

from services.arena.battlefields import BattleSetup
from services.arena.battlefields.server import ServerBattlefield
from services.arena.play import make_battlefield, play
from services.arena.player import Player
from services.arena.policies import make_policy
from shared.battle.protocol import SEATS, Seat
from shared.battle.tracker import Tracker
from shared.errors import BattleBroken, Unreachable, UsageError
from shared.records import BattleRecord, MatchupRequest
from shared.settings import Settings
from shared.simulator.showdown_server import ShowdownServer

PERSON = "Ash Ketchum"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server() -> Iterator[ShowdownServer]:
    with ShowdownServer() as server:
        yield server


async def played(url: str, tell: Callable[[str], None] = print, **asked: Any) -> list[BattleRecord]:
    request = MatchupRequest(**{"p1": "random", "p2": "random", "battlefield": "server", "pairs": False, **asked})
    records: list[BattleRecord] = []
    await play(
        request,
        range(request.battles),
        matchup_id="test",
        worker="test",
        on_record=records.append,
        battlefield=make_battlefield(request, Settings(showdown_url=url), tell),
    )
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
    await asyncio.to_thread(child.join, 100)

    assert child.exitcode == 0
    assert results.get() == [None]


# ── a person ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_person_is_challenged_when_they_come_and_only_the_policy_has_decisions(server: ShowdownServer) -> None:
    told: list[str] = []
    asked_for = asyncio.Event()

    def tell(text: str) -> None:
        told.append(text)
        asked_for.set()

    async def person() -> None:
        await asked_for.wait()
        where = ServerConfiguration(f"{server.url}/showdown/websocket", "")
        loop = asyncio.get_running_loop()
        player = RandomPlayer(AccountConfiguration(PERSON, None), server_configuration=where, loop=loop)
        await player.accept_challenges(None, 2)
        await player.ps_client.stop_listening()  # type: ignore[no-untyped-call]

    playing = asyncio.create_task(person())
    records = await played(server.url, tell, p2=f"human:{PERSON}", battles=2)
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
    await client.stop_listening()  # type: ignore[no-untyped-call]

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


async def test_a_server_that_dies_breaks_the_battles_in_play_and_those_to_come() -> None:
    with ShowdownServer() as dying:
        opened: list[str] = []

        def kill_soon(told: str) -> None:
            opened.append(told)
            if len(opened) == 2:
                asyncio.get_running_loop().call_later(1, os.kill, dying.pid, signal.SIGKILL)

        records = await played(dying.url, kill_soon, battles=4, concurrency=2, move_delay=0.3)

    assert len(records) == 4
    assert all("Unreachable" in str(record.broken) for record in records)
    assert any(record.turns for record in records), "the battles had begun"
