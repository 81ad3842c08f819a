"""`alphastral selfplay`: battles for data, played on all cores and without any network.

    DIR/selfplay.request     what was asked for
    DIR/NNNNN.json.gz     run files of up to 100 battles each, as `report`, `verify` and `dataset build` read them

A run file is there once all of its battles are, so that the command, given again, plays what is missing.
"""

import gzip
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple, TypeVar

import typer
from pydantic import Field, ValidationError
from rich.markup import escape

from deploy.cli.options import P1, P2, Concurrency, FormatName, Seed, Teacher, checked
from deploy.cli.play import PLAYING, jobs_of
from deploy.cli.show import interrupts_told, out, progress, result
from services.arena.checks import check_matchup
from shared.document import Strict
from shared.errors import AlphaStralError, UsageError
from shared.jobs.inline import Inline
from shared.jobs.routes import Payload, PlayShard
from shared.matchups import Matchups
from shared.policies import asks_a_model
from shared.process import cores, in_processes
from shared.records import MAX_POLICY_CHARACTERS, MatchupRequest, read_run
from shared.settings import Settings
from shared.store import Store, replace_file
from shared.text import configure_logging
from shared.verdicts.scores import Tally, Winner

BATTLES_A_FILE = 100
MAX_BATTLES = 1_000_000

T = TypeVar("T")


class SelfPlay(Strict):
    """What was asked for."""

    p1: str = Field(min_length=1, max_length=MAX_POLICY_CHARACTERS)
    p2: str = Field(min_length=1, max_length=MAX_POLICY_CHARACTERS)
    battles: int = Field(ge=1, le=MAX_BATTLES)
    format: str
    seed: int = Field(ge=0, lt=2**63)
    concurrency: int = Field(ge=1, le=256)
    teacher: str | None = Field(
        default=None, min_length=1, max_length=MAX_POLICY_CHARACTERS, exclude_if=lambda teacher: teacher is None
    )

    def parts(self, folder: Path) -> Iterator["Part"]:
        """The matchups that are played, each with a seed of its own. Unpaired: a pair's teams and dice come twice."""
        name = sha256(self.model_dump_json().encode()).hexdigest()[:12]
        for number, start in enumerate(range(0, self.battles, BATTLES_A_FILE)):
            digest = sha256(f"alphastral/selfplay/{self.seed}/{number}".encode()).digest()
            own = {
                "battles": min(BATTLES_A_FILE, self.battles - start),
                "seed": int.from_bytes(digest[:7]),
                "pairs": False,
            }
            request = MatchupRequest.model_validate(self.model_dump() | own)
            yield Part(request, folder / f"{number:05d}.json.gz", f"selfplay-{name}-{number:05d}")


class Part(NamedTuple):
    """One run file to be."""

    request: MatchupRequest
    path: Path
    matchup_id: str


def play_into(folder: Path, asked: SelfPlay, advance: Callable[[Tally], None]) -> Tally:
    """Play what `folder` does not hold yet. Raises UsageError where it holds another self-play."""
    parts = list(asked.parts(folder))
    for part in parts[:1]:
        check_matchup(part.request)
    _claim(folder, asked)
    there = [part for part in parts if part.path.exists()]
    tally = Tally.of(battle.winner for part in there for battle in read_run(part.path).battles)
    advance(tally)
    to_play = [part for part in parts if part not in there]
    models = any(asks_a_model(name) for name in (asked.p1, asked.p2))
    with TemporaryDirectory(prefix="alphastral-selfplay-") as work:
        play_part = partial(_play_part, settings=Settings(), work=Path(work))
        # A model's server takes as much from one process as from many, and its limit holds within one.
        return _in_processes(play_part, to_play, 1 if models else cores(), tally, advance)


def play_on_all_cores(store: Store, settings: Settings, matchup_id: str, label: str) -> None:
    """Play what is not played yet of a matchup of `settings`' store that asks no model. Raises what its shards raise.

    What comes after its last battle, its report, is left to do.
    """
    matchups = Matchups(store)
    shards = [job for job in jobs_of(store, matchup_id) if isinstance(job, PlayShard)]
    with progress(label, matchups.request(matchup_id).battles) as advance:
        tally = Tally.of(played.winner for played in matchups.played(matchup_id).values())
        _in_processes(partial(_play_shard, settings), shards, cores(), tally, advance)


def _in_processes(
    play: Callable[[T], list[Winner | None]],
    items: Sequence[T],
    processes: int,
    tally: Tally,
    advance: Callable[[Tally], None],
) -> Tally:
    for winners in in_processes(play, items, min(processes, len(items)) or 1):
        tally += Tally.of(winners)
        advance(tally)
    return tally


def _claim(folder: Path, asked: SelfPlay) -> None:
    path = folder / "selfplay.request"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(folder.iterdir()):
                raise UsageError(f"{folder} holds something else already", field="out")
            _write(path, asked.model_dump_json(indent=1).encode())
        elif SelfPlay.model_validate_json(path.read_bytes()) != asked:
            raise UsageError(f"{folder} holds battles that were asked for otherwise: see {path}", field="out")
    except ValidationError as error:
        raise UsageError(f"{path} is broken; choose another folder", field="out") from error
    except OSError as error:
        raise AlphaStralError(f"cannot write into {folder}: {error.strerror}") from error


def _play_part(part: Part, settings: Settings, work: Path) -> list[Winner | None]:
    """Play one run file's battles, and write it. Runs in a process of its own."""
    from services.reporter.run import run_of

    store = Store(str(work))
    matchups = Matchups(store)
    matchups.create(part.matchup_id, part.request)
    _play(store, settings, jobs_of(store, part.matchup_id))
    run = run_of(matchups, part.matchup_id)
    _write(part.path, gzip.compress(run.model_dump_json().encode(), compresslevel=6, mtime=0))
    shutil.rmtree(work / "matchups" / part.matchup_id)
    return [battle.winner for battle in run.battles]


def _play_shard(settings: Settings, shard: PlayShard) -> list[Winner | None]:
    """Play one shard; the winners of those of its battles that were not played before. Runs in a process of its own."""
    store = Store(settings.store)
    before = Matchups(store).recorded(shard.matchup_id)
    _play(store, settings, [shard])
    battles = [index for index in range(shard.start, shard.stop) if index not in before]
    return [Matchups(store).battle(shard.matchup_id, index).winner for index in battles]


def _play(store: Store, settings: Settings, jobs: Iterable[Payload]) -> None:
    inline = Inline(store, settings, routes=PLAYING, worker="self-play")
    for job in jobs:
        inline.enqueue(job)
    inline.drain()


def _write(path: Path, raw: bytes) -> None:
    try:
        replace_file(path, raw)
    except OSError as error:
        raise AlphaStralError(f"cannot write {path}: {error.strerror}") from error


def selfplay(
    folder: Annotated[Path, typer.Option("--out", help="Where the battles go; given again, it goes on from there.")],
    p1: P1 = "heuristic",
    p2: P2 = "heuristic",
    n: Annotated[int, typer.Option("--n", help="Battles to play.", min=1, max=MAX_BATTLES)] = 2000,
    format_name: FormatName = "gen9randombattle",
    seed: Seed = 0,
    concurrency: Concurrency = 8,
    teacher: Teacher = None,
) -> None:
    """Play battles for `dataset build`, on all cores and without any network."""
    configure_logging("WARNING")
    fields = dict(p1=p1, p2=p2, battles=n, format=format_name, seed=seed or 0, concurrency=concurrency, teacher=teacher)
    asked = checked(SelfPlay, fields)
    with interrupts_told(), progress("battles", n) as advance:
        tally = play_into(folder, asked, advance)
    broken = f", {tally.broken} broken" if tally.broken else ""
    out.print(f"{tally.finished:,} battles of {escape(p1)} against {escape(p2)} in {escape(str(folder))}{broken}")
    result({**asdict(tally), "folder": folder})
