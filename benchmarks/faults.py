"""A soak: a local stack plays matchups while faults of machines, Redis and the store befall it, and nobody helps.

    .venv/bin/python benchmarks/faults.py [--seed 1] [--faults 200] [--battles 3000] [--longest 60]

The services are real processes. What only root can bring about, a full or a read-only disk, is left out for others.
Every kind of fault comes at least once, in an order and for a time that the seed decides; one in two begins while
another lasts. Matchups of `random` against `random` are asked for all the time, each with a pause for every
decision, so that the machine has time for faults. At the end every run is verified. The last line is JSON:

    faults               that befell it
    battles              asked for
    lost                 without a record in a run at the end
    doubled              whose record was written a second time
    broken               that were recorded as broken
    manual               matchups that did not end by themselves; those whose run `verify` refuses are counted, too
    longest_standstill_s between two records of battles, less the seconds in which a fault lasted
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import httpx2
import redis

from deploy.cli.verify import verify
from deploy.client import MATCHUPS, ApiClient
from deploy.stack import LocalStack
from services.arena.matchups import Progress
from shared.errors import AlphaStralError, NotFound
from shared.jobs.queue import connect
from shared.matchups import Matchups
from shared.process import cores, in_processes
from shared.records import NewMatchup, Run
from shared.settings import Settings
from shared.simulator import find_node
from shared.store import Store
from shared.work import ENDED, State

WORKERS = 3
AT_ONCE = 4
"""Matchups in play, so that there is always something to do."""
DISK_BYTES = 192 << 20
STANDSTILL_MEANS_HELP_SECONDS = 240.0
Undo = Callable[[], None]
NODE = """#!/bin/sh
[ -e "{sick}/all" ] && exit 127
worker=$(cut -d' ' -f4 /proc/$PPID/stat)
[ -e "{sick}/$worker" ] && exit 127
exec {node} "$@"
"""


@dataclass
class Soak:
    """The stack, what was asked of it, and what became of its battles."""

    folder: Path
    rng: Random
    stack: LocalStack
    disk: bool
    battles: int
    """Of a matchup."""
    asked: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    seen: dict[Path, int] = field(default_factory=dict)
    """A battle's file → when it was written."""
    spoiled: set[Path] = field(default_factory=set)
    """Files that a fault has changed: they are written again."""
    doubled: set[Path] = field(default_factory=set)
    moved_on: list[float] = field(default_factory=list)
    """When something was recorded."""

    def __post_init__(self) -> None:
        self.store = self.folder / "store"
        self.files = Store(str(self.store))
        self.api = ApiClient(self.stack.url)
        # A stopped API holds up nothing here.
        self.api._http.timeout = httpx2.Timeout(2.0)
        self.redis: redis.Redis = connect(self.stack.redis_url, patience_seconds=0)

    # ── work ────────────────────────────────────────────────────────────────────────────────────────

    def ask(self) -> None:
        """Ask for another matchup, unless the API says that it cannot now; who asks would ask again."""
        number = len(self.asked)
        new = NewMatchup(p1="random", p2="random", battles=self.battles, seed=number, concurrency=4, move_delay=0.02)
        with suppress(AlphaStralError):
            id = self.api.ask(MATCHUPS, new, idempotency_key=f"soak-{number}").id
            self.asked.append(id)
            self.open.add(id)

    def look(self) -> None:
        """Notice what was recorded since the last look."""
        with suppress(OSError):
            for id in sorted(self.open):
                for path in (self.store / "matchups" / id / "battles").glob("[0-9]*.json.gz"):
                    written = path.stat().st_mtime_ns
                    if self.seen.setdefault(path, written) != written:
                        if path not in self.spoiled:
                            self.doubled.add(path)
                        self.seen[path] = written
                        self.spoiled.discard(path)
                    elif written > (self.moved_on[-1] if self.moved_on else 0) * 1e9:
                        self.moved_on.append(written / 1e9)
        for id in sorted(self.open):
            with suppress(AlphaStralError):
                if Progress.of(self.files, id).state in ENDED:
                    self.open.discard(id)
                    self.moved_on.append(time.time())

    # ── victims ─────────────────────────────────────────────────────────────────────────────────────

    def child(self, name: str) -> int:
        return self.stack._children[name].pid

    def worker(self) -> int:
        return self.child(f"arena-{self.rng.randint(1, WORKERS)}")

    def below(self, pid: int) -> list[int]:
        """What a process has started."""
        with suppress(OSError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def jobs(self) -> list[int]:
        return [job for number in range(1, WORKERS + 1) for job in self.below(self.child(f"arena-{number}"))]

    def job(self) -> list[int]:
        """The process of a job that runs, if any does."""
        return self.rng.sample(jobs, 1) if (jobs := self.jobs()) else []

    def node(self) -> list[int]:
        """A Node.js of a job that runs, if any does."""
        found = [node for job in self.jobs() for node in self.below(job)]
        return self.rng.sample(found, 1) if found else []

    def redis_server(self) -> list[int]:
        return self.below(self.stack._redis.pid) if self.stack._redis else []

    def unfinished(self) -> Path | None:
        folders = [self.store / "matchups" / id for id in sorted(self.open)]
        return self.rng.choice(folders) if folders else None

    def battle(self) -> Path | None:
        """The file of a battle of a matchup that goes on."""
        folder = self.unfinished()
        files = sorted((folder / "battles").glob("[0-9]*.json.gz")) if folder else []
        return self.rng.choice(files) if files else None


# ── faults: each begins, and gives what ends it ─────────────────────────────────────────────────────


def _nothing() -> None:
    """Over as soon as it has begun."""


def signalled(victims: Callable[[Soak], list[int]], number: signal.Signals) -> Callable[[Soak], Undo]:
    """Processes get a signal; those that were stopped go on at the end."""

    def begin(soak: Soak) -> Undo:
        pids = victims(soak)
        _kill(pids, number)
        return (lambda: _kill(pids, signal.SIGCONT)) if number is signal.SIGSTOP else _nothing

    return begin


def _kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def ordered(*begin: str, end: str = "") -> Callable[[Soak], Undo]:
    """Redis gets orders, as in a shell, and at the end another one."""

    def do(soak: Soak, *orders: str) -> None:
        for order in orders:
            soak.redis.execute_command(*shlex.split(order))  # type: ignore[no-untyped-call]

    def fault(soak: Soak) -> Undo:
        with suppress(redis.RedisError):
            do(soak, *begin)
        return lambda: _until_done(lambda: do(soak, end)) if end else None

    return fault


def _until_done(do: Callable[[], None], seconds: float = 15.0) -> None:
    """A Redis that was killed meanwhile is itself again, once it is back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(redis.RedisError):
            return do()
        time.sleep(0.2)
    return None


def half_lost(pattern: str) -> Callable[[Soak], Undo]:
    """Redis loses some keys."""

    def begin(soak: Soak) -> Undo:
        with suppress(redis.RedisError):
            if keys := soak.redis.keys(pattern):
                soak.redis.delete(*keys)
        return _nothing

    return begin


def full(soak: Soak) -> Undo:
    """Nothing more can be written."""
    filler = soak.folder / "disk" / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while file.write(bytes(1 << 20)):
            pass
    return lambda: filler.unlink(missing_ok=True)


def read_only(soak: Soak) -> Undo:
    """Nothing can be changed."""
    disk = soak.folder / "disk"

    def mount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", disk], check=False, capture_output=True)

    mount("ro")
    return lambda: mount("rw")


def away(soak: Soak) -> Undo:
    """A disk that is not there, and whose place takes nothing."""
    there, aside = soak.store.resolve(), soak.store.resolve().with_name("aside")
    there.rename(aside)
    there.touch()

    def back() -> None:
        there.unlink()
        aside.rename(there)

    return back


def _changed(path: Path | None, change: Callable[[Path], None]) -> Undo:
    if path is None or not path.exists():
        return _nothing
    was = path.read_bytes()
    with suppress(OSError):
        change(path)
    return lambda: _until_written(path, was)


def _until_written(path: Path, raw: bytes) -> None:
    for _ in range(300):
        with suppress(OSError):
            path.write_bytes(raw)
            return
        time.sleep(0.2)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def request_broken(soak: Soak) -> Undo:
    """What a matchup was asked for cannot be read."""
    folder = soak.unfinished()
    return _changed(folder and folder / "request.json", _halve)


def request_gone(soak: Soak) -> Undo:
    """What a matchup was asked for is not there."""
    folder = soak.unfinished()
    return _changed(folder and folder / "request.json", Path.unlink)


def cut(keep: float) -> Callable[[Soak], Undo]:
    """Of a battle's file this share is left."""

    def begin(soak: Soak) -> Undo:
        path = soak.battle()
        if path is not None:
            with suppress(OSError):
                raw = path.read_bytes()
                soak.spoiled.add(path)
                path.write_bytes(raw[: int(len(raw) * keep)])
                soak.seen[path] = path.stat().st_mtime_ns
        return _nothing

    return begin


def sick(who: Callable[[Soak], str]) -> Callable[[Soak], Undo]:
    """Node.js does not start for one worker, or for `all`."""

    def begin(soak: Soak) -> Undo:
        mark = soak.folder / "sick" / who(soak)
        mark.touch()
        return lambda: mark.unlink(missing_ok=True)

    return begin


STOP, KILL = signal.SIGSTOP, signal.SIGKILL
FAULTS: dict[str, tuple[Callable[[Soak], Undo], float, float]] = {
    # What begins it, and for how many seconds it lasts, at least and at most.
    "a worker is killed": (signalled(lambda soak: [soak.worker()], KILL), 0, 0),
    "a worker is told to end": (signalled(lambda soak: [soak.worker()], signal.SIGTERM), 0, 0),
    "a worker's terminal is closed": (signalled(lambda soak: [soak.worker()], signal.SIGHUP), 0, 0),
    "all workers are killed": (
        signalled(lambda soak: [soak.child(f"arena-{number}") for number in range(1, WORKERS + 1)], KILL),
        0,
        0,
    ),
    "a worker is stopped, its job plays on": (signalled(lambda soak: [soak.worker()], STOP), 9, 20),
    "a job is killed": (signalled(Soak.job, KILL), 0, 0),
    "a job is stopped": (signalled(Soak.job, STOP), 2, 8),
    "Node.js is killed": (signalled(Soak.node, KILL), 0, 0),
    "Node.js is stopped": (signalled(Soak.node, STOP), 2, 8),
    "the reporter is killed": (signalled(lambda soak: [soak.child("reporter")], KILL), 0, 0),
    "the reporter is stopped": (signalled(lambda soak: [soak.child("reporter")], STOP), 2, 8),
    "the API is killed": (signalled(lambda soak: [soak.child("api")], KILL), 0, 0),
    "the API is stopped": (signalled(lambda soak: [soak.child("api")], STOP), 2, 8),
    "Redis is killed, its disk is lost": (signalled(Soak.redis_server, KILL), 0, 0),
    "Redis is stopped": (signalled(Soak.redis_server, STOP), 2, 12),
    "Redis forgets everything": (ordered("FLUSHALL"), 0, 0),
    "Redis forgets its queues": (half_lost("rq:queue:*"), 0, 0),
    "Redis forgets its jobs": (half_lost("rq:job:*"), 0, 0),
    "Redis forgets who works": (half_lost("rq:w*"), 0, 0),
    "Redis drops its clients": (ordered("CLIENT KILL TYPE normal"), 0, 0),
    "Redis answers nobody": (ordered("CLIENT PAUSE 6000"), 6, 6),
    "Redis is read-only": (ordered("REPLICAOF 127.0.0.1 1", end="REPLICAOF NO ONE"), 4, 12),
    "Redis is full": (ordered("CONFIG SET maxmemory 1", end="CONFIG SET maxmemory 0"), 4, 12),
    "Redis forbids writing": (ordered("ACL SETUSER default -@write", end="ACL SETUSER default +@all"), 4, 12),
    "Redis cannot save": (
        ordered('CONFIG SET save "900 1"', "CONFIG SET dir /proc", "BGSAVE", end='CONFIG SET save ""'),
        4,
        12,
    ),
    "the store is away": (away, 8, 60),
    "the store is full": (full, 8, 60),
    "the store is read-only": (read_only, 8, 60),
    "a request cannot be read": (request_broken, 8, 8),
    "a request is gone": (request_gone, 8, 8),
    "a battle's file is cut": (cut(0.5), 0, 0),
    "a battle's file is empty": (cut(0.0), 0, 0),
    "one worker has no Node.js": (sick(lambda soak: str(soak.worker())), 8, 25),
    "no worker has Node.js": (sick(lambda soak: "all"), 4, 20),
}
NEED_A_DISK = {"the store is full", "the store is read-only"}
# One at a time of each of these groups.
_STORE = {"the store is away", *NEED_A_DISK, "a request cannot be read", "a request is gone", "a battle's file is cut"}
GROUPS = (_STORE | {"a battle's file is empty"}, {name for name in FAULTS if name.startswith("Redis")})


def planned(rng: Random, faults: int, *, disk: bool) -> Iterator[str]:
    """Each once, and then whatever comes."""
    names = [name for name in FAULTS if disk or name not in NEED_A_DISK]
    rng.shuffle(names)
    yield from names[:faults]
    for _ in range(faults - len(names)):
        yield rng.choice(names)


def befall(soak: Soak, faults: int, battles: int, longest: float) -> tuple[list[tuple[float, float]], Counter[str]]:
    """Let the faults happen; when each began and ended, and how many of each kind there were."""
    plan = list(planned(soak.rng, faults, disk=soak.disk))[::-1]
    lasting: list[tuple[float, float, str, Undo]] = []
    spans: list[tuple[float, float]] = []
    counts: Counter[str] = Counter()
    next_at = time.time() + 3.0
    while plan or lasting or soak.open or len(soak.asked) * soak.battles < battles:
        soak.look()
        now = time.time()
        for fault in [fault for fault in lasting if fault[0] <= now]:
            fault[3]()
            lasting.remove(fault)
            spans.append((fault[1], time.time()))
        if len(soak.open) < AT_ONCE and (plan or len(soak.asked) * soak.battles < battles):
            soak.ask()
        if plan and now >= next_at and _may_begin(plan[-1], [fault[2] for fault in lasting]):
            name = plan.pop()
            begin, least, most = FAULTS[name]
            lasts = min(soak.rng.uniform(least, most), longest)
            print(f"{len(spans) + len(lasting) + 1:4} {time.strftime('%X')} {name} ({lasts:.0f} s)", file=sys.stderr)
            lasting.append((now + lasts, now, name, begin(soak)))
            counts[name] += 1
            next_at = now + soak.rng.uniform(0.5, 3.0) + (0.0 if soak.rng.random() < 0.5 else lasts)
        latest = max([soak.moved_on[-1] if soak.moved_on else now, *(end for _, end in spans[-1:])])
        if not lasting and now - latest > STANDSTILL_MEANS_HELP_SECONDS:
            break
        time.sleep(0.2)
    return spans, counts


def _may_begin(name: str, lasting: list[str]) -> bool:
    return not any(name in group and group & set(lasting) for group in GROUPS)


def longest_standstill(moved_on: list[float], spans: list[tuple[float, float]]) -> float:
    """Seconds without progress, less those in which a fault lasted."""
    longest = 0.0
    for before, after in pairwise(sorted(moved_on)):
        still, reached = 0.0, before
        for begin, end in sorted(span for span in spans if span[0] < after and span[1] > before):
            still += max(0.0, begin - reached)
            reached = max(reached, end)
        longest = max(longest, still + max(0.0, after - reached))
    return longest


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own for the store, where that can be had; whether it can."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(["mount", *options], check=False).returncode == 0
    (disk / "store").mkdir()
    (folder / "store").symlink_to(disk / "store")
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", disk], check=True)


def main() -> None:
    """Run the soak and print what became of it."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--battles", type=int, default=3_000, help="at least; while faults last, it goes on")
    parser.add_argument("--matchup", type=int, default=120, help="battles of a matchup")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds that a fault lasts at most")
    parser.add_argument("--logs", type=Path, help="a folder for the logs of all services")
    given = parser.parse_args()
    with ExitStack() as closing:
        folder = Path(closing.enter_context(TemporaryDirectory(prefix="alphastral-faults-")))
        disk = closing.enter_context(small_disk(folder))
        (folder / "sick").mkdir()
        node = folder / "node"
        node.write_text(NODE.format(sick=folder / "sick", node=find_node()))
        node.chmod(0o755)
        settings = Settings(_env_file=None, store=str(folder / "store"), redis_url=None, scraper_workers=0, node=node)
        stack = closing.enter_context(LocalStack(settings, arena_workers=WORKERS, folder=folder))
        soak = Soak(folder, Random(given.seed), stack, disk, given.matchup)
        spans, counts = befall(soak, given.faults, given.battles, given.longest)
        matchups, manual, lost, broken = Matchups(soak.files), len(soak.open), 0, 0
        runs: dict[str, Run] = {}
        for id in soak.asked:
            with suppress(NotFound):
                runs[id] = matchups.run(id)
        lost += given.matchup * (len(soak.asked) - len(runs))
        verified = in_processes(verify, runs.values(), processes=2 * cores())
        for (id, run), found in zip(runs.items(), verified, strict=True):
            lost += given.matchup - len({battle.index for battle in run.battles})
            broken += sum(battle.winner is None for battle in run.battles)
            failed = Progress.of(soak.files, id).state is not State.FINISHED
            manual += failed or found.difference is not None
            if failed or found.difference:
                print(f"{id}: {found.difference or Progress.of(soak.files, id).failures}", file=sys.stderr)
        if given.logs:
            shutil.copytree(folder / "log", given.logs, dirs_exist_ok=True)
    for name, count in sorted(counts.items()):
        print(f"{count:4} {name}")
    told = {
        "faults": sum(counts.values()),
        "battles": len(soak.asked) * given.matchup,
        "lost": lost,
        "doubled": len(soak.doubled),
        "broken": broken,
        "manual": manual,
        "longest_standstill_s": round(longest_standstill(soak.moved_on, spans), 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
