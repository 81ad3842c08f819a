"""What watchers cost the arena: the same matchup through the queue, with nobody watching and with many, by turns.

The last line is JSON: {"ratio": decisions a second with watchers over without, "watchers", "events_per_watcher",
"api_mb": how much the API's memory grew while one of the watchers read nothing}.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from deploy.client import MATCHUPS, ApiClient
from deploy.stack import LocalStack
from shared.matchups import Matchups
from shared.records import NewMatchup
from shared.settings import Settings
from shared.store import Store
from shared.work import ENDED


async def watch(url: str, matchup_id: str, watchers: int, ended: asyncio.Event) -> int:
    """Follow a matchup with so many connections until `ended`; how many events came in all."""
    limits = httpx2.Limits(max_connections=None)
    events = 0
    async with httpx2.AsyncClient(base_url=url, timeout=None, limits=limits) as client:

        async def one() -> None:
            nonlocal events
            async with client.stream("GET", f"/matchups/{matchup_id}/events") as answer:
                async for line in answer.aiter_lines():
                    events += line.startswith("event:")

        tasks = [asyncio.create_task(one()) for _ in range(watchers)]
        await ended.wait()
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return events


def deaf(url: str, matchup_id: str) -> socket.socket:
    """A watcher that reads nothing."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(f"GET /matchups/{matchup_id}/events HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return connection


def until_ended(client: ApiClient, matchup_id: str) -> None:
    """Wait for a matchup."""
    while client.get(MATCHUPS, matchup_id).state not in ENDED:
        time.sleep(0.2)


async def played(stack: LocalStack, new: NewMatchup, watchers: int, store: Store) -> tuple[float, int]:
    """Decisions a second of a matchup, from its first battle to its last, and how many events watchers had."""
    with stack.client() as client:
        matchup_id = client.ask(MATCHUPS, new).id
        ended = asyncio.Event()
        watching = asyncio.create_task(watch(stack.url, matchup_id, watchers, ended))
        silent = [deaf(stack.url, matchup_id)] if watchers else []
        await asyncio.to_thread(until_ended, client, matchup_id)
        ended.set()
        events = await watching
        for connection in silent:
            connection.close()
    records = list(Matchups(store).battles(matchup_id))
    began = [datetime.fromisoformat(record.started_at).timestamp() for record in records]
    took = max(start + record.duration_s for start, record in zip(began, records, strict=True)) - min(began)
    return sum(len(record.decisions) for record in records) / took, events


def child_running(module: str) -> int:
    """The process that this one started with that module."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return next(int(pid) for pid in children if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


async def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--battles", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    new = NewMatchup(p1="heuristic", p2="random", battles=given.battles, concurrency=32, seed=7, luck="off")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=f"{folder}/store", redis_url=None, api_port=None, scraper_workers=0)
        ratios, events = [], 0
        with LocalStack(settings, arena_workers=1, folder=Path(folder)) as stack:
            api = child_running("deploy.api")
            await played(stack, new, 0, Store(settings.store))  # Warm.
            before = memory_mb(api)
            for number in range(given.rounds):
                # By turns first, so that what else the machine does falls on both alike.
                found = {}
                for watchers in (0, given.watchers)[:: (1, -1)[number % 2]]:
                    found[watchers], came = await played(stack, new, watchers, Store(settings.store))
                    events += came
                alone, watched = found[0], found[given.watchers]
                ratios.append(watched / alone)
                print(f"round {number + 1}: {alone:.0f} decisions a second alone, {watched:.0f} watched", flush=True)
            grown = memory_mb(api) - before
    result = {
        "ratio": round(statistics.median(ratios), 3),
        "watchers": given.watchers,
        "events_per_watcher": round(events / given.watchers / given.rounds),
        "api_mb": round(grown, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
