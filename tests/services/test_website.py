"""Somebody else's website: it is asked politely, and what it does wrong has a clear end."""

import asyncio
from collections.abc import Sequence

import pytest

from services.scraper.website import USER_AGENT, Website
from shared.errors import BrokenRecord, NotFound, Unreachable
from tests.standins.http import Received, Reset, Send, Server


class Scripted:
    """Gives one answer after the other, the last one again and again."""

    def __init__(self, *answers: Send | type[Reset]) -> None:
        self.answers: list[Send | type[Reset]] = list(answers)
        self.received: list[Received] = []

    async def __call__(self, request: Received) -> Send:
        self.received.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Send):
            return answer
        raise answer


class Slept:
    """Waits no time at all, and remembers how long it should have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


async def test_it_says_who_asks() -> None:
    answers = Scripted(Send(b"page"))
    async with Server(answers) as server, Website(server.url) as site:
        body = await site.get("/search.json", {"page": 2})

    assert body == b"page"
    assert answers.received[0].path == "/search.json?page=2"
    assert answers.received[0].headers["user-agent"] == USER_AGENT


@pytest.mark.parametrize(
    "trouble",
    [
        (Send(status=500),),
        (Send(status=429), Send(status=503)),
        (Reset, Reset),
        (Send(b"", headers={"content-length": "9"}), Reset),
    ],
    ids=["500", "429-503", "resets", "cut-off"],
)
async def test_a_passing_trouble_is_waited_out(trouble: Sequence[Send | type[Reset]]) -> None:
    slept = Slept()
    async with (
        Server(Scripted(*trouble, Send(b"at last"))) as server,
        Website(server.url, sleep=slept, timeout_seconds=2.0) as site,
    ):
        body = await site.get("/page")

    assert body == b"at last"
    assert site.requests == len(trouble) + 1


async def test_waits_grow_with_each_failure() -> None:
    slept = Slept()
    async with (
        Server(Scripted(Send(status=500))) as server,
        Website(server.url, sleep=slept, attempts=6, requests_per_second=1e6) as site,
    ):
        with pytest.raises(Unreachable, match="status 500"):
            await site.get("/page")

    waits = [seconds for seconds in slept.seconds if seconds > 0.001]
    assert len(waits) <= 5
    assert all(seconds <= 2.0 ** (n + 1) for n, seconds in enumerate(slept.seconds[-5:]))


async def test_it_comes_back_when_the_site_says_and_not_before() -> None:
    slept = Slept()
    async with (
        Server(Scripted(Send(status=429, headers={"retry-after": "7"}), Send(b"now"))) as server,
        Website(server.url, sleep=slept) as site,
    ):
        body = await site.get("/page")

    assert body == b"now"
    assert 7.0 in slept.seconds
    # The site's wait holds for whoever asks next, too: since no time went by here, the next request would wait again.
    assert slept.seconds[-1] > 6.0


async def test_a_site_that_wants_to_be_left_alone_is() -> None:
    async with (
        Server(Scripted(Send(status=429, headers={"retry-after": "86400"}))) as server,
        Website(server.url) as site,
    ):
        with pytest.raises(Unreachable, match="come back in 86400 s"):
            await site.get("/page")

    assert site.requests == 1


async def test_what_is_not_there_is_not_asked_for_again() -> None:
    async with Server(Scripted(Send(status=404))) as server, Website(server.url) as site:
        with pytest.raises(NotFound, match="/gone does not exist"):
            await site.get("/gone")

    assert site.requests == 1


async def test_a_refusal_is_final() -> None:
    async with Server(Scripted(Send(status=403))) as server, Website(server.url) as site:
        with pytest.raises(Unreachable, match="status 403"):
            await site.get("/page")

    assert site.requests == 1


async def test_an_endless_answer_is_cut() -> None:
    async with (
        Server(Scripted(Send(b"x" * 5000))) as server,
        Website(server.url, max_answer_bytes=4096) as site,
    ):
        with pytest.raises(BrokenRecord, match="larger than 4096 bytes"):
            await site.get("/page")


async def test_requests_start_at_the_rate_asked_for() -> None:
    slept = Slept()
    async with (
        Server(Scripted(Send(b"page"))) as server,
        Website(server.url, sleep=slept, requests_per_second=0.01) as site,
    ):
        await asyncio.gather(*(site.get("/page") for _ in range(4)))

    assert [round(seconds, -2) for seconds in slept.seconds] == [100, 200, 300]


async def test_no_more_connections_than_allowed_are_open() -> None:
    at_once = most = 0
    all_used = asyncio.Event()

    async def respond(_: Received) -> Send:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 3:
            all_used.set()
        await all_used.wait()
        await asyncio.sleep(0.01)
        at_once -= 1
        return Send(b"page")

    async with (
        Server(respond) as server,
        Website(server.url, connections=3, requests_per_second=1e6) as site,
    ):
        await asyncio.gather(*(site.get("/page") for _ in range(20)))

        assert server.opened <= 3
    assert most == 3
