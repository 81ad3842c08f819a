"""The first question to a model, before its first battle: whether it answers, and whether it keeps to what it may say.

One real question is asked, but with a single permitted answer, which no model gives of itself. Whoever gives it is held
to the legal actions by its server; whoever does not is asked without a constraint from then on, and that is what is
recorded. Where no answer comes, one sentence says why and what to do.
"""

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.arena.backends import Form, Reply
from services.arena.backends.chat import constraint
from services.arena.budget import Price
from services.arena.estimates import QUESTIONS_IN_A_BATTLE
from shared.battle.completion import regex
from shared.battle.contract import CONTRACTS, golden_states
from shared.battle.decision import Ask, Reason
from shared.errors import NotServed, Unreachable
from shared.text import count, duration, milliseconds, one_line, usd

if TYPE_CHECKING:
    from services.arena.policies.language_model import LanguageModel

TRIES = 3
"""Of a server that fails; one that is busy is waited for."""
ODD = "pass"
_LISTING_SECONDS = 3.0
_SHOWN = 8
VARIABLES = {"mistral": "MISTRAL_API_KEY", "hf": "HF_TOKEN", "openai": "OPENAI_API_KEY"}
"""Kind of policy → what its own API's key is called."""


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What came of the first question."""

    reply: Reply
    note: str = ""
    """What is not as it was asked for."""

    def told(self, price: Price | None, battles: int, at_once: int) -> str:
        """What a matchup will probably take, going by this one answer, in a sentence; and the note."""
        reply, questions, at_once = self.reply, battles * QUESTIONS_IN_A_BATTLE, min(at_once, battles)
        seconds, will_take = (reply.last_token_ms or 0) / 1000 * questions, [f"some {questions:,} questions"]
        if reply.tokens_in is not None and reply.tokens_out is not None:
            will_take.append(f"{(reply.tokens_in + reply.tokens_out) * questions:,} tokens")
        if price is not None and (cost := price.cost(reply.tokens_in, reply.tokens_out)) is not None:
            will_take.append(usd(cost * questions))
        if at_once > 1:
            will_take.append(f"{duration(seconds / at_once)} where {at_once} are answered at once")
        one_by_one = f"{duration(seconds)} one by one"
        took = (
            f"it answered in {milliseconds(reply.last_token_ms or 0)}; going by that, {count(battles, 'battle')} take"
        )
        return f"{self.note}{'; ' * bool(self.note)}{took} {', '.join(will_take)}, {one_by_one}"


async def first_answer(model: "LanguageModel") -> FirstAnswer:
    """Ask, and see to it that `model.form` is a form that its server keeps. Raises NotServed where it cannot answer."""
    contract = CONTRACTS[model.spec.options.contract]
    state = golden_states()[0]
    completions = contract.completions(state)
    ask = Ask(contract.prompt(state), tuple(completions), regex(completions))
    note = ""
    question = model.question(ask)
    if constraint(question) is not None:
        held = replace(question, completions=(ODD,), regex=f"({ODD})")
        try:
            reply = await model.backend.ask(held, tries=TRIES)
            trouble = reply.detail
        except Unreachable as error:
            reply, trouble = None, error.message
        if reply is not None and reply.last_token_ms is not None:
            if (kept := _is_kept(reply, question.form)) is not False:
                return FirstAnswer(reply, "" if kept else _cut_off(reply))
            trouble = f"it answered {one_line(reply.raw.strip(), 60)!r} all the same"
        elif reply is not None and reply.problem is Reason.TIMED_OUT:
            raise NotServed(await _explained(model, trouble))
        note = (
            f"its server does not hold it to the legal actions by {question.form} ({trouble}), so it is asked without"
        )
        model.form = Form.TEXT
        question = model.question(ask)
    try:
        reply = await model.backend.ask(question, tries=TRIES)
    except Unreachable as error:
        raise NotServed(await _explained(model, error.message)) from error
    if reply.last_token_ms is None:
        raise NotServed(await _explained(model, f"{model.backend.endpoint} declines: {reply.detail}"))
    return FirstAnswer(reply, note or _cut_off(reply))


def _is_kept(reply: Reply, form: Form | None) -> bool | None:
    """Whether the answer is the only one that was permitted; None where it never came so far."""
    said = reply.text.strip()
    if said == ODD:
        return True
    if reply.problem is Reason.TRUNCATED and (said.startswith("{") if form is Form.JSON_SCHEMA else ODD in said):
        return None
    return None if not said or said.startswith("<think") or reply.problem is Reason.REFUSED else False


def _cut_off(reply: Reply) -> str:
    if reply.problem is None:
        return ""
    why = f": {reply.detail}" if reply.detail else ""
    more = "; a model that thinks before it speaks needs more (?max-tokens=…)" * (reply.problem is Reason.TRUNCATED)
    return f"its first answer was {reply.problem.value.replace('_', ' ')}{why}{more}"


async def _explained(model: "LanguageModel", why: str) -> str:
    """Why a model cannot be asked, and what to do about it."""
    spec, status = model.spec, re.search(r"HTTP (\d{3})", why)
    told = (
        f"{one_line(spec.text, 120)} cannot be asked: {why.removeprefix(f'{model.backend.endpoint} cannot be asked: ')}"
    )
    if status is None:
        return told
    if "key is refused" in why:
        where = "its key in the endpoints file" if spec.url or spec.kind == "tgi" else VARIABLES[spec.kind]
        return f"{told}; see to {where}"
    if status[1] not in ("400", "404", "422"):
        return told
    try:
        async with asyncio.timeout(_LISTING_SECONDS):
            served = [one_line(each.id, 80) for each in await model.backend.models()]
    except (Unreachable, TimeoutError):
        served = []
    if served and model.backend.model not in served:
        return f"{told}; it serves {', '.join(served[:_SHOWN])}{', …' * (len(served) > _SHOWN)}"
    if status[1] == "404" and spec.kind == "openai" and spec.has_raw_url:
        return f"{told}; is the address right? It ends in /v1 as a rule"
    return told
