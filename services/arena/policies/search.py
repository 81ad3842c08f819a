"""The policy that searches: it plays each pair of actions one turn on, and solves the game that both play at once.

What it may know is completed to a few full positions (`worlds`). In each of them every pair of an own action and one of
the opponent's is played on in copies with other dice, and what comes out is valued by the value model that comes with
the format. The opponent knows its own team, so in each world it answers as suits it there; the own side does not know
which world it is in, so its mixed strategy is one over all of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from services.arena.player import View
from services.arena.policies.baselines import typed_best
from services.arena.policies.known import known
from shared.battle.action import order
from shared.battle.decision import Advice, Decision, Outcome
from shared.errors import InputRefused, UsageError
from shared.policies import PolicySpec
from shared.settings import Settings
from shared.simulator.simulator import Simulator
from shared.value import shipped_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

COPIES_A_SECOND = 650
"""By which a time is told in copies of a position, so that the same question has the same answer on every machine."""
_AT_ONCE = 2
"""Questions at the host: one is worked out while the next is written."""
_SILENT_SECONDS = 300.0
_NEGLIGIBLE = 0.05
"""An action that the solution takes more rarely is not taken at all: that much is luck of the dice."""
_PECULIAR = 0.6
"""Of what a pair of actions is worth beyond the sum of both, so much is kept: the rest is luck of the few dice."""
_EXPECTED = 0.6
"""How often the opponent is expected to do what is likely of it, in place of what is best against the strategy."""


class Search:
    """One turn ahead, in several worlds, with a mixed strategy."""

    contract: Mapping[str, str] = {}

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self._simulator: Simulator | None = None
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def aclose(self) -> None:
        """End the simulator host, if one was started."""
        if self._simulator is not None:
            await self._simulator.aclose()

    async def decide(self, view: View) -> Decision:
        """Drawn from the advice by `view.rng`; where there is none, the move that `typed` takes."""
        advice = await self.advise(view)
        if not advice:
            return Decision(view.rng.choice(typed_best(view.state)), Outcome.SUBSTITUTED)
        chosen = view.rng.choices(advice, weights=[each.probability for each in advice])[0]
        return Decision(chosen.action, advice=advice)

    async def advise(self, view: View) -> tuple[Advice, ...]:
        """How often each of `view.legal` is taken, and the chance of winning after it.

        Empty where no world can be built. It draws nothing from `view.rng`: the dice follow from what is known.
        """
        document = known(view)
        value = shipped_value(document["format"])
        if value is None:
            raise UsageError(f"{self.spec.kind!r} plays only formats with a value model, not {document['format']}")
        if self._simulator is None:
            self._simulator = Simulator(Settings().node, step_timeout_seconds=_SILENT_SECONDS)
        options = self.spec.search
        try:
            async with self._places:
                found = await self._simulator.search(
                    document,
                    [order(action, view.request) for action in view.legal],
                    value,
                    worlds=options.worlds,
                    dice=options.dice,
                    copies=max(1, round(options.time_seconds * COPIES_A_SECOND)),
                    text=sha256(orjson.dumps(document)).hexdigest(),
                )
        except InputRefused:
            return ()
        if not found["worlds"]:
            return ()
        worlds = [world["values"] for world in found["worlds"]]
        probabilities, values = solve(worlds, found["glances"], [world["expected"] for world in found["worlds"]])
        return tuple(Advice(*each) for each in zip(view.legal, probabilities, values, strict=True))


def solve(
    worlds: Sequence[Sequence[Sequence[float] | None]],
    glances: Sequence[float],
    expected: Sequence[Sequence[float]],
) -> tuple[list[float], list[float]]:
    """The own mixed strategy, and what each own action is worth against the opponent's best answers to it.

    `worlds` are matrices of the own side's chances, a row for each own action, the same ones in all; None for one that
    was only glanced at, which is never taken; what it is worth is in `glances`. The strategy has the most mean
    value over the worlds where the opponent takes, in each, what is best for it there, or else what is likely of it:
    `expected` has a weight for each of its actions.
    """
    import numpy as np
    from scipy.optimize import linprog

    looked = [at for at, row in enumerate(worlds[0]) if row is not None]
    games: list[NDArray[Any]] = [_calmed(np.array([world[at] for at in looked], dtype=float)) for world in worlds]
    count = len(looked)
    columns = sum(game.shape[1] for game in games)
    # The value of world w is at most what the strategy gets against each of the opponent's actions there.
    limits = np.zeros((columns, count + len(games)))
    at = 0
    for number, game in enumerate(games):
        limits[at : at + game.shape[1], :count] = -game.T
        limits[at : at + game.shape[1], count + number] = 1
        at += game.shape[1]
    likely = [game @ np.array(weights) / sum(weights) for game, weights in zip(games, expected, strict=True)]
    wanted = np.concatenate([-_EXPECTED * sum(likely), np.full(len(games), _EXPECTED - 1)])
    is_whole = np.concatenate([np.ones(count), np.zeros(len(games))])[None, :]
    bounds = [(0, 1)] * count + [(None, None)] * len(games)
    solution = linprog(wanted, limits, np.zeros(columns), is_whole, [1.0], bounds, method="highs")
    taken = np.where(solution.x[:count] < _NEGLIGIBLE, 0, solution.x[:count])
    # How often the opponent takes each of its actions: the price of each limit.
    answers = -solution.ineqlin.marginals
    worth = np.zeros(count)
    at = 0
    for game, usual in zip(games, likely, strict=True):
        worth += (game @ answers[at : at + game.shape[1]] + _EXPECTED * usual) / len(games)
        at += game.shape[1]
    probabilities, values = [0.0] * len(worlds[0]), list(glances)
    for place, share, value in zip(looked, taken / taken.sum(), worth, strict=True):
        probabilities[place], values[place] = float(share), float(min(1.0, max(0.0, value)))
    return probabilities, values


def _calmed(game: "NDArray[Any]") -> "NDArray[Any]":
    """The game with what is peculiar to each pair made smaller."""
    sums = game.mean(axis=1, keepdims=True) + game.mean(axis=0, keepdims=True) - game.mean()
    calmed: NDArray[Any] = sums + _PECULIAR * (game - sums)
    return calmed
