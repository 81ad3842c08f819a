"""A backend that answers from a script, and questions put to it: no network, and nothing patched."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from services.arena.backends import Form, ListedModel, Question, Reply
from services.arena.budget import Price
from services.arena.policies.language_model import LanguageModel
from services.arena.policies.probe import ODD
from shared.policies import PolicySpec, parse_policy

Answering = Callable[[Question], Reply]

TOOK = {"tokens_in": 100, "tokens_out": 10, "last_token_ms": 25.04, "model": "scripted-1"}


class Scripted:
    """Gives the replies in turn, and the last one for ever after; or what a function makes of the question."""

    endpoint = "127.0.0.1:1"
    model = "scripted"

    def __init__(
        self, replies: Sequence[Reply] | Answering, *, form: Form = Form.REGEX, served: Sequence[ListedModel] = ()
    ) -> None:
        self.questions: list[Question] = []
        self.form = form
        self.closed = False
        self._replies = replies
        self._served = tuple(served)

    async def ask(self, question: Question, *, tries: int | None = None) -> Reply:
        if question.completions == (ODD,):
            return said(ODD)
        self.questions.append(question)
        if callable(self._replies):
            return self._replies(question)
        return self._replies[min(len(self.questions), len(self._replies)) - 1]

    async def models(self) -> tuple[ListedModel, ...]:
        return self._served

    async def aclose(self) -> None:
        self.closed = True


def said(text: str, **more: Any) -> Reply:
    return replace(Reply(text, raw=text), **{**TOOK, **more})


def first_legal(question: Question) -> Reply:
    return said(question.completions[0])


def language_model(name: str, backend: Scripted, price: Price | None = None) -> LanguageModel:
    return LanguageModel(parse_policy(name), backend, price)


def connecting(backend: Scripted, price: Price | None = None) -> Callable[[PolicySpec], LanguageModel]:
    return lambda spec: LanguageModel(spec, backend, price)
