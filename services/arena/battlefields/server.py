"""Battles on a Showdown server: to watch in Showdown's own page, or for a person to play one side.

poke-env's client logs in and carries the messages, in the running event loop: its own loop in a thread is not used, so
this works in a forked process too. Each policy has one account that plays all its battles, and a third account watches
every battle, so that the public log is what a spectator sees. A server takes no seeds and gives no input log.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import urlsplit

from poke_env import AccountConfiguration, ServerConfiguration
from poke_env.ps_client import PSClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from services.arena.battlefields import BattleSetup, FoughtBattle
from services.arena.player import Player
from shared.battle.action import FORFEIT, needs_answer
from shared.battle.protocol import SEATS, Seat
from shared.errors import BattleBroken, Unreachable, UsageError
from shared.simulator.simulator import Simulator
from shared.text import one_line

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_SECONDS = 15.0
"""For what a server does at once: log in, pass on a challenge, open a room."""
PERSON_POLL_SECONDS = 2.0
_SILENT = logging.CRITICAL + 1
_Heard = TypeVar("_Heard")
# What a room says besides the battle: who comes and goes, chat, the clock, and what is meant for one player alone.
_NOT_OF_THE_BATTLE = frozenset(
    (
        *("init", "title", "deinit", "noinit", "error", "bigerror", "raw", "html", "uhtml", "uhtmlchange"),
        *("j", "J", "join", "l", "L", "leave", "n", "N", "name", "c", "c:", "chat", "hidelines", "unlink"),
        *("request", "sentchoice", "inactive", "inactiveoff", "askreg", "expire", "tempnotify", "tempnotifyoff"),
    )
)


class ServerBattlefield:
    """Battles on the server at `url`, `ws://HOST:PORT`. Seat p1 always is the policy p1.

    `person` is the name of a person who plays seat p2 instead of a policy, one battle after the other; `tell` is given
    what they and those who watch should know.
    """

    def __init__(
        self, url: str, *, person: str | None = None, node: Path | None = None, tell: Callable[[str], None] = log.info
    ) -> None:
        """Node: for the simulator that checks teams. Raises UsageError when `url` is no websocket address."""
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise UsageError(f"{url!r} is no address of a Showdown server; it should look like ws://127.0.0.1:8000")
        # Showdown's page sends browsers on to its own client, which wants localhost for this machine.
        host = "localhost" if parts.hostname == "127.0.0.1" else parts.hostname
        self.page = f"http{parts.scheme[2:]}://{host}" + (f":{parts.port}" if parts.port else "")
        self._person = person
        self._node = node
        self._tell = tell
        self._accounts: dict[str, _Account] = {}
        self._opening = asyncio.Lock()
        self._person_is_free = asyncio.Lock()
        self._watcher_name = f"watcher {token_hex(2)}"

    async def __aenter__(self) -> "ServerBattlefield":
        await self._account(self._watcher_name)
        return self

    async def __aexit__(self, *_: object) -> None:
        for account in self._accounts.values():
            await account.close()

    async def versions(self) -> Mapping[str, str]:
        """The server's address: its version is nothing that it tells."""
        return {"showdown-server": self.url}

    async def validate_team(self, format_id: str, team: str) -> str:
        """The packed form of an exported team. Raises InvalidTeam, with the reasons of the simulator installed here."""
        async with Simulator(self._node) as simulator:
            return await simulator.validate_team(format_id, team)

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        turn_of_person: AbstractAsyncContextManager[Any] = self._person_is_free if self._person else nullcontext()
        async with turn_of_person:
            async with self._opening:
                watcher = await self._account(self._watcher_name)
                seated = {
                    seat: await self._account(setup.names[seat]) for seat in SEATS if seat == "p1" or not self._person
                }
                room = await (self._open_with_person(setup) if self._person else self._open(setup))
            self._tell(f"Watch battle {setup.tag} at {self.page}/{room}")
            await watcher.enter(room)
            try:
                return await _fight(room, setup, seated, watcher, players, log)
            except BaseException:
                await seated["p1"].say("/forfeit", room)
                raise
            finally:
                for account in (*seated.values(), watcher):
                    await account.leave(room)

    async def _account(self, name: str) -> "_Account":
        account = self._accounts.get(name)
        if account is None or account.lost:
            account = _Account(name, self.url)
            await account.connect()
            self._accounts[name] = account
        return account

    async def _open(self, setup: BattleSetup) -> str:
        """Let p1's account challenge p2's, which gives it seat p1. Battles between two accounts open one by one."""
        p1, p2 = (self._accounts[setup.names[seat]] for seat in SEATS)
        teams = setup.teams or {}
        for account in (p1, p2):
            account.forget_news()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await p1.challenge(p2.username, setup.format, teams.get("p1"))
                await p1.news_of("/challenge ")
                await p2.accept_challenge(p1.username, teams.get("p2"))
                rooms = [await account.news_of(">") for account in (p1, p2)]
        except TimeoutError as error:
            raise BattleBroken(f"the Showdown server opened no battle in {ANSWER_TIMEOUT_SECONDS:.0f} s") from error
        if rooms[0] != rooms[1]:
            raise BattleBroken(f"the two players were sent into different rooms, {rooms[0]} and {rooms[1]}")
        return rooms[0]

    async def _open_with_person(self, setup: BattleSetup) -> str:
        """Challenge the person as soon as they are there, and wait until they accept."""
        p1, person = self._accounts[setup.names["p1"]], setup.names["p2"]
        # Who challenges gets seat p1, so the person must not come first.
        await p1.say("/blockchallenges")
        self._tell(f"Open {self.page}, choose the name {person!r}, and accept the challenge of {p1.username!r}.")
        while True:
            p1.forget_news()
            await p1.challenge(person, setup.format, (setup.teams or {}).get("p1"))
            if (room := await _accepted(p1, person)) is not None:
                return room
            await asyncio.sleep(PERSON_POLL_SECONDS)


class _Account(PSClient):
    """One name on the server, and what is said to it."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(
            AccountConfiguration(name, None),
            server_configuration=ServerConfiguration(f"{url}/showdown/websocket", ""),
            log_level=_SILENT,
            on_battle_message=self._hear,
            start_listening=False,
            loop=asyncio.get_running_loop(),
        )
        self.lost = False
        self._url = url
        self._news: asyncio.Queue[str | None] = asyncio.Queue()
        self._rooms: dict[str, asyncio.Queue[list[str] | None]] = {}
        self._listening: asyncio.Task[None]

    async def connect(self) -> None:
        """Connect and log in. Raises Unreachable."""
        try:
            # poke-env's client tells nobody why it could not connect, so this is tried first.
            async with connect(self.websocket_url, open_timeout=ANSWER_TIMEOUT_SECONDS):
                pass
        except (OSError, TimeoutError, WebSocketException) as error:
            raise Unreachable(f"no Showdown server answers at {self._url}: {one_line(error)}") from error
        self._listening = asyncio.create_task(self._listen_to_the_end())
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await self.logged_in.wait()
        except TimeoutError as error:
            await self.close()
            raise Unreachable(f"the Showdown server at {self._url} lets nobody in as {self.username!r}") from error

    async def close(self) -> None:
        if not self.lost:
            await self.websocket.close()
        await self._listening

    async def news(self) -> str:
        """The next that is said outside of rooms: `>ROOM` where a battle opens, `popup TEXT`, or a message's text."""
        return self._unless_lost(await self._news.get())

    async def news_of(self, start: str) -> str:
        """The rest of the next news that starts so. Raises BattleBroken when the server says why there is none."""
        while not (news := await self.news()).startswith(start):
            if news.startswith("popup "):
                raise BattleBroken(f"the Showdown server opened no battle: {one_line(news.removeprefix('popup '))}")
        return news.removeprefix(start)

    def forget_news(self) -> None:
        while not self._news.empty():
            self._news.get_nowait()

    async def enter(self, room: str) -> None:
        self._rooms[room] = asyncio.Queue()
        await self.say(f"/join {room}")

    async def lines(self, room: str) -> list[str]:
        return self._unless_lost(await self._rooms[room].get())

    async def say(self, text: str, room: str = "") -> None:
        """Send a command, unless there is nobody left to send it to."""
        with suppress(ConnectionClosed):
            await self.send_message(text, room)

    async def leave(self, room: str) -> None:
        self._rooms.pop(room, None)
        await self.say(f"/leave {room}")

    async def _listen_to_the_end(self) -> None:
        await self.listen()  # type: ignore[no-untyped-call]
        self.lost = True
        self._news.put_nowait(None)
        for room in self._rooms.values():
            room.put_nowait(None)

    async def _handle_message(self, message: str) -> None:
        # Before poke-env, which knows no popups and logs as a warning whatever is none of its business.
        kind, _, text = message.removeprefix("|").partition("|")
        if message.startswith(">battle") or kind in ("challstr", "updateuser"):
            await super()._handle_message(message)
        elif kind in ("popup", "nametaken"):
            self._news.put_nowait(f"popup {text}")
        elif kind == "pm":
            self._news.put_nowait(text.split("|", 2)[-1])

    async def _hear(self, message: list[list[str]]) -> None:
        room, lines = message[0][0][1:], ["|".join(parts) for parts in message[1:]]
        if room not in self._rooms:
            if not lines[0].startswith("|init|"):
                return  # The last words from a room that was left.
            self._rooms[room] = asyncio.Queue()
            self._news.put_nowait(f">{room}")
        self._rooms[room].put_nowait(lines)

    def _unless_lost(self, heard: _Heard | None) -> _Heard:
        if heard is None:
            raise Unreachable(f"the connection of {self.username!r} to the Showdown server at {self._url} was lost")
        return heard


async def _accepted(p1: _Account, person: str) -> str | None:
    """The battle's room once the person has accepted; None when they are not there. Raises BattleBroken."""
    while True:
        news = await p1.news()
        if news.startswith(">"):
            return news.removeprefix(">")
        if news.startswith("/nonotify ") and "rejected the challenge" in news:
            raise BattleBroken(f"{person} rejected the challenge")
        if news.startswith("/text Challenge cancelled") or (news.startswith("popup ") and "was not found" in news):
            return None
        if news.startswith("popup "):
            raise BattleBroken(f"the Showdown server refused the challenge: {one_line(news.removeprefix('popup '))}")


async def _fight(
    room: str,
    setup: BattleSetup,
    seated: Mapping[Seat, _Account],
    watcher: _Account,
    players: Mapping[Seat, Player],
    log: list[str],
) -> FoughtBattle:
    try:
        async with asyncio.TaskGroup() as group:
            for seat, account in seated.items():
                group.create_task(_play(room, account, players[seat]))
            watching = group.create_task(_watch(room, setup, watcher, log))
    except ExceptionGroup as errors:
        # One is enough to know: the others follow from it.
        raise errors.exceptions[0] from errors
    return watching.result()


async def _play(room: str, account: _Account, player: Player) -> None:
    """Answer every request of one seat until the battle ends."""
    answered = 0
    while True:
        lines = await account.lines(room)
        player.hear(tuple(_of_the_battle(lines)))
        request: dict[str, Any] | None = None
        for line in lines:
            kind, text = _taken_apart(line)
            if kind in ("win", "tie"):
                return
            if kind == "error":
                player.refused(text)
            elif kind == "request" and text:
                request = json.loads(text)
        # A server that lets somebody into a room repeats the request that waits there.
        if request and needs_answer(request) and request["rqid"] > answered:
            answered = request["rqid"]
            order = await player.answer(request)
            await account.say("/forfeit" if order == FORFEIT else f"/choose {order}|{answered}", room)


async def _watch(room: str, setup: BattleSetup, watcher: _Account, log: list[str]) -> FoughtBattle:
    """Write down the battle as a spectator sees it."""
    turns = 0
    while True:
        lines = await watcher.lines(room)
        log.extend(_of_the_battle(lines))
        for line in lines:
            match _taken_apart(line):
                case "turn", number:
                    turns = int(number)
                case "win", name:
                    return FoughtBattle("p1" if name == setup.names["p1"] else "p2", turns)
                case "tie", _:
                    return FoughtBattle(None, turns)
                case "noinit", why:
                    raise BattleBroken(f"the battle cannot be watched: {one_line(why)}")
                case "bigerror", why if "crashed" in why:
                    raise BattleBroken(f"the Showdown server gave the battle up: {one_line(why)}")


def _of_the_battle(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.startswith("|") and _taken_apart(line)[0] not in _NOT_OF_THE_BATTLE)


def _taken_apart(line: str) -> tuple[str, str]:
    kind, _, text = line[1:].partition("|")
    return kind, text
