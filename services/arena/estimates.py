"""What a matchup will probably take, before it is asked for: going by its policies' earlier battles, or by prices."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import isfinite

from pydantic import BaseModel

from services.arena.budget import Prices, price_of
from shared.battle.protocol import SEATS, Seat
from shared.errors import BrokenRecord, NotFound
from shared.matchups import Matchups
from shared.policies import asks_a_model, parse_policy
from shared.records import BattleRecord, NewMatchup
from shared.text import count

_LOOKED_THROUGH = 200
"""Matchups, the newest first."""
_BATTLES = 5
QUESTIONS_IN_A_BATTLE = 25
"""As counted in gen9randombattle against `heuristic`; docs/models.md."""
_TOKENS_IN, _TOKENS_OUT = 300, 8
"""Of a question by contract v2: docs/prompts.md."""
_SIMULATOR_SECONDS = 0.1
"""A battle's own time, without its policies'."""


class Estimate(BaseModel):
    """What a matchup will probably take; null where nothing tells."""

    battles: int
    at_most: bool
    """Whether it may end sooner, since it is played until decided."""
    seconds: float | None
    """With one worker."""
    cost_usd: float | None
    source: str
    """What this goes by."""


@dataclass(frozen=True, slots=True)
class _Took:
    """What one policy took for a battle, on average; None where that is unknown."""

    seconds: float | None
    cost_usd: float | None
    battles: int


def estimate(asked: NewMatchup, matchups: Matchups, prices: Prices) -> Estimate:
    """What `asked` will probably take. Raises UnknownPolicy."""
    battles = asked.until_decided.max_battles if asked.until_decided else asked.battles
    took = [_took(policy, asked.format, matchups, prices) for policy in (asked.p1, asked.p2)]
    seconds, costs = [each.seconds for each in took], [each.cost_usd for each in took]
    at_once = min(asked.concurrency, battles)
    together = None if None in seconds else sum(filter(None, seconds)) + _SIMULATOR_SECONDS
    went_by = sum(each.battles for each in took)
    return Estimate(
        battles=battles,
        at_most=asked.until_decided is not None,
        seconds=None if together is None else together * battles / at_once + asked.move_delay * 30 * battles / at_once,
        cost_usd=None if None in costs else sum(filter(None, costs)) * battles,
        source=f"going by {count(went_by, 'battle')} that they played" if went_by else "going by the price table",
    )


def _took(policy: str, format_id: str, matchups: Matchups, prices: Prices) -> _Took:
    spec = parse_policy(policy)
    battles = list(islice(_played_by(policy, format_id, matchups), _BATTLES))
    if battles:
        made = [[d for d in record.decisions if d.policy == side] for side, record in battles]
        asked = [ask for decisions in made for decision in decisions for ask in decision.asked]
        costs = [ask.cost_usd for ask in asked if ask.cost_usd is not None and isfinite(ask.cost_usd)]
        known = len(costs) == len(asked)
        seconds = sum(decision.decision_ms for decisions in made for decision in decisions) / 1000
        return _Took(seconds / len(battles), sum(costs) / len(battles) if known else None, len(battles))
    if not asks_a_model(policy):
        return _Took(0.0, 0.0, 0)
    price = price_of(spec, prices)
    cost = price.cost(_TOKENS_IN * QUESTIONS_IN_A_BATTLE, _TOKENS_OUT * QUESTIONS_IN_A_BATTLE) if price else None
    return _Took(None, cost, 0)


def _played_by(policy: str, format_id: str, matchups: Matchups) -> Iterator[tuple[Seat, BattleRecord]]:
    """Battles of a policy in this format, and which side it was on."""
    for id in matchups.ids()[:_LOOKED_THROUGH]:
        try:
            request = matchups.request(id)
            side = next((side for side in SEATS if getattr(request, side) == policy), None)
            if side is None or request.format != format_id:
                continue
            for index in sorted(matchups.recorded(id))[:_BATTLES]:
                yield side, matchups.battle(id, index)
        except (BrokenRecord, NotFound):
            continue
