"""A language model as a policy: asked over the network, held to the legal actions where its server can do that.

How a decision comes about is `shared.battle.decision`; here is what it takes to ask: the words beyond the contract's
prompt, the conversation so far, the substitute, and the account of every ask that stays with the decision.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import exp

from services.arena.backends import Backend, Form, Question, Reply
from services.arena.backends.base import Role
from services.arena.policies.base import Conversation, View
from services.arena.policies.baselines import max_damage
from services.arena.policies.versions import see_version
from services.arena.policies.wording import worded
from shared.battle.action import Action, Forfeit
from shared.battle.completion import parse
from shared.battle.contract import CONTRACTS
from shared.battle.decision import Answer, Ask, AskRecord, Decision, Outcome, Reason, decide
from shared.battle.state import BattleState
from shared.errors import Unreachable, UsageError
from shared.policies import KINDS, PolicySpec
from shared.records import Card
from shared.text import one_line

log = logging.getLogger(__name__)

Cost = Callable[[Reply], float | None]
"""What a reply cost in US dollars; None where no price is known."""

MAX_TOKENS = 64
"""Twice what the longest completion of a contract takes, in its JSON."""
MAX_TOKENS_WITH_REASONING = 400
MAX_ANSWER_CHARACTERS = 8_000


def no_price(reply: Reply) -> float | None:
    """The cost where no price is known: unknown."""
    return None


class LanguageModel:
    """A model behind `backend`, asked as the options of `spec` say."""

    def __init__(
        self,
        spec: PolicySpec,
        backend: Backend,
        cost: Cost = no_price,
        *,
        trained_for: Callable[[], Mapping[str, str] | None] = lambda: None,
        version_patience_seconds: float = 300.0,
    ) -> None:
        """`trained_for` is asked for the card's contract (version → hash) where the server shows no card."""
        self.spec = spec
        self.backend = backend
        self.cost = cost
        self._trained_for = trained_for
        self._version_patience_seconds = version_patience_seconds
        self._contract = CONTRACTS[spec.options.contract]
        self.contract: Mapping[str, str] = {self._contract.version: self._contract.hash}
        self.card: Card = "assumed"

    @property
    def has_price(self) -> bool:
        """Whether it is known what its tokens cost."""
        return self.cost(Reply("", tokens_in=1, tokens_out=1)) is not None

    async def prepare(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """See the version that was asked for at its server, and look at its card: once, before the first battle.

        A version is waited for until `stopping()` is true. Raises NotServed when it does not come, and UsageError, with
        both contracts, when the model was trained for another one than it is asked by.
        """
        if self.spec.kind not in ("tgi", "local"):
            return
        if self.spec.pinned:
            wanted = "@".join(self.spec.pinned)
            seen = await see_version(self.backend, wanted, self._version_patience_seconds, stopping=stopping)
            if seen is not None:
                self._check(seen.id, self._trained_for() if seen.contract is None else seen.contract)
            return
        try:
            served = await self.backend.models()
        except Unreachable as error:
            # Who is away now may be back for the first question; who knows no such route shows no card.
            log.info("%s does not say what it serves: %s", self.backend.endpoint, error.message)
            return
        mine = [each for each in served if each.id == self.spec.model or (len(served) == 1 and not self.spec.model)]
        if mine:
            self._check(mine[0].id, mine[0].contract)

    def _check(self, model: str, card: Mapping[str, str] | None) -> None:
        if not card:  # It was trained for no contract, or nobody knows for which.
            return
        version, own = self._contract.version, self._contract.hash
        if card.get(version) != own:
            trained = ", ".join(f"{one_line(name, 40)} ({one_line(digest, 12)})" for name, digest in card.items())
            raise UsageError(
                f"{one_line(model, 100)} was trained for the contract {trained or '(none)'}, and is asked by "
                f"{version} ({own[:12]}); choose with ?contract=…"
            )
        self.card = "checked"

    async def aclose(self) -> None:
        """Close the connections."""
        await self.backend.aclose()

    async def decide(self, view: View) -> Decision:
        """Ask the model, and let the substitute play where it gives no usable answer."""
        substitutes: Mapping[str, Callable[[], Action | Forfeit]] = {
            "random": lambda: view.rng.choice(view.legal),
            "max-damage": lambda: max_damage(view) or view.rng.choice(view.legal),
            "forfeit": Forfeit,
        }
        return await self.decide_in(
            view.state, view.conversation, lambda state: substitutes[self.spec.options.substitute]()
        )

    async def decide_in(
        self, state: BattleState, conversation: Conversation, substitute: Callable[[BattleState], Action | Forfeit]
    ) -> Decision:
        """The decision in a state, wherever the state is from."""
        options = self.spec.options
        asking = _Asking(self, state, conversation.latest(options.history))
        decision = await decide(state, asking.complete, self._contract, substitute=substitute, asks=options.asks)
        if decision.outcome in (Outcome.CHOSEN, Outcome.CHOSEN_AFTER_SECOND_ASK):
            conversation.add(asking.asked[-1].prompt, asking.asked[-1].answer)
        return replace(decision, asked=tuple(asking.asked), history_messages=asking.history_messages)

    def question(self, ask: Ask, past: tuple[tuple[str, str], ...] = (), *, first: bool = True) -> Question:
        """What goes out for an ask."""
        options = self.spec.options
        kind = KINDS[self.spec.kind]
        form = self.backend.form if options.constrain else Form.TEXT
        prompt = worded(
            ask,
            form,
            first=first,
            instructions=kind.instructions if options.instructions is None else options.instructions,
            reasoning=options.reasoning,
        )
        said: list[tuple[Role, str]] = []
        for asked, answer in past:
            said += [("user", asked), ("assistant", answer)]
        enough = MAX_TOKENS_WITH_REASONING if options.reasoning else MAX_TOKENS
        return Question(
            messages=(*said, ("user", prompt)),
            completions=ask.completions if options.constrain else (),
            regex=ask.regex if options.constrain else None,
            reasoning=options.reasoning,
            temperature=options.temperature,
            seed=options.seed,
            max_tokens=options.max_tokens or enough,
            stream=options.stream,
            timeout_seconds=options.timeout_seconds,
        )


class _Asking:
    """The asks of one decision."""

    def __init__(self, model: LanguageModel, state: BattleState, past: tuple[tuple[str, str], ...]) -> None:
        self.asked: list[AskRecord] = []
        self.history_messages = 0
        self._model = model
        self._completions = CONTRACTS[model.spec.options.contract].completions(state)
        self._past = past

    async def complete(self, ask: Ask) -> Answer:
        """Ask, and write down what came back."""
        model = self._model
        question = model.question(ask, self._past, first=not self.asked)
        self.history_messages = len(question.messages) - 1
        reply = await model.backend.ask(question)
        text = _clean(reply.text)
        meant = reply.problem or parse(text, self._completions)
        self.asked.append(
            AskRecord(
                prompt=question.messages[-1][1],
                answer=_clean(reply.raw or reply.text),
                reason=meant if isinstance(meant, Reason) else None,
                detail=one_line(_clean(reply.detail)),
                constraint=model.backend.form.value if model.backend.constraint(question) else "none",
                model=one_line(_clean(reply.model), 200) if reply.model else None,
                probabilities={_clean(each.text): exp(min(each.logprob, 0.0)) for each in reply.candidates} or None,
                tokens_in=reply.tokens_in,
                tokens_out=reply.tokens_out,
                first_token_ms=_rounded(reply.first_token_ms),
                last_token_ms=_rounded(reply.last_token_ms),
                waited_ms=round(reply.waited_ms, 1),
                retries=reply.retries,
                cost_usd=model.cost(reply),
            )
        )
        return Answer(text, reply.problem, _clean(reply.reasoning) if reply.reasoning else None)


def _clean(text: str) -> str:
    """Foreign text that can be stored: of bounded length, and without the halves of a character that UTF-8 lacks."""
    return text[:MAX_ANSWER_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
