"""`alphastral loop`: self-play, a dataset, a training, a server, and battles of what came of it, in one report.

Everything goes through the services' queues, as in production, over a store of the loop's own:

    DIR/loop.json        what was asked for
    DIR/store/           matchups, dataset, training and model
    DIR/evaluation.json  decision accuracy on held-out battles
    DIR/report.html      the one report; DIR/report.json its figures

Each step looks first whether its result is there, so that a loop that was interrupted goes on where it was.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.markup import escape

from deploy.cli.models import training_bar
from deploy.cli.show import err, out, progress
from deploy.client import ApiClient
from deploy.kinds import resume
from deploy.stack import LocalStack
from services.arena.views import MatchupStatus
from services.scraper.views import NewDataset
from services.trainer.trainings import NewTraining
from shared.errors import AlphaStralError, UsageError
from shared.jobs.queue import Queues, connect
from shared.matchups import Matchups
from shared.process import Child, answers, listen
from shared.records import NewMatchup
from shared.settings import Settings, child_environment
from shared.store import Store, replace_file
from shared.text import configure_logging
from shared.verdicts.scores import Tally
from shared.work import State

if TYPE_CHECKING:
    from services.trainer.recipes import Recipe

SERVED_WITHIN_SECONDS = 300.0
POLL_SECONDS = 0.5
_STOP_SECONDS = 10.0


class Plan(BaseModel):
    """What a loop does."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    selfplay_battles: int = Field(default=400, ge=4, le=100_000)
    teacher: str = "heuristic"
    recipe: str = "cpu-smollm2"
    changes: dict[str, str] = Field(default_factory=dict)
    base: str = "smollm2"
    """What is tuned, and what the tuned model plays against."""
    name: str = Field(default="smollm2-tuned", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    battles: int = Field(default=24, ge=2, le=10_000)
    """Of each matchup, in pairs."""
    held_out_decisions: int = Field(default=250, ge=1)
    dtype: str = "bfloat16"
    """What the models are served in."""
    concurrency: int = Field(default=16, ge=1, le=256)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @property
    def digest(self) -> str:
        """Names what is done for this plan, the same for the same plan."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Pitted:
    """A matchup of the report: who, and the question that it answers."""

    key: str
    p1: str
    p2: str


def loop(
    folder: Annotated[Path, typer.Option("--dir", help="Where everything goes; given again, it goes on.")] = Path(
        "var/loop"
    ),
    selfplay: Annotated[int, typer.Option(help="Self-play battles to learn from.", min=4, max=100_000)] = 400,
    battles: Annotated[int, typer.Option(help="Battles of each matchup, in pairs.", min=2, max=10_000)] = 24,
    recipe: Annotated[str, typer.Option(help="A recipe for this machine.")] = "cpu-smollm2",
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value of the recipe: max_steps=400.")] = None,
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same battles to learn from.", min=0, max=2**32 - 1)
    ] = 0,
) -> None:
    """Play, learn, publish, serve and fight, with no network and no GPU, and write one report."""
    from services.trainer.recipes import load, parse_changes

    configure_logging("WARNING")
    changed, settings = parse_changes(changes or []), Settings()
    plan = Plan(
        selfplay_battles=selfplay,
        battles=battles,
        recipe=recipe,
        changes=changed,
        base=load(recipe, changed, settings.recipes).base,
        seed=seed,
    )
    try:
        report = run(plan, folder, settings)
    except KeyboardInterrupt:
        err.print("interrupted; the same command goes on from here")
        raise typer.Exit(1) from None
    out.print(escape(f"the report: {report}"))


def run(plan: Plan, folder: Path, settings: Settings | None = None) -> Path:
    """Do what of the plan is not done yet, and give the report's path.

    What failed for good before gets another try. Raises UsageError for a plan that cannot come to its end here, and
    where DIR holds another.
    """
    settings = settings or Settings()
    recipe = _recipe(plan, settings)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(plan, folder)
    began = monotonic()
    with ExitStack() as closing:
        # Kept open, so that nobody takes the port before the server does; it is let go of just before.
        taken = closing.enter_context(listen("127.0.0.1", 0))
        port = taken.getsockname()[1]
        endpoints = folder / "endpoints.toml"
        url = f"http://127.0.0.1:{port}"
        endpoints.write_text(f'[registry]\nurl = "{url}"\n\n["{_base_name(plan)}"]\nurl = "{url}"\n')
        # A store, a Redis and a port of its own: workers of another store would take its jobs, and find nothing.
        own = settings.model_copy(
            update={
                "store": str((folder / "store").absolute()),
                "endpoints_file": endpoints.absolute(),
                "redis_url": None,
                "api_port": None,
            }
        )
        store = Store(own.store)
        stack = closing.enter_context(LocalStack(own, arena_workers=2, trainers=1, folder=folder / "stack"))
        client = closing.enter_context(stack.client())
        resume(store, Queues(connect(stack.redis_url)), own, retry_failed=True)
        selfplay = _selfplay(plan, client, stack.check)
        dataset = _dataset(plan, client, stack.check, selfplay.id, recipe.contract)
        version = _trained(plan, client, stack.check, dataset)
        model = f"{plan.name}@{version}"
        evaluation = _evaluated(plan, folder, store, dataset, model, recipe, own)
        with _served(plan, model, port, taken.close, folder, own):
            for pitted in pitted_of(plan, model):
                _fought(plan, pitted, client, stack.check)
        ids = {pitted.key: _enqueue(plan, pitted, client).id for pitted in pitted_of(plan, model)}
    return _report(plan, folder, store, ids, evaluation, model, seconds=monotonic() - began)


def pitted_of(plan: Plan, model: str) -> tuple[Pitted, ...]:
    """The matchups: what was asked, and the controls."""
    tuned, base = f"tgi:{model}", f"tgi:{_base_name(plan)}"
    return (
        Pitted("tuned vs base", tuned, base),
        Pitted("tuned vs random", tuned, "random"),
        Pitted("base vs random", base, "random"),
        Pitted(f"tuned vs {plan.teacher}", tuned, plan.teacher),
    )


# ── the steps ───────────────────────────────────────────────────────────────────────────────────────


def _recipe(plan: Plan, settings: Settings) -> "Recipe":
    """The recipe of a plan. Raises UsageError where this machine or this loop cannot do with it."""
    from services.trainer.machine import check_device

    recipe = _training(plan, "none").resolved(settings.recipes)
    check_device(recipe)
    if recipe.merge or recipe.base != plan.base:
        raise UsageError(
            f"the recipe {recipe.name} cannot be looped: one server serves tuned model and base, "
            f"which takes an adapter over {plan.base}",
            field="recipe",
        )
    return recipe


def _training(plan: Plan, dataset: str) -> NewTraining:
    return NewTraining(recipe=plan.recipe, dataset=dataset, name=plan.name, set=plan.changes)


def _claim(plan: Plan, folder: Path) -> None:
    path = folder / "loop.json"
    if not path.exists():
        replace_file(path, plan.model_dump_json(indent=2).encode())
        return
    try:
        before = Plan.model_validate_json(path.read_text())
    except (ValidationError, OSError) as error:
        raise UsageError(f"{path} is no loop of ours", field="dir") from error
    if before != plan:
        raise UsageError(f"{folder} holds a loop that was asked for otherwise: choose another --dir", field="dir")


def _selfplay(plan: Plan, client: ApiClient, check: Callable[[], None]) -> MatchupStatus:
    asked = NewMatchup(
        p1=plan.teacher, p2=plan.teacher, battles=plan.selfplay_battles, pairs=False, concurrency=8, seed=plan.seed
    )
    return _followed(client, asked, f"loop-{plan.digest}-selfplay", "self-play", check)


def _dataset(plan: Plan, client: ApiClient, check: Callable[[], None], matchup_id: str, contract: str) -> str:
    """The dataset that was built of the self-play, by its name in the store."""
    name = f"loop-{plan.digest}"
    status = client.build_dataset(
        NewDataset(
            name=name,
            sources=(f"store:matchups/{matchup_id}",),
            contract=contract,
            val_fraction=0.1,
        )
    )
    err.print("dataset: running the battles again and writing what each side saw …")
    while status.state == "running":
        check()
        sleep(POLL_SECONDS)
        status = client.dataset(name)
    if status.card is None:
        raise AlphaStralError(f"dataset {name} failed: {status.failure}")
    rows = status.card.rows
    err.print(f"dataset: {rows['train']:,} samples to learn from, {rows['validation']:,} held out")
    return name


def _trained(plan: Plan, client: ApiClient, check: Callable[[], None], dataset: str) -> str:
    """The version that the training became."""
    status = client.train(_training(plan, dataset), idempotency_key=f"loop-{plan.digest}-training")
    with training_bar("training") as show:
        while status.state in (State.QUEUED, State.RUNNING):
            check()
            if status.standing:
                show(status.standing)
            sleep(POLL_SECONDS)
            status = client.training(status.id)
    if status.result is None:
        raise AlphaStralError(f"training {status.id} failed: {status.failure}")
    err.print(escape(f"training: {plan.name}@{status.result.version}"))
    return status.result.version


def _evaluated(
    plan: Plan, folder: Path, store: Store, name: str, model: str, recipe: "Recipe", settings: Settings
) -> dict[str, Any]:
    """Decision accuracy on held-out battles of the tuned model, its base, a guess and the plain rule, by kind."""
    path = folder / "evaluation.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    from deploy.serving import resolve
    from services.trainer.data import read_card, read_splits
    from services.trainer.evaluate import drawn, evaluate
    from shared.language.load import load

    err.print(f"evaluation: {plan.held_out_decisions} held-out decisions, tuned and base …")
    dataset = store.on_disk(f"datasets/{name}") or folder
    held_out = read_splits(dataset, read_card(dataset).contract).validation
    # The best checkpoint was chosen by some of them: they would flatter it.
    chosen_by = set(drawn(held_out, recipe.scored_decisions, recipe.seed))
    rest = [row for row in held_out if row not in chosen_by] or held_out
    rows = drawn(rest, plan.held_out_decisions, plan.seed)
    with TemporaryDirectory(prefix="alphastral-models-") as copies:
        named = resolve(model, settings, Path(copies))
        loaded = load(named.base, adapters={model: named.adapter} if named.adapter else None, dtype=plan.dtype)
        measured = {}
        for who, adapter in (("tuned", model), ("base", None)):
            loaded.use_adapter(adapter)
            measured[who] = evaluate(loaded, rows, name=who, written=len(rows) // 10)
    accuracy = {**measured["base"].accuracy, **measured["tuned"].accuracy}
    found = {
        "accuracy": {
            name: {kind: [share.hits, share.decisions] for kind, share in shares.items()}
            for name, shares in sorted(accuracy.items(), key=lambda each: each[0] not in ("tuned", "base"))
        },
        "legal_share": {who: each.legal.rate for who, each in measured.items()},
        "perplexity": {who: each.perplexity for who, each in measured.items()},
    }
    replace_file(path, json.dumps(found, indent=1).encode())
    return found


@contextmanager
def _served(
    plan: Plan, model: str, port: int, let_go: Callable[[], None], folder: Path, settings: Settings
) -> Iterator[None]:
    """One built-in server with the tuned model and its base, while the context lasts."""
    command = [sys.executable, "-m", "deploy.serving", plan.base, model, "--port", str(port), "--dtype", plan.dtype]
    environment = child_environment(ALPHASTRAL_STORE=settings.store)
    let_go()
    server = Child("the built-in server", command, log=folder / "server.log", environment=environment)
    with server.running(_STOP_SECONDS):
        server.wait_until(partial(answers, f"http://127.0.0.1:{port}/v1/models", 5.0), SERVED_WITHIN_SECONDS)
        yield


def _fought(plan: Plan, pitted: Pitted, client: ApiClient, check: Callable[[], None]) -> MatchupStatus:
    return _followed(client, _asked(plan, pitted), _key(plan, pitted), pitted.key, check)


def _enqueue(plan: Plan, pitted: Pitted, client: ApiClient) -> MatchupStatus:
    return client.enqueue(_asked(plan, pitted), idempotency_key=_key(plan, pitted))


def _asked(plan: Plan, pitted: Pitted) -> NewMatchup:
    return NewMatchup(
        p1=pitted.p1,
        p2=pitted.p2,
        battles=plan.battles,
        # Never a battle that was learned from.
        seed=plan.seed + 1_000_003,
        pairs=True,
        concurrency=plan.concurrency,
    )


def _key(plan: Plan, pitted: Pitted) -> str:
    return f"loop-{plan.digest}-{pitted.key}-{pitted.p1}"


def _followed(client: ApiClient, asked: NewMatchup, key: str, label: str, check: Callable[[], None]) -> MatchupStatus:
    """Ask for a matchup under a key, and wait for its end. Raises AlphaStralError where it does not finish."""
    status = client.enqueue(asked, idempotency_key=key)
    with progress(label, status.battles) as advance:

        def show(now: MatchupStatus) -> None:
            check()
            advance(Tally(now.p1_wins, now.p2_wins, now.draws, now.broken), now.sequential_test)

        status = client.wait(status.id, show, poll_seconds=POLL_SECONDS)
    if status.state is not State.FINISHED:
        raise AlphaStralError(f"{label}: matchup {status.id} has {status.state}: {'; '.join(status.failures)}")
    return status


def _report(
    plan: Plan,
    folder: Path,
    store: Store,
    ids: dict[str, str],
    evaluation: dict[str, Any],
    model: str,
    *,
    seconds: float,
) -> Path:
    from services.reporter.loop import Loop, render_loop

    page = render_loop(
        Loop(
            model=model,
            base=plan.base,
            teacher=plan.teacher,
            recipe=plan.recipe,
            runs={key: Matchups(store).run(matchup_id) for key, matchup_id in ids.items()},
            accuracy={
                who: {kind: (float(hits), int(decisions)) for kind, (hits, decisions) in kinds.items()}
                for who, kinds in evaluation["accuracy"].items()
            },
            legal_share=evaluation["legal_share"],
            perplexity=evaluation["perplexity"],
        )
    )
    path = folder / "report.html"
    path.write_text(page.html)
    (folder / "report.json").write_text(json.dumps({**page.figures, "seconds_of_this_call": round(seconds)}, indent=1))
    for line in page.lines:
        out.print(escape(line))
    return path


def _base_name(plan: Plan) -> str:
    """What the server calls the base."""
    return plan.base if plan.base == "smollm2" else Path(plan.base).name
