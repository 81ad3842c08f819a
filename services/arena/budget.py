"""What models cost, what a matchup may spend on them, and whether that reaches for another battle.

A battle that has begun is played to its end: one broken off would be paid for and count for nothing, and long battles
would be lost more often than short ones. So a battle begins only when what is left will probably do, going by what
the battles so far took; the first is played alone, to learn what one takes.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.document import read_toml
from shared.errors import UsageError, first_fault
from shared.policies import PolicySpec
from shared.records import BattleRecord, MatchupRequest

_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """US dollars for a million tokens. An unknown price is None, never zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    tokens_in: _Dollars = Field(alias="in")
    tokens_out: _Dollars = Field(alias="out")

    def cost(self, tokens_in: int | None, tokens_out: int | None) -> float | None:
        """In US dollars; None where a number of tokens is unknown, and matters."""
        if self == FREE:
            return 0.0
        if tokens_in is None or tokens_out is None:
            return None
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


FREE = Price(tokens_in=0.0, tokens_out=0.0)

Prices = Mapping[str, Price]
"""`kind:model` → price."""
_PRICES = TypeAdapter(dict[str, Price])


def read_prices(override: Path | None = None) -> Prices:
    """Our table, with the entries of `override` in place of ours or beside them. Raises UsageError."""
    prices: dict[str, Price] = {}
    for path in (Path(__file__).with_name("prices.toml"), *([override] if override else ())):
        try:
            prices |= _PRICES.validate_python(read_toml(path))
        except ValidationError as error:
            where, why = first_fault(error)
            raise UsageError(f"the price table {path}: {where}: {why}") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"the price table {path} cannot be read: {error}") from error
    return prices


def price_of(spec: PolicySpec, prices: Prices, *, served_here: bool = False) -> Price | None:
    """The price of a policy's model; None where it is unknown. A version costs what its name costs, unless it has a
    price of its own. What this machine serves itself, by TGI or the built-in server, costs nothing.
    """
    price = prices.get(f"{spec.kind}:{spec.model}")
    if price is None and spec.pinned:
        price = prices.get(f"{spec.kind}:{spec.pinned[0]}")
    # Behind another server on this machine a gateway may ask a paid one.
    return FREE if price is None and served_here else price


Fetch = Callable[[AbstractSet[int]], Iterable[BattleRecord]]
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

    @classmethod
    def in_all(cls, records: Iterable[BattleRecord]) -> "Spent":
        return cls.sum([cls.in_battle(record) for record in records])

    @classmethod
    def sum(cls, every: Sequence["Spent"]) -> "Spent":
        """Unknown where any is."""
        costs = [each.cost_usd for each in every if each.cost_usd is not None]
        tokens = [each.tokens for each in every if each.tokens is not None]
        return cls(sum(costs) if len(costs) == len(every) else None, sum(tokens) if len(tokens) == len(every) else None)


NOTHING = Spent(0.0, 0)


class MatchupBudget:
    """The budget of one matchup, as one process sees it. Without limits, nothing is counted."""

    def __init__(
        self,
        max_cost_usd: float | None = None,
        max_tokens: int | None = None,
        fetch: Fetch = lambda known: (),
        *,
        elsewhere: Spent = NOTHING,
    ) -> None:
        """`elsewhere` is what other matchups have taken from the same budget."""
        self.max_cost_usd = max_cost_usd
        self.max_tokens = max_tokens
        self.stopped: str | None = None
        """Why no other battle may begin, once none may."""
        self._fetch = fetch
        self._elsewhere = elsewhere
        self._spent: dict[int, Spent] = {}
        self._in_play = 0
        self._ended = asyncio.Condition()

    @classmethod
    def of(cls, request: MatchupRequest, fetch: Fetch = lambda known: ()) -> "MatchupBudget":
        """The budget that a request names."""
        return cls(request.max_cost_usd, request.max_tokens, fetch)

    @property
    def limited(self) -> bool:
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

    def note(self, records: Iterable[BattleRecord]) -> None:
        """Battles that were played before."""
        self._spent |= {record.index: Spent.in_battle(record) for record in records}

    def lose(self, record: BattleRecord) -> None:
        """What was spent on a battle that is played again, since a fault of ours broke it off."""
        self._elsewhere = Spent.sum([self._elsewhere, Spent.in_battle(record)])

    async def end(self, record: BattleRecord) -> None:
        """A battle that had begun is over."""
        if not self.limited:
            return
        async with self._ended:
            self._in_play -= 1
            self._spent[record.index] = Spent.in_battle(record)
            self._ended.notify_all()

    def _read(self) -> None:
        self.note(self._fetch(self._spent.keys()))

    def _why_not(self) -> str | None:
        cost = [each.cost_usd for each in self._spent.values()]
        tokens = [each.tokens for each in self._spent.values()]
        return self._short_of(self.max_cost_usd, cost, self._elsewhere.cost_usd, "USD") or self._short_of(
            self.max_tokens, tokens, self._elsewhere.tokens, "tokens"
        )

    def _short_of(
        self, most: float | None, spent: Sequence[float | None], elsewhere: float | None, unit: str
    ) -> str | None:
        """Why another battle like those so far would be too much; None when there is enough for it."""
        if most is None:
            return None
        known = [value for value in spent if value is not None]
        if len(known) < len(spent) or elsewhere is None:
            # What cannot be counted cannot be kept within bounds either.
            return f"a budget of {most:,g} {unit} cannot be kept, since it is unknown what was spent"
        total, battles = sum(known) + elsewhere, len(known)
        mean = sum(known) / battles if battles else 0
        if total + mean * (self._in_play + 1) <= most and total < most:
            return None
        in_play = f", with {self._in_play} battle{'s' * (self._in_play != 1)} in play" if self._in_play else ""
        return (
            f"the budget of {most:,g} {unit} does not reach for another battle: {total:,.4g} {unit} are spent{in_play}"
        )
