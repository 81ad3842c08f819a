"""The policies by kind. To add one: a class, a line in POLICIES, a Kind in shared/policies.py, a test."""

from collections.abc import Callable, Mapping
from typing import cast

from services.arena.player import Advisor, Exchanges, Policy, View
from services.arena.policies.baselines import Heuristic, MaxDamage, Random, Typed
from services.arena.policies.race import Race
from services.arena.policies.search import Search
from shared.errors import UsageError
from shared.policies import KINDS, PolicySpec, parse_policy, parse_teacher

POLICIES: Mapping[str, Callable[[PolicySpec], Policy]] = {
    "random": Random,
    "max-damage": MaxDamage,
    "typed": Typed,
    "heuristic": Heuristic,
    "race": Race,
    "search": Search,
}
"""Those that ask no model."""

Connect = Callable[[PolicySpec], Policy]
"""How a policy that asks a model comes by it: `services.arena.policies.language_model.connector` gives one."""

__all__ = ["POLICIES", "Connect", "Exchanges", "Policy", "View", "make_policy", "make_teacher", "no_models"]


def no_models(spec: PolicySpec) -> Policy:
    """Where nothing is set up to reach a model. Raises UsageError."""
    raise UsageError(f"{spec.text!r} asks a model, and no way to reach one is set up here")


def make_policy(text: str, connect: Connect = no_models) -> Policy:
    """The policy of that name. Raises UnknownPolicy, and UsageError for an endpoint that nobody named."""
    spec = parse_policy(text)
    return connect(spec) if KINDS[spec.kind].asks_a_model else POLICIES[spec.kind](spec)


def make_teacher(text: str) -> Advisor:
    """The policy of that name, which can advise. Raises UnknownPolicy."""
    policy = make_policy(parse_teacher(text).text)
    return cast("Advisor", policy)
