"""Plays a finished matchup again from its seeds and what is recorded, and compares: no policy is asked.

A baseline's choices are taken as they are. Of a model, only what it said is: the prompts, the conversation, what the
answers mean, the second asks and the substitutes come out of the very code that a battle runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from services.arena.backends import Form, ListedModel, Question, Reply
from services.arena.backends.answers import take_out
from services.arena.backends.chat import DIALECTS
from services.arena.battlefields import Battlefield
from services.arena.play import play
from services.arena.policies import Policy, View
from services.arena.policies.language_model import MAX_ANSWER_CHARACTERS, LanguageModel
from shared.battle.action import Action, Forfeit, order
from shared.battle.decision import Advice, AskRecord, Decision, Outcome, Reason, fault_of
from shared.battle.protocol import SEATS, Seat
from shared.errors import BattleBroken
from shared.policies import KINDS, PolicySpec, parse_policy
from shared.records import BattleRecord, DecisionRecord, MatchupRequest

_TOLD_FIRST = ("turn", "policy", "seat", "order", "action_type", "action")
"""Of a decision, what says most."""
_COMPARED = ("battle_tag", "pair", "p1_seat", "seeds", "teams")
_SAID_BY_THE_SERVER = frozenset({Reason.TRUNCATED, Reason.EMPTY, Reason.TIMED_OUT, Reason.REFUSED})
"""Why an answer cannot be used, where the answer's text does not show it."""

Watch = Callable[[int, View], None]
"""Called with the index of a battle and what a policy is shown."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where what was recorded and what is found part ways."""

    where: str
    recorded: object
    found: object

    def __str__(self) -> str:
        return f"{self.where}: recorded {_shown(self.recorded)}, found {_shown(self.found)}"


async def play_again(
    request: MatchupRequest,
    records: Sequence[BattleRecord],
    *,
    matchup_id: str,
    battlefield: Battlefield | None = None,
    watch: Watch = lambda index, view: None,
) -> Mapping[int, BattleRecord]:
    """Index → record of each battle, played again. One that does not go on as recorded comes back broken.

    `watch` is told of every view that a policy was asked to decide by, in the order of the battle.
    """
    recorded = {record.index: record for record in records}
    specs: Mapping[Seat, PolicySpec] = {
        "p1": parse_policy(request.p1, recorded=True),
        "p2": parse_policy(request.p2, recorded=True),
    }
    again: dict[int, BattleRecord] = {}

    def policies_of(index: int) -> Mapping[Seat, Policy]:
        return {seat: repeats(index, seat) for seat in SEATS}

    def repeats(index: int, seat: Seat) -> Policy:
        asked_for = (
            each
            for each in recorded[index].decisions
            if each.policy == seat and each.outcome is not Outcome.ONLY_ACTION
        )
        return _Repeats(specs[seat], asked_for, lambda view: watch(index, view))

    def keep(record: BattleRecord) -> None:
        again[record.index] = record

    await play(
        request.model_copy(update={"move_delay": 0.0, "max_cost_usd": None, "max_tokens": None}),
        sorted(recorded),
        matchup_id=matchup_id,
        worker="again",
        on_record=keep,
        battlefield=battlefield,
        policies_of=policies_of,
    )
    return again


class _Repeats:
    """Decides what a policy is recorded to have decided in one battle, and of a model what follows from its answers."""

    def __init__(self, spec: PolicySpec, decisions: Iterator[DecisionRecord], watch: Callable[[View], None]) -> None:
        """`decisions` are those that the policy was asked for."""
        self._spec = spec
        self._decisions = decisions
        self._watch = watch
        self._asks_a_model = KINDS[spec.kind].asks_a_model
        self._plain = False
        self.contract: Mapping[str, str] = self._saying(()).contract if self._asks_a_model else {}

    async def decide(self, view: View) -> Decision:
        """The next decision. Raises BattleBroken when none is recorded, it is not legal here, or fewer answers are
        recorded than it takes.
        """
        self._watch(view)
        recorded = next(self._decisions, None)
        if recorded is None:
            raise BattleBroken("a decision is asked for that is not recorded")
        if not self._asks_a_model:
            return _as_recorded(recorded, view)
        if any(len(ask.answer) >= MAX_ANSWER_CHARACTERS for ask in recorded.asked):
            # What it meant may stand in the part that was cut off.
            decision = _as_recorded(recorded, view)
            if recorded.outcome is not Outcome.SUBSTITUTED:
                view.conversation.add(recorded.asked[-1].prompt, recorded.asked[-1].answer)
            return decision
        decision = await self._saying(recorded.asked).decide(view)
        return replace(
            decision,
            advice=_advice_recorded(recorded, view),
            asked=tuple(_with_account(ask, of) for ask, of in zip(decision.asked, recorded.asked, strict=False)),
        )

    def _saying(self, asked: Sequence[AskRecord]) -> LanguageModel:
        # A server that did not keep to its API's form was asked in plain text, and from then on.
        self._plain |= bool(asked) and asked[0].constraint == "none"
        return LanguageModel(self._spec, _Recorded(self._spec, asked, plain=self._plain))


class _Recorded:
    """The backend of a decision that was made already: it says what was said."""

    endpoint = "what is recorded"
    model = ""

    def __init__(self, spec: PolicySpec, asked: Sequence[AskRecord], *, plain: bool) -> None:
        self.form = Form.TEXT if plain else DIALECTS[spec.kind].form
        self._asked = iter(asked)

    async def ask(self, question: Question, *, tries: int | None = None) -> Reply:
        recorded = next(self._asked, None)
        if recorded is None:
            raise BattleBroken("an answer is asked for that is not recorded")
        text, reasoning = take_out(recorded.answer, question)
        problem = recorded.reason if recorded.reason in _SAID_BY_THE_SERVER or not recorded.answer else None
        return Reply(text, problem, reasoning, raw=recorded.answer)

    async def models(self) -> tuple[ListedModel, ...]:
        return ()

    async def aclose(self) -> None:
        """Nothing is open."""


def _as_recorded(recorded: DecisionRecord, view: View) -> Decision:
    every: tuple[Action | Forfeit, ...] = (*view.legal, Forfeit())
    for action in every:
        if order(action, view.request) == recorded.order:
            return Decision(
                action,
                recorded.outcome,
                recorded.reason,
                recorded.reasoning,
                recorded.history_msgs,
                recorded.asked,
                _advice_recorded(recorded, view),
            )
    raise BattleBroken(f"the recorded order {recorded.order!r} of turn {recorded.turn} is not legal")


def _advice_recorded(recorded: DecisionRecord, view: View) -> tuple[Advice, ...]:
    """What was said, of the legal actions: advice on others, or that is none, comes out otherwise than recorded."""
    by_order = {advice.order: advice for advice in recorded.advice}
    advised = ((action, by_order.get(order(action, view.request))) for action in view.legal)
    advice = tuple(Advice(action, said.probability, said.value) for action, said in advised if said)
    fault = fault_of([each.probability for each in advice], [each.value for each in advice], len(view.legal))
    return () if fault else advice


def _with_account(ask: AskRecord, recorded: AskRecord) -> AskRecord:
    """The ask made again, with what only its server knew: tokens, times, probabilities, cost."""
    return replace(recorded, prompt=ask.prompt, answer=ask.answer, reason=ask.reason, constraint=ask.constraint)


def divergences(recorded: BattleRecord, again: BattleRecord) -> Iterator[Divergence]:
    """Where a battle and its repetition part ways, the log first: the rest follows from it.

    A broken battle is compared as far as it went. What the clock decides is not compared.
    """
    battle = f"battle {recorded.index + 1}"
    for name in _COMPARED:
        if getattr(recorded, name) != getattr(again, name):
            yield Divergence(f"{battle}, {name}", getattr(recorded, name), getattr(again, name))
    if recorded.winner is None and again.winner is not None:
        yield Divergence(f"{battle}, winner", "none: it broke", again.winner)
    whole = recorded.winner is not None
    yield from _lines(f"{battle}, log line", recorded.public_log, again.public_log, whole=whole)
    yield from _decisions(battle, recorded.decisions, again.decisions, whole=whole)
    if whole:
        yield from _lines(f"{battle}, input log line", recorded.input_log, again.input_log, whole=True)
        for name in ("broken", "winner", "turns"):
            if getattr(recorded, name) != getattr(again, name):
                yield Divergence(f"{battle}, {name}", getattr(recorded, name), getattr(again, name))


def _lines(where: str, recorded: Sequence[str], again: Sequence[str], *, whole: bool) -> Iterator[Divergence]:
    pairs = zip_longest(recorded, again) if whole else zip(recorded, again, strict=False)
    for number, (line, found) in enumerate(pairs, 1):
        if line != found and not (line and found and line.startswith("|t:|") and found.startswith("|t:|")):
            yield Divergence(f"{where} {number}", line, found)


def _decisions(
    battle: str, recorded: Sequence[DecisionRecord], again: Sequence[DecisionRecord], *, whole: bool
) -> Iterator[Divergence]:
    pairs = zip_longest(recorded, again) if whole else zip(recorded, again, strict=False)
    for number, (decision, found) in enumerate(pairs, 1):
        where = f"{battle}, decision {number}"
        if decision is None or found is None:
            yield Divergence(where, decision and decision.order, found and found.order)
            return
        for name in dict.fromkeys((*_TOLD_FIRST, *DecisionRecord.model_fields)):
            if name != "decision_ms" and getattr(decision, name) != getattr(found, name):
                yield Divergence(
                    f"{where} (turn {decision.turn}), {name}", getattr(decision, name), getattr(found, name)
                )


def _shown(value: object) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= 160 else f"{text[:159]}…"
