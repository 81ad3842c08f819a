"""Turning points: the decisions that cost most, what policies lose a decision, and whether dice or choices decided.

All figures are chances to win as the value model sees them. What a decision cost is by how much the best other choice
would have been better (shared/choices.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from services.reporter.sections import ReportTable
from shared.battle.protocol import SEATS, Seat
from shared.battle.words import on_field
from shared.choices import ChoiceReview, ReviewedDecision
from shared.records import BattleReview, RunBattle
from shared.text import count, shown
from shared.verdicts.scores import Winner

MOST_SHOWN = 20
_EARLY, _MIDDLE = 5, 15
"""The last turns of the first two phases."""
_PHASES = ("turns 1 to 5", "turns 6 to 15", "later turns")
_KINDS = ("move", "switch", "tera", "forced switch", "lead")
_WORTH_A_MARK = 0.1
_MOST_KEPT = 100
_FIRST = 3


@dataclass(frozen=True, slots=True)
class Point:
    """A decision that cost something, with what a page needs to lead to it."""

    battle: int
    winner: Winner | None
    decision: ReviewedDecision

    @property
    def position(self) -> str:
        """`Gyarados (43 %) against Dragonite (100 %), 3 left against 4`."""
        own, opposing = self.decision.own, self.decision.opposing
        active = (on_field(each.name, each.hp, each.status, each.boosts) for each in (own, opposing))
        return f"{' against '.join(active)}, {own.left} left against {opposing.left}"

    @property
    def chosen(self) -> str:
        """The choice made."""
        return self.decision.options[0].words

    @property
    def better(self) -> str:
        """The best other one."""
        return self.decision.options[self.decision.best].words

    @property
    def says(self) -> str:
        """`12 ± 3 points better, as could be known; 15 ± 2 against what the opponent chose.`"""
        each = self.decision
        known, hindsight = _points(each.loss, each.error), _points(each.hindsight, each.hindsight_error)
        at_once = "Most likely it would have won at once: " if each.wins else ""
        return f"{at_once}{known} points better, as far as could be known; {hindsight} against what the opponent chose"

    @property
    def result(self) -> str:
        """How the battle ended for who decided."""
        return {None: "broken", "draw": "a draw"}.get(
            self.winner, "won" if self.winner == self.decision.policy else "lost"
        )

    @property
    def sure(self) -> bool:
        """Whether the dice of the review leave no doubt that it cost something."""
        return (
            self.decision.loss > 2 * self.decision.error and self.decision.hindsight > 2 * self.decision.hindsight_error
        )

    @property
    def doubt(self) -> str:
        """A sentence where the dice leave one."""
        return "" if self.sure or self.decision.wins else " The dice leave it in doubt."

    def document(self) -> dict[str, Any]:
        """As JSON."""
        told = self.decision.model_dump(mode="json", exclude={"options", "best", "reasoning"})
        return {
            "battle": self.battle,
            "result": self.result,
            "position": self.position.replace("\u00a0", " "),
            "chosen": self.chosen,
            "better": self.better,
            "sure": self.sure,
            "cost": self.decision.cost,
            **told,
            "reasoning": self.decision.reasoning,
        }


@dataclass(slots=True)
class _Losses:
    """Losses of decisions, summed up by battle."""

    count: int = 0
    total: float = 0.0
    by_battle: list[tuple[int, float]] | None = None

    def add(self, losses: list[float]) -> None:
        if losses:
            self.count += len(losses)
            self.total += sum(losses)
            self.by_battle = [*(self.by_battle or ()), (len(losses), sum(losses))]

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def error(self) -> float | None:
        """Of a ratio of means, battles being the observations (W. G. Cochran, Sampling Techniques, 1977)."""
        each = self.by_battle or []
        if len(each) < 2:
            return None
        squares = sum((total - self.mean * number) ** 2 for number, total in each)
        return sqrt(squares * len(each) / (len(each) - 1)) / self.count


class TurningPoints:
    """What the reviewed battles of a run say, gathered battle by battle."""

    def __init__(self, names: Mapping[Any, str]) -> None:
        """`names` are what p1 and p2 are called."""
        self.names = names
        self.battles = self.decisions = 0
        self.dice_lost: dict[Seat, int] = {"p1": 0, "p2": 0}
        self.choices_lost: dict[Seat, int] = {"p1": 0, "p2": 0}
        """Battles that this policy lost, by what took more of its chances."""
        self.by_battle: list[tuple[list[Point], int, Winner | None, tuple[float, float] | None]] = []
        """The dearest few, which battle, who won, and what dice and choices added to p1's chance."""
        self._points: list[Point] = []
        self._losses: dict[tuple[str, Seat], _Losses] = {}

    def add(self, choices: ChoiceReview | None, review: BattleReview | None) -> None:
        """The next battle, where its decisions were weighed."""
        if choices is None or choices.refused:
            return
        self.battles += 1
        self.decisions += len(choices.decisions)
        for seat in SEATS:
            mine = [each for each in choices.decisions if each.policy == seat]
            groups = {"all": mine}
            for each in mine:
                groups.setdefault(each.kind, []).append(each)
                groups.setdefault(_phase(each.turn), []).append(each)
            for name, of_group in groups.items():
                self._losses.setdefault((name, seat), _Losses()).add([each.loss for each in of_group])
        points = [Point(choices.index, choices.winner, each) for each in ranked(choices)]
        every = sorted([*self._points, *points], key=_order) if self._points else points
        self._points = every[:_MOST_KEPT]
        taken, loser = dice_and_choices(review), _loser(choices.winner)
        self.by_battle.append((points[:_FIRST], choices.index, choices.winner, taken))
        if taken and loser:
            # Of what its chances fell by, whichever of both took more.
            dice, made = (each if loser == "p1" else -each for each in taken)
            (self.dice_lost if dice < made else self.choices_lost)[loser] += 1

    def worst(self, most: int = MOST_SHOWN) -> list[Point]:
        """Those that cost most; of one battle alone in the order of `ranked`."""
        return self._points[:most]

    @property
    def sentence(self) -> str:
        """What a decision costs on average."""
        each = [
            f"{self.names[seat]} {_points(losses.mean, losses.error, 1)}"
            for seat in SEATS
            if (losses := self._losses.get(("all", seat))) and losses.count
        ]
        of = f"Over {count(self.decisions, 'decision')} of {count(self.battles, 'battle')}"
        return f"{of}, a decision cost {' and '.join(each)} points of win probability on average."

    @property
    def lost(self) -> Iterator[str]:
        """Whether dice or choices lost the battles, for each policy."""
        for seat in SEATS:
            dice, choices = self.dice_lost[seat], self.choices_lost[seat]
            if dice + choices:
                lost = f"{count(dice + choices, 'battle')} that {self.names[seat]} lost"
                yield f"Of {lost}, the dice took more of its chances in {dice}, the choices of both sides in {choices}."

    def table(self) -> ReportTable:
        """Average loss a decision by kind and phase, the policies side by side."""
        rows = []
        for name in ("all", *_KINDS, *_PHASES):
            found = [self._losses.get((name, seat)) for seat in SEATS]
            if any(each and each.count for each in found):
                cells = (
                    (_points(each.mean, each.error, 1), f"{each.count:,}") if each and each.count else ("–", "0")
                    for each in found
                )
                rows.append((name, *(cell for pair in cells for cell in pair)))
        p1, p2 = (self.names[seat] for seat in SEATS)
        return ReportTable(("Points a decision", p1, "decisions", p2, "decisions"), tuple(rows))

    def document(self, most: int) -> dict[str, Any]:
        """All of it as JSON: losses are chances to win, from 0 to 1."""
        return {
            "battles": self.battles,
            "decisions": self.decisions,
            "losses": [
                {"of": name, "policy": seat, "decisions": each.count, "mean": each.mean, "error": each.error}
                for (name, seat), each in self._losses.items()
                if each.count
            ],
            "lost_by_dice": self.dice_lost,
            "lost_by_choices": self.choices_lost,
            "turning_points": [point.document() for point in self.worst(most)],
            "by_battle": [
                {
                    "battle": index,
                    "winner": winner,
                    "dice": taken and taken[0],
                    "choices": taken and taken[1],
                    "turning_points": [point.document() for point in points],
                }
                for points, index, winner, taken in self.by_battle
            ],
        }


def ranked(choices: ChoiceReview) -> list[ReviewedDecision]:
    """A battle's decisions that cost something, the dearest first.

    Choices that would have won at once come before all others, for there next to nothing is estimated.
    """
    found = [each for each in choices.decisions if each.best and (each.cost > 0 or each.wins)]
    return sorted(found, key=lambda each: (not each.wins, -each.cost))


def _order(point: Point) -> tuple[float, int, int]:
    return -point.decision.cost, point.battle, point.decision.turn


def dice_and_choices(review: BattleReview | None) -> tuple[float, float] | None:
    """What the dice and what the choices of both sides added to p1's chance through a battle; together, all of it."""
    if review is None or review.first is None or not review.steps:
        return None
    dice = sum(step.luck for step in review.steps)
    return dice, review.steps[-1].value - review.first - dice


def told_beside(choices: ChoiceReview | None) -> dict[tuple[Seat, int], dict[str, str]]:
    """(policy, which of its choices) → what to say beside a decision that cost something."""
    found = {}
    for each in ranked(choices) if choices else ():
        if each.wins or each.cost >= _WORTH_A_MARK:
            point = Point(choices.index if choices else 0, None, each)
            found[each.policy, each.number] = {"text": shown(f"Better: {point.better}. {point.says}.")}
    return found


def of_battles(
    names: Mapping[Any, str], battles: Iterable[RunBattle], choices: Mapping[int, ChoiceReview]
) -> TurningPoints:
    """Those of a run's battles."""
    found = TurningPoints(names)
    for battle in battles:
        found.add(choices.get(battle.index if battle.index is not None else -1), battle.review)
    return found


def _loser(winner: Winner | None) -> Seat | None:
    return "p2" if winner == "p1" else "p1" if winner == "p2" else None


def _phase(turn: int) -> str:
    return _PHASES[0 if turn <= _EARLY else 1 if turn <= _MIDDLE else 2]


def _points(loss: float, error: float | None, decimals: int = 0) -> str:
    around = "" if error is None else f"\u00a0±\u00a0{100 * error:.{decimals}f}"
    return f"{100 * loss:.{decimals}f}{around}"
