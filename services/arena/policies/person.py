"""A person in a policy's place: on a Showdown server, from Showdown's own page."""

from collections.abc import Mapping

from services.arena.policies.base import View
from shared.battle.decision import Decision
from shared.errors import BattleBroken


class Person:
    """Never asked: what a person does is between them and the server, and no decision is recorded."""

    contract: Mapping[str, str] = {}

    async def decide(self, view: View) -> Decision:
        """Raises BattleBroken."""
        raise BattleBroken("a person plays only on a Showdown server")
