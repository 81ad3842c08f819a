"""What a matchup may spend on its models, and whether that reaches for another battle.

A battle that has begun is played to its end: one broken off would be paid for and count for nothing, and long battles
would be lost more often than short ones. So a battle begins only when what is left will probably do, going by what
the battles so far took; the first is played alone, to learn what one takes.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from shared.records import BattleRecord, MatchupRequest

Fetch = Callable[[Collection[int]], Iterable[BattleRecord]]
"""Records of the matchup that others have written, but for those indices."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a battle took. None where a server or the price table does not say."""

    cost_usd: float | None
    tokens: int | None

    @classmethod
    def in_battle(cls, record: BattleRecord) -> "Spent":
        """Summed over all asks of both sides."""
        cost_usd, tokens = 0.0, 0
        costs_known = tokens_known = True
        for ask in (ask for decision in record.decisions for ask in decision.asked):
            costs_known &= ask.cost_usd is not None
            tokens_known &= ask.tokens_in is not None and ask.tokens_out is not None
            cost_usd += ask.cost_usd or 0
            tokens += (ask.tokens_in or 0) + (ask.tokens_out or 0)
        return cls(cost_usd if costs_known else None, tokens if tokens_known else None)


class Budget:
    """The budget of one matchup, as one process sees it. Without limits, nothing is counted."""

    def __init__(
        self, max_cost_usd: float | None = None, max_tokens: int | None = None, fetch: Fetch = lambda known: ()
    ) -> None:
        self.max_cost_usd = max_cost_usd
        self.max_tokens = max_tokens
        self.stopped: str | None = None
        """Why no other battle may begin, once none may."""
        self._fetch = fetch
        self._spent: dict[int, Spent] = {}
        self._in_play = 0
        self._ended = asyncio.Condition()

    @classmethod
    def of(cls, request: MatchupRequest, fetch: Fetch = lambda known: ()) -> "Budget":
        """The budget that a request names."""
        return cls(request.max_cost_usd, request.max_tokens, fetch)

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.max_cost_usd is not None or self.max_tokens is not None

    async def begin(self) -> bool:
        """Whether another battle may begin; if so, it has. Waits for the first one's end."""
        if not self.limited:
            return True
        async with self._ended:
            self._read()
            while not self._spent and self._in_play and self.stopped is None:
                await self._ended.wait()
            self._read()
            self.stopped = self.stopped or self._why_not()
            if self.stopped is None:
                self._in_play += 1
            return self.stopped is None

    async def end(self, record: BattleRecord) -> None:
        """A battle that had begun is over."""
        if not self.limited:
            return
        async with self._ended:
            self._in_play -= 1
            self._spent[record.index] = Spent.in_battle(record)
            self._ended.notify_all()

    def _read(self) -> None:
        for record in self._fetch(self._spent.keys()):
            self._spent[record.index] = Spent.in_battle(record)

    def _why_not(self) -> str | None:
        battles = f"{len(self._spent)} battle{'' if len(self._spent) == 1 else 's'}"
        if self.max_cost_usd is not None:
            costs = [each.cost_usd for each in self._spent.values()]
            if (cost := self._over(costs, self.max_cost_usd)) is not None:
                return f"the budget of {self.max_cost_usd:g} USD does not reach further: {cost} USD after {battles}"
        if self.max_tokens is not None:
            tokens = [each.tokens for each in self._spent.values()]
            if (used := self._over(tokens, self.max_tokens)) is not None:
                return f"the budget of {self.max_tokens:,} tokens does not reach further: {used} after {battles}"
        return None

    def _over(self, spent: list[float | None] | list[int | None], most: float) -> str | None:
        """What is spent, in words, when another battle like those so far would be too much."""
        known = [value for value in spent if value is not None]
        if len(known) < len(spent):
            # What cannot be counted cannot be kept within bounds either.
            return "an unknown number of"
        total = sum(known)
        mean = total / len(known) if known else 0
        return f"{total:,.4g}" if total + mean * (self._in_play + 1) > most else None
