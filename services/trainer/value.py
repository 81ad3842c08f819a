"""Fits a value model (shared/value.py) on recorded battles, read from top to bottom.

Each battle is walked again, and each of its steps played on copies of the position with other dice. Two things are
learned one after the other, by the same weights:

1. Who wins from a position: log loss, over the positions of all battles.
2. What the dice gave: the outcome should be the value of the first position plus the luck of all steps, so the square
   of what is left over is made small. This is what luck is used for (a control variate; N. Burch and others, "AIVAT",
   AAAI 2018), and it teaches a value that does not waver between one choice and the next.

A share of the battles says when to stop, and another, that nothing was chosen by, how good the model is.
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
HIDDEN = 12
STOP_SHARE, HELD_OUT_SHARE = 0.15, 0.15
FEWEST_BATTLES = 20
LOG_LOSS_EPOCHS, LUCK_EPOCHS = 8, 15
PATIENCE = 3
POSITIONS_AT_ONCE, BATTLES_AT_ONCE = 512, 32
RATE, LUCK_RATE = 3e-3, 1e-3
DECAY = 3e-4
LOG_LOSS_WEIGHT = 0.1
"""Of the log loss while luck is learned: a value stays a probability."""
SMALLEST_SCALE = 0.02
"""A feature that hardly ever differs from 0 is not blown up."""
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


def branched(path: Path, copies: int = COPIES) -> tuple[Run, tuple[str, ...], list[Branched]]:
    """A run file's battles that were played with seeds, with their positions, and the names of the features."""
    run = read_run(path)
    return (run.model_copy(update={"battles": (), "turn_stats": ()}), *asyncio.run(_branched(run, copies)))


async def _branched(run: Run, copies: int) -> tuple[tuple[str, ...], list[Branched]]:
    names: set[tuple[str, ...]] = set()
    at_once = asyncio.Semaphore(BATTLES_IN_HOST)
    async with Simulator(step_timeout_seconds=600) as simulator:

        async def one(battle: RunBattle) -> Branched | None:
            if battle.winner is None or battle.seeds is None or battle.forfeited or not battle.input_log:
                return None
            try:
                log = parse_inputlog(battle.input_log)
                async with at_once:
                    found = await simulator.positions(log, copies=copies, dice=f"value/{battle.battle_tag}")
            except (NotRun, InputRefused):
                return None
            if found["outcome"] is None:
                return None
            names.add(tuple(found["features"]))
            return _arrays(f"{run.summary.p1_agent} vs {run.summary.p2_agent}", found, copies)

        every = await asyncio.gather(*map(one, run.battles))
    return next(iter(names), ()), [each for each in every if each is not None]


def _arrays(matchup: str, found: Mapping[str, "object"], copies: int) -> Branched:
    rows: list[object] = [found["first"]]
    weights = [0.0]
    for step in found["steps"]:  # type: ignore[attr-defined]
        rows += [step["after"], *step["copies"]]
        weights += [1.0, *[-1.0 / copies] * copies]
    width = next(len(row[0]) for row in rows if isinstance(row, list))
    nothing = np.zeros((2, width))
    return Branched(
        matchup,
        float(found["outcome"]),  # type: ignore[arg-type]
        np.array([row if isinstance(row, list) else nothing for row in rows], np.float32),
        np.array([np.nan if isinstance(row, list) else row for row in rows], np.float32),
        np.array(weights, np.float32),
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
        self.starts = np.cumsum([0, *(len(each.ended) for each in battles)])

    def some(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The rows of these battles, and for each row the place of its battle among them."""
        spans = [(self.starts[each], self.starts[each + 1]) for each in chosen]
        rows = np.concatenate([np.arange(*span) for span in spans])
        return torch.tensor(rows), torch.tensor(np.repeat(np.arange(len(spans)), [b - a for a, b in spans]))


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


def _left_over(net: _Net, of: _Battles, rows: Tensor, place: Tensor, outcome: Tensor) -> Tensor:
    """What neither the first position nor the luck of the steps explains of each battle's outcome."""
    ended = of.ended[rows]
    values = torch.where(ended.isnan(), torch.sigmoid(net(of.sides[rows])), ended.nan_to_num())
    weights = torch.where(of.copies[rows] == 0, 1.0, of.copies[rows])
    return outcome - torch.zeros_like(outcome).index_add(0, place, values * weights)


def _variance_left(net: _Net, of: _Battles) -> float:
    every = list(range(len(of.outcome)))
    with torch.no_grad():
        return float((_left_over(net, of, *of.some(every), of.outcome) ** 2).mean()) / 0.25


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
    rng = np.random.default_rng(seed)
    order = [battles[place] for place in rng.permutation(len(battles))]
    stop_at, held_out_at = (round(len(order) * share) for share in (STOP_SHARE, STOP_SHARE + HELD_OUT_SHARE))
    scales = np.maximum(SMALLEST_SCALE, np.concatenate([each.sides for each in order[held_out_at:]]).std((0, 1)))
    stop, held_out, learn = (
        _Battles(part, scales) for part in (order[:stop_at], order[stop_at:held_out_at], order[held_out_at:])
    )
    net = _Net(len(scales), hidden)
    _learn_who_wins(net, learn)
    _learn_luck(net, learn, stop, rng)
    card = _card(net, held_out, order, versions)
    return _model(net, formats.pop(), names.pop(), scales, card)


def _learn_who_wins(net: _Net, learn: _Battles) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    for _ in range(LOG_LOSS_EPOCHS):
        for rows in learn.reached[torch.randperm(len(learn.reached))].split(POSITIONS_AT_ONCE):
            optimizer.zero_grad()
            (_log_loss(net, learn, rows) + net.decay()).backward()
            optimizer.step()


def _learn_luck(net: _Net, learn: _Battles, stop: _Battles, rng: np.random.Generator) -> None:
    """Ends where the battles set aside for that have not gained for some epochs, with the weights of the best one."""
    optimizer = torch.optim.Adam(net.parameters(), lr=LUCK_RATE)
    least, best, since = _variance_left(net, stop), _copied(net), 0
    for _ in range(LUCK_EPOCHS):
        order = rng.permutation(len(learn.outcome))
        for start in range(0, len(order), BATTLES_AT_ONCE):
            chosen = order[start : start + BATTLES_AT_ONCE].tolist()
            rows, place = learn.some(chosen)
            left = _left_over(net, learn, rows, place, learn.outcome[chosen])
            reached = rows[(learn.copies[rows] >= 0) & learn.ended[rows].isnan()]
            optimizer.zero_grad()
            loss = (left**2).mean() + LOG_LOSS_WEIGHT * _log_loss(net, learn, reached) + net.decay()
            loss.backward()
            optimizer.step()
        left_now, since = _variance_left(net, stop), since + 1
        if left_now < least:
            least, best, since = left_now, _copied(net), 0
        if since >= PATIENCE:
            break
    net.load_state_dict(best)


def _copied(net: _Net) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in net.state_dict().items()}


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
