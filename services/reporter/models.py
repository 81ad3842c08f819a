"""What a report says about models: what they cost and how quickly they answered."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.reporter import numbers
from services.reporter.sections import Table
from shared.battle.protocol import SEATS, Seat
from shared.records import Asking, Run
from shared.text import as_name, count, milliseconds, usd

_MAX_MODEL_CHARACTERS = 60
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Model:
    """What asking one policy's model took, in words."""

    side: Seat
    cost: str
    per: str
    """What one decision cost, or why that is not known."""
    latency: str
    latency_of: str


def asked(run: Run) -> Mapping[Seat, Asking]:
    """The policies that asked a model."""
    found = {"p1": run.summary.p1_asking, "p2": run.summary.p2_asking}
    return {seat: asking for seat in SEATS if (asking := found[seat]) is not None}


def models(run: Run) -> tuple[Model, ...]:
    """Cost and latency of each, for the figures beside the win rate."""
    return tuple(
        Model(
            side=seat,
            cost=_cost(asking),
            per=_per_battle(run, asking),
            latency=milliseconds(asking.median_answer_ms) if asking.median_answer_ms is not None else _UNKNOWN,
            latency_of=f"median of {count(asking.asks, 'ask')}",
        )
        for seat, asking in asked(run).items()
    )


def lines(run: Run) -> tuple[str, ...]:
    """The same in a sentence each, for a terminal."""
    names = numbers.labels(run)
    return tuple(
        f"{names[model.side]}: cost {model.cost} ({model.per}), {model.latency} to answer ({model.latency_of})."
        for model in models(run)
    )


def table(run: Run) -> Table | None:
    """Everything that is known of the asks; None where no model was asked."""
    of_side = asked(run)
    if not of_side:
        return None
    names = numbers.labels(run)
    rows: list[tuple[str, ...]] = [
        ("Model, as its server names it", *(_models(asking) for asking in of_side.values())),
        ("Asks", *(f"{asking.asks:,}" for asking in of_side.values())),
        ("of them after an answer that could not be used", *(f"{asking.second_asks:,}" for asking in of_side.values())),
        ("Requests that were not answered", *(f"{asking.retries:,}" for asking in of_side.values())),
        ("Tokens in", *(_tokens(asking.tokens_in, asking) for asking in of_side.values())),
        ("Tokens out", *(_tokens(asking.tokens_out, asking) for asking in of_side.values())),
        ("Cost", *(_cost(asking) for asking in of_side.values())),
        ("Median time to the first token", *(_time(asking.median_first_token_ms) for asking in of_side.values())),
        ("Median time to the last token", *(_time(asking.median_answer_ms) for asking in of_side.values())),
        ("Waited for a place or a server", *(f"{asking.waited_s:,.1f}\u00a0s" for asking in of_side.values())),
        ("Battles given up", *(f"{_forfeits(run, seat):,}" for seat in of_side)),
    ]
    if run.cards:
        rows.append(("Contract", *(_card(run, seat) for seat in of_side)))
    return Table(("", *(names[seat] for seat in of_side)), tuple(rows))


def _models(asking: Asking) -> str:
    return ", ".join(as_name(model, _MAX_MODEL_CHARACTERS) for model in asking.models[:5]) or _UNKNOWN


def _tokens(tokens: int | None, asking: Asking) -> str:
    if tokens is None:
        return _UNKNOWN
    return f"{tokens:,}" + (
        f", without {count(asking.asks_without_tokens, 'ask')}" if asking.asks_without_tokens else ""
    )


def _cost(asking: Asking) -> str:
    if asking.cost_usd is None:
        return _UNKNOWN
    return usd(asking.cost_usd) + (" or more" if asking.asks_without_cost else "")


def _per_battle(run: Run, asking: Asking) -> str:
    if asking.cost_usd is None:
        return "no price is known"
    if asking.asks_without_cost:
        return f"of {count(asking.asks_without_cost, 'ask')} it is unknown"
    battles = run.summary.n_games + run.summary.broken
    return f"{usd(asking.cost_usd / battles)} a battle" if battles else ""


def _time(value: float | None) -> str:
    return _UNKNOWN if value is None else milliseconds(value)


def _forfeits(run: Run, seat: Seat) -> int:
    return (run.summary.p1_forfeits if seat == "p1" else run.summary.p2_forfeits) or 0


def _card(run: Run, seat: Seat) -> str:
    checked = (run.cards or {}).get(seat) == "checked"
    return "as the model's card says" if checked else "assumed: its server shows no card"
