"""Checks a dataset before anything is trained on it: duplicates, leaks between splits, lengths, contract, labels.

Neither the rows nor the card are trusted, and the files are read line by line.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from services.scraper.datasets import SPLITS, sha256_of
from services.scraper.rows import digest
from shared.battle.contract import CONTRACTS
from shared.battle.pokedex import LATEST_GENERATION, pokedex
from shared.datasets import DatasetCard, Row
from shared.errors import UsageError, first_fault
from shared.text import one_line

MAX_PROMPT_CHARACTERS = 1_500
"""More than contracts write: 512 tokens of SmolLM2's tokenizer are about 1,160 characters of its densest prompts."""
_MAX_LINE_BYTES = 1 << 20
_MAX_CARD_BYTES = 1 << 24
_EXAMPLES = 3
_FLAGS = re.compile(r"(?: \+\w+)+$")
_GIMMICK = re.compile(r"(?P<name>move .+?) (?P<gimmick>tera|mega|megax|megay|ultra|zmove|dynamax)(?P<number> #\d+)?")


@dataclass(slots=True)
class Finding:
    """One thing that is wrong, how often, and where first."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


def check(folder: Path, *, max_prompt_characters: int = MAX_PROMPT_CHARACTERS) -> "Checked":
    """Look at the dataset in `folder`. Raises UsageError where there is none."""
    card = _card(folder)
    checked = Checked(card, max_prompt_characters)
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        if not path.is_file():
            checked.found("a file is missing", path.name)
            continue
        if card.files.get(split) != sha256_of(path):
            checked.found("a file is not the one that the card names", path.name)
        for where, row in _rows(path, checked.found):
            checked.look_at(row, split, where)
        counted, rows = card.rows.get(split), checked.rows[split]
        if counted != rows:
            checked.found("the card counts other rows", f"{split}: {counted} instead of {rows}")
    return checked


class Checked:
    """What a look at a dataset found. Its rows are gone over once, and digests of them kept."""

    def __init__(self, card: DatasetCard, max_prompt_characters: int) -> None:
        self.rows = dict.fromkeys(SPLITS, 0)
        self.findings: dict[str, Finding] = {}
        """What is wrong → how often; empty when all is well."""
        self._card = card
        self._most = max_prompt_characters
        self._samples: set[bytes] = set()
        self._first_split: dict[bytes, str] = {}
        """Digest of a prompt, or of a battle's name → the split where it came first."""
        contract = CONTRACTS.get(card.contract)
        if contract is None:
            self.found("the contract is unknown here", card.contract)
        elif contract.hash != card.contract_hash:
            self.found("the contract was another when this was built", f"{card.contract} {card.contract_hash[:16]}")
        if card.pokedex_hash != pokedex(LATEST_GENERATION).hash:
            self.found("the pokedex was another when this was built", card.pokedex_hash[:16])

    def found(self, what: str, where: str) -> None:
        finding = self.findings.setdefault(what, Finding())
        finding.count += 1
        if len(finding.examples) < _EXAMPLES:
            finding.examples.append(one_line(where, 200))

    def look_at(self, row: Row, split: str, where: str) -> None:
        """Everything that one row tells, also beside those before it."""
        self.rows[split] += 1
        where = f"{where} ({row.battle}, turn {row.turn}, {row.side})"
        if row.contract != self._card.contract:
            self.found("a row is of another contract than the card", where)
        if row.completion not in row.legal:
            self.found("a label is not among the legal actions", where)
        elif row.contract != "v1" and not offers(row.prompt, row.completion):
            self.found("a label is not among the actions that its prompt offers", where)
        if len(row.prompt) > self._most:
            self.found(f"a prompt is longer than {self._most:,} characters", where)
        sample, prompt = digest(row.prompt, row.completion), digest(row.prompt)
        if sample in self._samples:
            self.found("a row is there twice", where)
        self._samples.add(sample)
        if self._first_split.setdefault(prompt, split) != split:
            self.found("a prompt stands in both splits", where)
        if self._first_split.setdefault(digest("battle", row.battle), split) != split:
            self.found("a battle stands in both splits", where)


def _card(folder: Path) -> DatasetCard:
    path = folder / "card.json"
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise UsageError(f"{path} is no dataset's card: it is too large")
        return DatasetCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        where, why = first_fault(error)
        raise UsageError(f"{path} is no dataset's card: {where}: {why}") from error
    except OSError as error:
        raise UsageError(f"there is no dataset in {folder}: {error.strerror}: {path}") from error


def _rows(path: Path, found: Callable[[str, str], None]) -> Iterator[tuple[str, Row]]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(_MAX_LINE_BYTES):
            number += 1
            where = f"{path.name} line {number}"
            if len(raw) == _MAX_LINE_BYTES:
                found("a line is too long to be a row", where)
                return
            try:
                yield where, Row.model_validate_json(raw)
            except ValidationError as error:
                at, why = first_fault(error)
                found("a line is no row", f"{where}: {at}: {why}")


def offers(prompt: str, completion: str) -> bool:
    """Whether a prompt of contract v2 or v3 has a line for that action. In v3 each has its own, after a colon."""
    named, flag = completion, ""
    if gimmick := _GIMMICK.fullmatch(completion):
        named, flag = gimmick["name"] + (gimmick["number"] or ""), f" +{gimmick['gimmick']}"
    for line in prompt.rpartition("\nChoose:\n")[2].split("\n"):
        if line.endswith(f": {completion}"):
            return True
        flags = _FLAGS.search(line)
        text = line[: flags.start()] if flags else line
        if (text == named or text.endswith(f" {named}")) and (not flag or (flags and f"{flag} " in f"{flags[0]} ")):
            return True
    return False
