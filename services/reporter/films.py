"""Battles that can be opened: each as a film, with what the policies thought."""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import groupby
from math import isfinite
from typing import Any

from services.reporter.turning import told_beside
from shared.battle.decision import AskRecord
from shared.battle.film import Film
from shared.battle.protocol import Seat
from shared.choices import ChoiceReview
from shared.errors import NotFound, UsageError
from shared.policies import check_format
from shared.records import AnyBattle, AnyDecision, BattleReview, MatchupRequest, Run, RunBattle
from shared.text import as_name, shown

_MAX_NAME_CHARACTERS = 60
_MAX_TEXT_CHARACTERS = 8_000
_SHOWN_OF_ASK = frozenset(
    ("prompt", "answer", "reason", "detail", "model", "probabilities", "tokens_in", "tokens_out", "retries", "cost_usd")
)
MAX_FILM_CHARACTERS = 1_600_000
"""In one report, beside which plotly.js takes 1.9 MB."""
Document = dict[str, Any]
"""What view.js shows: `names`, `steps`, `pokemon`, `decisions`, and more where there is more."""


def called(request: MatchupRequest) -> dict[Seat, str]:
    """What the policies of a matchup are called."""
    return {"p1": as_name(request.p1, _MAX_NAME_CHARACTERS), "p2": as_name(request.p2, _MAX_NAME_CHARACTERS)}


def opened(request: MatchupRequest, p1_seat: Seat) -> Film:
    """The film of a battle of a matchup, before its first line."""
    return Film(check_format(request.format).generation, p1_seat, called(request))


def document(
    request: MatchupRequest,
    battle: AnyBattle,
    decisions: Iterable[AnyDecision],
    review: BattleReview | None = None,
    choices: ChoiceReview | None = None,
) -> Document:
    """One battle as it can be shown. Raises NotFound where it has no log, or one that makes no sense."""
    if not battle.public_log:
        raise NotFound(f"battle {battle.index} has no log, so it cannot be shown")
    film = opened(request, battle.p1_seat or "p1")
    try:
        film.hear(battle.public_log)
        film.cut()
    except (LookupError, ValueError, TypeError) as error:
        raise NotFound(f"the log of battle {battle.index} makes no sense, so it cannot be shown") from error
    return {
        "battle": battle.index,
        "tag": as_name(battle.battle_tag or "battle", _MAX_NAME_CHARACTERS),
        "format": request.format,
        "names": called(request),
        "winner": battle.winner,
        "broken": battle.broken,
        "pokemon": film.pokemon,
        "steps": film.steps,
        "decisions": _with_better(decisions, told_beside(choices)),
        "chances": chances(review),
        "log": list(battle.public_log),
    }


def chances(review: BattleReview | None) -> list[tuple[float, float, float]]:
    """How likely p1 was to win: after so many turns, the chance, and what the dice had just added to it.

    A turn that took several steps is cut in as many parts. Empty where the battle was not reviewed.
    """
    if review is None or review.first is None:
        return []
    found = [(0.0, review.first, 0.0)]
    for turn, of_turn in groupby(review.steps, key=lambda step: step.turn):
        steps = list(of_turn)
        for number, step in enumerate(steps, 1):
            after = max(0, turn - 1 + number / len(steps))  # At team preview, nothing has begun.
            found.append((round(after, 2), round(step.value, 3), round(step.luck, 3)))
    return found


def _with_better(decisions: Iterable[AnyDecision], better: Mapping[tuple[Seat, int], dict[str, str]]) -> list[Document]:
    """The decisions, with what would have been better beside those that cost something."""
    made: Counter[str | None] = Counter()
    found = []
    for decision in decisions:
        told = told_decision(decision)
        if decision.policy and not decision.refused_by_simulator:
            if beside := better.get((decision.policy, made[decision.policy])):
                told["better"] = beside
            made[decision.policy] += 1
        found.append(told)
    return found


def told_decision(decision: AnyDecision) -> Document:
    """A decision as it is shown beside its turn."""
    action = " ".join(filter(None, (decision.action_type, decision.action, decision.gimmick)))
    return {
        "turn": decision.turn,
        "policy": decision.policy,
        "action": shown(action[:_MAX_TEXT_CHARACTERS]),
        "outcome": decision.outcome,
        "reason": decision.reason,
        "ms": decision.decision_ms if isfinite(decision.decision_ms) else 0,
        "reasoning": shown((decision.reasoning or "")[:_MAX_TEXT_CHARACTERS]),
        "asked": [_ask(ask) for ask in decision.asked],
    }


def _ask(ask: AskRecord) -> Document:
    return {
        name: shown(value[:_MAX_TEXT_CHARACTERS]) if isinstance(value, str) else value
        for name, value in asdict(ask).items()
        if name in _SHOWN_OF_ASK and value and not (isinstance(value, float) and not isfinite(value))
    }


def of_run(run: Run, number: int, choices: ChoiceReview | None = None) -> Document:
    """Battle `number` of a run, counted from 0, with what its decisions cost where that is known. Raises NotFound."""
    if run.request is None:
        raise NotFound("this run file names no format, so its battles cannot be shown")
    battle = next((battle for battle in run.battles if battle.index == number), None)
    if battle is None:
        raise NotFound(f"the run has no battle {number}")
    decisions = (stat for stat in run.turn_stats if stat.battle_tag == battle.battle_tag)
    return document(run.request, battle, decisions, battle.review, choices)


def packed(told: object) -> str:
    """JSON, gzipped, in base64: safe inside a script element, whatever it says."""
    text = json.dumps(told, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()


class Openable:
    """The battles of a report that can be opened in it, packed: as many as fit, in the order of the run.

    What a battle's view can do without (its log for Showdown's viewer, and what models were asked) comes beside it,
    again as far as it fits.
    """

    def __init__(self) -> None:
        self.films: dict[int, str] = {}
        """Index of a battle → its film."""
        self._more: dict[int, str] = {}
        self._characters = 0
        self.left_out = 0

    def add(
        self,
        request: MatchupRequest | None,
        battle: RunBattle,
        decisions: Iterable[AnyDecision],
        choices: ChoiceReview | None = None,
    ) -> None:
        """The next battle. One without a log, or of a run that names no format, cannot be opened."""
        if request is None or battle.index is None or not battle.public_log:
            return
        if self.left_out:  # They are opened in order, so that one can say which.
            self.left_out += 1
            return
        try:
            film = document(request, battle, decisions, battle.review, choices)
        except (NotFound, UsageError):
            return
        if not film["steps"]:
            return
        prompts = [[ask.pop("prompt", "") for ask in decision["asked"]] for decision in film["decisions"]]
        more = packed({"log": film.pop("log"), "prompts": prompts})
        told = packed(film)
        if self._characters + len(told) > MAX_FILM_CHARACTERS:
            self.left_out = 1
            return
        self._characters += len(told)
        self.films[battle.index] = told
        if sum(map(len, self._more.values())) + len(more) <= MAX_FILM_CHARACTERS:
            self._more[battle.index] = more

    def more(self) -> dict[int, str]:
        """What comes beside the films, where all of it fits."""
        left = MAX_FILM_CHARACTERS - self._characters
        return self._more if sum(map(len, self._more.values())) <= left else {}
