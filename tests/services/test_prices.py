"""What tokens cost, and that nobody takes the unknown for nothing."""

from pathlib import Path

import pytest

from services.arena.budget import Price, price_of, read_prices
from shared.errors import UsageError
from shared.policies import parse_policy


def test_a_cost_is_per_million_tokens() -> None:
    price = Price(tokens_in=0.5, tokens_out=1.5)

    assert price.cost(2_000_000, 100_000) == pytest.approx(2 * 0.5 + 0.1 * 1.5)
    assert price.cost(0, 0) == 0


def test_what_is_unknown_is_not_free() -> None:
    assert read_prices().get("tgi:mine@3") is None
    assert Price(tokens_in=1, tokens_out=1).cost(None, 5) is None
    assert Price(tokens_in=1, tokens_out=1).cost(5, None) is None


@pytest.mark.parametrize("model", ["ministral-3b-latest", "mistral-small-latest", "mistral-large-latest"])
def test_the_models_of_the_suite_have_a_price(model: str) -> None:
    price = read_prices().get(f"mistral:{model}")

    assert price is not None
    assert 0 < price.tokens_in <= price.tokens_out


def test_a_table_of_ones_own_replaces_and_joins(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('["mistral:ministral-3b-latest"]\nin = 7\nout = 9\n["openai:qwen"]\nin = 0\nout = 0\n')
    prices = read_prices(own)

    assert prices.get("mistral:ministral-3b-latest") == Price(tokens_in=7, tokens_out=9)
    assert prices.get("openai:qwen") == Price(tokens_in=0, tokens_out=0)
    assert prices.get("mistral:mistral-large-latest") == read_prices().get("mistral:mistral-large-latest")


@pytest.mark.parametrize(
    ("text", "message"),
    [("[x", "cannot be read"), ("[x]\nin = 1", "x.out"), ("[x]\nin = -1\nout = 1", "x.in"), ("x = 1", "x")],
)
def test_a_broken_table_is_told_with_its_field(tmp_path: Path, text: str, message: str) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text)

    with pytest.raises(UsageError, match=message):
        read_prices(own)


def test_the_price_of_a_name_is_that_of_its_versions_unless_they_have_their_own(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('["tgi:smol"]\nin = 1\nout = 1\n["tgi:smol@2"]\nin = 3\nout = 3\n')
    prices = read_prices(own)

    written = ("tgi:smol", "tgi:smol@1", "tgi:smol@2?asks=3", "tgi:large@1", "openai:smol@1")
    found = [price_of(parse_policy(text), prices) for text in written]
    assert [price and price.tokens_in for price in found] == [1, 1, 3, None, None]


def test_what_this_machine_serves_itself_costs_nothing_unless_the_table_says_so() -> None:
    free, dear = parse_policy("tgi:mine"), {"tgi:mine": Price(tokens_in=1.0, tokens_out=1.0)}

    price = price_of(free, {}, served_here=True)

    assert price is not None and (price.cost(100, 10), price.cost(None, None)) == (0.0, 0.0)
    assert price_of(free, dear, served_here=True) == dear["tgi:mine"]
    assert price_of(free, {}) is None
