"""What a matchup takes the larger it is: its report's memory and time, its run served, how long polls and lists take.

    python -m benchmarks.scale                               1,000, 10,000 and 100,000 battles
    python -m benchmarks.scale --battles 1000 --store DIR    keeps the battles in DIR, or takes those that are there

A few battles are played, and recorded again and again under other numbers. Each figure is taken in a process of its
own, whose imports are not counted as time. Figures are of the package that Python finds first, so with a folder that
holds battles already this very file measures an earlier version:

    PYTHONPATH=EARLIER_CHECKOUT python benchmarks/scale.py --store DIR
"""

import argparse
import asyncio
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared.matchups import Matchups
from shared.records import MatchupRequest
from shared.settings import Settings
from shared.store import Store

PLAYED = 20
SIZES = (1_000, 10_000, 100_000)
POLLS_AT_ONCE = 45
SMALL = "small"
ROWS: Mapping[str, str] = {
    "report_mb": "report: most memory, MB",
    "report_s": "report: seconds",
    "report_cpu_s": "report: seconds of CPU",
    "run_gz_mb": "run.json.gz, MB",
    "html_mb": "report.html, MB",
    "get_run_mb": "GET run, gzipped: most memory, MB",
    "get_run_s": "GET run, gzipped: seconds",
    "get_plain_run_mb": "GET run, not gzipped: most memory, MB",
    "poll_cold_ms": "first poll of a process, ms",
    "poll_cold_cpu_ms": "first poll of a process, ms of CPU",
    "poll_warm_ms": "poll, ms (median of 20)",
    "polls_at_once_ms": f"{POLLS_AT_ONCE} polls at once, all answered after ms",
    "list_cold_ms": "first list of a process, ms",
    "list_warm_ms": "list, ms (median of 20)",
    "sums_made_again_s": "first poll without kept sums, s",
    "small_poll_meanwhile_ms": "poll of a small matchup meanwhile: longest, ms",
}


def name_of(battles: int) -> str:
    """Of the matchup with so many."""
    return f"scale-{battles}"


# ── many battles ────────────────────────────────────────────────────────────────────────────────────


def fill(folder: Path, sizes: list[int]) -> None:
    """The matchups that are not there yet."""
    from services.arena.play import play

    store = Store(str(folder))
    wanted = {name_of(size): size for size in sizes} | {SMALL: 4}
    missing = {name: size for name, size in wanted.items() if not store.exists(f"matchups/{name}/request.json")}
    if not missing:
        return
    request = MatchupRequest(p1="heuristic", p2="max-damage", battles=PLAYED, seed=1)
    played: dict[int, dict[str, Any]] = {}
    asyncio.run(
        play(
            request,
            range(PLAYED),
            matchup_id="m",
            worker="benchmark",
            on_record=lambda record: played.update({record.index: json.loads(record.model_dump_json())}),
        )
    )
    own = ("index", "battle_tag", "pair")
    rest = [
        json.dumps({name: value for name, value in played[index].items() if name not in own})[1:] for index in played
    ]
    for name, size in missing.items():
        battles = folder / "matchups" / name / "battles"
        battles.mkdir(parents=True, exist_ok=True)
        for index in range(size):
            head = f'{{"index":{index},"battle_tag":"{name}-{index:05d}","pair":{index // 2},'
            packed = gzip.compress((head + rest[index % PLAYED]).encode(), compresslevel=1)
            (battles / f"{index:05d}.json.gz").write_bytes(packed)
        Matchups(store).create(name, request.model_copy(update={"battles": size}))


# ── figures, each in a process of its own ───────────────────────────────────────────────────────────


def report(store: Store, name: str) -> dict[str, float]:
    """Write run and report."""
    from services.reporter.report import write_report
    from shared.jobs import Context
    from shared.jobs.routes import WriteReport

    context = Context(Settings(store=store.url), store, lambda payload: True, lambda: False, "benchmark")
    busy = time.process_time()
    seconds, _ = timed(lambda: write_report(WriteReport(matchup_id=name, revision="0"), context))
    busy = time.process_time() - busy
    sizes = {file: size_of(store, f"matchups/{name}/{file}") for file in ("run.json.gz", "report.html")}
    return {"mb": most_mb(), "s": seconds, "cpu": busy, "run": sizes["run.json.gz"], "html": sizes["report.html"]}


def get_run(store: Store, name: str, accepted: str = "gzip") -> dict[str, float]:
    """Have the API serve it, to one who takes whatever comes."""
    from fastapi import FastAPI

    from services.arena.api import router

    # Earlier versions take the store alone.
    given: list[Any] = [store, Settings(store=store.url)]
    app = FastAPI()
    app.include_router(router(*given[: len(signature(router).parameters)]))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": f"/matchups/{name}/run",
        "raw_path": f"/matchups/{name}/run".encode(),
        "query_string": b"",
        "headers": [(b"host", b"x"), (b"accept-encoding", accepted.encode())],
        "scheme": "http",
        "server": ("x", 80),
        "client": ("x", 1),
        "root_path": "",
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    seconds, _ = timed(lambda: asyncio.run(app(scope, receive, send)))
    assert statuses == [200], statuses
    return {"mb": most_mb(), "s": seconds}


def get_plain_run(store: Store, name: str) -> dict[str, float]:
    """The same, to one who takes no gzip."""
    return get_run(store, name, "identity")


def polls(store: Store, name: str) -> dict[str, float]:
    """Ask how it stands, as often as a page that shows it, and for the list."""
    from services.arena.matchups import MatchupWork

    work = MatchupWork(store, Settings(store=store.url))
    busy = time.process_time()
    cold, _ = timed(lambda: work.standing(name))
    busy = time.process_time() - busy
    warm = statistics.median(timed(lambda: work.standing(name))[0] for _ in range(20))
    with ThreadPoolExecutor(POLLS_AT_ONCE) as threads:
        at_once, _ = timed(lambda: list(threads.map(work.standing, [name] * POLLS_AT_ONCE)))
    work = MatchupWork(store, Settings(store=store.url))
    list_cold, _ = timed(lambda: work.listed(name))
    list_warm = statistics.median(timed(lambda: work.listed(name))[0] for _ in range(20))
    return {
        "cold": cold * 1e3,
        "cold_cpu": busy * 1e3,
        "warm": warm * 1e3,
        "at_once": at_once * 1e3,
        "list_cold": list_cold * 1e3,
        "list_warm": list_warm * 1e3,
    }


def rebuild(store: Store, name: str) -> dict[str, float]:
    """Ask where no sums are kept, and meanwhile how a small matchup stands."""
    from services.arena.matchups import MatchupWork

    work = MatchupWork(store, Settings(store=store.url))
    work.standing(SMALL)
    for path in Path(store.url, "matchups", name, "sums").glob("*"):
        path.unlink()
    longest, done = 0.0, threading.Event()

    def ask_for_the_small_one() -> None:
        nonlocal longest
        while not done.is_set():
            longest = max(longest, timed(lambda: work.standing(SMALL))[0])
            time.sleep(0.01)

    asking = threading.Thread(target=ask_for_the_small_one)
    asking.start()
    seconds, _ = timed(lambda: work.standing(name))
    done.set()
    asking.join()
    return {"s": seconds, "small": longest * 1e3}


MEASURES: Mapping[str, tuple[Callable[[Store, str], dict[str, float]], Mapping[str, str]]] = {
    "report": (
        report,
        {"report_mb": "mb", "report_s": "s", "report_cpu_s": "cpu", "run_gz_mb": "run", "html_mb": "html"},
    ),
    "get_run": (get_run, {"get_run_mb": "mb", "get_run_s": "s"}),
    "get_plain_run": (get_plain_run, {"get_plain_run_mb": "mb"}),
    "polls": (
        polls,
        {
            "poll_cold_ms": "cold",
            "poll_cold_cpu_ms": "cold_cpu",
            "poll_warm_ms": "warm",
            "polls_at_once_ms": "at_once",
            "list_cold_ms": "list_cold",
            "list_warm_ms": "list_warm",
        },
    ),
    "rebuild": (rebuild, {"sums_made_again_s": "s", "small_poll_meanwhile_ms": "small"}),
}


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result


def most_mb() -> float:
    """The most memory that this process has had."""
    # Not getrusage's, which a child inherits from its parent.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def size_of(store: Store, path: str) -> float:
    """In MB."""
    return Path(store.url, path).stat().st_size / 2**20


def measured(folder: Path, name: str) -> dict[str, float]:
    """All figures of one matchup."""
    found: dict[str, float] = {}
    for measure, (_, figures) in MEASURES.items():
        command = [sys.executable, str(Path(__file__).resolve()), "--store", str(folder), "--measure", measure, name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        said = json.loads(done.stdout.splitlines()[-1])
        found |= {figure: round(said[key], 2) for figure, key in figures.items()}
    return found


def main() -> None:
    """Measure, and print a table and, last, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "MATCHUP"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        what, name = given.measure
        print(json.dumps(MEASURES[what][0](Store(str(given.store)), name)))
        return
    with tempfile.TemporaryDirectory(prefix="alphastral-scale-") as temporary:
        folder = given.store or Path(temporary)
        fill(folder, given.battles)
        found = {battles: measured(folder, name_of(battles)) for battles in given.battles}
    sizes = sorted(found)
    growth = [f"{small:,} → {large:,}" for small, large in pairwise(sizes)]
    print("| | " + " | ".join([*(f"{battles:,}" for battles in sizes), *growth]) + " |")
    print("|---" * (1 + len(sizes) + len(growth)) + "|")
    for figure, words in ROWS.items():
        values = [found[battles][figure] for battles in sizes]
        times = [f"× {late / early:.1f}" if early else "" for early, late in pairwise(values)]
        print(f"| {words} | " + " | ".join([*(f"{value:,.4g}" for value in values), *times]) + " |")
    print(json.dumps({str(battles): found[battles] for battles in sizes}))


if __name__ == "__main__":
    main()
