"""From a policy's name to the backend that asks its model."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from services.arena.backends.base import Backend, Form
from shared.errors import UnknownPolicy
from shared.jobs.limits import Limiter
from shared.policies import PolicySpec
from shared.settings import Endpoint, Settings

if TYPE_CHECKING:
    from services.arena.backends.transport import Transport


def _mistral(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.mistral import Mistral

    return Mistral(spec.model or "", _transport(settings.endpoint(settings.mistral_url), settings, limiter))


def _tgi(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.tgi import Tgi

    # A server of one model ignores the name it is asked for.
    model = spec.model or ""
    endpoint = settings.serving(model) if spec.pinned and spec.url is None else settings.endpoint(spec.url or model)
    return Tgi(model or "tgi", _transport(endpoint, settings, limiter))


def _hugging_face(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.tgi import HuggingFace

    return HuggingFace(spec.model or "", _transport(settings.endpoint(settings.hf_url), settings, limiter))


def _openai(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.openai import OpenAI

    endpoint = settings.endpoint(spec.url or settings.openai_url)
    return OpenAI(spec.model or "", _transport(endpoint, settings, limiter))


def _transport(endpoint: Endpoint, settings: Settings, limiter: Limiter) -> "Transport":
    from services.arena.backends.transport import Transport

    return Transport(endpoint, limiter, patience_seconds=settings.server_patience_seconds)


# A backend's library is imported with its backend: none of them is small.
BACKENDS: Mapping[str, Callable[[PolicySpec, Settings, Limiter], Backend]] = {
    "mistral": _mistral,
    "tgi": _tgi,
    "hf": _hugging_face,
    "openai": _openai,
}

FORMS: Mapping[str, Form] = {
    "mistral": Form.JSON_SCHEMA,
    "tgi": Form.REGEX,
    "local": Form.REGEX,
    "hf": Form.TEXT,
    "openai": Form.JSON_SCHEMA,
}
"""The form in which each kind's answers come, for whoever has no backend at hand to ask."""


def make_backend(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    """The backend of the model that a policy names.

    Raises UnknownPolicy for a policy that has none, UsageError for an endpoint that nobody named.
    """
    if spec.kind not in BACKENDS:
        raise UnknownPolicy(f"the policy {spec.text!r} asks no model over the network")
    return BACKENDS[spec.kind](spec, settings, limiter)
