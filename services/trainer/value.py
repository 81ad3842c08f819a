"""Fits a value model (shared/value.py) on recorded battles, read from top to bottom.

Each battle is walked again, and what is learned is who wins from its positions (log loss). The last battles of each run
are held out: how good the model is, is measured on them, and how much of their luck it sees, on copies of their
positions with other dice.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from shared.errors import InputRefused, UsageError
from shared.records import Run, RunBattle, read_run
from shared.simulator.inputlog import NotRun, parse_inputlog
from shared.simulator.simulator import Simulator
from shared.value import CalibrationBin, HiddenUnit, ValueCard, ValueModel
from shared.verdicts.scores import Floats

COPIES = 3
HIDDEN = 24
HELD_OUT_SHARE = 0.15
FEWEST_BATTLES = 20
EPOCHS = 6
POSITIONS_AT_ONCE = 512
RATE = 3e-3
"""At the start; it falls evenly to 0."""
DECAY = 3e-5
SMALLEST_SCALE = 0.02
"""A feature that differs less from battle to battle is not blown up: nothing is known of what it is worth."""
BATTLES_IN_HOST = 4
BINS = 10


# ── battles → positions ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Branched:
    """One battle: its first position, then for each step the position after it and the copies of it."""

    matchup: str
    outcome: float
    """Of seat p1: 1, 0 or a half."""
    sides: Floats
    """(positions, 2, features), float32; zeros where the battle is over."""
    ended: Floats
    """(positions,): the outcome where the battle is over there, else nan."""
    copies: Floats
    """(positions,): 0 for the first position, 1 for one that was reached, -1/copies for a copy."""
    held_out: bool
    """Whether it is measured by, and not learned from; only such a battle has copies."""


def branched(path: Path, copies: int = COPIES) -> tuple[Run, tuple[str, ...], list[Branched]]:
    """A run file's battles that were played with seeds, with their positions, and the names of the features."""
    run = read_run(path)
    return (run.model_copy(update={"battles": (), "turn_stats": ()}), *asyncio.run(_branched(run, copies)))


async def _branched(run: Run, copies: int) -> tuple[tuple[str, ...], list[Branched]]:
    names: set[tuple[str, ...]] = set()
    at_once = asyncio.Semaphore(BATTLES_IN_HOST)
    async with Simulator(step_timeout_seconds=600) as simulator:

        async def one(place: int, battle: RunBattle) -> Branched | None:
            held_out = place >= round(len(run.battles) * (1 - HELD_OUT_SHARE)) // 2 * 2  # No pair is torn apart.
            if battle.winner is None or battle.seeds is None or battle.forfeited or not battle.input_log:
                return None
            try:
                log = parse_inputlog(battle.input_log)
                async with at_once:
                    found = await simulator.positions(log, copies=copies * held_out, dice=f"value/{battle.battle_tag}")
            except (NotRun, InputRefused):
                return None
            if found["outcome"] is None:
                return None
            names.add(tuple(found["features"]))
            return _arrays(f"{run.summary.p1_agent} vs {run.summary.p2_agent}", found, held_out)

        every = await asyncio.gather(*(one(*each) for each in enumerate(run.battles)))
    return next(iter(names), ()), [each for each in every if each is not None]


def _arrays(matchup: str, found: Mapping[str, "object"], held_out: bool) -> Branched:
    rows: list[object] = [found["first"]]
    weights = [0.0]
    for step in found["steps"]:  # type: ignore[attr-defined]
        rows += [step["after"], *step["copies"]]
        weights += [1.0, *(-1.0 / len(step["copies"]) for _ in step["copies"])]
    width = next(len(row[0]) for row in rows if isinstance(row, list))
    nothing = np.zeros((2, width))
    return Branched(
        matchup,
        float(found["outcome"]),  # type: ignore[arg-type]
        np.array([row if isinstance(row, list) else nothing for row in rows], np.float32),
        np.array([np.nan if isinstance(row, list) else row for row in rows], np.float32),
        np.array(weights, np.float32),
        held_out,
    )


# ── positions → a model ─────────────────────────────────────────────────────────────────────────────


class _Battles:
    """Battles as tensors, one after the other."""

    def __init__(self, battles: Sequence[Branched], scales: Floats) -> None:
        self.sides = torch.tensor(np.concatenate([each.sides for each in battles]) / scales, dtype=torch.float32)
        self.ended = torch.tensor(np.concatenate([each.ended for each in battles]))
        self.copies = torch.tensor(np.concatenate([each.copies for each in battles]))
        self.battle = torch.tensor(np.repeat(np.arange(len(battles)), [len(each.ended) for each in battles]))
        self.outcome = torch.tensor([each.outcome for each in battles], dtype=torch.float32)
        self.reached = torch.nonzero((self.copies >= 0) & self.ended.isnan()).flatten()


class _Net(torch.nn.Module):  # type: ignore[misc]
    """The formula of shared/simulator/value.js."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.straight = torch.nn.Parameter(torch.zeros(features))
        self.units = torch.nn.Parameter(torch.randn(hidden, 2 * features) * 0.3 / (2 * features) ** 0.5)
        self.bias = torch.nn.Parameter(torch.zeros(hidden))
        self.out = torch.nn.Parameter(torch.randn(hidden) * 0.1)

    def forward(self, sides: Tensor) -> Tensor:
        """Logits (n,) of sides (n, 2, features)."""
        both, turned = sides.flatten(1), sides.flip(1).flatten(1)
        answers = torch.tanh(both @ self.units.T + self.bias) - torch.tanh(turned @ self.units.T + self.bias)
        logits: Tensor = (sides[:, 0] - sides[:, 1]) @ self.straight + answers @ self.out
        return logits

    def decay(self) -> Tensor:
        return DECAY * sum(((each**2).sum() for each in self.parameters()), torch.zeros(()))


def _log_loss(net: _Net, of: _Battles, rows: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(net(of.sides[rows]), of.outcome[of.battle[rows]])


def _variance_left(net: _Net, of: _Battles) -> float:
    """Of the outcomes, once the value of the first position and the luck of the steps are taken out."""
    with torch.no_grad():
        values = torch.where(of.ended.isnan(), torch.sigmoid(net(of.sides)), of.ended.nan_to_num())
    weights = torch.where(of.copies == 0, 1.0, of.copies)
    left = of.outcome - torch.zeros_like(of.outcome).index_add(0, of.battle, values * weights)
    return float((left**2).mean()) / 0.25


def fit(
    runs: Iterable[tuple[Run, tuple[str, ...], list[Branched]]], *, hidden: int = HIDDEN, seed: int = 0
) -> ValueModel:
    """Fit a model. Raises UsageError where the battles are too few, or of several formats."""
    formats, names, versions, battles = set(), set(), set(), list[Branched]()
    for run, features, found in runs:
        if found and run.request is not None:
            formats.add(run.request.format)
            versions.add((run.versions or {}).get("pokemon-showdown", "unknown"))
            names.add(features)
            battles += found
    if len(formats) > 1:
        raise UsageError(f"a value model is of one format, and these runs are of {', '.join(sorted(formats))}")
    if len(battles) < FEWEST_BATTLES:
        usable = f"{len(battles)} of these battles were played with seeds and ended"
        raise UsageError(f"{usable}; a value model needs {FEWEST_BATTLES}")
    torch.manual_seed(seed)
    learned = [each for each in battles if not each.held_out]
    spread = np.concatenate([each.sides for each in learned]).std((0, 1))
    scales = np.where(spread < SMALLEST_SCALE, 1, spread)
    learn, held_out = _Battles(learned, scales), _Battles([each for each in battles if each.held_out], scales)
    net = _Net(len(scales), hidden)
    _learn_who_wins(net, learn)
    card = _card(net, held_out, battles, versions)
    return _model(net, formats.pop(), names.pop(), scales, card)


def _learn_who_wins(net: _Net, learn: _Battles) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    steps = EPOCHS * -(-len(learn.reached) // POSITIONS_AT_ONCE)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(EPOCHS):
        for rows in learn.reached[torch.randperm(len(learn.reached))].split(POSITIONS_AT_ONCE):
            optimizer.zero_grad()
            (_log_loss(net, learn, rows) + net.decay()).backward()
            optimizer.step()
            falling.step()


# ── the model, and what is said of it ───────────────────────────────────────────────────────────────


def _card(net: _Net, held_out: _Battles, battles: Sequence[Branched], versions: set[str]) -> ValueCard:
    with torch.no_grad():
        said = torch.sigmoid(net(held_out.sides[held_out.reached])).numpy()
        loss = float(_log_loss(net, held_out, held_out.reached))
    happened = held_out.outcome[held_out.battle[held_out.reached]].numpy()
    bins = np.minimum(BINS - 1, (said * BINS).astype(int))
    matchups = Counter(each.matchup for each in battles)
    return ValueCard(
        battles=len(battles) - len(held_out.outcome),
        held_out_battles=len(held_out.outcome),
        positions=sum(int((each.copies >= 0).sum()) for each in battles),
        policies=tuple(f"{name}: {count}" for name, count in sorted(matchups.items())),
        versions=tuple(sorted(versions)),
        log_loss=round(loss, 4),
        variance_left=round(_variance_left(net, held_out), 4),
        copies=round(-1 / min(float(each.copies.min()) for each in battles)),
        calibration=tuple(
            CalibrationBin(
                said=round(float(said[bins == each].mean()), 4),
                happened=round(float(happened[bins == each].mean()), 4),
                positions=int((bins == each).sum()),
            )
            for each in range(BINS)
            if (bins == each).any()
        ),
    )


def _model(net: _Net, format: str, names: tuple[str, ...], scales: Floats, card: ValueCard) -> ValueModel:
    def numbers(values: Tensor | Floats) -> tuple[float, ...]:
        return tuple(float(f"{value:.6g}") for value in values.tolist())

    features = len(names)
    units = zip(net.units.detach(), net.bias.tolist(), net.out.tolist(), strict=True)
    return ValueModel(
        format=format,
        features=names,
        scales=numbers(scales),
        weights=numbers(net.straight.detach()),
        hidden=tuple(
            HiddenUnit(
                own=numbers(unit[:features]),
                other=numbers(unit[features:]),
                bias=float(f"{bias:.6g}"),
                out=float(f"{out:.6g}"),
            )
            for unit, bias, out in units
        ),
        card=card,
    )
