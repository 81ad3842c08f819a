"""Policy names and formats."""

import pytest

from shared.errors import UnknownFormat, UnknownPolicy
from shared.policies import FORMATS, KINDS, check_format, parse_policy


@pytest.mark.parametrize("name", ["random", "max-damage", "heuristic"])
def test_baselines_are_written_by_their_kind_alone(name: str) -> None:
    assert parse_policy(name).kind == name


@pytest.mark.parametrize(
    "name", ["", "rand", "Random", "random ", "heuristic:", "random:x", "random?", "random?a=1", "x" * 300]
)
def test_a_name_that_is_no_policy_is_refused_with_the_list_or_the_reason(name: str) -> None:
    with pytest.raises(UnknownPolicy) as refused:
        parse_policy(name)

    assert any(kind in refused.value.message for kind in KINDS)


def test_a_near_miss_is_told_what_was_probably_meant() -> None:
    with pytest.raises(UnknownPolicy, match="did you mean 'heuristic'"):
        parse_policy("heuristics")
    with pytest.raises(UnknownFormat, match="did you mean 'gen9randombattle'"):
        check_format("gen9randombatle")


def test_every_format_names_its_generation() -> None:
    assert all(name.startswith(f"gen{format.generation}") for name, format in FORMATS.items())
