"""`alphastral try`: one question to a model, and everything about it. The first thing to do with a new model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.markup import escape

from services.arena.backends.chat import constraint
from services.arena.checks import pin
from services.arena.policies import Connect, Exchanges, make_policy
from services.arena.policies.language_model import LanguageModel, connector
from shared.battle.action import Forfeit
from shared.battle.completion import regex, render
from shared.battle.contract import CONTRACTS, golden_states
from shared.battle.decision import Ask, AskRecord, Decision, Outcome
from shared.battle.state import BattleState, from_json
from shared.errors import UsageError
from shared.jobs.limits import LocalLimiter
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import milliseconds, shown, usd

PATIENCE_SECONDS = 10.0
"""Somebody is looking on: a server that is away is not waited for as in a matchup."""
_CANDIDATES_SHOWN = 5


async def try_once(
    policy: str,
    state_file: Path | None,
    settings: Settings,
    tell: Callable[[str], None],
    reach: Callable[[Connect], Connect] = lambda connect: connect,
) -> Decision:
    """Ask once, tell everything, and return what came of it. Raises UsageError, Unreachable."""
    patience = min(settings.server_patience_seconds, PATIENCE_SECONDS)
    patiences = {
        "server_patience_seconds": patience,
        "version_patience_seconds": min(settings.version_patience_seconds, PATIENCE_SECONDS),
    }
    connect = reach(connector(settings.model_copy(update=patiences), LocalLimiter()))
    model = make_policy(pin(policy, Registry(Store(settings.store)), settings), connect)
    if not isinstance(model, LanguageModel):
        raise UsageError(f"{policy!r} asks no model, so there is nothing to try")
    state = _read(state_file) if state_file else golden_states()[0]
    try:
        first = await model.prepare()
        for line in _question(model, state, first.note if first else ""):
            tell(line)
        decision = await model.decide_in(state, Exchanges(), lambda state: Forfeit())
    finally:
        await model.aclose()
    for line in _answers(model, state, decision):
        tell(line)
    return decision


def _read(path: Path) -> BattleState:
    try:
        return from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"cannot read the state {path}: {error.strerror}", field="state") from error


def _question(model: LanguageModel, state: BattleState, note: str) -> Iterator[str]:
    contract = CONTRACTS[model.spec.options.contract]
    completions = contract.completions(state)
    yield _head("policy", f"{model.spec.kind}, {model.backend.model} at {model.backend.endpoint}")
    yield _head("contract", f"{contract.version}, {contract.hash[:12]}, {model.card}")
    if not completions:
        return
    question = model.question(Ask(contract.prompt(state), tuple(completions), regex(completions)))
    constrained = constraint(question)
    yield _head("constraint", json.dumps(constrained, ensure_ascii=False) if constrained else "none")
    if note:
        yield _head("note", note)


def _answers(model: LanguageModel, state: BattleState, decision: Decision) -> Iterator[str]:
    for asked in decision.asked:
        yield _head("prompt", asked.prompt)
        yield _head("answer", asked.answer or "(nothing)")
        yield _head("took", "; ".join(_took(asked)))
        if asked.reason is None and asked.detail:
            yield _head("note", asked.detail)
        elif asked.reason is not None:
            yield _head("not usable", f"{asked.reason.value}{f': {asked.detail}' if asked.detail else ''}")
        if asked.probabilities:
            likely = sorted(asked.probabilities.items(), key=lambda item: -item[1])[:_CANDIDATES_SHOWN]
            # Of the legal actions together: what else the model might say was not permitted.
            whole = sum(asked.probabilities.values())
            shares = [f"{each / whole:6.1%}  {text}" if whole else f"  tiny  {text}" for text, each in likely]
            yield _head("probable", "\n".join(shares))
    if decision.reasoning:
        yield _head("reasoning", decision.reasoning)
    if decision.outcome is Outcome.SUBSTITUTED or isinstance(decision.action, Forfeit):
        why = decision.reason.value if decision.reason else "unknown"
        yield _head("action", f"none: in a battle, the substitute ({model.spec.options.substitute}) would play ({why})")
    else:
        written = render(decision.action, CONTRACTS[model.spec.options.contract].completions(state))
        yield _head("action", f"{written or decision.action} ({decision.outcome.value})")


def _took(asked: AskRecord) -> Iterator[str]:
    yield f"{_known(asked.tokens_in)} tokens in, {_known(asked.tokens_out)} out"
    if asked.last_token_ms is not None:
        yield milliseconds(asked.last_token_ms)
    if asked.retries:
        yield f"asked {asked.retries + 1} times"
    if asked.waited_ms >= 1:
        yield f"waited {milliseconds(asked.waited_ms)}"
    yield f"cost {'unknown' if asked.cost_usd is None else usd(asked.cost_usd)}"
    if asked.model:
        yield f"answered by {asked.model}"


def _known(tokens: int | None) -> str:
    return "unknown" if tokens is None else f"{tokens:,}"


def _head(name: str, text: str) -> str:
    """A name and what belongs to it. Control characters in foreign text are made visible: this goes to a terminal."""
    body = escape(shown(text))
    return f"[bold]{name:<11}[/]{body}" if "\n" not in body else f"[bold]{name}[/]\n{body}\n"
