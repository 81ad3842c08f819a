"""Checks a dataset before anything is trained on it: duplicates, leaks between splits, lengths, labels, advice, leaks.

Neither the rows nor the card are trusted, and the files are read line by line. Whether a prompt tells what its side
could not know is found out by making the rows again: each battle is run from its logs, seen from that side's seat, and
what the dataset holds must be what comes out.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from services.scraper.datasets import SPLITS, batches, sha256_of
from services.scraper.replay import MAX_REPLAY_BYTES, Unusable
from services.scraper.rows import BattleRows, Reader, Wanted, digest
from services.scraper.sources import BattleSource, read_bytes
from shared.battle.contract import CONTRACTS
from shared.battle.decision import fault_of
from shared.battle.pokedex import LATEST_GENERATION, pokedex
from shared.datasets import BATTLES, AdviceFigures, DatasetCard, Row, RowAdvice
from shared.errors import UsageError, first_fault
from shared.process import in_processes
from shared.text import one_line

MAX_PROMPT_CHARACTERS = 1_500
"""More than contracts write: 512 tokens of SmolLM2's tokenizer are about 1,160 characters of its densest prompts."""
_MAX_LINE_BYTES = 1 << 20
_MAX_CARD_BYTES = 1 << 24
_EXAMPLES = 3
_FEW_BYTES = 100_000
_FLAGS = re.compile(r"(?: \+\w+)+$")
_GIMMICK = re.compile(r"(?P<name>move .+?) (?P<gimmick>tera|mega|megax|megay|ultra|zmove|dynamax)(?P<number> #\d+)?")


@dataclass(slots=True)
class Finding:
    """One thing that is wrong, how often, and where first."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


def check(
    folder: Path,
    *,
    max_prompt_characters: int = MAX_PROMPT_CHARACTERS,
    simulators: tuple[Path, ...] = (),
    node: Path | None = None,
    quick: bool = False,
) -> "Checked":
    """Look at the dataset in `folder`; `quick`, without making its rows again. Raises UsageError where there is none.

    `simulators` are further builds of the simulator, for replays of their commits.
    """
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
    if (told := AdviceFigures.of(checked.advice)) != card.advice:
        checked.found("the card tells other advice", f"{card.advice or 'none'} instead of {told or 'none'}")
    if checked.is_current and not quick:
        reader = Reader(Wanted(card.contract), simulators, node)
        # Fewer battles are read faster than a second process starts.
        few = (folder / BATTLES).is_file() and (folder / BATTLES).stat().st_size < _FEW_BYTES
        for read in in_processes(reader, batches(_battles(folder / BATTLES, checked.found)), 1 if few else None):
            for battle in read:
                checked.compare(battle)
        checked.found_none_of()
    return checked


class Checked:
    """What a look at a dataset found. Its rows are gone over once, and digests of them kept."""

    def __init__(self, card: DatasetCard, max_prompt_characters: int) -> None:
        self.rows = dict.fromkeys(SPLITS, 0)
        self.findings: dict[str, Finding] = {}
        """What is wrong → how often; empty when all is well."""
        self.advice: list[RowAdvice] = []
        """What a teacher said, row by row."""
        self._card = card
        self._most = max_prompt_characters
        self.compared = 0
        """Rows that were made again from the logs of their battles."""
        self._told: dict[str, list[_Told]] = {}
        """Battle → what its rows tell."""
        self._samples: set[bytes] = set()
        self._first_split: dict[bytes, str] = {}
        """Digest of a prompt, or of a battle's name → the split where it came first."""
        self.is_current = False
        """Whether what writes prompts is what it was."""
        contract = CONTRACTS.get(card.contract)
        if contract is None:
            self.found("the contract is unknown here", card.contract)
        elif contract.hash != card.contract_hash:
            self.found("the contract was another when this was built", f"{card.contract} {card.contract_hash[:16]}")
        if card.pokedex_hash != pokedex(LATEST_GENERATION).hash:
            self.found("the pokedex was another when this was built", card.pokedex_hash[:16])
        self.is_current = not self.findings

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
        self._look_at_advice(row, where)
        self._told.setdefault(row.battle, []).append(_Told.of(row, where))
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

    def _look_at_advice(self, row: Row, where: str) -> None:
        if row.teacher is None:
            if row.probabilities or row.values or row.played is not None:
                self.found("advice without a teacher", where)
        elif fault := fault_of(row.probabilities, row.values, len(row.legal)):
            self.found("a teacher's advice is none", f"{where}: {fault}")
        elif row.completion not in row.legal or row.played not in row.legal:
            self.found("what was played beside a teacher is not among the legal actions", where)
        elif told := row.advice:
            self.advice.append(told)
            if told.probability < max(row.probabilities):
                self.found("a label is not what its teacher would take most often", where)

    def compare(self, made: BattleRows | Unusable) -> None:
        """Hold a battle's rows beside those that come out of its logs now."""
        if isinstance(made, Unusable):
            self.found("a battle's log cannot be read", f"{made.name}: {made.reason}")
            return
        rows = [_Told.of(Row.model_validate_json(line), "") for line in made.text.splitlines()]
        shown, played = {row.shown for row in rows}, {row.played for row in rows}
        for told in self._told.pop(made.battle, ()):
            if told.exact and not made.exact:
                # No build of the simulator that it was played on is at hand.
                continue
            self.compared += 1
            if told.shown not in shown:
                self.found("a row does not tell what its side was shown", told.where)
            elif told.played not in played:
                self.found("a row does not tell what was played", told.where)

    def found_none_of(self) -> None:
        """Say of which rows there is no log, where there is one of others."""
        if self.compared:
            for rows in self._told.values():
                for told in rows:
                    self.found("the battle of a row is not beside it", told.where)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a row tells of a battle, as far as its logs tell it too."""

    shown: bytes
    """A digest of the prompt, where it stands in the battle, and the actions."""
    played: bytes
    """The same with what was played."""
    exact: bool
    where: str

    @classmethod
    def of(cls, row: Row, where: str) -> "_Told":
        shown = (row.side, str(row.turn), row.prompt, str(row.exact), *row.legal)
        return cls(digest(*shown), digest(*shown, row.played or row.completion), row.exact, where)


def _battles(path: Path, found: Callable[[str, str], None]) -> Iterator[BattleSource]:
    """The battles whose logs lie beside the rows; none where that file is not there."""
    if not path.is_file():
        return
    try:
        with gzip.open(path) as file:
            while line := file.readline(MAX_REPLAY_BYTES):
                yield BattleSource(read_bytes, (line, "battle"), len(line))
    except (OSError, EOFError, zlib.error) as error:
        found("the battles' logs cannot be read", f"{path.name}: {error}")


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
