"""What plays in this process: how `battle`, `tournament`, `bench` and `selfplay` drain jobs, and `battle` and `try`.

Each keeps what it plays in a store of its own and drains the jobs of its matchups here, as workers do from the queue.
So each can be interrupted, by kill -9 too, and goes on where it was with the same call.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.markup import escape

from deploy.cli.options import AskedMatchup, LogLevel, PolicyFile, asks_for_a_matchup, read_policies
from deploy.cli.show import Advance, describe, err, interrupts_told, out, print_result, progress, result, steps
from deploy.stack import alone_in
from shared.battle.decision import Outcome
from shared.errors import AlphaStralError, BrokenRecord, NotFound, UsageError
from shared.jobs.inline import Inline
from shared.jobs.routes import ROUTES, Payload, PlayShard, ReviewBattles, Route
from shared.matchups import Matchups
from shared.process import interruptible
from shared.records import BattleRecord, BattleReview, MatchupRequest, NewMatchup, Run
from shared.settings import Settings, child_environment, is_first_process
from shared.store import Store
from shared.text import configure_logging
from shared.verdicts.scores import Tally, Winner
from shared.verdicts.sequential import SequentialTest
from shared.work import State, WorkKind, ask, new_id

B = TypeVar("B", bound=BaseModel)

PLAYING = {name: route for name, route in ROUTES.items() if route.queue == "arena"}
"""For those who sum up what was played themselves."""
UNFINISHED = Path("var/battle")
"""What `battle` has begun and not ended."""


# ── jobs, and what is shown of them ─────────────────────────────────────────────────────────────────


def drain(
    store: Store,
    settings: Settings,
    jobs: Iterable[Payload],
    label: Callable[[str, MatchupRequest], str],
    *,
    routes: Mapping[str, Route] = ROUTES,
    also: Callable[[Any], object] = lambda told: None,
    **more: Any,
) -> bool:
    """Do these jobs and those that follow, a progress bar for each matchup; whether Ctrl-C ended it before.

    `also` is told how far a training is. `more` is the Context's. Raises as Inline.drain does.
    """
    with ExitStack() as open_bar:
        bars = _Bars(Matchups(store), label, open_bar, also)
        with interruptible(bars.tell) as interrupted:
            inline = Inline(store, settings, routes=routes, tell=bars.tell, **more)
            for job in jobs:
                inline.enqueue(job)
            inline.drain(interrupted)
            return interrupted()


@contextmanager
def done_here(
    kind: WorkKind[B, Any], asked: B, settings: Settings, tell: Callable[[Any], None], *, key: str | None = None
) -> Iterator[str]:
    """Ask for work in a store of the command's own, do it, and give its id; once the context ends well it is forgotten.

    The same call goes on where an earlier one was interrupted. What fails is raised at once. Of several processes that
    train together, the first keeps the others out. Raises UsageError where another call does the same already.
    """
    store = kind.asked.files
    # Nothing is tried again by itself: whoever waits for it sees why it failed, and may give the command again.
    routes = {name: replace(route, retries=0) for name, route in ROUTES.items()}
    here = Inline(store, settings, routes=routes, tell=tell)
    is_first = is_first_process()
    id = ask(kind, asked, here, key=key)
    folder = Path(store.url, kind.asked.path(id, ""))
    with interrupts_told(), alone_in(folder, "the same command") if is_first else nullcontext():
        kind.asked.forget(id)
        for job in kind.jobs(id):
            here.enqueue(job)
        try:
            here.drain()
        except UsageError:
            if is_first and {each.name for each in folder.iterdir()} == {"lock", "request.json"}:
                # Nothing of it was done, so there is nothing to go on with.
                shutil.rmtree(folder, ignore_errors=True)
            raise
        yield id
        if is_first:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Bars:
    """What jobs tell, shown: sentences, and a bar for the matchup that is played."""

    _matchups: Matchups
    _label: Callable[[str, MatchupRequest], str]
    _open_bar: ExitStack
    _also: Callable[[Any], object]
    _advance: Advance = field(init=False)
    _advance_reviews: Callable[..., None] = field(init=False)
    _reviewed: int = 0
    _shown: str = ""
    _played: dict[int, tuple[Winner | None, float | None]] = field(default_factory=dict)
    _test: SequentialTest | None = None

    def tell(self, told: object) -> None:
        match told:
            case str():
                tell(told)
                return
            case PlayShard() if told.matchup_id != self._shown:
                self._begin(told.matchup_id)
            case ReviewBattles():
                self._begin_reviews(told.matchup_id)
                return
            case BattleReview():
                self._reviewed += 1
                self._advance_reviews(self._reviewed, {})
                return
            case BattleRecord():
                self._note(told)
            case SequentialTest():
                self._test = told
            case Payload():
                return
            case _:
                self._also(told)
                return
        costs = [cost for _, cost in self._played.values()]
        known = None if None in costs else sum(cost for cost in costs if cost)
        self._advance(Tally.of(winner for winner, _ in self._played.values()), self._test, known)

    def _begin(self, matchup_id: str) -> None:
        self._open_bar.close()
        request = self._matchups.request(matchup_id)
        self._shown, self._played = matchup_id, {}
        self._test = self._matchups.latest_look(matchup_id)
        for record in self._matchups.battles(matchup_id):
            self._note(record)
        self._advance = self._open_bar.enter_context(progress(self._label(matchup_id, request), request.battles))

    def _begin_reviews(self, matchup_id: str) -> None:
        self._open_bar.close()
        self._shown = ""
        self._reviewed, battles = len(self._matchups.reviewed(matchup_id)), len(self._matchups.recorded(matchup_id))
        self._advance_reviews = self._open_bar.enter_context(steps("the luck of battles", battles))

    def _note(self, record: BattleRecord) -> None:
        from services.arena.budget import Spent

        self._played[record.index] = record.winner, Spent.in_battle(record).cost_usd


def tell(sentence: str) -> None:
    """Say it on standard error."""
    err.print(escape(sentence))


def jobs_of(store: Store, matchup_id: str) -> Iterator[Payload]:
    """What is left to do of a matchup. What failed before gets another try."""
    from services.arena.matchups import Progress

    Matchups(store).forget(matchup_id)
    return Progress.of(store, matchup_id).jobs()


# ── steps, each done once ───────────────────────────────────────────────────────────────────────────


class Steps:
    """Each is done once, over the store DIR/store, and what failed before gets another try."""

    def __init__(self, folder: Path, settings: Settings, *, key: str, serving: Sequence[str] = ()) -> None:
        """`key` begins the names of what is asked for; `serving` are options of the built-in server."""
        from services.arena.matchups import MatchupWork

        self.folder, self.key, self.serving = folder, key, serving
        own = {"store": str((folder / "store").absolute()), "redis_url": None, "endpoints_file": None}
        self.settings = settings.model_copy(update=own)
        self.store = Store(self.settings.store)
        self.matchups = MatchupWork(self.store, self.settings)

    def asked(self, kind: WorkKind[B, Any], asked: B, name: str | None) -> str:
        """Ask for work, once; its id."""
        key = name and f"{self.key}-{name}"
        return ask(kind, asked, Inline(self.store, self.settings), key=key)

    def finished(
        self,
        kind: WorkKind[B, Any],
        asked: B,
        name: str | None,
        label: str = "",
        *,
        begin: Callable[[str], object] = lambda id: None,
        also: Callable[[Any], object] = lambda told: None,
    ) -> str:
        """Ask for work and do its jobs, after what `begin` does of them; its id.

        Raises AlphaStralError where it does not finish, and KeyboardInterrupt where Ctrl-C ended it.
        """
        id = self.asked(kind, asked, name)
        kind.asked.forget(id)
        begin(id)
        interrupted = drain(self.store, self.settings, kind.jobs(id), lambda *_: label, also=also)
        if (state := kind.standing(id).state) is State.FINISHED:
            return id
        if interrupted:
            raise KeyboardInterrupt
        raise AlphaStralError(f"{kind.asked.noun} {id} has {state}: {'; '.join(kind.asked.failures(id).values())}")

    def fought(self, asked: Mapping[str, NewMatchup], models: Sequence[str]) -> dict[str, str]:
        """Question → matchup, each played, while one built-in server has these models."""
        from deploy.serving import served

        environment = child_environment(ALPHASTRAL_STORE=self.settings.store)
        with served(self.settings.served_folder, models, *self.serving, environment=environment):
            return {
                question: self.finished(self.matchups, each, f"{question}-{each.p1}", question)
                for question, each in asked.items()
            }


# ── battle ──────────────────────────────────────────────────────────────────────────────────────────


@asks_for_a_matchup
def battle(
    asked: AskedMatchup,
    log_level: LogLevel = None,
    output: Annotated[Path | None, typer.Option(help="Where the run goes; its report beside it.")] = None,
    challenge: Annotated[str | None, typer.Option(help="On the server: wait for this person to play p1.")] = None,
    showdown_url: Annotated[
        str | None, typer.Option(help="A running server, ws://HOST:PORT; else one is started.")
    ] = None,
    showdown_port: Annotated[
        int | None, typer.Option(help="The port of the server that is started.", min=1, max=65535)
    ] = None,
) -> None:
    """Play a matchup in this process and write its run and report; again to go on where it was interrupted."""
    from services.arena.matchups import MatchupWork

    configure_logging(log_level or Settings().log_level)
    check_output(output)
    new, settings = asked(**{} if challenge is None else {"p2": f"human:{challenge}"}), Settings()
    work = MatchupWork(Store(str(UNFINISHED)), settings, on_command_line=True)
    request = work.accept(new, secrets.randbits(32), None)
    if showdown_url is not None:
        settings = settings.model_copy(update={"showdown_url": showdown_url})
    with _held(request, any_seed=new.seed is None) as matchup_id:
        run, is_whole = _play(matchup_id, settings, showdown_port)
        print_result(run, *write_result(run, output))
        if is_whole:
            shutil.rmtree(UNFINISHED / "matchups" / matchup_id, ignore_errors=True)
    if run.cancelled or run.summary.broken or run.summary.played_by_substitutes:
        raise typer.Exit(1)


@contextmanager
def _held(request: MatchupRequest, *, any_seed: bool) -> Iterator[str]:
    """The same matchup where an earlier call was interrupted, else a new one. No other process plays it meanwhile."""
    matchups = Matchups(Store(str(UNFINISHED)))
    same = [each for each in matchups.ids() if _is(matchups, each, request, any_seed=any_seed)]
    with ExitStack() as held:
        for matchup_id in (*same, new_id()):
            folder = UNFINISHED / "matchups" / matchup_id
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(alone_in(folder, "the same command"))
            except OSError as error:
                raise UsageError(f"cannot write to {folder.absolute()}: {error.strerror}") from error
            except UsageError:
                continue
            break
        if matchup_id not in same:
            matchups.create(matchup_id, request)
        try:
            yield matchup_id
        finally:
            if not matchups.recorded(matchup_id):
                shutil.rmtree(folder, ignore_errors=True)


def _is(matchups: Matchups, matchup_id: str, request: MatchupRequest, *, any_seed: bool) -> bool:
    try:
        there = matchups.request(matchup_id)
    except (BrokenRecord, NotFound):
        return False
    return there == (request.model_copy(update={"seed": there.seed}) if any_seed else request)


def _play(matchup_id: str, settings: Settings, showdown_port: int | None) -> tuple[Run, bool]:
    """What came of it, and whether nothing is left to play."""
    from deploy.serving import local_models
    from services.arena.matchups import Progress
    from services.arena.policies.language_model import connector
    from services.reporter.run import run_of
    from shared.jobs.limits import LocalLimiter
    from shared.simulator.showdown_server import ShowdownServer

    store = Store(str(UNFINISHED))
    request, recorded = Matchups(store).request(matchup_id), Matchups(store).recorded(matchup_id)
    tell(describe(request))
    if recorded:
        tell(f"An earlier call was interrupted after {len(recorded)} of them; this one goes on from there.")
    with ExitStack() as running:
        reach = running.enter_context(local_models((request.p1, request.p2), tell))
        if request.battlefield == "server" and settings.showdown_url is None:
            server = running.enter_context(ShowdownServer(showdown_port, settings.node))
            settings = settings.model_copy(update={"showdown_url": server.url})
            tell(f"A Showdown server runs at {server.page} while this matchup lasts.")
        connect = reach(connector(settings, LocalLimiter()))
        interrupted = drain(
            store, settings, jobs_of(store, matchup_id), lambda *_: "battles", routes=PLAYING, connect=connect
        )
    is_whole = Progress.of(store, matchup_id).settled
    run = run_of(Matchups(store), matchup_id)
    return run.model_copy(update={"cancelled": interrupted and not is_whole}), is_whole


def try_(
    policy: Annotated[str, typer.Argument(help="A policy that asks a model.")],
    state: Annotated[
        Path | None, typer.Option(help="A state as JSON; else one of ours, a turn with moves and switches.")
    ] = None,
    policies: PolicyFile = None,
) -> None:
    """Ask a model one question: prompt, constraint, raw answer, action, tokens and time."""
    from deploy.cli.trying import try_once
    from deploy.serving import local_models

    configure_logging("WARNING")
    named = read_policies(policies)
    asked = named.get(policy, policy)
    with local_models((asked,), tell) as reach:
        decision = asyncio.run(try_once(asked, state, Settings(), out.print, reach))
    result({"policy": asked, **asdict(decision)})
    if decision.outcome is Outcome.SUBSTITUTED:
        raise typer.Exit(1)


def check_output(output: Path | None) -> None:
    """Raises UsageError when `write_result` could not write there: better said before the battles than after."""
    if output is not None and (output.suffix == ".html" or output.is_dir()):
        raise UsageError(f"{output} cannot be the run: it is a .json file, with its report beside it", field="output")
    for folder in (output.parent,) if output else (Path("runs"), Path("reports")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {folder.absolute()}: {error.strerror}", field="output") from error
        if not os.access(folder, os.W_OK):
            raise UsageError(f"cannot write to {folder.absolute()}", field="output")


def write_result(run: Run, output: Path | None = None) -> tuple[Path, Path]:
    """Write a run and its report; returns both paths.

    Without `output`, to runs/<p1>_vs_<p2>_n<battles>_<id>.json and reports/….html in the current folder.
    """
    from services.reporter.report import render
    from services.reporter.run import file_stem

    if output is None:
        stem = file_stem(run)
        output, report_path = Path("runs") / f"{stem}.json", Path("reports") / f"{stem}.html"
    else:
        report_path = output.with_suffix(".html")
    write_file(output, run.model_dump_json(indent=1))
    write_file(report_path, render(run))
    return output, report_path


def write_file(path: Path, text: str) -> None:
    """Write a text file, and the folders it stands in. Raises AlphaStralError when that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AlphaStralError(f"cannot write {path}: {error.strerror}") from error
