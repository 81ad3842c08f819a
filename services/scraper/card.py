"""A dataset's card for people, and for the Hugging Face Hub: the same figures as card.json, as Markdown."""

from collections.abc import Mapping

from shared.datasets import DatasetCard
from shared.text import one_line

_FEATURES = """\
  - name: prompt
    dtype: string
  - name: completion
    dtype: string
  - name: legal
    list: string
  - name: complete
    dtype: bool
  - name: kind
    dtype: string
  - name: battle
    dtype: string
  - name: turn
    dtype: int64
  - name: side
    dtype: string
  - name: rating
    dtype: int64
  - name: source
    dtype: string
  - name: exact
    dtype: bool
  - name: contract
    dtype: string
"""


def readme(card: DatasetCard, name: str) -> str:
    """The README.md. Its head tells `datasets.load_dataset` where the splits are and of which types the columns."""
    splits = [split for split in ("train", "validation") if card.rows.get(split)]
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in splits)
    head = (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}"
        f"dataset_info:\n- config_name: default\n  features:\n{_FEATURES}---\n"
    )
    parts = [
        f"# {_plain(name)}",
        "Decisions in Pokémon Showdown battles as prompts and completions, made by alphaStral.",
        f"Contract {card.contract} (`{card.contract_hash[:16]}`), pokedex `{card.pokedex_hash[:16]}`.",
        "No battle, and no two battles that belong together, stand on both sides of the split.",
        _table("Rows", card.rows),
        _table("Battles", card.battles),
        *(_table(f"Rows by {name}", counts) for name, counts in card.counts.items()),
        _table("Battles rebuilt although they have an input log", card.rebuilt_because),
        _table("Battles left out", card.dropped.replays),
        _table("Decisions left out", card.dropped.decisions),
        f"Made with:\n\n```\n{_plain(card.command)}\n```",
    ]
    return head + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    rows = "\n".join(f"| {_plain(name).replace('|', '/')} | {count:,} |" for name, count in counts.items())
    return f"## {title}\n\n| | |\n|---|---:|\n{rows}"


def _plain(text: str) -> str:
    # What policies and formats are called is foreign text, and Markdown lets markup through.
    return one_line(text, 500).replace("`", "'").replace("<", "&lt;")
