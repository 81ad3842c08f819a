"""Battles that can be opened: each as a film, with what the policies thought, packed for a page or as its own."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from markupsafe import Markup

from services.reporter.report import page, page_policy, script_hash, template_text
from shared.battle.decision import AskRecord
from shared.battle.film import Film
from shared.battle.protocol import Seat
from shared.errors import NotFound
from shared.policies import check_format
from shared.records import AnyBattle, AnyDecision, Run
from shared.text import as_name, shown

_MAX_NAME_CHARACTERS = 60
_MAX_TEXT_CHARACTERS = 8_000
_SHOWN_OF_ASK = frozenset(
    ("prompt", "answer", "reason", "detail", "model", "probabilities", "tokens_in", "tokens_out", "retries", "cost_usd")
)
Document = dict[str, Any]
"""What view.js shows: `names`, `steps`, `pokemon`, `decisions`, and more where there is more."""


def document(
    battle: AnyBattle, decisions: Iterable[AnyDecision], *, number: int, format_id: str, names: Mapping[Seat, str]
) -> Document:
    """One battle as it can be shown. `names` are what the policies p1 and p2 are to be called.

    Raises NotFound for a battle without a log, and for one whose log makes no sense.
    """
    if not battle.public_log:
        raise NotFound(f"battle {number} has no log, so it cannot be shown")
    called = {policy: as_name(name, _MAX_NAME_CHARACTERS) for policy, name in names.items()}
    film = Film(check_format(format_id).generation, battle.p1_seat or "p1", called)
    try:
        film.hear(battle.public_log)
        film.cut()
    except (LookupError, ValueError, TypeError) as error:
        raise NotFound(f"the log of battle {number} makes no sense, so it cannot be shown") from error
    return {
        "battle": number,
        "tag": battle.battle_tag or f"battle-{number}",
        "format": format_id,
        "names": called,
        "winner": battle.winner,
        "broken": battle.broken,
        "pokemon": film.pokemon,
        "steps": film.steps,
        "decisions": [told(decision) for decision in decisions],
        "log": list(battle.public_log),
    }


def told(decision: AnyDecision) -> Document:
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


def battle_page(film: Document) -> str:
    """One battle as one file, which opens offline and needs nothing beside it."""
    script = template_text("view.js") + template_text("battle.js")
    return page(
        "battle.html.j2",
        film=film,
        packed=packed(film),
        style=template_text("report.css") + template_text("view.css"),
        script=script,
        policy=page_policy(script_hash(script)),
    )


def packed(film: Document) -> Markup:
    """JSON, gzipped, in base64: safe inside a script element, whatever it says."""
    text = json.dumps(film, separators=(",", ":"), allow_nan=False)
    return Markup(base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode())


def of_run(run: Run, number: int) -> Document:
    """Battle `number` of a run, as the run numbers it. Raises NotFound."""
    if run.request is None:
        raise NotFound("this run file names no format, so its battles cannot be shown")
    battle = next((battle for battle in run.battles if battle.index == number), None)
    if battle is None:
        raise NotFound(f"the run has no battle {number}")
    decisions = [stat for stat in run.turn_stats if stat.battle_tag == battle.battle_tag]
    names: Mapping[Seat, str] = {"p1": run.summary.p1_agent, "p2": run.summary.p2_agent}
    return document(battle, decisions, number=number, format_id=run.request.format, names=names)
