"""How matchups stand: sums kept beside the records, and nobody who waits for another."""

import gzip
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

import shared.standings
from services.arena.matchups import MatchupWork
from services.arena.tasks import play_shard
from services.reporter.report import write_report
from shared.battle.decision import Outcome
from shared.errors import Unreachable
from shared.jobs.routes import PlayShard
from shared.matchups import Matchups
from shared.records import MatchupRequest
from shared.settings import Settings
from shared.standings import BLOCK, BattleSums, Standing, Standings
from shared.store import Store
from shared.verdicts.scores import Winner
from tests.flows.recording import OneMatchup
from tests.services.made import battle, move

BATTLES = 600
"""Two whole blocks, and a third that is begun."""
WINNERS: list[Winner | None] = ["p1", "p1", "p2", "draw", None, "p1", "p2"]


class Counting(Store):
    """Counts the battles that are read, and the times that their folder is listed."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.read_battles: list[str] = []
        self.lists = 0

    def read(self, path: str, absent: str) -> bytes:
        if "/battles/" in path:
            self.read_battles.append(path)
        return super().read(path, absent)

    def files(self, path: str) -> list[str]:
        self.lists += path.endswith("/battles")
        return super().files(path)


def fill(store: Store, indices: range, name: str = "m") -> None:
    """Battles with those winners in turn; every fifth with a substitution."""
    matchups = Matchups(store)
    matchups.create(name, MatchupRequest(p1="heuristic", p2="random", battles=BATTLES))
    for index in indices:
        outcome = Outcome.CHOSEN if index % 5 else Outcome.SUBSTITUTED
        decisions = [move("p1", 1, outcome=outcome, ms=0.1), move("p2", 1)]
        matchups.record(name, battle(index, WINNERS[index % len(WINNERS)], decisions))


def counted(store: Store) -> Standing:
    """From the records alone."""
    return Standing.of(BattleSums.of(record) for record in Matchups(store).battles("m"))


def same(one: Standing, other: Standing) -> bool:
    """But for the last digits of times."""
    ms = [(standing.p1.total_ms, standing.p2.total_ms) for standing in (one, other)]
    plain = [
        standing.model_copy(
            update={side: getattr(standing, side).model_copy(update={"total_ms": 0}) for side in ("p1", "p2")}
        )
        for standing in (one, other)
    ]
    return plain[0] == plain[1] and ms[0] == pytest.approx(ms[1])


def standing(store: Store, name: str = "m") -> Standing:
    """As a process that has just begun tells it."""
    standings = Standings(store)
    return standings.of(name, standings.recorded(name))


@pytest.fixture
def store() -> Counting:
    return Counting(f"memory://standings-{next(_NUMBERS)}")


_NUMBERS = itertools.count()


def test_a_process_that_has_just_begun_reads_sums_and_no_record_of_a_whole_block(store: Counting) -> None:
    fill(store, range(2 * BLOCK + 10))
    first = standing(store)
    assert len(store.read_battles) == 2 * BLOCK + 10
    store.read_battles.clear()

    assert standing(store) == first
    assert same(first, counted(Store(store.url)))
    assert len(store.read_battles) == 10


def test_who_asks_again_reads_nothing_but_what_was_recorded_meanwhile(store: Counting) -> None:
    fill(store, range(BLOCK + 40))
    standings = Standings(store)
    standings.of("m", standings.recorded("m"))
    store.read_battles.clear()

    standings.of("m", standings.recorded("m"))
    assert store.read_battles == []
    fill(store, range(BLOCK + 40, 2 * BLOCK))
    told = standings.of("m", standings.recorded("m"))

    assert len(store.read_battles) == BLOCK - 40
    assert same(told, counted(Store(store.url)))


def garbled(raw: bytes) -> bytes:
    return raw[:-9]


def of_other_battles(raw: bytes) -> bytes:
    return raw.replace(b"[0,", b"[9,", 1) if b"[0," in raw else raw.replace(b",0,", b",", 1).replace(b",0]", b"]", 1)


def of_another_version(raw: bytes) -> bytes:
    return raw[:-1] + b',"luck":1}'


@pytest.mark.parametrize("wrong", [garbled, of_other_battles, of_another_version])
def test_sums_that_are_wrong_are_made_again(wrong: Callable[[bytes], bytes], store: Counting) -> None:
    fill(store, range(BLOCK))
    first = standing(store)
    path = "matchups/m/sums/00000.json"
    kept = store.read(path, "gone")
    assert wrong(kept) != kept
    store.write(path, wrong(kept))
    store.read_battles.clear()

    assert standing(store) == first

    assert len(store.read_battles) == BLOCK
    assert len(store.read(path, "gone")) == len(kept)


@pytest.mark.parametrize("removed", [0, BLOCK + 1])
def test_a_battle_that_is_there_no_more_is_in_no_sum(removed: int, store: Counting) -> None:
    fill(store, range(2 * BLOCK))
    standings = Standings(store)
    assert standings.of("m", standings.recorded("m")).tally.played == 2 * BLOCK
    store.remove(f"matchups/m/battles/{removed:05d}.json.gz")

    for told in (standings.of("m", standings.recorded("m")), standing(store)):
        assert told.tally.played == 2 * BLOCK - 1
        assert same(told, counted(Store(store.url)))


def test_a_battle_that_broke_and_is_played_again_leaves_no_sum_behind(store: Counting) -> None:
    fill(store, range(BLOCK))
    assert standing(store).tally.broken == len([index for index in range(BLOCK) if index % 7 == 4])
    Matchups(store).forget_broken("m")
    for index in range(4, BLOCK, 7):
        Matchups(store).record("m", battle(index, "p1"))

    assert standing(store).tally.broken == 0
    assert same(standing(store), counted(Store(store.url)))


def test_the_report_and_the_last_shard_of_a_block_keep_its_sums(tmp_path: Path) -> None:
    work = OneMatchup(tmp_path, MatchupRequest(p1="random", p2="random", battles=BLOCK))
    (tmp_path / "matchups/m/battles").mkdir()
    for index in range(BLOCK - 1):
        raw = gzip.compress(battle(index).model_dump_json().encode())
        (tmp_path / f"matchups/m/battles/{index:05d}.json.gz").write_bytes(raw)
    kept = tmp_path / f"matchups/m/sums/{0:05d}.json"

    play_shard(PlayShard(matchup_id="m", start=BLOCK - 64, stop=BLOCK, seconds_per_battle=60), work.context)

    by_the_shard = kept.read_bytes()
    kept.unlink()
    write_report(work.progress.report(), work.context)
    assert kept.read_bytes() == by_the_shard


def test_a_list_and_a_status_of_a_matchup_at_rest_list_no_battles_again(tmp_path: Path) -> None:
    counting = Counting(str(tmp_path))
    fill(counting, range(4))
    folder = tmp_path / "matchups/m/battles"
    # As it is some seconds later.
    later = folder.stat().st_mtime_ns - 10_000_000_000
    os.utime(folder, ns=(later, later))
    work = MatchupWork(counting, Settings(store=counting.url))
    assert (work.standing("m").recorded, work.listed("m").recorded, counting.lists) == (4, 4, 1)

    fill(Store(counting.url), range(4, 6))

    assert (work.standing("m").recorded, work.standing("m").finished) == (6, 5)


def test_who_would_wait_too_long_for_records_that_another_reads_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Store):
        def read(self, path: str, absent: str) -> bytes:
            if "/battles/" in path:
                begun.set()
                go_on.wait(60)
            return super().read(path, absent)

    monkeypatch.setattr(shared.standings, "PATIENCE_SECONDS", 0.0)
    begun, go_on = Event(), Event()
    store = Slow(f"memory://standings-{next(_NUMBERS)}")
    fill(store, range(6))
    standings = Standings(store)

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(standings.of, "m", standings.recorded("m"))
        assert begun.wait(60)
        with pytest.raises(Unreachable, match="ask again in a while"):
            standings.of("m", standings.recorded("m"))
        go_on.set()

    assert standings.of("m", standings.recorded("m")) == first.result()


def test_nobody_waits_for_another_matchup_whose_battles_are_read() -> None:
    class Slow(Store):
        def read(self, path: str, absent: str) -> bytes:
            if path.startswith("matchups/slow/battles"):
                begun.set()
                go_on.wait(60)
            return super().read(path, absent)

    begun, go_on = Event(), Event()
    store = Slow(f"memory://standings-{next(_NUMBERS)}")
    for name in ("slow", "m"):
        fill(store, range(6), name)
    work = MatchupWork(store, Settings(store=store.url))

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(work.standing, "slow")
        assert begun.wait(60)
        quick = work.standing("m")
        assert not slow.done()
        go_on.set()

    assert quick.finished == slow.result().finished == 5
