"""How policies that ask a model come by it: backend, places at its endpoint, and prices, from the settings."""

from collections.abc import Mapping

from services.arena.backends import make_backend
from services.arena.backends.base import Reply
from services.arena.policies import Connect
from services.arena.policies.language_model import Cost, LanguageModel, no_price
from services.arena.prices import Prices
from shared.errors import NotFound, UsageError
from shared.jobs.limits import Limiter
from shared.policies import PolicySpec
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store


def connector(settings: Settings, limiter: Limiter) -> Connect:
    """Makes the policies of models that these settings reach. It raises UsageError for an endpoint nobody named."""
    prices = Prices.load(settings.prices_file)

    def connect(spec: PolicySpec) -> LanguageModel:
        if spec.kind == "local":
            raise UsageError(f"{spec.text!r} needs the built-in server, which does not run here")
        _check_key(spec, settings)
        return LanguageModel(
            spec,
            make_backend(spec, settings, limiter),
            cost_of(spec, prices),
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


def _check_key(spec: PolicySpec, settings: Settings) -> None:
    """Those who want a key always are not asked without one. Raises UsageError."""
    wanted = {
        "mistral": ("MISTRAL_API_KEY", settings.mistral_api_key),
        "hf": ("HF_TOKEN", settings.hf_token),
    }
    variable, key = wanted.get(spec.kind, ("", spec))
    if key is None:
        raise UsageError(f"{spec.kind}:{spec.model} wants a key: set {variable}, or write it into .env")


def cost_of(spec: PolicySpec, prices: Prices) -> Cost:
    """What a reply of that policy's model costs."""
    price = prices.of(spec.kind, spec.model or "")
    if price is None and spec.pinned:
        # A version costs what its name costs, unless it has a price of its own.
        price = prices.of(spec.kind, spec.pinned[0])
    if price is None:
        return no_price

    def cost(reply: Reply) -> float | None:
        return price.cost(reply.tokens_in, reply.tokens_out)

    return cost
