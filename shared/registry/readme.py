"""A version's card as a page that people read: the README of its repository on the Hub."""

import json
from collections.abc import Iterator, Mapping

from huggingface_hub import ModelCardData

from shared.registry.card import ModelCard


def readme(card: ModelCard, name: str, version: str, repo: str) -> str:
    """Markdown, with the metadata that the Hub reads at its head."""
    return "\n".join([*_head(card, name), *_body(card, name, version, repo), ""])


def _head(card: ModelCard, name: str) -> Iterator[str]:
    data = ModelCardData(
        # Names of a few letters that stand for no repository would be refused.
        base_model=card.base if "/" in card.base else None,
        license=card.license,
        library_name="peft" if card.kind == "adapter" else "transformers",
        pipeline_tag="text-generation",
        model_name=name,
        tags=["pokemon-showdown", "alphastral"],
    )
    yield from ("---", data.to_yaml(), "---", "")


def _body(card: ModelCard, name: str, version: str, repo: str) -> Iterator[str]:
    what = "LoRA weights over" if card.kind == "adapter" else "A model tuned from"
    contracts = ", ".join(f"{contract} ({digest[:12]})" for contract, digest in card.contract.items())
    yield from (f"# {name}", "", f"{what} {_code(card.base)} that chooses moves in Pokémon Showdown battles.", "")
    yield from (
        "It reads one prompt that tells the state of a battle and all legal actions, and answers with one of them.",
        f"Both are worded by alphaStral's prompt contract: {contracts or 'none, it was trained for no contract'}.",
        "Asked in other words it may answer anything.",
        "",
        "## Let it play",
        "",
        "```",
        f"alphastral models pull {repo} {name}",
        f"alphastral models promote {name}@VERSION",
        f"alphastral serve {name}",
        f"alphastral battle --p1 tgi:{name} --p2 max-damage --n 20",
        "```",
        "",
    )
    if card.metrics:
        yield from ("## How good it is", "", *_table(card.metrics, "figure"), "")
    yield from ("## How it was made", "", *_table(_made(card, f"{name}@{version}"), ""), "")
    if card.recipe and card.recipe.values:
        yield from (f"Recipe {_code(card.recipe.name)}:", "", *_table(card.recipe.values, "value"), "")
    if card.dataset:
        rows = ", ".join(f"{count:,} rows {split}" for split, count in card.dataset.rows.items())
        yield from (f"Dataset {_code(card.dataset.name)}: {rows}; SHA-256 {_code(card.dataset.hash)}.", "")
        if any(card.dataset.left_out.values()):
            left_out = ", ".join(f"{count:,} of {split}" for split, count in card.dataset.left_out.items())
            yield from (f"Left out, because they are longer than the recipe's `max_length`: {left_out}.", "")
        for counted, values in card.dataset.counts.items():
            yield from (f"Rows by {_plain(counted)}:", "", *_table(values, "rows"), "")
    if card.software:
        yield from (
            "Software: " + ", ".join(f"{_plain(one)} {_plain(at)}" for one, at in card.software.items()) + ".",
            "",
        )


def _made(card: ModelCard, version: str) -> dict[str, object]:
    made = {
        "version": version,
        "base": card.base,
        "went on from": card.parent,
        "parameters": card.parameters,
        "of these trained": card.trained_parameters,
        "made": card.created_at.isoformat(timespec="seconds"),
    }
    return {line: value for line, value in made.items() if value is not None}


def _table(values: Mapping[str, object], heading: str) -> Iterator[str]:
    yield from (f"| | {heading} |", "|---|---|")
    for name, value in values.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        yield f"| {_plain(name)} | {_plain(shown)} |"


def _plain(text: object) -> str:
    """Text that is no markup, on one line."""
    flat = " ".join(str(text).split())[:500]
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>|#!" else letter for letter in flat)


def _code(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").split())[:500] + "`"
