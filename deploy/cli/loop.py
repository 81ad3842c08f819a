"""`alphastral loop`: self-play, a dataset, a training, a server, and battles of what came of it, in one report.

Everything is asked for as over the API, and its jobs are done in this process, over a store of the loop's own:

    DIR/loop.json        what was asked for
    DIR/store/           matchups, dataset, training and model
    DIR/evaluation.json  decision accuracy on held-out battles
    DIR/report.html      the one report; DIR/report.json its figures

Each step looks first whether its result is there, so that a loop that was interrupted goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.markup import escape

from deploy.cli.play import drain
from deploy.cli.selfplay import play_on_all_cores
from deploy.cli.show import err, interrupts_told, out, training_bar
from deploy.serving import resolve, served
from deploy.stack import alone_in
from services.arena.matchups import MatchupWork
from services.scraper.datasets import Datasets
from services.scraper.views import NewDataset
from services.trainer.trainings import NewTraining, TrainingWork
from shared.errors import AlphaStralError, UsageError
from shared.jobs.inline import Inline
from shared.records import NewMatchup
from shared.settings import Settings, child_environment
from shared.store import Store, replace_file
from shared.text import configure_logging
from shared.work import State, WorkKind, ask

if TYPE_CHECKING:
    from services.trainer.recipes import Recipe

B = TypeVar("B", bound=BaseModel)


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
    dtype: str = "auto"
    """What the models are trained and served in."""
    concurrency: int = Field(default=16, ge=1, le=256)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @property
    def digest(self) -> str:
        """Names what is done for this plan, the same for the same plan."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def loop(
    folder: Annotated[Path, typer.Option("--dir", help="Where everything goes; given again, it goes on.")] = Path(
        "var/loop"
    ),
    selfplay: Annotated[int, typer.Option(help="Self-play battles to learn from.", min=4, max=100_000)] = 400,
    battles: Annotated[int, typer.Option(help="Battles of each matchup, in pairs.", min=2, max=10_000)] = 24,
    recipe: Annotated[str, typer.Option(help="A recipe for this machine.")] = "cpu-smollm2",
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value of the recipe: max_steps=400.")] = None,
    dtype: Annotated[
        str, typer.Option(help="bfloat16 or float32; auto: whichever this machine is faster in.")
    ] = "auto",
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same battles to learn from.", min=0, max=2**32 - 1)
    ] = 0,
) -> None:
    """Play, learn, publish, serve and fight, with no network and no GPU, and write one report."""
    from services.trainer.recipes import load, parse_changes

    configure_logging("WARNING")
    changed, settings = parse_changes(changes or []), Settings()
    if dtype != "auto":
        changed = {"dtype": dtype, **changed}
    plan = Plan(
        selfplay_battles=selfplay,
        battles=battles,
        recipe=recipe,
        changes=changed,
        base=load(recipe, changed, settings.recipes).base,
        dtype=dtype,
        seed=seed,
    )
    with interrupts_told():
        report = run(plan, folder, settings)
    out.print(escape(f"the report: {report}"))


def run(plan: Plan, folder: Path, settings: Settings | None = None) -> Path:
    """Do what of the plan is not done yet, and give the report's path.

    What failed for good before gets another try. Raises UsageError for a plan that cannot come to its end here, and
    where DIR holds another or is in use.
    """
    settings = settings or Settings()
    recipe = _recipe(plan, settings)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(plan, folder)
    steps = _Steps(plan, recipe, folder, settings)
    with alone_in(folder, "a loop"):
        dataset = steps.dataset(steps.finished(steps.matchups, _selfplay(plan), "selfplay", begin=steps.play))
        model = f"{plan.name}@{steps.trained(dataset)}"
        evaluation = steps.evaluated(dataset, model)
        with steps.served(model):
            ids = {
                question: steps.finished(steps.matchups, asked, f"{question}-{asked.p1}", question)
                for question, asked in questions(plan, model).items()
            }
        return steps.report(ids, evaluation, model)


def questions(plan: Plan, model: str) -> dict[str, NewMatchup]:
    """The matchups of the report by the question that each answers: what was asked, and the controls."""
    tuned, base = f"tgi:{model}", f"tgi:{_base_name(plan)}"
    players = {
        "tuned vs base": (tuned, base),
        "tuned vs random": (tuned, "random"),
        "base vs random": (base, "random"),
        f"tuned vs {plan.teacher}": (tuned, plan.teacher),
    }
    # Never a battle that was learned from.
    how = dict(battles=plan.battles, seed=plan.seed + 1_000_003, pairs=True, concurrency=plan.concurrency)
    return {question: NewMatchup.model_validate(dict(p1=p1, p2=p2, **how)) for question, (p1, p2) in players.items()}


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


def _selfplay(plan: Plan) -> NewMatchup:
    return NewMatchup(
        p1=plan.teacher,
        p2=plan.teacher,
        battles=plan.selfplay_battles,
        pairs=False,
        concurrency=8,
        seed=plan.seed,
        luck="off",
    )


class _Steps:
    """The steps of a loop, over a store of its own. Each is done once, and what failed before gets another try."""

    def __init__(self, plan: Plan, recipe: "Recipe", folder: Path, settings: Settings) -> None:
        self.plan, self.recipe, self.folder = plan, recipe, folder
        self.began = monotonic()
        own = {"store": str((folder / "store").absolute()), "redis_url": None, "endpoints_file": None}
        self.settings = settings.model_copy(update=own)
        self.store = Store(self.settings.store)
        self.matchups = MatchupWork(self.store, self.settings)

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
        key = name and f"loop-{self.plan.digest}-{name}"
        id = ask(kind, asked, Inline(self.store, self.settings), key=key)
        kind.asked.forget(id)
        begin(id)
        interrupted = drain(self.store, self.settings, kind.jobs(id), lambda *_: label, also=also)
        if (state := kind.standing(id).state) is State.FINISHED:
            return id
        if interrupted:
            raise KeyboardInterrupt
        raise AlphaStralError(f"{kind.asked.noun} {id} has {state}: {'; '.join(kind.asked.failures(id).values())}")

    def play(self, matchup_id: str) -> None:
        """Play a matchup's battles on all cores."""
        play_on_all_cores(self.store, self.settings, matchup_id, "self-play")

    def dataset(self, matchup_id: str) -> str:
        """The name of the self-play's dataset."""
        sources = (f"store:matchups/{matchup_id}",)
        asked = NewDataset.model_validate(
            dict(name=f"loop-{self.plan.digest}", sources=sources, contract=self.recipe.contract, val_fraction=0.1)
        )
        err.print("dataset: running the battles again and writing what each side saw …")
        name = self.finished(Datasets(self.store), asked, None)
        if (card := Datasets(self.store).card(name)) is not None:
            err.print(f"dataset: {card.rows['train']:,} samples to learn from, {card.rows['validation']:,} held out")
        return name

    def trained(self, dataset: str) -> str:
        """The version that the training became."""
        work = TrainingWork(self.store, self.settings)
        with training_bar("training") as show:
            id = self.finished(work, _training(self.plan, dataset), "training", also=show)
        version = work.asked.version(id) or ""
        err.print(escape(f"training: {self.plan.name}@{version}"))
        return version

    def evaluated(self, name: str, model: str) -> dict[str, Any]:
        """Decision accuracy on held-out battles of the tuned model, its base, a guess and the plain rule, by kind."""
        path = self.folder / "evaluation.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        from services.trainer.data import read_card, read_splits
        from services.trainer.evaluate import drawn, evaluate
        from shared.language.load import load

        err.print(f"evaluation: {self.plan.held_out_decisions} held-out decisions, tuned and base …")
        dataset = self.store.on_disk(f"datasets/{name}") or self.folder
        held_out = read_splits(dataset, read_card(dataset).contract).validation
        # The best checkpoint was chosen by some of them: they would flatter it.
        chosen_by = set(drawn(held_out, self.recipe.scored_decisions, self.recipe.seed))
        rest = [row for row in held_out if row not in chosen_by] or held_out
        rows = drawn(rest, self.plan.held_out_decisions, self.plan.seed)
        with TemporaryDirectory(prefix="alphastral-models-") as copies:
            named = resolve(model, self.settings, Path(copies))
            loaded = load(named.base, adapters={model: named.adapter} if named.adapter else None, dtype=self.plan.dtype)
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
            "dtype": loaded.dtype,
        }
        replace_file(path, json.dumps(found, indent=1).encode())
        return found

    @contextmanager
    def served(self, model: str) -> Iterator[None]:
        """One built-in server with the tuned model and its base, while the context lasts."""
        environment = child_environment(ALPHASTRAL_STORE=self.settings.store)
        dtype = ("--dtype", self.plan.dtype)
        with served(self.settings.served_folder, (self.plan.base, model), *dtype, environment=environment):
            yield

    def report(self, ids: dict[str, str], evaluation: dict[str, Any], model: str) -> Path:
        """Write it, say what it says, and give its path."""
        from services.reporter.loop import Loop, render_loop

        page = render_loop(
            Loop(
                model=model,
                base=self.plan.base,
                teacher=self.plan.teacher,
                recipe=self.plan.recipe,
                runs={key: self.matchups.asked.run(matchup_id) for key, matchup_id in ids.items()},
                accuracy={
                    who: {kind: (float(hits), int(decisions)) for kind, (hits, decisions) in kinds.items()}
                    for who, kinds in evaluation["accuracy"].items()
                },
                legal_share=evaluation["legal_share"],
                perplexity=evaluation["perplexity"],
            )
        )
        path = self.folder / "report.html"
        path.write_text(page.html)
        (self.folder / "report.json").write_text(
            json.dumps(
                {
                    **page.figures,
                    "dtype": evaluation.get("dtype"),
                    "seconds_of_this_call": round(monotonic() - self.began),
                },
                indent=1,
            )
        )
        for line in page.lines:
            out.print(escape(line))
        return path


def _base_name(plan: Plan) -> str:
    """What the server calls the base."""
    return plan.base if plan.base == "smollm2" else Path(plan.base).name
