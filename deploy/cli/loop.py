"""`alphastral loop`: battles with a teacher, a training, the student's own battles corrected, and one report.

Everything is asked for as over the API, and its jobs are done in this process, over a store of the loop's own:

    DIR/loop.json        what was asked for
    DIR/sizes.json       what of it was chosen by this machine's pace, where hours were given
    DIR/store/           matchups, datasets, trainings and models
    DIR/evaluation.json  decision accuracy on held-out battles
    DIR/report.html      the one report; DIR/report.json its figures

In the first round the teacher advises on battles of `players`, in later ones on those of what was trained so far, whose
own mistakes are thereby corrected (DAgger: S. Ross, G. Gordon and D. Bagnell, AISTATS 2011). Each round learns from all
battles so far, from the last adapter on. Each step looks first whether its result is there, so that a loop that was
interrupted goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, Field, ValidationError
from rich.markup import escape

from deploy.cli.play import Steps
from deploy.cli.selfplay import play_on_all_cores
from deploy.cli.show import err, interrupts_told, out, result, training_bar
from deploy.serving import resolve
from deploy.stack import alone_in
from services.scraper.datasets import Datasets
from services.scraper.views import NewDataset
from services.trainer.trainings import NewTraining, Trainings
from shared.document import Strict
from shared.errors import UsageError
from shared.records import NewMatchup
from shared.settings import Settings
from shared.store import replace_file
from shared.text import configure_logging

if TYPE_CHECKING:
    from services.trainer.recipes import Recipe
    from services.trainer.trainings import TrainingStanding

B = TypeVar("B", bound=BaseModel)

RECIPE = "cpu-smollm2-taught"
PILOT_BATTLES, PILOT_STEPS = 8, 10
SHARES = {"learn from": 0.35, "train": 0.4, "fight": 0.2}
"""Of the hours that a loop is given; the rest is for loading, evaluating and writing."""
DECISIONS_A_BATTLE = 45
"""About, of one side."""


class Plan(Strict):
    """What a loop does."""

    hours: float | None = Field(default=None, gt=0, le=1_000)
    """By which rounds, battles and steps are chosen; None takes them as they stand here."""
    rounds: int = Field(default=1, ge=1, le=100)
    selfplay_battles: int = Field(default=240, ge=4, le=100_000)
    """To learn from, in each round."""
    steps: int | None = Field(default=None, ge=3, le=1_000_000)
    """Of each round's training; the recipe's when not given."""
    players: tuple[str, str] = ("race", "heuristic")
    """Who plays what the first round learns from."""
    teacher: str | None = "race"
    """Who advises on those battles; None: what was played is learned."""
    opponents: tuple[str, ...] = ("random", "heuristic")
    """Whom the tuned model meets in the end, beside its base, its teacher and its earlier self."""
    recipe: str = RECIPE
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
    hours: Annotated[
        float | None, typer.Option(help="Choose rounds, battles and steps so that it takes so long here.", min=0.1)
    ] = None,
    rounds: Annotated[int, typer.Option(help="Of battles and training.", min=1, max=100)] = 1,
    selfplay: Annotated[int, typer.Option(help="Battles to learn from, a round.", min=4, max=100_000)] = 240,
    steps: Annotated[int | None, typer.Option(help="Of training, a round [default: the recipe's].", min=3)] = None,
    teacher: Annotated[
        str,
        typer.Option(
            help="Who advises: race; search?worlds=2, with fewer battles; none: heuristic's choices are learned."
        ),
    ] = "race",
    battles: Annotated[int, typer.Option(help="Battles of each matchup, in pairs.", min=2, max=10_000)] = 24,
    recipe: Annotated[str, typer.Option(help="A recipe for this machine.")] = RECIPE,
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
        hours=hours,
        rounds=rounds,
        steps=steps,
        teacher=None if teacher == "none" else teacher,
        players=("heuristic" if teacher == "none" else "race", "heuristic"),
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
    result({"report": report})


def run(plan: Plan, folder: Path, settings: Settings | None = None) -> Path:
    """Do what of the plan is not done yet, and give the report's path.

    What failed for good before gets another try. Raises UsageError for a plan that cannot come to its end here, and
    where DIR holds another or is in use.
    """
    settings = settings or Settings()
    recipe = _recipe(plan, settings)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(plan, folder)
    with alone_in(folder, "a loop"):
        steps = _Steps(plan if plan.hours is None else _sized(plan, recipe, folder, settings), recipe, folder, settings)
        learned_from, versions, dataset = [], list[str](), ""
        for number in range(1, steps.plan.rounds + 1):
            learned_from.append(steps.advised(number, versions))
            dataset = steps.dataset(number, learned_from)
            versions.append(f"{plan.name}@{steps.trained(number, dataset, versions)}")
        evaluation = steps.evaluated(dataset, versions[-1])
        policies = [_asked(version, recipe.contract) for version in versions]
        matchups = steps.fought(questions(steps.plan, policies, recipe.contract), (plan.base, *versions))
        return steps.report(matchups, evaluation, policies)


def questions(plan: Plan, rounds: Sequence[str], contract: str) -> dict[str, NewMatchup]:
    """The matchups of the report by the question that each answers: what was asked, and the controls.

    `rounds` are the policies that came of the rounds, in order.
    """
    tuned, base = rounds[-1], _asked(_base_name(plan), contract)
    players = {
        "tuned vs base": (tuned, base),
        **{f"tuned vs {who}": (tuned, who) for who in dict.fromkeys((*plan.opponents, plan.teacher)) if who},
        "base vs random": (base, "random"),
    }
    if rounds[1:]:
        players["tuned vs round 1"] = (tuned, rounds[0])
    for number, policy in enumerate(rounds[:-1], start=1):
        players[f"round {number} vs heuristic"] = (policy, "heuristic")
    # Never a battle that was learned from.
    how = dict(battles=plan.battles, seed=plan.seed + 1_000_003, pairs=True, concurrency=plan.concurrency)
    return {question: NewMatchup.model_validate(dict(p1=p1, p2=p2, **how)) for question, (p1, p2) in players.items()}


def _asked(model: str, contract: str) -> str:
    """The policy of a model that the built-in server has."""
    return f"tgi:{model}" if contract == "v2" else f"tgi:{model}?contract={contract}"


# ── the steps ───────────────────────────────────────────────────────────────────────────────────────


def _recipe(plan: Plan, settings: Settings) -> "Recipe":
    """The recipe of a plan. Raises UsageError where this machine or this loop cannot do with it."""
    from services.trainer.machine import check_device

    recipe = _training(plan, "none", None).resolved(settings.recipes)
    check_device(recipe)
    if recipe.merge or recipe.base != plan.base:
        raise UsageError(
            f"the recipe {recipe.name} cannot be looped: one server serves tuned model and base, "
            f"which takes an adapter over {plan.base}",
            field="recipe",
        )
    return recipe


def _training(plan: Plan, dataset: str, begin_from: str | None) -> NewTraining:
    changes = dict(plan.changes)
    if plan.steps is not None:
        every = str(max(1, plan.steps // 3))
        changes |= {"max_steps": str(plan.steps), "evaluate_every": every, "save_every": every}
    if begin_from is not None:
        changes["begin_from"] = begin_from
    return NewTraining(recipe=plan.recipe, dataset=dataset, name=plan.name, set=changes)


def _sized(plan: Plan, recipe: "Recipe", folder: Path, settings: Settings) -> Plan:
    """The plan with its sizes, chosen once, by the pace of a few battles and steps in a store that is thrown away."""
    path = folder / "sizes.json"
    if path.exists():
        return plan.model_copy(update=json.loads(path.read_text()))
    err.print(f"pace: {PILOT_BATTLES} battles and {PILOT_STEPS} steps …")
    small = {
        "selfplay_battles": PILOT_BATTLES,
        "steps": PILOT_STEPS,
        "changes": {**plan.changes, "scored_decisions": "4"},
    }
    with TemporaryDirectory(prefix="alphastral-pace-") as work:
        pilot = _Steps(plan.model_copy(update=small), recipe, Path(work), settings)
        battle = pilot.timed(lambda: pilot.advised(1, [])) / PILOT_BATTLES
        pilot.trained(1, pilot.dataset(1, [pilot.advised(1, [])]), [])
    times = [at for _, at in pilot.told]
    sizes = sizes_for(plan, battle, (times[-1] - times[0]) / (len(times) - 1), recipe.batch_size)
    replace_file(path, json.dumps(sizes, indent=1).encode())
    return plan.model_copy(update=sizes)


def sizes_for(plan: Plan, battle_seconds: float, step_seconds: float, batch_size: int) -> dict[str, int]:
    """What goes into a plan's hours: rounds, battles and steps of each, and battles of each matchup in the end."""
    assert plan.hours is not None
    rounds = min(max(round(2 * plan.hours), 1), 6)
    seconds = {share: of * plan.hours * 3600 for share, of in SHARES.items()}
    # Of a training's step about a third is its forward; the other side's decisions are at most the teacher's.
    model_battle = battle_seconds + DECISIONS_A_BATTLE * step_seconds / (3 * batch_size)
    matchups = len(questions(plan, ["a model"] * rounds, "v2"))
    return {
        "rounds": rounds,
        "selfplay_battles": max(4, round(seconds["learn from"] / rounds / battle_seconds)),
        "steps": max(3, round(seconds["train"] / rounds / step_seconds)),
        "battles": max(2, 2 * round(seconds["fight"] / matchups / model_battle / 2)),
    }


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


class _Steps(Steps):
    """The steps of a loop, over a store of its own. Each is done once, and what failed before gets another try."""

    def __init__(self, plan: Plan, recipe: "Recipe", folder: Path, settings: Settings) -> None:
        super().__init__(folder, settings, key=f"loop-{plan.digest}", serving=("--dtype", plan.dtype))
        self.plan, self.recipe = plan, recipe
        self.began = monotonic()
        self.told: list[tuple[int, float]] = []
        """Steps of the latest training, and when each was done."""

    def timed(self, step: Callable[[], object]) -> float:
        """How many seconds a step takes."""
        began = monotonic()
        step()
        return monotonic() - began

    def advised(self, number: int, versions: Sequence[str]) -> str:
        """The matchup that a round learns from: the teacher advises on each decision."""
        plan, student = self.plan, _asked(versions[-1], self.recipe.contract) if versions else None
        p1, p2 = (student, plan.players[1]) if student else plan.players
        asked = NewMatchup(
            p1=p1,
            p2=p2,
            teacher=plan.teacher,
            battles=plan.selfplay_battles,
            pairs=False,
            concurrency=8,
            seed=plan.seed + 7_919 * (number - 1),
            luck="off",
        )
        question = f"round {number}: battles to learn from"
        if student:
            return self.fought({question: asked}, (plan.base, versions[-1]))[question]

        def play(matchup_id: str) -> None:
            play_on_all_cores(self.store, self.settings, matchup_id, question)

        return self.finished(self.matchups, asked, "selfplay", begin=play)

    def dataset(self, number: int, matchup_ids: Sequence[str]) -> str:
        """The name of the dataset of all that was played to learn from so far."""
        asked = NewDataset.model_validate(
            dict(
                name=f"loop-{self.plan.digest}-{number}",
                sources=[f"store:matchups/{id}" for id in matchup_ids],
                contract=self.recipe.contract,
                val_fraction=0.1,
            )
        )
        err.print("dataset: running the battles again and writing what each side saw …")
        name = self.finished(Datasets(self.store), asked, None)
        if (card := Datasets(self.store).card(name)) is not None:
            err.print(f"dataset: {card.rows['train']:,} samples to learn from, {card.rows['validation']:,} held out")
        return name

    def trained(self, number: int, dataset: str, versions: Sequence[str]) -> str:
        """The version that a round's training became, begun from the last one."""
        work = Trainings(self.store, self.settings.recipes)
        asked = _training(self.plan, dataset, versions[-1] if versions else None)
        self.told.clear()
        with training_bar("training") as show:

            def also(standing: "TrainingStanding") -> None:
                self.told.append((standing.step, monotonic()))
                show(standing)

            id = self.finished(work, asked, f"training-{number}", also=also)
        version = work.version(id) or ""
        err.print(escape(f"round {number}: {self.plan.name}@{version}"))
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
            "cost": {who: each.cost for who, each in measured.items() if each.cost is not None},
            "dtype": loaded.dtype,
        }
        replace_file(path, json.dumps(found, indent=1).encode())
        return found

    def report(self, ids: Mapping[str, str], evaluation: dict[str, Any], rounds: Sequence[str]) -> Path:
        """Write it, say what it says, and give its path."""
        from services.reporter.loop import Loop, render_loop

        page = render_loop(
            Loop(
                model=rounds[-1].removeprefix("tgi:").partition("?")[0],
                base=self.plan.base,
                teacher=self.plan.teacher or " and ".join(dict.fromkeys(self.plan.players)),
                recipe=self.plan.recipe,
                runs={key: self.matchups.asked.run(matchup_id) for key, matchup_id in ids.items()},
                accuracy={
                    who: {kind: (float(hits), int(decisions)) for kind, (hits, decisions) in kinds.items()}
                    for who, kinds in evaluation["accuracy"].items()
                },
                legal_share=evaluation["legal_share"],
                perplexity=evaluation["perplexity"],
                cost=evaluation["cost"],
                rounds=tuple(rounds),
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
