"""What policies are called: short, and each of its own."""

import pytest

from services.reporter.labels import MAX_LABEL_CHARACTERS, labels, sides
from services.reporter.report import render
from shared.records import MatchupRequest
from tests.services.made import battles, run_of

ONE, OTHER = "tgi:mine@20261122-120000-e837aa", "tgi:mine@20261122-120001-147261?asks=3"
LONG = "openai:org/ministral-3b-pokemon-showdown@http://127.0.0.1:8000/v1?contract=v1&instructions=no"


@pytest.mark.parametrize(
    ("policies", "called"),
    [
        (["heuristic", "mistral:mistral-large-latest?asks=3"], ["heuristic", "mistral-large-latest"]),
        ([LONG, "hf:Qwen/Qwen3-8B"], ["ministral-3b-pokemon-showdown", "Qwen3-8B"]),
        (["tgi:http://127.0.0.1:8080", "local:./models/mine/"], ["127.0.0.1:8080", "mine"]),
        ([ONE, OTHER], ["mine (e837aa)", "mine (147261)"]),
        (["mistral:m", "mistral:m?asks=3"], ["m", "m (asks=3)"]),
        (["mistral:m", "openai:m"], ["m (mistral)", "m (openai)"]),
        (["mistral:" + "m" * 60, f"mistral:{'m' * 60}?asks=3"], ["m" * 39 + "…", "m" * 30 + "… (asks=3)"]),
        (["openai:m@http://a:1", "openai:m@http://b:1"], ["m (a:1)", "m (b:1)"]),
        (["human:Ann", "<b>Agent</b>"], ["Ann", "<b>Agent</b>"]),
    ],
)
def test_a_label_is_the_models_name_and_what_tells_it_apart(policies: list[str], called: list[str]) -> None:
    assert [labels(policies)[policy] for policy in policies] == called


def test_labels_are_short_and_each_of_its_own_whatever_the_policies_are_called() -> None:
    policies = ["x" * 300, "x" * 299, "mistral:" + "y" * 200, "a\nb", "a b", "", f"{LONG}&asks=2", f"{LONG}&asks=3"]

    found = labels(policies)

    assert all(len(label) <= MAX_LABEL_CHARACTERS and label.isprintable() for label in found.values())
    assert len(set(found.values())) == len(policies)


def test_a_name_that_was_asked_for_stands_in_place_of_the_models() -> None:
    asked = MatchupRequest(p1=LONG, p2="random", name1="tuned")

    assert sides(LONG, "random", asked) == ("tuned", "random")
    assert sides("random", "random", None) == ("random (p1)", "random (p2)")


def test_a_page_has_the_short_name_in_its_sentences_and_the_whole_one_beside_the_figures() -> None:
    html = render(run_of(battles(["p1", "p2", "p1", "p1"]), p1=LONG))
    whole = LONG.replace("&", "&amp;")

    assert "<strong>ministral-3b-pokemon-showdown won 3 of 4 battles" in html
    # In the table, and in the command that plays it again.
    assert html.count(whole) == 2 and f'class="whole" colspan="6"><bdi>{whole}</bdi>' in html
