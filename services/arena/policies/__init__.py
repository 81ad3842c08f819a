"""The policies by kind. To add one: a class, a line in POLICIES, a Kind in shared/policies.py, a test."""

from collections.abc import Callable, Mapping

from services.arena.policies.base import Policy, View
from services.arena.policies.baselines import Heuristic, MaxDamage, Random
from shared.policies import PolicySpec, parse_policy

POLICIES: Mapping[str, Callable[[PolicySpec], Policy]] = {
    "random": Random,
    "max-damage": MaxDamage,
    "heuristic": Heuristic,
}

__all__ = ["POLICIES", "Policy", "View", "make_policy"]


def make_policy(text: str) -> Policy:
    """The policy of that name. Raises UnknownPolicy."""
    spec = parse_policy(text)
    return POLICIES[spec.kind](spec)
