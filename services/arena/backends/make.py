"""From a policy's name to the backend that asks its model."""

from collections.abc import Callable, Mapping

from services.arena.backends.base import Backend
from services.arena.backends.transport import Transport
from shared.errors import UnknownPolicy
from shared.jobs.limits import Limiter
from shared.policies import PolicySpec
from shared.settings import Settings


def _mistral(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.mistral import Mistral

    return Mistral(spec.model or "", Transport(settings.endpoint(settings.mistral_url), settings, limiter))


def _tgi(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.tgi import Tgi

    return Tgi(spec.model or "tgi", Transport(settings.endpoint(spec.url or spec.model or ""), settings, limiter))


def _hugging_face(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.tgi import HuggingFace

    return HuggingFace(spec.model or "", Transport(settings.endpoint(settings.hf_url), settings, limiter))


def _openai(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    from services.arena.backends.openai import OpenAI

    return OpenAI(spec.model or "", Transport(settings.endpoint(spec.url or settings.openai_url), settings, limiter))


# A backend's library is imported with its backend: none of them is small.
BACKENDS: Mapping[str, Callable[[PolicySpec, Settings, Limiter], Backend]] = {
    "mistral": _mistral,
    "tgi": _tgi,
    "hf": _hugging_face,
    "openai": _openai,
}


def make_backend(spec: PolicySpec, settings: Settings, limiter: Limiter) -> Backend:
    """The backend of a policy's model: `spec.model` at `spec.url`, which is a URL or a name from the endpoints file.

    `tgi:` takes either: a URL in `spec.url`, or a name in `spec.model`. Raises UnknownPolicy for a kind that has no
    model, UsageError for an endpoint that nobody named.
    """
    if spec.kind not in BACKENDS:
        raise UnknownPolicy(f"the policy {spec.text!r} asks no model")
    return BACKENDS[spec.kind](spec, settings, limiter)
