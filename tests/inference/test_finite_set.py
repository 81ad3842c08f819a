"""Which regular expressions and schemas are a finite set: all that the arena writes, and no other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.finite_set import MOST_MEMBERS, NotFinite, documents_of, members_of
from shared.battle.action import Pass
from shared.battle.completion import regex
from shared.battle.contract import CONTRACTS, golden_states

texts = st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=20, unique=True)


@given(texts)
def test_what_the_arena_writes_is_read_as_it_was_meant(written: list[str]) -> None:
    assert members_of(regex(dict.fromkeys(written, Pass()))) == tuple(written)


@pytest.mark.parametrize("version", CONTRACTS)
def test_every_golden_state_is_a_finite_set(version: str) -> None:
    for state in golden_states():
        if completions := CONTRACTS[version].completions(state):
            assert members_of(regex(completions)) == tuple(completions)


@pytest.mark.parametrize(
    ("expression", "members"),
    [
        ("a|b", ("a", "b")),
        ("(?:a|b)", ("a", "b")),
        ("(a|b|a)", ("a", "b")),
        (r"\(a\|b\)", ("(a|b)",)),
        (r"(a\nb)", ("a\nb",)),
        ("pass", ("pass",)),
    ],
)
def test_an_alternation_may_be_written_in_several_ways(expression: str, members: tuple[str, ...]) -> None:
    assert members_of(expression) == members


@pytest.mark.parametrize(
    "expression",
    ["", "()", "(a|)", "a+", "[ab]", "a.b", r"\d", "(a)(b)", "(a|(b))", "^a$", "a{2}", "(a", "a\\", "(?i)a", "(a|b)?"],
)
def test_anything_else_is_refused(expression: str) -> None:
    with pytest.raises(NotFinite):
        members_of(expression)


def test_a_set_has_its_bounds() -> None:
    with pytest.raises(NotFinite, match=str(MOST_MEMBERS)):
        members_of("|".join(str(number) for number in range(MOST_MEMBERS + 1)))


@pytest.mark.parametrize(
    ("schema", "documents"),
    [
        ({"type": "string", "enum": ["pass", 'a "b"', "é"]}, ('"pass"', '"a \\"b\\""', '"é"')),
        ({"const": "pass"}, ('"pass"',)),
        (
            {"type": "object", "properties": {"action": {"enum": ["pass", "x", "pass"]}}, "required": ["action"]},
            ('{"action": "pass"}', '{"action": "x"}'),
        ),
    ],
)
def test_a_schema_that_lists_texts_is_the_set_of_their_documents(schema: Any, documents: tuple[str, ...]) -> None:
    assert documents_of(schema) == documents
    assert [json.loads(document) for document in documents]


@pytest.mark.parametrize(
    "schema",
    [
        *(None, [], {}, {"type": "string"}, {"enum": "abc"}, {"enum": []}, {"enum": [1, 2]}, {"properties": []}),
        {"properties": {"action": {"enum": ["a"]}}},
        {"properties": {"action": {"enum": ["a"]}, "reason": {"type": "string"}}, "required": ["action", "reason"]},
        {"enum": [str(number) for number in range(513)]},
    ],
)
def test_a_schema_that_permits_anything_else_is_no_finite_set(schema: Any) -> None:
    with pytest.raises(NotFinite):
        documents_of(schema)
