"""A language model as a policy: asked over the network, held to the legal actions where its server can do that.

How a decision comes about is `shared.battle.decision`; here is what it takes to ask: whether the server serves what is
wanted, the words beyond the contract's prompt, the conversation so far, the substitute, and the account of every ask
that stays with the decision.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import exp
from urllib.parse import urlsplit

from services.arena.backends import Backend, Form, ListedModel, Question, Reply, Role
from services.arena.backends.chat import constraint, make_backend
from services.arena.budget import Price, price_of, read_prices
from services.arena.player import Exchanges, View
from services.arena.policies import Connect
from services.arena.policies.baselines import max_damage
from services.arena.policies.probe import VARIABLES, FirstAnswer, first_answer
from shared.battle.action import Action, Forfeit
from shared.battle.completion import parse
from shared.battle.contract import CONTRACTS
from shared.battle.decision import Ask, AskRecord, Decision, Outcome, Reason, decide
from shared.battle.state import BattleState
from shared.errors import NotFound, NotServed, Unreachable, UsageError
from shared.guards import is_loopback
from shared.jobs.limits import Limiter
from shared.policies import KINDS, PolicySpec
from shared.records import Card
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import one_line

log = logging.getLogger(__name__)

MAX_TOKENS = 64
"""Twice what the longest completion of a contract takes, in its JSON."""
MAX_TOKENS_WITH_REASONING = 400
MAX_ANSWER_CHARACTERS = 8_000
LOOK_SECONDS = 1.0
"""How often a server is asked whether it serves a version by now."""
FIRST_ASKS = 8
_SHOWN = 5
TASK = "You are playing a Pokémon battle on Showdown. Choose the action that is most likely to win it."


def connector(
    settings: Settings, limiter: Limiter, *, waits_for: Callable[[PolicySpec], bool] = lambda spec: False
) -> Connect:
    """Makes the policies of models that these settings reach; a server that has never answered is waited for where
    `waits_for` says so. It raises UsageError for an endpoint nobody named, and for a missing key of an API that always
    wants one.
    """
    prices = read_prices(settings.prices_file)
    keys = {"mistral": settings.mistral_api_key, "hf": settings.hf_token, "openai": settings.openai_api_key}

    def connect(spec: PolicySpec) -> LanguageModel:
        if spec.kind == "local":
            raise UsageError(f"{spec.text!r} needs the built-in server, which does not run here")
        always = spec.kind != "openai" or urlsplit(spec.url or settings.openai_url).hostname == "api.openai.com"
        if always and keys.get(spec.kind, ...) is None:
            raise UsageError(f"{spec.kind}:{spec.model} wants a key: set {VARIABLES[spec.kind]}, or write it into .env")
        backend = make_backend(spec, settings, limiter, waits_for_first=waits_for(spec))
        host = urlsplit(f"//{backend.endpoint}").hostname or ""
        return LanguageModel(
            spec,
            backend,
            price_of(spec, prices, served_here=spec.kind == "tgi" and is_loopback(host)),
            trained_for=lambda: _registered(spec, settings),
            version_patience_seconds=settings.version_patience_seconds,
        )

    return connect


def _registered(spec: PolicySpec, settings: Settings) -> Mapping[str, str] | None:
    """The contract on the card of a registry's model; None where this store's registry does not have it."""
    try:
        return Registry(Store(settings.store)).contract(*spec.pinned) if spec.pinned else None
    except NotFound:
        return None


class LanguageModel:
    """A model behind `backend`, asked as the options of `spec` say."""

    def __init__(
        self,
        spec: PolicySpec,
        backend: Backend,
        price: Price | None = None,
        *,
        trained_for: Callable[[], Mapping[str, str] | None] = lambda: None,
        version_patience_seconds: float = 300.0,
    ) -> None:
        """`trained_for` is asked for the card's contract (version → hash) where the server shows no card."""
        self.spec = spec
        self.backend = backend
        self.price = price
        self.form = backend.form
        """How its answers are constrained: what its API can do, until its server turns out not to."""
        self._unanswered: list[str] | None = []
        """How its first asks were declined; None once one was answered, or they were not declined alike."""
        self._trained_for = trained_for
        self._version_patience_seconds = version_patience_seconds
        self._contract = CONTRACTS[spec.options.contract]
        self.contract: Mapping[str, str] = {self._contract.version: self._contract.hash}
        self.card: Card = "assumed"

    async def prepare(self, stopping: Callable[[], bool] = lambda: False) -> FirstAnswer | None:
        """See the version that was asked for at its server, look at its card, and ask a first question: once, before
        the first battle. None where `stopping()` was true while the version was waited for.

        Raises NotServed when the version does not come or the model cannot be asked, and UsageError, with both
        contracts, when the model was trained for another one than it is asked by.
        """
        if self.spec.pinned:
            seen = await self._see_version("@".join(self.spec.pinned), stopping)
            if seen is None:
                return None
            self._check(seen.id, self._trained_for() if seen.contract is None else seen.contract)
        elif self.spec.kind in ("tgi", "local"):
            await self._look_at_card()
        return await first_answer(self)

    async def _look_at_card(self) -> None:
        try:
            served = await self.backend.models()
        except Unreachable as error:
            # Who knows no such route shows no card; who is away will not answer the first question either.
            log.info("%s does not say what it serves: %s", self.backend.endpoint, error.message)
            return
        if self.spec.url is None and len(served) == 1:
            self.backend.model = served[0].id  # It is the endpoint that the policy names.
        mine = [each for each in served if each.id == self.spec.model or (len(served) == 1 and not self.spec.model)]
        if mine:
            self._check(mine[0].id, mine[0].contract)

    async def _see_version(self, wanted: str, stopping: Callable[[], bool]) -> ListedModel | None:
        """The line of `wanted` in what the server lists; None where somebody wants to stop meanwhile.

        A server that has another version is waited for. Raises NotServed when that takes too long, and when the server
        does not say what it serves.
        """
        patience, endpoint = self._version_patience_seconds, self.backend.endpoint
        instead = ""
        try:
            async with asyncio.timeout(patience):
                while not stopping():
                    served = await self.backend.models()
                    found = next((each for each in served if each.id == wanted), None)
                    if found is not None:
                        return found
                    names = [one_line(each.id, 100) for each in served[:_SHOWN]] + ["…"] * (len(served) > _SHOWN)
                    listed = ", ".join(names) or "nothing"
                    if not instead:
                        log.warning(
                            "%s does not serve %s yet, but %s. Waiting for %g s.", endpoint, wanted, listed, patience
                        )
                    instead = f"serves {listed}"
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NotServed(
                f"{endpoint} does not serve {wanted}: after {patience:g} s it still {instead or 'does not answer'}"
            ) from None
        except Unreachable as error:
            raise NotServed(f"{wanted} cannot be seen at its server: {error.message}") from error
        return None

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
        self, state: BattleState, conversation: Exchanges, substitute: Callable[[BattleState], Action | Forfeit]
    ) -> Decision:
        """The decision in a state, wherever the state is from."""
        options = self.spec.options
        past = conversation.latest(options.history)
        completions = self._contract.completions(state)
        asked: list[AskRecord] = []

        async def complete(ask: Ask) -> Reply:
            question = self.question(ask, past, first=not asked)
            reply = await self.backend.ask(question)
            self._give_up_if_declined(question, reply)
            reply = replace(reply, text=_clean(reply.text), reasoning=reply.reasoning and _clean(reply.reasoning))
            meant = reply.problem or parse(reply.text, completions)
            asked.append(self._account(question, reply, meant if isinstance(meant, Reason) else None))
            return reply

        decision = await decide(state, complete, self._contract, substitute=substitute, asks=options.asks)
        if decision.outcome in (Outcome.CHOSEN, Outcome.CHOSEN_AFTER_SECOND_ASK):
            conversation.add(asked[-1].prompt, asked[-1].answer)
        return replace(decision, asked=tuple(asked), history_messages=2 * len(past) if asked else 0)

    def _give_up_if_declined(self, question: Question, reply: Reply) -> None:
        """Raises NotServed when all of the first asks were declined alike: a substitute would play all the battles."""
        if self._unanswered is None:
            return
        self._unanswered.append(f"{reply.problem} {reply.detail.partition(':')[0]}")
        if reply.last_token_ms is not None or len(set(self._unanswered)) > 1:
            self._unanswered = None
        elif len(self._unanswered) >= FIRST_ASKS:
            without = "; ?constrain=no asks without a constraint" if constraint(question) else ""
            raise NotServed(
                f"{self.spec.text} answered none of its first {FIRST_ASKS} questions: {self.backend.endpoint} says "
                f"{reply.detail or reply.problem}{without}"
            )

    def question(self, ask: Ask, past: tuple[tuple[str, str], ...] = (), *, first: bool = True) -> Question:
        """What goes out for an ask. `first` tells the first ask from the later ones."""
        options = self.spec.options
        said: list[tuple[Role, str]] = []
        for asked, answer in past:
            said += [("user", asked), ("assistant", answer)]
        return Question(
            messages=(*said, ("user", self._worded(ask, first=first))),
            completions=ask.completions if options.constrain else (),
            regex=ask.regex if options.constrain else None,
            form=self.form,
            reasoning=options.reasoning,
            temperature=options.temperature,
            seed=options.seed,
            max_tokens=options.max_tokens or (MAX_TOKENS_WITH_REASONING if options.reasoning else MAX_TOKENS),
            timeout_seconds=options.timeout_seconds,
        )

    def _worded(self, ask: Ask, *, first: bool) -> str:
        """The user message: the contract's prompt, what the game is, and how to answer.

        A model that was trained on a contract needs no instructions, and is asked for what it was trained on, to the
        letter. The prompt of a later ask lists the answers itself.
        """
        options = self.spec.options
        instructed = KINDS[self.spec.kind].instructions if options.instructions is None else options.instructions
        parts = [ask.prompt]
        if instructed:
            parts.insert(0, TASK)
            if first:
                parts.append("The legal actions:\n" + "\n".join(ask.completions))
        if options.reasoning and options.constrain and self.form is Form.JSON_SCHEMA:
            parts.append("Give the reason for your choice in one or two sentences, then the action as it is written.")
        elif options.reasoning:
            parts.append(
                "Answer in two lines. The first begins with REASON: and gives the reason for your choice in one or two "
                "sentences. The second begins with ACTION: and gives the action as it is written, and nothing else."
            )
        elif instructed and first:
            parts.append("Answer with exactly one of them, as it is written, and nothing else.")
        return "\n\n".join(parts)

    def _account(self, question: Question, reply: Reply, reason: Reason | None) -> AskRecord:
        """What is written down of an ask. `reason` says why its answer cannot be used."""
        took = reply.last_token_ms
        return AskRecord(
            prompt=question.messages[-1][1],
            answer=_clean(reply.raw or reply.text),
            reason=reason,
            detail=one_line(_clean(reply.detail)),
            constraint=self.form.value if constraint(question) else "none",
            model=one_line(_clean(reply.model), 200) if reply.model else None,
            probabilities={_clean(each.text): exp(min(each.logprob, 0.0)) for each in reply.candidates} or None,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            last_token_ms=None if took is None else round(took, 1),
            waited_ms=round(reply.waited_ms, 1),
            retries=reply.retries,
            cost_usd=self.price.cost(reply.tokens_in, reply.tokens_out) if self.price else None,
        )


def _clean(text: str) -> str:
    """Foreign text that can be stored: of bounded length, and without the halves of a character that UTF-8 lacks."""
    return text[:MAX_ANSWER_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
