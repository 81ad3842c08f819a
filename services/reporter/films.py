"""Battles that can be opened: each as a film, with what the policies thought."""

from collections.abc import Iterable
from dataclasses import asdict
from math import isfinite
from typing import Any

from shared.battle.decision import AskRecord
from shared.battle.film import Film
from shared.battle.protocol import Seat
from shared.errors import NotFound
from shared.policies import check_format
from shared.records import AnyBattle, AnyDecision, MatchupRequest, Run
from shared.text import as_name, shown

_MAX_NAME_CHARACTERS = 60
_MAX_TEXT_CHARACTERS = 8_000
_SHOWN_OF_ASK = frozenset(
    ("prompt", "answer", "reason", "detail", "model", "probabilities", "tokens_in", "tokens_out", "retries", "cost_usd")
)
Document = dict[str, Any]
"""What view.js shows: `names`, `steps`, `pokemon`, `decisions`, and more where there is more."""


def called(request: MatchupRequest) -> dict[Seat, str]:
    """What the policies of a matchup are called."""
    return {"p1": as_name(request.p1, _MAX_NAME_CHARACTERS), "p2": as_name(request.p2, _MAX_NAME_CHARACTERS)}


def opened(request: MatchupRequest, p1_seat: Seat) -> Film:
    """The film of a battle of a matchup, before its first line."""
    return Film(check_format(request.format).generation, p1_seat, called(request))


def document(request: MatchupRequest, battle: AnyBattle, decisions: Iterable[AnyDecision]) -> Document:
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
        "decisions": [told_decision(decision) for decision in decisions],
        "log": list(battle.public_log),
    }


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


def of_run(run: Run, number: int) -> Document:
    """Battle `number` of a run, counted from 0. Raises NotFound."""
    if run.request is None:
        raise NotFound("this run file names no format, so its battles cannot be shown")
    battle = next((battle for battle in run.battles if battle.index == number), None)
    if battle is None:
        raise NotFound(f"the run has no battle {number}")
    return document(run.request, battle, (stat for stat in run.turn_stats if stat.battle_tag == battle.battle_tag))
